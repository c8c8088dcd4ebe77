-- A log's row says where it stands: its top, its floor (the last trimmed entry), its size and its oldest entry's time.
-- `revision` counts the transactions that changed the log; it tells whether a COMMIT of unknown outcome happened.
-- "offset" is quoted because it is a keyword.
CREATE TABLE logs (
    id           INTEGER PRIMARY KEY,
    name         TEXT    NOT NULL UNIQUE,
    epoch        TEXT    NOT NULL,
    "offset"     INTEGER NOT NULL,
    tag          BLOB    NOT NULL,
    floor_offset INTEGER NOT NULL,
    floor_tag    BLOB    NOT NULL,
    bytes        INTEGER NOT NULL,
    oldest_at    INTEGER,
    revision     INTEGER NOT NULL
) STRICT;

CREATE INDEX logs_by_age ON logs (oldest_at) WHERE oldest_at IS NOT NULL;

-- place = log id * 2^40 + offset: appending is then appending to the table's end or to a log's own stretch of it.
-- head = format byte, tag, time, digest, keys (layout.py).
CREATE TABLE entries (
    place    INTEGER PRIMARY KEY,
    log      INTEGER NOT NULL,
    event_id TEXT    NOT NULL,
    head     BLOB    NOT NULL,
    body     BLOB    NOT NULL
) STRICT;

CREATE UNIQUE INDEX entries_by_event ON entries (log, event_id);

CREATE TABLE records (
    log        INTEGER NOT NULL,
    collection TEXT    NOT NULL,
    key        TEXT    NOT NULL,
    value      BLOB    NOT NULL,
    version    INTEGER NOT NULL,
    expires_at INTEGER,
    PRIMARY KEY (log, collection, key)
) STRICT, WITHOUT ROWID;

CREATE INDEX records_by_expiry ON records (expires_at) WHERE expires_at IS NOT NULL;

-- Logs that were forgotten and whose entries and records are still being deleted, step by step.
CREATE TABLE erased (
    log INTEGER PRIMARY KEY
) STRICT;
