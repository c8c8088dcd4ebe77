"""Blocks of an event stream (WHATWG HTML §9.2, server-sent events).

Owns: the text form of events, messages, keep-alives and the retry time.   Not: HTTP, which cursor a block may carry (delivery).
Rule 1: a block is whole, ends with an empty line, and blocks may be joined as they are.
Rule 2: no argument can add a field or a block of its own: names and cursors are of a small alphabet, data has no line break.

A block with a cursor is `ID` + cursor + tail; the tail is the same for all who get the event, the cursor is the organization's:
whoever fans out keeps the tail and splices.
"""

from __future__ import annotations

import re
from typing import Final

ID: Final = b"id: "
"""What stands before the cursor of a block."""

_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,128}", re.ASCII)
_CURSOR: Final = re.compile(r"[A-Za-z0-9._~-]{1,160}", re.ASCII)


def event_tail(event_type: str, data: bytes) -> bytes:
    """Give what follows the cursor of a named event. `data` is one line of UTF-8. Raises: ValueError (Rule 2)."""
    if not _NAME.fullmatch(event_type):
        raise ValueError("an event's name has characters that could end its line")
    return b"\nevent: " + event_type.encode("ascii") + b"\ndata: " + _line(data) + b"\n\n"


def event_block(event_type: str, data: bytes, cursor: str) -> bytes:
    """Give an event named by its type, dispatched to listeners of that name. Raises: ValueError (Rule 2)."""
    return ID + _cursor(cursor) + event_tail(event_type, data)


def message_tail(data: bytes) -> bytes:
    """Give what follows the cursor of an unnamed message. Raises: ValueError (Rule 2)."""
    return b"\ndata: " + _line(data) + b"\n\n"


def message_block(data: bytes, cursor: str | None = None) -> bytes:
    """Give an unnamed message, dispatched to `onmessage`; with a cursor it moves the resume point. Raises: ValueError (Rule 2)."""
    if cursor is None:
        return b"data: " + _line(data) + b"\n\n"
    return ID + _cursor(cursor) + message_tail(data)


def keepalive_block(cursor: str) -> bytes:
    """Give a block that moves the resume point and dispatches nothing. Raises: ValueError (Rule 2)."""
    return ID + _cursor(cursor) + b"\n\n"


def retry_block(milliseconds: int) -> bytes:
    """Give a block that sets how long the client waits before it reconnects. Raises: ValueError if negative."""
    if milliseconds < 0:
        raise ValueError("a retry time is not negative")
    return b"retry: %d\n\n" % milliseconds


def _line(data: bytes) -> bytes:
    if b"\n" in data or b"\r" in data or b"\0" in data:
        raise ValueError("data has a line break or NUL; JSON of our making has none")
    return data


def _cursor(cursor: str) -> bytes:
    if not _CURSOR.fullmatch(cursor):
        raise ValueError("a cursor has characters outside its alphabet")
    return cursor.encode("ascii")
