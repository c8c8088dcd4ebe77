"""Things to do later, on the loop that the command runs: its handles are not asyncio's."""

from __future__ import annotations

import asyncio

import uvloop

from signtusk_realtime.operations.presence.agenda import Agenda


def test_what_is_due_at_once_keeps_nothing_away() -> None:
    """The loop of the command gives another handle for what is due at once: more may be noted before its turn."""

    async def note() -> list[str]:
        agenda = Agenda()
        done: list[str] = []
        both = asyncio.Event()
        agenda.after(0, lambda: done.append("first"))
        agenda.after(0, lambda: (done.append("second"), both.set()))  # type: ignore[arg-type, return-value]  # two at once
        await both.wait()
        return done

    assert uvloop.run(note()) == ["first", "second"]
