"""Sending: the CPU of one message to many connections, by who does the loop over them.

    .venv/bin/python -m benchmarks.sending [--rounds 5]

Owns: transports of uvloop as the service has them, their descriptors, a process that reads.   Not: what leads to the message (run.py fan-out-steady).
Rule: one message at a time, and the next when everybody has read it; whoever did not get all of it ends the run.
Why: it is the most that a loop in C could save (docs/decisions/0013-no-extension.md).
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import multiprocessing
import os
import select
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final

import uvloop

from benchmarks import generator, results
from benchmarks.claims import SIZES, Claim, Column
from benchmarks.servers import BUILD, HERE, OURS

MESSAGE: Final = b"\x81\x7e\x01\xea" + b"x" * 490
"""As long as `fan-out-steady` has them, with the frame's head."""
ROUNDS_A_SIZE: Final = 200_000
"""Deliveries of one run."""

UVLOOP: Final = replace(OURS, name="uvloop, a Python call each")
CLAIM: Final = Claim(
    name="sending",
    title="One message to many connections, written by one call each",
    reference=UVLOOP,
    columns=(
        Column("send_cpu_us", "CPU µs per delivery", "{:.2f}"),
        Column("send_user_us", "of it in user mode", "{:.2f}"),
    ),
    goals=(),
    works=lambda short: (),
)


def read_all(port: int, count: int, told: Connection) -> None:
    """Connect so often, and tell each time that all have a further message."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    sockets = [socket.create_connection(("127.0.0.1", port)) for _ in range(count)]
    poll = select.epoll()
    for one in sockets:
        one.setblocking(False)
        poll.register(one.fileno(), select.EPOLLIN)
    by_number = {one.fileno(): one for one in sockets}
    told.send_bytes(b"connected")
    due = count * len(MESSAGE)
    while True:
        for number, _ in poll.poll():
            data = by_number[number].recv(1 << 16)
            if not data:
                return
            due -= len(data)
        if due == 0:
            told.send_bytes(b"read")
            due = count * len(MESSAGE)


class Waiting(asyncio.Protocol):
    """A connection that is written to."""

    transports: list[asyncio.Transport]

    def __init__(self, transports: list[asyncio.Transport]) -> None:
        self._transports = transports

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transports.append(transport)


Send = Callable[[], None]


def ways(transports: list[asyncio.Transport]) -> dict[str, Send]:
    """Give each way to send the message to all."""
    writes = [transport.write for transport in transports]
    sockets = [transport.get_extra_info("socket") for transport in transports]
    numbers = [one.fileno() for one in sockets]
    descriptors = (ctypes.c_int * len(numbers))(*numbers)
    library = ctypes.CDLL(str(BUILD / "sending.so"))

    def by_transport() -> None:
        for write in writes:
            write(MESSAGE)

    def by_os() -> None:
        for number in numbers:
            os.write(number, MESSAGE)

    def by_c() -> None:
        whole = library.send_to_all(descriptors, len(numbers), MESSAGE, ctypes.c_size_t(len(MESSAGE)))
        assert whole == len(numbers), "somebody did not take all of it"

    return {UVLOOP.name: by_transport, "os.write, a Python call each": by_os, "a loop in C": by_c}


async def measure(count: int) -> dict[str, dict[str, float]]:
    """Give the figures of each way, in turn over the same connections."""
    transports: list[asyncio.Transport] = []
    server = await asyncio.get_running_loop().create_server(lambda: Waiting(transports), "127.0.0.1", 0, backlog=4096)
    here, there = multiprocessing.Pipe()
    port = server.sockets[0].getsockname()[1]
    reader = multiprocessing.get_context("spawn").Process(target=read_all, args=(port, count, there), daemon=True)
    reader.start()
    heard = asyncio.Event()
    asyncio.get_running_loop().add_reader(here.fileno(), lambda: (here.recv_bytes(), heard.set()))
    await heard.wait()
    while len(transports) < count:
        await asyncio.sleep(0.01)
    found = {}
    for name, send in ways(transports).items():
        cpu = [0.0, 0.0]
        messages = ROUNDS_A_SIZE // count
        for number in range(messages + 20):
            heard.clear()
            before = os.times()
            began = time.process_time()
            send()
            after = time.process_time()
            if number >= 20:
                cpu[0] += after - began
                cpu[1] += os.times().user - before.user
            async with asyncio.timeout(10):
                await heard.wait()
        found[name] = {"send_cpu_us": cpu[0] / messages / count * 1e6, "send_user_us": cpu[1] / messages / count * 1e6}
    for transport in transports:
        transport.abort()
    server.close()
    await asyncio.to_thread(reader.join, 10)
    asyncio.get_running_loop().remove_reader(here.fileno())
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--results", type=Path, default=HERE / "results")
    options = parser.parse_args()
    generator.build()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    about = results.circumstances(" ".join(["python -m benchmarks.sending", *sys.argv[1:]]))
    rows: dict[tuple[str, str], results.Row] = {}
    for _ in range(options.rounds):
        for count in SIZES:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                for name, figures in runner.run(measure(count)).items():
                    row = rows.setdefault((f"{count} connections", name), results.Row(f"{count} connections", name))
                    row.runs.append(figures)
    result = results.document(CLAIM, list(rows.values()), about)
    results.write(options.results, result)
    print(results.markdown(result))


if __name__ == "__main__":
    main()
