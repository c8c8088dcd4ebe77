"""The embedded engine does what the plain model does, over random operations: answers, deliveries, what is kept."""

from __future__ import annotations

import asyncio
import re
import shutil
import tempfile
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import ClassVar, TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from signtusk_realtime.engines.engine import Engine
from signtusk_realtime.engines.memory import MemoryEngine
from signtusk_realtime.engines.sqlite import SqliteEngine
from signtusk_realtime.events.log import Commit, Draft, Epoch, Exact, Key, LogName, Range, Record, Retention
from tests.support.clock import InlineExecutor, VirtualClockLoop
from tests.support.engines import START_MS, ManualClock, RecordingSink

_T = TypeVar("_T")
_EPOCH = re.compile(r"[0-9a-f]{16}")

# Few of each, so that they meet often.
_logs = st.sampled_from([LogName("org123"), LogName("org456"), LogName("*")])
_ids = st.sampled_from([f"e{n}" for n in range(12)])
_bodies = st.sampled_from([b"", b"{}", b"x" * 40])
_keys = st.lists(st.sampled_from(["document:d", "user:é"]), max_size=2).map(tuple)
_drafts = st.builds(Draft, _ids, st.sampled_from([b"1" * 32, b"1" * 32, b"1" * 32, b"2" * 32]), _keys, _bodies)
_addresses = st.builds(Key, st.sampled_from(["a", "b"]), st.sampled_from(["k", "l", "m"]))
_versions = st.integers(1, 3)
_records = st.builds(
    lambda address, value, version, expiry: Record(address.collection, address.key, value, version, expiry),
    _addresses,
    _bodies,
    _versions,
    st.none() | st.integers(START_MS, START_MS + 3000),
)
_expectations = st.tuples(_addresses, st.integers(0, 3))
# Each field is given: what is left out of a named tuple is made up by its type, and a made-up version fits into no database.
_commits = st.builds(
    Commit,
    events=st.lists(_drafts, max_size=4),
    epoch=st.none(),
    expect=st.just(()),
    put=st.just(()),
    delete=st.just(()),
) | st.builds(
    Commit,
    epoch=st.none(),
    events=st.lists(_drafts, max_size=4),
    expect=st.lists(_expectations, max_size=2),
    put=st.lists(_records, max_size=2),
    delete=st.lists(_addresses, max_size=1),
)
_queries = st.lists(
    st.builds(lambda address: Exact(*address), _addresses)
    | st.builds(
        Range, st.sampled_from(["a", "b"]), st.just("k"), st.sampled_from("klm"), st.integers(0, 3), st.booleans()
    ),
    max_size=3,
)


