"""What who may change a document, but not read it, is told of it."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import convert, to_builtins

from signtusk_realtime.operations.documents.resolve import DecisionRefused
from signtusk_realtime.protocol.edits import ResolveBody
from signtusk_realtime.protocol.json import encode
from signtusk_realtime.sessions.identity import Grant, Identity
from tests.support.desks import ORGANIZATION, Desk

SALARY = "SALARY"
BODY = "SALARY stands here\nand here"


def guest(*actions: str) -> Identity:
    """Give a guest of d1."""
    grant = Grant(actions=actions, document_id="d1")  # type: ignore[arg-type]  # actions
    return Identity(user_id="gus", organization_id=ORGANIZATION, grants=(grant,))


async def salaries(desk: Desk) -> None:
    """Make a document with a value, and change it."""
    await desk.create(salary=f"{SALARY} 1", body=BODY)
    await desk.edit(baseVersion=1, changes={"salary": f"{SALARY} 2", "body": f"{BODY} too"})


@pytest.mark.parametrize("strategy", ["reject", "merge", "manual"])
async def test_who_may_not_read_is_answered_without_values(desk: Desk, strategy: str) -> None:
    """Whatever becomes of his edit, nothing of the document is in the answer, nor in its repetition; the paths that clash are."""
    await salaries(desk)
    asked: dict[str, Any] = {
        "changeId": "c1",
        "baseVersion": 1,
        "changes": {"salary": "?", "body": f"? {BODY}"},
        "strategy": strategy,
    }
    for repeated in (False, True):
        # What was rejected is told again as well.
        outcome = await desk.edit(guest("edit"), **asked)
        assert outcome.duplicate is repeated
        assert SALARY.encode() not in encode(outcome)
        told = to_builtins(outcome)
        assert "ops" not in told
        assert "/salary" in [each["path"] for each in told["conflicts"]]
        for conflict in told["conflicts"]:
            assert (conflict["baseValue"], conflict["currentValue"], conflict["incomingValue"]) == (None, None, None)


async def test_who_may_read_is_answered_with_values(desk: Desk) -> None:
    """A guest with both actions is told what stands in his way."""
    await salaries(desk)
    outcome = await desk.edit(guest("edit", "subscribe"), baseVersion=1, changes={"salary": "?"}, strategy="reject")
    (conflict,) = to_builtins(outcome)["conflicts"]
    assert (conflict["baseValue"], conflict["currentValue"]) == (f"{SALARY} 1", f"{SALARY} 2")


@pytest.mark.parametrize("actions", [("resolve",), ("resolve", "subscribe")])
async def test_a_stale_decision_shows_values_to_readers_only(desk: Desk, actions: tuple[str, ...]) -> None:
    """The record that a refused decision comes back with has its values only for who may read the document."""
    await salaries(desk)
    outcome = await desk.edit("ben", baseVersion=1, changes={"salary": "other"}, strategy="manual")
    (conflict,) = to_builtins(outcome)["conflicts"]
    decision = {"conflictId": conflict["conflictId"], "rev": 9, "take": "current"}
    with pytest.raises(DecisionRefused) as refused:
        await desk.documents.resolve(guest(*actions), "d1", convert({"decisions": [decision]}, ResolveBody))
    shown = to_builtins(refused.value.conflict)
    assert shown["conflictId"] == conflict["conflictId"]
    assert shown["currentValue"] == (f"{SALARY} 2" if "subscribe" in actions else None)
