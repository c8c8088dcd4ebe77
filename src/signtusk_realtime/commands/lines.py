"""Lines of an input, a window of them at a time.

Owns: how much is taken at once, and not waiting for more than there is.   Not: what the lines mean (publish.py).
Rule: memory is bounded by a window and a line, whatever the length of the input.
"""

from __future__ import annotations

from collections import deque
from typing import Final, NamedTuple, Protocol

from signtusk_realtime.errors import InvalidInput

WINDOW_LINES: Final = 1000
WINDOW_BYTES: Final = 1 << 20
MAX_LINE_BYTES: Final = 8 << 20
"""As much as the service takes in one call by default."""
_BOM: Final = b"\xef\xbb\xbf"


class Line(NamedTuple):
    """A line that is not blank, and its number from 1."""

    number: int
    text: bytes


class Bytes(Protocol):
    """Where lines come from."""

    def is_ready(self) -> bool:
        """Say whether `read` would answer at once."""

    async def read(self) -> bytes:
        """Give what is there, waiting for the first byte; none is the end."""


class Given:
    """An input that is there already."""

    def __init__(self, text: bytes) -> None:
        self._text = text

    def is_ready(self) -> bool:
        """See Bytes."""
        return True

    async def read(self) -> bytes:
        """See Bytes."""
        text, self._text = self._text, b""
        return text


class Lines:
    """See the module. `bytes_read` tells how far it has got."""

    def __init__(self, source: Bytes) -> None:
        self.bytes_read = 0
        self._source = source
        self._whole: deque[bytes] = deque()
        self._rest = b""
        self._number = 0
        self._has_ended = False

    async def window(self) -> list[Line]:
        """Give the next lines: what is there, up to a window, and at least one; none at the end. Raises: InvalidInput for a line too long."""
        taken: list[Line] = []
        size = 0
        while len(taken) < WINDOW_LINES and size < WINDOW_BYTES:
            if self._whole:
                self._number += 1
                text = self._whole.popleft().strip()
                if text:
                    taken.append(Line(self._number, text))
                    size += len(text)
            elif self._has_ended or (taken and not self._source.is_ready()):
                break
            else:
                await self._read()
        return taken

    async def remainder(self) -> bytes:
        """Give all that is left as one text. Raises: InvalidInput if it is longer than a line may be."""
        while not self._has_ended:
            await self._read()
            if sum(map(len, self._whole)) > MAX_LINE_BYTES:
                raise self._too_long()
        text = b"\n".join(self._whole)
        self._whole.clear()
        return text

    async def _read(self) -> None:
        data = await self._source.read()
        if self.bytes_read == 0:
            data = data.removeprefix(_BOM)
        self.bytes_read += len(data)
        if not data:
            self._has_ended = True
            if self._rest:
                self._whole.append(self._rest)
                self._rest = b""
            return
        lines = (self._rest + data).split(b"\n")
        self._rest = lines.pop()
        self._whole.extend(lines)
        if len(self._rest) > MAX_LINE_BYTES:
            raise self._too_long()

    def _too_long(self) -> InvalidInput:
        number = self._number + len(self._whole) + 1
        return InvalidInput(f"line {number}: longer than {MAX_LINE_BYTES} bytes; expected one JSON object a line")
