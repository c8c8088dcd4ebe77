"""An event stream's bytes, cut anyhow, as blocks (WHATWG HTML §9.2.5 and §9.2.6).

Owns: lines, fields, the resume point.   Not: HTTP (event_stream.py), what the data means (messages.py).
Rule 1: what comes out depends on the bytes alone, not on how they were cut.   Rule 2: no line or block grows beyond `MAX_BLOCK_BYTES`.
Unlike an EventSource, a block that only moves the resume point comes out too (`data` is None): whoever resumes wants to know it.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from signtusk_realtime.client.failures import garbled

MAX_BLOCK_BYTES: Final = 8 << 20
_BOM: Final = b"\xef\xbb\xbf"
_LINE_END: Final = re.compile(rb"\r\n|\n|\r")


class StreamBlock(NamedTuple):
    """A block: its event's name (empty for a plain message), its data, and the resume point after it."""

    event: str
    data: bytes | None
    last_event_id: str


class StreamParser:
    """Takes bytes, gives the blocks they complete."""

    def __init__(self, last_event_id: str = "") -> None:
        self.last_event_id = last_event_id
        self.retry_ms: int | None = None
        self._rest = b""
        self._is_first_line = True
        self._ended_with_cr = False
        self._event = b""
        self._data: list[bytes] = []
        self._data_bytes = 0
        self._id = last_event_id

    def feed(self, data: bytes) -> list[StreamBlock]:
        """Take the next bytes. Raises: Refused (Rule 2)."""
        if self._ended_with_cr and data:
            # The CR ended its line already; a LF behind it belongs to it.
            data = data.removeprefix(b"\n")
            self._ended_with_cr = False
        text = self._rest + data
        if b"\r" in text:
            lines = _LINE_END.split(text)
            self._ended_with_cr = text.endswith(b"\r")
        else:
            lines = text.split(b"\n")
        self._rest = lines.pop()
        self._check(len(self._rest))
        blocks: list[StreamBlock] = []
        for line in lines:
            if self._is_first_line:
                line = line.removeprefix(_BOM)  # noqa: PLW2901 - the mark belongs to no line
                self._is_first_line = False
            if line:
                self._field(line)
            elif (block := self._dispatch()) is not None:
                blocks.append(block)
        return blocks

    def _field(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._data_bytes += len(value) + 1
            self._check(self._data_bytes)
            self._data.append(value)
        elif name == b"event":
            self._event = value
        elif name == b"id":
            if b"\0" not in value:
                self._id = value.decode("utf-8", "replace")
        elif name == b"retry" and value.isdigit():
            self.retry_ms = int(value[:9])

    def _dispatch(self) -> StreamBlock | None:
        has_moved = self._id != self.last_event_id
        self.last_event_id = self._id
        event, lines = self._event, self._data
        if lines:
            self._event, self._data, self._data_bytes = b"", [], 0
            return StreamBlock(event.decode("utf-8", "replace"), b"\n".join(lines), self._id)
        self._event = b""
        return StreamBlock("", None, self._id) if has_moved else None

    def _check(self, size: int) -> None:
        if size > MAX_BLOCK_BYTES:
            raise garbled(f"the service sent a block of more than {MAX_BLOCK_BYTES} bytes")
