"""A test that leaves something running fails, and not one of its neighbours later.

Owns: the check after each test for tasks, threads and child processes.   Not: open files and sockets: Python warns of those itself, and
warnings are errors here (pyproject.toml).
Rule: only what came into being during the test counts. What a fixture of a module or session started belongs to that fixture.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psutil
import pytest

GRACE_S = 2.0
"""How long a thread or process that is already ending may take."""

# Kept for reuse by those who own them and ended with the loop (asyncio, anyio) or with the test's timer (pytest-timeout).
_POOLED = ("asyncio_", "AnyIO worker thread", "pytest_timeout")

KEPT: set[int] = set()
"""Processes that a test began for all that come after it; who puts them here ends them with the run."""


@pytest.fixture(autouse=True)
def _leaves_no_thread_or_process() -> Iterator[None]:
    threads, children = set(threading.enumerate()), _children()
    yield
    left = [thread for thread in threading.enumerate() if thread not in threads and not thread.name.startswith(_POOLED)]
    for thread in left:
        thread.join(GRACE_S)
    names = [f"thread {thread.name}" for thread in left if thread.is_alive()]
    if new := _children() - children - KEPT:
        _, alive = psutil.wait_procs([psutil.Process(pid) for pid in new if psutil.pid_exists(pid)], timeout=GRACE_S)
        names += [f"process {process.pid}" for process in alive]
        for process in alive:
            process.kill()
    if names:
        pytest.fail(f"left behind: {', '.join(names)}", pytrace=False)


@pytest.fixture(autouse=True)
def _leaves_no_task(request: pytest.FixtureRequest, _leaves_no_thread_or_process: None) -> None:
    # Ordering: this stands before the test's own fixtures, so that their teardown has run when the check is made, and after the threads'
    # check, whose turn comes when the loop is closed.
    inner = getattr(getattr(request.function, "hypothesis", None), "inner_test", request.function)
    if inspect.iscoroutinefunction(inner):
        request.getfixturevalue("_task_check")


@pytest.fixture
async def _task_check() -> AsyncIterator[None]:
    before = asyncio.all_tasks()
    yield
    for _ in range(3):  # a task that was just cancelled needs a turn or two to end
        await asyncio.sleep(0)
    left = [task for task in asyncio.all_tasks() - before if not _is_runners(task)]
    if left:
        names = sorted(f"{task.get_name()} {task.get_coro()}" for task in left)
        pytest.fail(f"tasks left behind: {'; '.join(names)}", pytrace=False)


def _is_runners(task: asyncio.Task[object]) -> bool:
    """Tell anyio's own task, which is running this check, from a test's."""
    return getattr(task.get_coro(), "__qualname__", "").startswith("TestRunner.")


def _children() -> set[int]:
    """Give our child processes; from /proc where it tells (20 µs), since a walk over all processes costs a hundred times that."""
    try:
        return {
            int(pid) for task in Path("/proc/self/task").iterdir() for pid in (task / "children").read_text().split()
        }
    except OSError:
        return {child.pid for child in psutil.Process().children()}
