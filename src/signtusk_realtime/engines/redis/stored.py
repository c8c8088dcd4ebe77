"""How values of the log are written for scripts, and read back from their answers and from the channel.

Owns: bytes in both directions.   Not: running anything.
Rule 1: a stored entry begins with a format byte; a reader that does not know it refuses instead of guessing.
Rule 2: versions travel as decimal text, since numbers of Lua are exact to 2**53 only.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final, NamedTuple, TypeAlias

from signtusk_realtime.errors import Unavailable
from signtusk_realtime.events.log import (
    Commit,
    Committed,
    Entry,
    Epoch,
    Exact,
    Key,
    Page,
    Placed,
    Position,
    Range,
    Record,
    Reused,
    Snapshot,
    Stale,
    Top,
)

Reply: TypeAlias = "int | bytes | list[Reply] | None"
"""What a script answers, as hiredis reads it."""
Argument: TypeAlias = str | int | bytes

ENTRY_FORMAT: Final = 1
_HEAD: Final = struct.Struct(">B5sQ32s")
_HINT: Final = struct.Struct(">16sQ5s?")
_PART: Final = struct.Struct(">QIII")
_KEY_END: Final = "\x1f"
_COLLECTION_END: Final = "\0"


def member_of(collection: str, key: str) -> str:
    """Give a record's field and place in the order: bytes of UTF-8 sort as code points do."""
    return f"{collection}{_COLLECTION_END}{key}"


def commit_arguments(commit: Commit) -> list[Argument]:
    """Write a commit as the sections that lua/commit.lua reads."""
    written: list[Argument] = [len(commit.events)]
    for draft in commit.events:
        keys = "".join([key + _KEY_END for key in draft.keys])
        written += (draft.event_id, draft.digest, keys, draft.body)
    written.append(len(commit.expect))
    for key, version in commit.expect:
        written += (member_of(*key), version)
    written.append(len(commit.put))
    for record in commit.put:
        expiry = "" if record.expires_at is None else record.expires_at
        written += (member_of(record.collection, record.key), record.version, expiry, record.value)
    written.append(len(commit.delete))
    written += [member_of(*key) for key in commit.delete]
    return written


def query_arguments(queries: Sequence[Exact | Range]) -> list[Argument]:
    """Write queries as lua/records.lua reads them."""
    written: list[Argument] = []
    for query in queries:
        if isinstance(query, Exact):
            written += ("x", member_of(query.collection, query.key))
        else:
            first, last = member_of(query.collection, query.first), member_of(query.collection, query.last)
            most = "" if query.max_bytes is None else query.max_bytes
            written += ("r", first, last, query.limit, int(query.descending), most)
    return written


class State(NamedTuple):
    """Where a log stands, and how many writes made it what it is."""

    top: Top
    writes: int


def _state(reply: Reply) -> State:
    match reply:
        case [bytes(epoch), int(offset), bytes(tag), int(floor_offset), bytes(floor_tag), int(writes)]:
            return State(Top(Epoch(epoch.decode()), offset, tag, floor_offset, floor_tag), writes)
    raise unreadable(reply)


def read_answer(commit: Commit, reply: Reply) -> tuple[Committed | Stale | Reused, State | None]:
    """Read what became of a commit, and what the log is after it where that was told."""
    match reply:
        case [b"c", int(at), top, list(placed)]:
            state = _state(top)
            return Committed(state.top.epoch, at, _read_placed(commit, placed), state.top), state
        case [b"s", int(_), top, list(missed)]:
            state = _state(top)
            return Stale(state.top, _missed(commit, missed)), state
        case [b"r", list(reused)]:
            return Reused(tuple(commit.events[number].event_id for number in reused if isinstance(number, int))), None
    raise unreadable(reply)


def _read_placed(commit: Commit, flat: list[Reply]) -> list[Placed]:
    placed = []
    triples = zip(flat[0::3], flat[1::3], flat[2::3], strict=True)
    for draft, (offset, tag, duplicate) in zip(commit.events, triples, strict=True):
        if not (isinstance(offset, int) and isinstance(tag, bytes)):
            raise unreadable(flat)
        placed.append(Placed(draft.event_id, offset, tag, duplicate == 1))
    return placed


def _missed(commit: Commit, numbers: list[Reply]) -> Sequence[Key]:
    return tuple(commit.expect[number][0] for number in numbers if isinstance(number, int))


