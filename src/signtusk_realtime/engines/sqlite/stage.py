"""What a group of commits comes to, worked out before anything is written.

Owns: the order of checks, duplicates, offsets and tags of one group; later commits of the group see the earlier ones.
Not: SQL, transactions (store.py), who is told (writer.py, engine.py).
Rule: pure. Offsets exist only in a stage until its transaction is durable, so a failed COMMIT gives none away (invariant I1).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from signtusk_realtime.engines.sqlite.layout import Address, Known, LogState, SqlValue, encode_head, place_of
from signtusk_realtime.events.log import (
    ABSENT,
    ORIGIN_TAG,
    Commit,
    Committed,
    Draft,
    Entry,
    LogName,
    Placed,
    Record,
    Reused,
    Stale,
    chain,
)


class Stage:
    """One group in the making. Feed commits in order to `admit`; what is to be written collects in the other attributes."""

    def __init__(
        self,
        now: int,
        states: Mapping[LogName, LogState],
        known: Mapping[tuple[int, str], Known],
        versions: Mapping[Address, int],
    ) -> None:
        """`states` holds every log of the group, `known` the ids that stand in them, `versions` the live records that are expected."""
        self._now = now
        self._states = dict(states)
        self._known = dict(known)
        self._versions = dict(versions)
        self.logs: dict[LogName, LogState] = {}
        self.entry_rows: list[SqlValue] = []
        self.records: dict[Address, Record | None] = {}

    def create(self, state: LogState) -> None:
        """Add a log that does not exist yet; it is written even if every commit on it comes to nothing."""
        self._states[state.name] = state
        self.logs[state.name] = state

    def admit(self, log: LogName, commit: Commit) -> tuple[Committed | Stale | Reused, Sequence[Entry]]:
        """Work out one commit: its answer and the entries it appends."""
        state = self._states[log]
        events = commit.events
        if events:
            reused = self._reused(state.log_id, events)
            if reused:
                return Reused(reused), ()
            if (commit.put or commit.delete) and (state.log_id, events[0].event_id) in self._known:
                return Committed(
                    state.epoch, self._now, [self._found(state.log_id, d) for d in events], state.top()
                ), ()
        if commit.epoch is not None and commit.epoch != state.epoch:
            return Stale(state.top(), ()), ()
        if commit.expect:
            missed = tuple(key for key, version in commit.expect if self._version(state.log_id, key) != version)
            if missed:
                return Stale(state.top(), missed), ()

        placed: list[Placed] = []
        entries: list[Entry] = []
        if events:
            state = self._append(state, events, placed, entries)
        if commit.put or commit.delete:
            state = self._change(state)
            for record in commit.put:
                self._write(Address(state.log_id, record.collection, record.key), record)
            for collection, key in commit.delete:
                self._write(Address(state.log_id, collection, key), None)
        return Committed(state.epoch, self._now, placed, state.top()), entries

    def _append(self, state: LogState, events: Sequence[Draft], placed: list[Placed], entries: list[Entry]) -> LogState:
        known, now, log_id = self._known, self._now, state.log_id
        offset, tag, size = state.offset, state.tag, 0
        for event_id, digest, keys, body in events:
            seen = known.get((log_id, event_id))
            if seen is not None:
                placed.append(Placed(event_id, seen.offset, seen.tag, True))
                continue
            offset += 1
            tag = chain(tag, event_id)
            known[log_id, event_id] = Known(digest, offset, tag)
            head = encode_head(tag, now, digest, keys)
            self.entry_rows += (place_of(log_id, offset), log_id, event_id, head, body)
            entries.append(Entry(offset, tag, now, event_id, tuple(keys), body))
            placed.append(Placed(event_id, offset, tag, False))
            size += len(event_id) + len(head) + len(body)
        if entries:
            state = self._change(state)
            if state.oldest_at is None:
                state.oldest_at = now
            state.offset, state.tag = offset, tag
            state.size += size
        return state

    def _reused(self, log_id: int, events: Sequence[Draft]) -> tuple[str, ...]:
        digests: dict[str, bytes] = {}
        reused: dict[str, None] = {}
        for draft in events:
            seen = self._known.get((log_id, draft.event_id))
            digest = digests.setdefault(draft.event_id, draft.digest) if seen is None else seen.digest
            if digest != draft.digest:
                reused[draft.event_id] = None
        return tuple(reused)

    def _found(self, log_id: int, draft: Draft) -> Placed:
        seen = self._known.get((log_id, draft.event_id))
        if seen is None:
            return Placed(draft.event_id, 0, ORIGIN_TAG, False)
        return Placed(draft.event_id, seen.offset, seen.tag, True)

    def _version(self, log_id: int, key: tuple[str, str]) -> int:
        return self._versions.get(Address(log_id, *key), ABSENT)

    def _write(self, address: Address, record: Record | None) -> None:
        self.records[address] = record
        is_live = record is not None and (record.expires_at is None or record.expires_at > self._now)
        self._versions[address] = record.version if record is not None and is_live else ABSENT

    def _change(self, state: LogState) -> LogState:
        """Give the copy of a log's state that this group may change."""
        if state.name not in self.logs:
            state = state.copy()
            self._states[state.name] = self.logs[state.name] = state
        state.revision += 1
        return state
