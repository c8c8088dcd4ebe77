"""A bar for those who wait at a terminal.

Owns: when it is shown and what it counts.   Not: publishing.
Rule: it moves when it is told to; there is no thread that draws it.
"""

from __future__ import annotations

import os
import stat
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

LONG_INPUT_BYTES: Final = 1 << 20


class Bar:
    """A bar over the bytes of an input; without an end where that is not known. Shown once the input has proven to be long."""

    def __init__(self, input_fd: int) -> None:
        self._total = _size(input_fd)
        self._progress: Progress | None = None
        self._console = Console(stderr=True)

    def move(self, bytes_read: int, published: int, refused: int) -> None:
        """Show how far it has got."""
        if self._progress is None:
            if bytes_read < LONG_INPUT_BYTES:
                return
            self._progress = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                TaskProgressColumn(),
                TimeElapsedColumn(),
                console=self._console,
                transient=True,
                auto_refresh=False,
            )
            self._progress.add_task("", total=self._total)
            self._progress.start()
        task = self._progress.tasks[0].id
        said = f"{published} published" + (f", {refused} refused" if refused else "")
        self._progress.update(task, completed=bytes_read, description=said, refresh=True)

    def end(self) -> None:
        """Take it away."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None


def _size(fd: int) -> int | None:
    found = os.fstat(fd)
    return found.st_size if stat.S_ISREG(found.st_mode) else None