def entries_of(commit: Commit, committed: Committed) -> list[Entry]:
    """Give the entries that a commit appended."""
    return [
        Entry(place.offset, place.tag, committed.at, draft.event_id, tuple(draft.keys), draft.body)
        for draft, place in zip(commit.events, committed.placed, strict=True)
        if place.offset and not place.duplicate
    ]


def read_page(reply: Reply) -> tuple[Page, State] | None:
    """Read the answer of lua/page.lua; None where there is no such log."""
    if reply is None:
        return None
    match reply:
        case [top, int(first), list(flat)]:
            state = _state(top)
            entries = []
            parts = zip(flat[0::3], flat[1::3], flat[2::3], strict=True)
            for offset, (head, event_id, body) in enumerate(parts, first):
                if not (isinstance(head, bytes) and isinstance(event_id, bytes) and isinstance(body, bytes)):
                    raise unreadable(reply)
                entries.append(_entry(offset, head, event_id, body))
            return Page(entries, state.top), state
    raise unreadable(reply)


def read_snapshot(reply: Reply) -> tuple[Snapshot, State] | None:
    """Read the answer of lua/records.lua; None where there is no such log."""
    if reply is None:
        return None
    match reply:
        case [top, int(at), list(results)]:
            state = _state(top)
            return Snapshot(state.top, at, [_records(result) for result in results]), state
    raise unreadable(reply)


def _records(flat: Reply) -> list[Record]:
    if not isinstance(flat, list):
        raise unreadable(flat)
    records = []
    for member, stored in zip(flat[0::2], flat[1::2], strict=True):
        if not (isinstance(member, bytes) and isinstance(stored, bytes)):
            raise unreadable(flat)
        collection, _, key = member.decode().partition(_COLLECTION_END)
        version, expiry, value = stored.split(b";", 2)
        records.append(Record(collection, key, value, int(version), int(expiry) if expiry else None))
    return records


class Hint(NamedTuple):
    """What is said of a log: its newest place, whether that is confirmed, entries that may be fewer than came to be."""

    epoch: Epoch
    offset: int
    tag: bytes
    is_confirmed: bool
    entries: Sequence[Entry]


def read_tops(reply: Reply) -> list[Position | None]:
    """Read the answer of lua/tops.lua."""
    if not isinstance(reply, list):
        raise unreadable(reply)
    tops: list[Position | None] = []
    for epoch, offset, tag in zip(reply[0::3], reply[1::3], reply[2::3], strict=True):
        if isinstance(epoch, bytes) and isinstance(offset, int) and isinstance(tag, bytes):
            tops.append(Position(Epoch(epoch.decode()), offset, tag))
        else:
            tops.append(None)
    return tops


def write_signal(node: bytes, number: int, body: bytes) -> bytes:
    """Write an ephemeral message; who hears it twice tells by the 16 bytes behind the kind."""
    return b"s" + node + number.to_bytes(8) + body


def write_confirmed(top: Top) -> bytes:
    """Tell how far a log is confirmed."""
    return b"h" + _HINT.pack(top.epoch.encode(), top.offset, top.tag, True)


def read_hint(payload: bytes) -> Hint:
    """Read a hint, after its first byte."""
    epoch, offset, tag, is_confirmed = _HINT.unpack_from(payload, 1)
    at, entries = 1 + _HINT.size, []
    while at < len(payload):
        place, head_bytes, id_bytes, body_bytes = _PART.unpack_from(payload, at)
        head_end = at + _PART.size + head_bytes
        id_end = head_end + id_bytes
        head, event_id = payload[at + _PART.size : head_end], payload[head_end:id_end]
        at = id_end + body_bytes
        entries.append(_entry(place, head, event_id, payload[id_end:at]))
    return Hint(Epoch(epoch.decode()), offset, tag, is_confirmed, entries)


def _entry(offset: int, head: bytes, event_id: bytes, body: bytes) -> Entry:
    version, tag, at, _ = _HEAD.unpack_from(head)
    if version != ENTRY_FORMAT:
        raise Unavailable(f"stored entry has format {version}; this version reads format {ENTRY_FORMAT}")
    keys = tuple(head[_HEAD.size :].decode().split(_KEY_END)[:-1])
    return Entry(offset, tag, at, event_id.decode(), keys, body)


def unreadable(reply: Reply) -> Unavailable:
    """Say that an answer is none of those that are known."""
    return Unavailable(f"the server answered in a way that this version does not know ({type(reply).__name__})")
