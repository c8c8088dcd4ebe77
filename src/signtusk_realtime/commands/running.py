"""Publish and subscribe as processes: descriptors, signals, what is said on standard error.

Owns: from a command's options to its end.   Not: options and exit codes (cli.py).
Rule: `True` is all done. What was asked wrongly is InvalidInput, what could not be done another RealtimeError.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, TextIO

from signtusk_realtime.client import Gap, Publisher, subscribe
from signtusk_realtime.client.feed import Transport
from signtusk_realtime.commands.lines import Given, Lines
from signtusk_realtime.commands.publish import PublishLines
from signtusk_realtime.commands.subscribe import print_events, subscriptions_of
from signtusk_realtime.commands.terminal import Output, Source
from signtusk_realtime.errors import InvalidInput
from signtusk_realtime.observability.logging import harmless

if TYPE_CHECKING:
    from signtusk_realtime.commands.progress import Bar

FIRST_PATIENCE_S: Final = 10.0
"""How long a service that was never reached is tried."""
STANDARD_INPUT: Final = "-"

Say = Callable[[str], None]
"""Puts a line on standard error."""


def run_publish(*, url: str, token: str | None, event: str | None, file: str | None, say: Say) -> bool:
    """Publish an event, or the lines of a file; say whether none was refused.

    Raises: InvalidInput, and other RealtimeErrors where it had to stop.
    """
    if (event is None) == (file is None):
        raise InvalidInput("give either an event as JSON, or --file FILE, or --file - for standard input")
    if event is not None and not event.strip():
        raise InvalidInput(
            "the event given is empty; an empty file or standard input is fine, an argument is one object"
        )
    if event is not None:
        return asyncio.run(_publish(url, token, Lines(Given(event.encode(errors="surrogateescape"))), None, say))
    assert file is not None
    with _opened(file) as fd:
        try:
            return asyncio.run(_publish(url, token, Lines(Source(fd)), _bar(fd), say))
        except IsADirectoryError as error:
            raise InvalidInput(f"--file: {error.strerror}: {file}") from None


async def _publish(url: str, token: str | None, lines: Lines, bar: Bar | None, say: Say) -> bool:
    async with Publisher(url, token, patience_s=FIRST_PATIENCE_S, on_retry=_retry(url, say)) as publisher:

        def moved() -> None:
            if bar is not None:
                bar.move(lines.bytes_read, command.published, command.refused)

        output = Output(_fd(sys.stdout))
        command = PublishLines(publisher, output, complain=say, on_progress=moved)
        try:
            if not await _until_told(command(lines), output):
                say(f"interrupted after {command.published} published lines; more may be")
                return False
            return command.refused == 0
        finally:
            if bar is not None:
                bar.end()


def run_subscribe(
    *,
    url: str,
    token: str | None,
    user: str | None,
    organization: str | None,
    types: str | None,
    document_id: str | None,
    cursor: str | None,
    transport: Transport,
    count: int | None,
    say: Say,
) -> bool:
    """Print events until there were `count`, or until it is told to stop. Raises: RealtimeError."""
    if token is not None and (user is not None or organization is not None):
        raise InvalidInput("give either --token, or --user and --organization")
    if (user is None) != (organization is None):
        raise InvalidInput("--user and --organization are given together")
    if count is not None and count < 0:
        raise InvalidInput("--count: a number from 0")

    async def follow() -> bool:
        output = Output(_fd(sys.stdout))
        async with subscribe(
            url,
            subscriptions_of(types, document_id),
            cursor=cursor,
            transport=transport,
            token=token,
            user_id=user,
            organization_id=organization,
            connect_within_s=FIRST_PATIENCE_S,
            on_gap=lambda gap: say(_about_gap(gap)),
            on_message=_show,
            on_retry=_retry(url, say),
        ) as feed:
            await _until_told(print_events(feed, output, count), output)
        return True

    return asyncio.run(follow())


async def _until_told(work: Awaitable[None], output: Output) -> bool:
    """Await the work; a signal, or nobody reading the output any more, ends it. Say whether it was done."""
    loop, task = asyncio.get_running_loop(), asyncio.ensure_future(work)
    signals = (signal.SIGINT, signal.SIGTERM)
    for number in signals:
        loop.add_signal_handler(number, task.cancel)
    unwatch = output.on_closed(lambda: _cancel(task))
    try:
        await task
    except (asyncio.CancelledError, BrokenPipeError):
        return False
    finally:
        unwatch()
        for number in signals:
            loop.remove_signal_handler(number)
    return True


def _cancel(task: asyncio.Future[None]) -> None:
    task.cancel()


@contextmanager
def _opened(file: str) -> Iterator[int]:
    if file == STANDARD_INPUT:
        yield _fd(sys.stdin)
        return
    try:
        fd = os.open(Path(file), os.O_RDONLY)
    except OSError as error:
        raise InvalidInput(f"--file: {error.strerror}: {file}") from None
    try:
        yield fd
    finally:
        os.close(fd)


def _show(text: bytes) -> None:
    sys.stderr.write(harmless(text.decode(errors="replace")) + "\n")


def _fd(stream: TextIO | None) -> int:
    # A process may be started without one; then Python has none either.
    if stream is None:
        raise InvalidInput("standard input and output are needed, and one of them is closed")
    return stream.fileno()


def _bar(fd: int) -> Bar | None:
    if not sys.stderr.isatty():
        return None
    from signtusk_realtime.commands.progress import Bar  # noqa: PLC0415 - needed at a terminal only, and slow to load

    return Bar(fd)


def _retry(url: str, say: Say) -> Callable[[str, float], None]:
    hint = "; does the service run there? --url says where to look"

    def told(reason: str, delay_s: float) -> None:
        nonlocal hint
        say(f"{url}: {reason}; trying again in {delay_s:.1f} s{hint}")
        hint = ""

    return told


def _about_gap(gap: Gap) -> str:
    return f"events may have been missed ({gap.reason}): reload what they stand for; going on from {gap.cursor}"
