"""Who plays in a property of documents: what they type, how an engine fails them, what they know and have not sent.

Owns: the parts of tests/property/test_documents_store.py that decide nothing.   Not: the play and its judgement.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

from signtusk_realtime.documents.values import Object
from signtusk_realtime.engines.engine import Engine
from signtusk_realtime.errors import Unavailable
from signtusk_realtime.events.log import Commit, Committed, LogName, Reused, Stale

fields = st.sampled_from(
    [
        "title",
        "note",
        "tags",
        "/items",
        "/items/a",
        "/items/b",
        "/items/a/x",
        "/items/b/x",
        "/meta",
        "/meta/p",
        "/meta/q",
    ]
)
words = st.sampled_from(["one two\n", "one\ntwo three", "two", "", "one two\nfour"])
numbers = st.sampled_from([0, 1, 1.0, 2, None, True])
strategies = st.sampled_from(["merge", "merge", "overwrite", "reject", "manual", "manual"])
fates = st.sampled_from(
    ["answered", "answered", "answered", "lost", "failed before", "failed after", "twice", "killed"]
)


def value_for(path: str, data: st.DataObject) -> object:
    """Draw what may stand there; now and then what may not."""
    if path in ("title", "note"):
        return data.draw(words)
    if path == "tags":
        return data.draw(st.lists(st.sampled_from(["x", "y", "z"]), max_size=2, unique=True))
    if path == "/items":
        return [{"id": name, "x": 1} for name in data.draw(st.lists(st.sampled_from("abc"), max_size=3, unique=True))]
    if path in ("/items/a", "/items/b"):
        return {"id": path[-1], "x": data.draw(numbers)}
    return {"p": 1} if path == "/meta" else data.draw(numbers)


class Lossy:
    """An engine whose commits fail when told, before or after they happened."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.fails: str | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.engine, name)

    async def commit(self, log: LogName, commit: Commit) -> Committed | Stale | Reused:
        fails, self.fails = self.fails, None
        if fails == "failed before":
            raise Unavailable("not done")
        outcome = await self.engine.commit(log, commit)
        if fails == "failed after":
            raise Unavailable("done, but who knows")
        return outcome


@dataclass
class Pending:
    """An edit that has no answer yet."""

    document: str
    body: dict[str, Any]
    was_sent: bool = False


@dataclass
class Client:
    """An author: what he knows of each document, and what he has not sent yet or has no answer to."""

    user: str
    client_id: str | None
    known: dict[str, tuple[int, Object]] = field(default_factory=dict)
    queue: list[Pending] = field(default_factory=list)
    numbers: dict[str, int] = field(default_factory=dict)
