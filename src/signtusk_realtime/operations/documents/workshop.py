"""Where a document is worked on: here if it is small, else on a thread, so that the loop goes on meanwhile.

Owns: the thread.   Not: the work, which is pure.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

T = TypeVar("T")

LARGE_BYTES: Final = 64 << 10


class Workshop:
    """See the module. Ended by `close`."""

    def __init__(self) -> None:
        self._executor: ThreadPoolExecutor | None = None

    async def do(self, work: Callable[[], T], *, size: int) -> T:
        """Do some work on about `size` bytes. Raises: what the work raises."""
        if size < LARGE_BYTES:
            return work()
        if self._executor is None:
            self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="documents")
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)

    def close(self) -> None:
        """Let go of the thread."""
        if self._executor is not None:
            self._executor.shutdown(wait=True, cancel_futures=True)
            self._executor = None
