"""What compressing an event costs and saves: CPU time and size, by the event's size, the window, the level and the memory.

    .venv/bin/python -m benchmarks.deflate [--rounds 200]

Owns: events of known sizes, the time that one takes with each choice that protocol/deflate.py could have made.   Not: sending them (run.py).
Rule: CPU time of this thread, the median of the rounds, each as for a first event: a compressor is made for every message.
Prints a table; benchmarks/results/deflate.md holds one of them.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time
import zlib
from typing import Final

SEED: Final = 7
WORDS: Final = ("party", "agreement", "shall", "confidential", "information", "receiving", "term", "of", "the", "and")
SIZES: Final = (300, 500, 700, 1000, 2000, 4000, 16_000, 64_000)
CHOICES: Final = ((15, 6, 8), (15, 1, 8), (12, 6, 5), (12, 1, 5), (9, 1, 5))
"""Window bits, level and memory level. The first is zlib's own default, the last two are ours."""


def event(size: int) -> bytes:
    """Make a message with an event of about this size: a document's fields, texts and numbers in turns."""
    draw = random.Random(SEED)
    changes: dict[str, object] = {}
    while True:
        changes[f"field{len(changes)}"] = (
            " ".join(draw.choices(WORDS, k=3)) if len(changes) % 2 else draw.randrange(10**6)
        )
        payload = {"documentId": "doc123", "changes": changes, "userId": "user123"}
        told = {
            "id": "evt_0190f3a2b7c87d4e9a1b2c3d4e5f6071",
            "type": "document_updated",
            "payload": payload,
            "userId": "user123",
            "organizationId": "org123",
            "timestamp": "2026-11-22T18:49:22.123Z",
            "metadata": {},
        }
        message = json.dumps({"type": "event", "cursor": "x" * 60, "event": told}, separators=(",", ":")).encode()
        if len(message) >= size:
            return message


def measure(message: bytes, choice: tuple[int, int, int], rounds: int) -> tuple[int, float]:
    """Give the compressed size, and the median time in microseconds."""
    window_bits, level, memory_level = choice
    times = []
    compressed = b""
    for _ in range(rounds):
        began = time.thread_time_ns()
        compressor = zlib.compressobj(level, zlib.DEFLATED, -window_bits, memory_level)
        compressed = compressor.compress(message) + compressor.flush(zlib.Z_SYNC_FLUSH)
        times.append(time.thread_time_ns() - began)
    return len(compressed) - 4, statistics.median(times) / 1000


def main() -> None:
    """Measure everything."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=200)
    rounds = parser.parse_args().rounds
    head = ["bytes", *(f"window {w}, level {level}, memory {m}" for w, level, m in CHOICES)]
    print("| " + " | ".join(head) + " |")
    print("| " + " | ".join("---:" for _ in head) + " |")
    for size in SIZES:
        message = event(size)
        cells = [f"{found} bytes, {us:.1f} µs" for found, us in (measure(message, c, rounds) for c in CHOICES)]
        print(f"| {len(message)} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
