"""Documents over an engine, whatever befalls those who edit them: one history that is the truth, and each change answered for once.

Clients know an old version, queue edits while they are offline, send them twice, never hear the answer, and repeat them to another node; commits
fail before or after they happened, nodes die in the middle of an edit, files are opened anew; others decide conflicts at the same time, and sign
what they were shown, which may be old. What must hold is read from what is stored (tests/support/desks.py judges: the fold of the history is the
document, versions without gaps, the chain, one event for each version, the statistics) and from what was answered.

`DOCUMENT_PLAYS=5000` in the environment makes it a long run. A further engine takes part once it is in tests/support/engines.py and named below.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Awaitable, Coroutine
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from msgspec import UNSET, structs
from msgspec.json import encode

from signtusk_realtime.documents.canonical import content_hash
from signtusk_realtime.documents.history import Entry
from signtusk_realtime.documents.ops import apply
from signtusk_realtime.documents.refusals import Refused
from signtusk_realtime.documents.values import Object
from signtusk_realtime.errors import Unavailable
from signtusk_realtime.events.log import Retention
from signtusk_realtime.operations.documents.documents import EditRefused
from signtusk_realtime.protocol.edits import EditOutcome
from tests.support.delivery import Names
from tests.support.desks import Desk, Shelf, read_shelf
from tests.support.engines import ENGINES, World
from tests.support.plays import Client, Lossy, Pending, fates, fields, strategies, value_for

PLAYS: Final = int(os.environ.get("DOCUMENT_PLAYS", "0"))
PLAYED: Final = {
    "memory": PLAYS or 60,
    "sqlite-file": max(PLAYS // 10, 8),
    "valkey": max(PLAYS // 10, 6),
    "valkey-cluster": max(PLAYS // 10, 3),
    "redis": max(PLAYS // 10, 6),
}
"""Engines, and how many plays each sees; Redis itself where it is installed. What `reopens` outlives its process."""
REOPENS: Final = frozenset({"sqlite-file"})
LOCKED: Final = frozenset({"sent", "signing", "voided"})
DOCUMENTS: Final = ("d1", "d2")
FAR: Final = Retention(age_ms=10**12)

ALLOWED_OF_DECISIONS: Final = frozenset(
    {
        "no_active_conflicts",
        "already_resolved",
        "conflict_changed",
        "document_locked",
        "document_deleted",
        "invalid_path",
        "invalid_value",
        "unknown_document",
    }
)
ALLOWED_OF_MOVES: Final = frozenset(
    {
        "invalid_transition",
        "content_changed",
        "open_conflicts",
        "document_locked",
        "document_deleted",
        "unknown_document",
    }
)


class Play(RuleBasedStateMachine):
    """See the module."""

    engine_name: str

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory()
        self.names = Names()
        self.answered: dict[tuple[str, str, str, str], EditOutcome] = {}
        self.sent: set[tuple[str, str, str, str]] = set()
        self.signed: list[tuple[str, int, str]] = []
        self.clients = [Client("ann", "k1"), Client("ann", "k2"), Client("bob", "k1"), Client("cy", None)]
        self.now_ms: int | None = None
        self.shelf = Shelf()
        self.run(self.open())

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(coroutine)

    async def open(self) -> None:
        """Start the engine, and two nodes on it."""
        self.world: World = ENGINES[self.engine_name](Path(self.folder.name), FAR)
        if self.now_ms is not None:
            self.world.clock.now = self.now_ms
        await self.world.engine.start(self.world.sink)
        self.begin()

    def begin(self) -> None:
        self.engine = Lossy(self.world.engine)
        self.desks = [Desk(self.engine, self.world.clock, names=self.names) for _ in range(2)]

    async def die(self) -> None:
        """End the nodes, with all they hold in memory, and begin anew on what is stored."""
        for desk in self.desks:
            await desk.close()
        self.now_ms = self.world.clock.now
        if self.engine_name in REOPENS:
            await self.world.engine.close()
            await self.open()
        else:
            self.begin()

    def teardown(self) -> None:
        async def end() -> None:
            for desk in self.desks:
                await desk.close()
            await self.world.engine.close()

        self.run(end())
        self.runner.close()
        self.folder.cleanup()

    # --- what people do

    @initialize(node=st.integers(0, 1), both=st.booleans())
    def create(self, node: int, both: bool) -> None:
        """One document is there from the start; now and then the other is begun by whoever publishes first."""

        async def act() -> None:
            items = [{"id": "a", "x": 1}, {"id": "b", "x": 1}]
            for document in DOCUMENTS[: 1 + both]:
                await self.desks[node].create(
                    document, title="one", note="one two\nthree", tags=["x"], items=items, meta={"p": 1}
                )
                for client in self.clients:
                    await self.look(client, document, node)

        self.run(act())

    async def look(self, client: Client, document: str, node: int) -> None:
        with suppress(Refused):
            read = await self.desks[node].read(document, client.user)
            before = client.known.get(document)
            assert before is None or read.version >= before[0], "a version was seen that is not there any more"
            client.known[document] = (read.version, read.data)

    @rule(who=st.integers(0, 3), document=st.sampled_from(DOCUMENTS), node=st.integers(0, 1))
    def catch_up(self, who: int, document: str, node: int) -> None:
        """A client loads what is there now."""
        self.run(self.look(self.clients[who], document, node))

    @rule(
        who=st.integers(0, 3),
        document=st.sampled_from(DOCUMENTS),
        strategy=strategies,
        how=st.sampled_from("bbbbbvns"),
        data=st.data(),
    )
    def type_something(self, who: int, document: str, strategy: str, how: str, data: st.DataObject) -> None:
        """An edit is queued, on what the client knows (`b`), without a base (`n`), with the values it saw (`v`), or to begin a document (`s`)."""
        paths = data.draw(st.lists(fields, min_size=1, max_size=2, unique=True))
        paths = [path for path in paths if not any(o != path and path.startswith(o + "/") for o in paths)]
        self.queue(self.clients[who], document, paths, strategy, how, data)

    @rule(
        node=st.integers(0, 1),
        document=st.sampled_from(DOCUMENTS),
        path=fields,
        wanted=st.lists(strategies, min_size=4, max_size=4),
        late=st.integers(0, 3),
        data=st.data(),
    )
    def clash(self, node: int, document: str, path: str, wanted: list[str], late: int, data: st.DataObject) -> None:
        """Everybody knows the same version and edits the same place, and all but one send at once."""
        document = document if document in self.shelf.heads else DOCUMENTS[0]
        for client in self.clients:
            if not client.queue:
                self.run(self.look(client, document, node))
        for client, strategy in zip(self.clients, wanted, strict=True):
            self.queue(client, document, [path], strategy, "b", data)

        async def act() -> None:
            online = [client for n, client in enumerate(self.clients) if n != late]
            await asyncio.gather(*(self.go_out(c, n % 2, "answered", 0) for n, c in enumerate(online)))

        self.run(act())

    def queue(
        self, client: Client, document: str, paths: list[str], strategy: str, how: str, data: st.DataObject
    ) -> None:
        known = client.known.get(document)
        body: dict[str, Any] = {"changeId": self.names("chg"), "strategy": strategy}
        gone = [path for path in paths if data.draw(st.integers(0, 4)) == 0]
        body["changes"] = {path: value_for(path, data) for path in paths if path not in gone}
        body["deletes"] = gone
        if how == "b" and known is not None:
            body["baseVersion"] = known[0]
        elif how == "v" and known is not None:
            body["base"] = {path: known[1][path] for path in paths if path in known[1]}
        elif how == "s":
            body |= {"baseVersion": 0, "deletes": []}
        if client.client_id is not None:
            body["clientId"] = client.client_id
            client.numbers[document] = body["seq"] = client.numbers.get(document, 0) + 1
        client.queue.append(Pending(document, body))

    @precondition(lambda self: any(client.queue for client in self.clients))
    @rule(who=st.integers(0, 3), node=st.integers(0, 1), fate=fates, turns=st.integers(0, 12))
    def send(self, who: int, node: int, fate: str, turns: int) -> None:
        """The oldest queued edit goes out; what becomes of it and of its answer is fate."""
        client = next(c for c in self.clients[who:] + self.clients if c.queue)
        self.run(self.go_out(client, node, fate, turns))

    @precondition(lambda self: sum(bool(client.queue) for client in self.clients) > 1)
    @rule(nodes=st.lists(st.integers(0, 1), min_size=4, max_size=4), rounds=st.integers(1, 3))
    def all_send(self, nodes: list[int], rounds: int) -> None:
        """Everybody is back online at once, each paced by his answers."""

        async def one(client: Client, node: int) -> None:
            for _ in range(min(rounds, len(client.queue))):
                await self.go_out(client, node, "answered", 0)

        async def act() -> None:
            await asyncio.gather(*(one(client, node) for client, node in zip(self.clients, nodes, strict=True)))

        self.run(act())

    async def go_out(self, client: Client, node: int, fate: str, turns: int) -> None:
        pending = client.queue[0]
        body = pending.body
        key = (pending.document, client.user, body.get("clientId", ""), body["changeId"])
        self.sent.add(key)
        pending.was_sent = True
        if fate in ("failed before", "failed after"):
            self.engine.fails = fate
        asked = [self.desks[node].edit(client.user, pending.document, **body)]
        if fate == "twice":
            asked.append(self.desks[1 - node].edit(client.user, pending.document, **body))
        if fate == "killed":
            await self.kill(asked[0], turns)
            return
        outcomes = await asyncio.gather(*asked, return_exceptions=True)
        self.engine.fails = None
        for outcome in outcomes:
            if isinstance(outcome, Unavailable):
                continue
            assert isinstance(outcome, EditOutcome), outcome
            assert outcome.code not in ("seq_gap", "change_id_reused"), outcome
            if outcome.status != "refused":
                first = self.answered.setdefault(key, outcome)
                assert encode(structs.replace(outcome, duplicate=False)) == encode(
                    structs.replace(first, duplicate=False)
                )
        if fate == "twice":
            assert len({getattr(each, "status", None) for each in outcomes}) == 1
            self.check_one_is_first(outcomes)
        last = outcomes[-1]
        if fate == "lost" or isinstance(last, BaseException):
            return
        assert isinstance(last, EditOutcome)
        client.queue.pop(0)
        if last.status == "refused":
            self.renumber(client, pending)

    def check_one_is_first(self, outcomes: list[Any]) -> None:
        answered = [each for each in outcomes if isinstance(each, EditOutcome) and each.status != "refused"]
        assert sum(each.duplicate is False for each in answered) <= 1, answered

    def renumber(self, client: Client, refused: Pending) -> None:
        """A refusal uses no number up: what is queued behind it moves up."""
        if client.client_id is None:
            return
        client.numbers[refused.document] -= 1
        for each in client.queue:
            if each.document == refused.document:
                each.body["seq"] -= 1

    async def kill(self, asked: Awaitable[EditOutcome], turns: int) -> None:
        """Let an edit go on for some turns of the loop, then end everything."""
        task = asyncio.ensure_future(asked)
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await self.die()

    @rule(turns=st.just(0))
    def restart(self, turns: int) -> None:
        """All nodes end and begin anew."""
        self.run(self.die())

    @precondition(lambda self: any(self.shelf.opened.values()))
    @rule(
        document=st.sampled_from(DOCUMENTS),
        words=st.lists(st.sampled_from(["merge", "overwrite", "reject", "one", "value"]), min_size=1, max_size=3),
    )
    def decide(self, document: str, words: list[str]) -> None:
        """Some decide conflicts, at the same time, on both nodes, from the same look at them."""

        async def act() -> None:
            with suppress(Refused):
                records = await self.desks[0].opened(document)
                asked = [self.decision(document, n, word, records) for n, word in enumerate(words)]
                done = await asyncio.gather(*asked, return_exceptions=True)
                for each in done:
                    if isinstance(each, Refused):
                        assert each.code in ALLOWED_OF_DECISIONS, each.code
                    else:
                        assert not isinstance(each, BaseException), each

        self.run(act())

    def decision(self, document: str, n: int, word: str, records: list[dict[str, Any]]) -> Awaitable[Any]:
        desk, change = self.desks[n % 2], self.names("chg")
        if word not in ("one", "value") or not records:
            return desk.resolve(
                "di", document, changeId=change, resolution=word if word in ("merge", "overwrite") else "reject"
            )
        decided: dict[str, Any] = {"conflictId": records[0]["conflictId"], "rev": records[0]["rev"], "take": "incoming"}
        if word == "value":
            decided |= {"take": "value", "value": "decided"}
        return desk.resolve("ed", document, changeId=change, decisions=[decided])

    @rule(
        who=st.integers(0, 3),
        document=st.sampled_from(DOCUMENTS),
        to=st.sampled_from(["signing", "signing", "signing", "sent", "correcting", "voided"]),
        node=st.integers(0, 1),
        meanwhile=st.booleans(),
    )
    def move(self, who: int, document: str, to: str, node: int, meanwhile: bool) -> None:
        """Somebody moves a document on, signing what he knows, fresh or old; perhaps while an edit is on its way."""
        client = self.clients[who]
        if document not in client.known:
            return
        shown = content_hash(client.known[document][1])

        async def act() -> None:
            asked: list[Any] = [
                self.desks[node].move(to, client.user, document, **({"contentHash": shown} if to == "signing" else {}))
            ]
            other = next((c for c in self.clients if c.queue), None)
            if meanwhile and other is not None:
                asked.append(self.go_out(other, 1 - node, "answered", 0))
            answer, *rest = await asyncio.gather(*asked, return_exceptions=True)
            assert not any(rest), rest
            if isinstance(answer, Refused):
                assert answer.code in ALLOWED_OF_MOVES, answer.code
                return
            assert not isinstance(answer, BaseException), answer
            if to == "signing":
                self.signed.append((document, answer.version, shown))

        self.run(act())

    @rule(
        document=st.sampled_from(DOCUMENTS),
        user=st.sampled_from(["ann", "bob"]),
        path=fields,
        record=st.booleans(),
        data=st.data(),
        again=st.booleans(),
    )
    def publish(self, document: str, user: str, path: str, record: bool, data: st.DataObject, again: bool) -> None:
        """An application publishes a change without a base, once or twice."""
        event: dict[str, Any] = {"changes": {path: value_for(path, data)}, "userId": user, "id": self.names("evt_p")}
        if record:
            event["authority"] = "record"

        async def act() -> None:
            told = []
            for desk in self.desks[: 1 + again]:
                try:
                    result = await desk.update(document, **event)
                except EditRefused as error:
                    told.append((None, error.outcome))
                else:
                    told.append((result.cursor, result.edit))
            for (place, first), (where, second) in pairwise(told):
                assert (place, first.status, first.version) == (where, second.status, second.version)
            self.sent.add((document, user, "", event["id"]))
            if told[0][1].status != "refused":
                self.answered[document, user, "", event["id"]] = told[0][1]

        self.run(act())

    @precondition(lambda self: any(head.state in LOCKED for head in self.shelf.heads.values()))
    @rule(node=st.integers(0, 1))
    def open_again(self, node: int) -> None:
        """What is locked is edited again: reopened, or corrected."""

        async def act() -> None:
            for document, head in self.shelf.heads.items():
                if head.state in LOCKED:
                    with suppress(Refused):
                        await self.desks[node].move("correcting" if head.state == "sent" else "draft", "ann", document)

        self.run(act())

    @precondition(lambda self: len(self.shelf.events) > 20)
    @rule(document=st.sampled_from(DOCUMENTS), to=st.sampled_from(["signed", "completed", "deleted"]))
    def tell_a_fact(self, document: str, to: str) -> None:
        """An application says what happened; that is never refused."""
        fact = {"kind": "document_update", "documentId": document, "userId": "app", "type": to}
        if to == "deleted" and document == "d1":
            return
        self.run(self.desks[0].publish(fact))

    @rule(seconds=st.sampled_from([1, 20, 70]))
    def wait(self, seconds: int) -> None:
        """Time goes by: what all must have seen grows, corrections end."""
        self.world.clock.now += seconds * 1000

    # --- what must hold

    @invariant()
    def what_is_stored_agrees(self) -> None:
        """With itself, and with everything that was answered."""
        shelf = self.shelf = self.run(read_shelf(self.world.engine))
        assert shelf.faults() == []
        made: dict[tuple[str, str, str, str], list[Entry]] = {}
        for document, entries in shelf.histories.items():
            for entry in entries:
                header = entry.header
                if header.kind in ("edit", "adopt"):
                    made.setdefault((document, header.user_id, header.client_id, header.change_id), []).append(entry)
        assert all(len(each) == 1 for each in made.values()), "a change was carried out twice"
        assert {key for key, (entry,) in made.items() if entry.header.version > 1} <= self.sent
        for key, outcome in self.answered.items():
            self.check_answer(key, outcome, made.get(key, []))
        for document, version, shown in self.signed:
            self.check_signature(shelf.histories[document], version, shown)

    def check_answer(self, key: tuple[str, str, str, str], outcome: EditOutcome, entries: list[Entry]) -> None:
        made_one = bool(outcome.ops) or (key[1:] and outcome.version == 1 and outcome.status == "applied")
        assert len(entries) == bool(made_one), (key, outcome)
        for entry in entries:
            assert entry.body is not None
            assert (entry.header.version, entry.header.status) == (outcome.version, outcome.status)
            assert encode(entry.body.ops) == encode(outcome.ops)

    def check_signature(self, entries: list[Entry], version: int, shown: str) -> None:
        """What was signed is what the signer was shown."""
        document: Object = {}
        for entry in entries[: version - 1]:
            assert entry.body is not None
            document = apply(document, entry.body.ops)
        assert content_hash(document) == shown
        assert (entries[version - 1].header.state, entries[version - 1].body.ops or []) == ("signing", [])
        assert UNSET is not entries[version - 1].header.state


@pytest.mark.timeout(600 + PLAYS)
@pytest.mark.parametrize("engine", [name for name in PLAYED if name in ENGINES])
def test_one_history_whatever_befalls(engine: str) -> None:
    """See the module."""
    play = type("Play", (Play,), {"engine_name": engine})
    run_state_machine_as_test(
        play,
        settings=settings(
            max_examples=PLAYED[engine], stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
