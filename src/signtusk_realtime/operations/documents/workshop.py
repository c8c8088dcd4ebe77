"""Where a document is worked on: here if it is small, else on a thread, so that the loop goes on meanwhile.

Owns: the thread, what is large.   Not: the work, which is pure.
Rule: nothing whose time grows with a document, an edit or the number of conflicts is done outside of `do`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Final, TypeVar

T = TypeVar("T")

LARGE_BYTES: Final = 32 << 10
"""What is done with so much may take some milliseconds."""

THREADS: Final = 2
"""So that nobody waits for one who brings much; more would only share the same interpreter."""


class Workshop:
    """See the module. Ended by `close`. `executor`: in place of its threads, of which it has THREADS."""

    def __init__(self, executor: Executor | None = None) -> None:
        self._executor = executor

    async def do(self, work: Callable[[], T], *, size: int) -> T:
        """Do some work on about `size` bytes; the caller holds the document's lane, or the work shares nothing. Raises: what the work raises."""
        if size < LARGE_BYTES:
            return work()
        if self._executor is None:
            self._executor = ThreadPoolExecutor(max_workers=THREADS, thread_name_prefix="documents")
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)

    def close(self) -> None:
        """Let go of the threads."""
        if self._executor is not None:
            self._executor.shutdown(wait=True, cancel_futures=True)
            self._executor = None