class EngineMachine(RuleBasedStateMachine):
    """Ages by time only, so that what a group commits cannot make its own members due."""

    retention: ClassVar[Retention] = Retention(age_ms=1000)
    group_size: ClassVar[int] = 4

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner(loop_factory=VirtualClockLoop)
        self.folder = Path(tempfile.mkdtemp())
        self.clock = ManualClock()
        self.model = MemoryEngine(retention=self.retention, clock=self.clock)
        self.model_sink = RecordingSink()
        self.engine = self._open()
        self.sink = RecordingSink()
        self.ordinals: tuple[dict[str, int], dict[str, int]] = ({}, {})

    @initialize()
    def start(self) -> None:
        self._run(self.model.start(self.model_sink))
        self._run(self.engine.start(self.sink))

    @rule(
        log=_logs,
        commits=st.lists(_commits, min_size=1, max_size=4),
        epoch=st.sampled_from(["none", "none", "right", "wrong"]),
    )
    def commit(self, log: LogName, commits: list[Commit], epoch: str) -> None:
        commits = commits[: self.group_size]

        async def on(engine: Engine) -> list[object]:
            named: Epoch | None = None
            if epoch == "wrong":
                named = Epoch("not this one")
            elif epoch == "right":
                named = (await engine.read(log, 0, 0)).top.epoch
            return await asyncio.gather(*(engine.commit(log, commit._replace(epoch=named)) for commit in commits))

        self._both(on)

    @rule(log=_logs, after=st.integers(0, 20), max_bytes=st.sampled_from([0, 10, 50, 1000]))
    def read(self, log: LogName, after: int, max_bytes: int) -> None:
        self._both(lambda engine: engine.read(log, after, max_bytes))

    @rule(log=_logs, queries=_queries)
    def records(self, log: LogName, queries: list[Exact | Range]) -> None:
        self._both(lambda engine: engine.records(log, queries))

    @rule(log=_logs)
    def follow(self, log: LogName) -> None:
        self._both(lambda engine: engine.follow(log))

    @rule(log=_logs)
    def unfollow(self, log: LogName) -> None:
        self._both(lambda engine: engine.unfollow(log))

    @rule(log=_logs)
    def forget(self, log: LogName) -> None:
        self._both(lambda engine: engine.forget(log))

    @rule(after=st.none() | _logs, limit=st.integers(0, 3))
    def logs(self, after: LogName | None, limit: int) -> None:
        self._both(lambda engine: engine.logs(after, limit))

    @rule(ms=st.integers(1, 1500))
    def time_passes(self, ms: int) -> None:
        self.clock.now += ms

    @rule()
    def reopen(self) -> None:
        """Open the file again; who followed has to follow anew."""
        self._run(self.engine.close())
        self._run(self.model.close())
        self.engine = self._open()
        self._run(self.engine.start(self.sink))
        self._run(self.model.start(self.model_sink))

    @invariant()
    def delivered_the_same(self) -> None:
        told = [
            _plain([(one.log, one.epoch, one.entries) for one in sink.told], ordinals)
            for sink, ordinals in zip((self.model_sink, self.sink), self.ordinals, strict=True)
        ]
        assert told[0] == told[1]
        assert self.sink.healths == []

    def teardown(self) -> None:
        self._run(self.engine.close())
        self.runner.close()
        shutil.rmtree(self.folder)

    def _open(self) -> SqliteEngine:
        return SqliteEngine(
            str(self.folder / "realtime.db"),
            durability="normal",
            retention=self.retention,
            clock=self.clock,
            executor=InlineExecutor(),
            ballast_bytes=0,
        )

    def _both(self, operation: Callable[[Engine], Coroutine[object, object, object]]) -> None:
        # The model applies retention when it is asked; the engine is made to at the same moment.
        self._run(self.engine.upkeep())
        expected = _plain(self._run(operation(self.model)), self.ordinals[0])
        assert _plain(self._run(operation(self.engine)), self.ordinals[1]) == expected

    def _run(self, coroutine: Coroutine[object, object, _T]) -> _T:
        return self.runner.run(coroutine)


class CappedMachine(EngineMachine):
    """Few entries and few bytes are kept; commits come one at a time, since the model trims between any two."""

    retention: ClassVar[Retention] = Retention(age_ms=10_000, count=7, max_bytes=700)
    group_size: ClassVar[int] = 1


def _plain(value: object, ordinals: dict[str, int]) -> object:
    """Make answers comparable: sequences as tuples with their type's name, epochs numbered as they come."""
    if isinstance(value, list | tuple):
        name = type(value).__name__ if hasattr(value, "_fields") else ""
        return (name, *(_plain(one, ordinals) for one in value))
    if isinstance(value, str) and _EPOCH.fullmatch(value):
        return ordinals.setdefault(value, len(ordinals))
    return value


TestEngineIsTheModel = EngineMachine.TestCase
TestEngineIsTheModel.settings = settings(max_examples=25, stateful_step_count=30)
TestCappedEngineIsTheModel = CappedMachine.TestCase
TestCappedEngineIsTheModel.settings = settings(max_examples=20, stateful_step_count=30)
