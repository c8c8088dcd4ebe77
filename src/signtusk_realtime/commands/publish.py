"""Publish lines of JSON.

Owns: from lines to calls and from answers to lines; what one refused line means to its neighbours.   Not: calls (client/publisher.py),
options and exit codes (cli.py).
Rule 1: a refused line is told and left out, all others are published: that calls are all or nothing is no matter of the lines.
Rule 2: the log of an organization has its events in the order of the lines. Only calls of different organizations are under way at once.
Rule 3: a result for each published line, in the order of the lines, before more is read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Final

from signtusk_realtime.client import Published, Publisher, Refused
from signtusk_realtime.client.outgoing import Outgoing, outgoing
from signtusk_realtime.commands.lines import Line, Lines
from signtusk_realtime.commands.terminal import Output
from signtusk_realtime.errors import InvalidInput, RealtimeError, Unavailable

CALLS: Final = 4
"""How many calls may be under way."""
LATER_PATIENCE_S: Final = 30.0
"""How long a service that was there before may be away; longer than a restart takes."""
_OF_EVERY_CALL: Final = frozenset({401, 405, 406, 415, 426})
_TOO_LARGE: Final = frozenset({"batch_too_large", "payload_too_large"})
_CODES_OF_EVERY_CALL: Final = frozenset({"not_found", "invalid_parameter", "invalid_request"})
_TRUNCATED: Final = "truncated"


class Unpublished(RealtimeError):
    """Publishing had to stop; the message names the first line that is affected."""


class _Item:
    """A line on its way."""

    __slots__ = ("number", "outcome", "outgoing")

    def __init__(self, number: int, event: Outgoing) -> None:
        self.number = number
        self.outgoing = event
        self.outcome: Published | Refused | None = None


class PublishLines:
    """See the module. `complain` gets a text for each refused line, `on_progress` is called after each window."""

    def __init__(
        self,
        publisher: Publisher,
        output: Output,
        *,
        complain: Callable[[str], None],
        on_progress: Callable[[], None] = lambda: None,
    ) -> None:
        self.published = 0
        self.refused = 0
        self._publisher = publisher
        self._output = output
        self._complain = complain
        self._on_progress = on_progress
        self._calls = asyncio.Semaphore(CALLS)

    async def __call__(self, lines: Lines) -> None:
        """Publish them all.

        Raises: InvalidInput for a line that is no JSON object (those before it are published), Unpublished, BrokenPipeError.
        """
        while window := await lines.window():
            items, fault = await self._read(window, lines)
            await self._publish(items)
            self._on_progress()
            if fault is not None:
                raise fault

    async def _read(self, window: Sequence[Line], lines: Lines) -> tuple[list[_Item], InvalidInput | None]:
        items: list[_Item] = []
        for number, text in window:
            try:
                items.append(_Item(number, outgoing(text)))
            except InvalidInput as error:
                is_first = not items and not self.published and not self.refused
                if is_first and _TRUNCATED in error.message:
                    # One object over several lines, as an editor writes it.
                    whole = b"\n".join([*(line.text for line in window), await lines.remainder()])
                    try:
                        return [_Item(number, outgoing(whole.replace(b"\n", b" ")))], None
                    except InvalidInput:
                        pass
                return items, InvalidInput(f"line {number}: {error.message}; expected one JSON object a line")
        return items, None

    async def _publish(self, items: Sequence[_Item]) -> None:
        ended = await asyncio.gather(*map(self._send_chain, _chains(items)), return_exceptions=True)
        await self._tell(items)
        for failure in ended:
            if isinstance(failure, RealtimeError):
                first = next(item.number for item in items if item.outcome is None)
                raise Unpublished(_about(failure, first), code=failure.code) from None
            if isinstance(failure, BaseException):
                raise failure

    async def _send_chain(self, runs: Sequence[Sequence[_Item]]) -> None:
        for run in runs:
            await self._send(run)

    async def _send(self, items: Sequence[_Item]) -> None:
        """Publish lines of one log. Raises: Refused if every call would be, Unavailable."""
        position, size = 0, len(items)
        limit = size
        while position < len(items):
            part = items[position : position + size]
            try:
                async with self._calls:
                    results = await self._publisher.publish_prepared([item.outgoing for item in part])
            except Refused as refused:
                if _concerns_every_call(refused):
                    raise
                if refused.code in _TOO_LARGE:
                    limit = max(1, len(part) // 2)
                if refused.index == 0 or len(part) == 1:
                    part[0].outcome = refused
                    position += 1
                    # Where one is bad the next may be: a large call that is refused costs as much as one that is not.
                    size = max(1, len(part) // 2)
                else:
                    # Those before the refused one first; without a place it is found by halving.
                    size = refused.index or len(part) // 2
            else:
                for item, result in zip(part, results, strict=True):
                    item.outcome = result.error or result
                self._publisher.patience_s = LATER_PATIENCE_S
                position += len(part)
                size = min(4 * size, limit)

    async def _tell(self, items: Sequence[_Item]) -> None:
        results = []
        for item in items:
            if isinstance(item.outcome, Published):
                self.published += 1
                results.append(item.outcome.text + b"\n")
            elif item.outcome is not None:
                self.refused += 1
                self._complain(f"line {item.number}: {describe(item.outcome)}")
        await self._output.write(b"".join(results))


def _about(failure: RealtimeError, line: int) -> str:
    said = f"stopped at line {line}: {failure.message}"
    return f"{said}; what became of it is unknown" if isinstance(failure, Unavailable) else said


def describe(refused: Refused) -> str:
    """Say what was refused and where."""
    return f"{refused.code}: {f'{refused.pointer}: ' if refused.pointer else ''}{refused.message}"


def _chains(items: Sequence[_Item]) -> list[list[list[_Item]]]:
    """Part lines into chains of calls: calls of a chain follow each other, chains run side by side.

    A line without an organization belongs to the publisher's own, which another line may name: to send both at once could turn them
    round. So where one is without, all are one chain, with a new call at every change.
    """
    if any(item.outgoing.organization is None for item in items):
        return [[list(run) for _, run in groupby(items, key=lambda item: item.outgoing.organization)]]
    logs: dict[str | None, list[_Item]] = {}
    for item in items:
        logs.setdefault(item.outgoing.organization, []).append(item)
    return [[own] for own in logs.values()]


def _concerns_every_call(refused: Refused) -> bool:
    """Say whether another event would be refused just so: the publisher is not let in, or this is not the service."""
    if refused.status == 403:
        return refused.index is None
    return refused.status in _OF_EVERY_CALL or refused.code in _CODES_OF_EVERY_CALL or refused.code.startswith("http_")
