"""The loop goes on while a document is worked on: what is large is done on a thread, from the request's values to the encoded head.

Counted are lines of Python that the loop's thread goes through, not time: the same on every machine.
"""

from __future__ import annotations

import json
import random
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import pytest
from msgspec import convert

from signtusk_realtime.documents.values import MAX_DOCUMENT_BYTES
from signtusk_realtime.operations.documents.workshop import LARGE_BYTES, Workshop
from signtusk_realtime.protocol.edits import EditBody, EditOutcome
from tests.support.desks import Desk, member

pytestmark = pytest.mark.virtual_clock

MOST_LINES = 10_000
"""About a millisecond. What is large takes hundreds of thousands."""
WORK = ("put_on", "resolve", "check_value", "seal", "_build", "_step", "from_client")


class Lines(Counter[str]):
    """How many lines of each function the loop's thread went through."""


@contextmanager
def lines_on_the_loop() -> Iterator[Lines]:
    """Count, on this thread, the lines of our own code."""
    counted = Lines()

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        if "signtusk_realtime/" not in frame.f_code.co_filename or "/engines/" in frame.f_code.co_filename:
            return None
        if event == "line":
            counted[frame.f_code.co_name] += 1
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield counted
    finally:
        sys.settrace(before)


async def edit(desk: Desk, by: str, document: str, **body: Any) -> EditOutcome:
    """Edit as the HTTP call does, which says how many bytes came in."""
    asked = convert({"changeId": desk.names("chg")} | body, EditBody)
    return await desk.documents.edit(member(by), document, asked, size=len(json.dumps(body)))


def words(count: int) -> list[str]:
    """Make a text."""
    draw = random.Random(7)
    return [draw.choice(("party", "agreement", "shall", "secret", "of", "the")) for _ in range(count)]


def reworded(text: list[str], edits: int, seed: int) -> str:
    """Put other words in some places."""
    draw, made = random.Random(seed), list(text)
    for number in range(edits):
        made[draw.randrange(len(made))] = f"new{seed}x{number}"
    return " ".join(made)


def assert_elsewhere(counted: Lines) -> None:
    """See that the loop's thread did next to nothing, and none of the work."""
    assert sum(counted.values()) < MOST_LINES, counted.most_common(5)
    assert [name for name in WORK if name in counted] == []


async def test_a_heavy_text_merge_leaves_the_loop_free(desk: Desk) -> None:
    """4000 words, 500 changed on each side: read, merged, sealed and encoded on the thread."""
    text = words(4000)
    await edit(desk, "ann", "d1", baseVersion=0, changes={"body": " ".join(text)})
    await edit(desk, "ann", "d1", baseVersion=1, changes={"body": reworded(text, 500, 1)})
    with lines_on_the_loop() as counted:
        outcome = await edit(desk, "bob", "d1", baseVersion=1, changes={"body": reworded(text, 500, 2)})
    assert (outcome.status, outcome.version) == ("merged", 3)
    counted.pop("from_client")  # one value of 30 KB is read at once
    counted.pop("check_value")
    assert_elsewhere(counted)


@pytest.mark.parametrize("edits", [25, 250])
async def test_a_short_text_that_takes_long_is_merged_elsewhere_too(desk: Desk, edits: int) -> None:
    """What counts is what merging may cost: a text of 2 KB may cost ten milliseconds."""
    text = words(500)
    await edit(desk, "ann", "d1", baseVersion=0, changes={"body": " ".join(text)})
    await edit(desk, "ann", "d1", baseVersion=1, changes={"body": reworded(text, edits, 1)})
    with lines_on_the_loop() as counted:
        outcome = await edit(desk, "bob", "d1", baseVersion=1, changes={"body": reworded(text, edits, 2)})
    assert outcome.status == "merged"
    assert [name for name in ("resolve", "merge_text", "put_on", "seal") if name in counted] == []


async def test_a_document_of_the_greatest_size_leaves_the_loop_free(desk: Desk) -> None:
    """Created, edited on head, edited behind it: the loop neither reads nor compares nor encodes it."""
    row = {"label": "Signature of the receiving party", "page": 1.0, "mark": "🖋"}
    rows = [{"id": f"f{number}", **row} for number in range(9000)]
    assert MAX_DOCUMENT_BYTES * 0.7 < len(json.dumps(rows, ensure_ascii=False).encode()) < MAX_DOCUMENT_BYTES
    with lines_on_the_loop() as counted:
        await edit(desk, "ann", "d1", baseVersion=0, changes={"title": "NDA", "fields": rows})
    assert_elsewhere(counted)
    for by, base in (("ann", 1), ("bob", 1)):
        with lines_on_the_loop() as counted:
            outcome = await edit(desk, by, "d1", baseVersion=base, changes={"title": f"NDA of {by}"})
        assert outcome.status == {"ann": "applied", "bob": "merged"}[by]
        counted.pop("from_client")  # the edit itself is small
        counted.pop("check_value")
        assert_elsewhere(counted)


async def test_thousands_of_clashes_leave_the_loop_free(desk: Desk) -> None:
    """Each clash has its record, each record names who is to blame, and the loop does not look for them."""
    names = [f"n{number}" for number in range(4000)]
    await edit(desk, "ann", "d1", baseVersion=0, changes=dict.fromkeys(names, 0))
    await edit(desk, "ann", "d1", baseVersion=1, changes=dict.fromkeys(names, 1))
    with lines_on_the_loop() as counted:
        outcome = await edit(desk, "bob", "d1", baseVersion=1, changes=dict.fromkeys(names, 2), strategy="manual")
    assert len(list(outcome.conflicts)) == 4000
    assert_elsewhere(counted)
    # From now on every edit looks at 4000 open records.
    with lines_on_the_loop() as counted:
        await edit(desk, "ann", "d1", baseVersion=2, changes={"n7": 3})
    counted.pop("from_client")
    counted.pop("check_value")
    assert_elsewhere(counted)


async def test_a_small_edit_far_behind_is_decided_elsewhere(desk: Desk) -> None:
    """What was committed since its base has to be gone through, however small the document and the edit are."""
    names = [f"n{number}" for number in range(700)]
    await edit(desk, "ann", "d1", baseVersion=0, clientId="c", changes=dict.fromkeys(names, 0))
    for version in range(1, 30):
        await edit(desk, "ann", "d1", baseVersion=version, clientId="c", changes=dict.fromkeys(names, version))
    with lines_on_the_loop() as counted:
        outcome = await edit(desk, "ann", "d1", baseVersion=1, clientId="c", changes={"n1": "x"})
    assert outcome.status == "applied"
    assert [name for name in ("authors_view", "resolve", "apply", "put_on") if name in counted] == []


async def test_what_is_small_is_done_at_once(desk: Desk) -> None:
    """A thread costs more than a small edit does."""
    await desk.create(title="NDA")
    with lines_on_the_loop() as counted:
        await edit(desk, "ann", "d1", baseVersion=1, changes={"title": "NDA v2"})
    assert [name for name in WORK if name not in counted] == []


async def test_the_thread_ends_with_the_service() -> None:
    """Closing waits for what is on it; a failure on it is the caller's."""
    workshop = Workshop()

    def fail() -> None:
        raise ValueError("no such place")

    with pytest.raises(ValueError, match="no such place"):
        await workshop.do(fail, size=LARGE_BYTES)
    workshop.close()
    workshop.close()
