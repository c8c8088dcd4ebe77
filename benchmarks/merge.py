"""What deciding an edit costs: CPU time of the pure core, by the size of the document and the length of a text.

    .venv/bin/python -m benchmarks.merge [--rounds 30]

Owns: documents and edits of known sizes, the time that `resolve` takes with all that belongs to it.   Not: storing and telling (run.py).
Rule 1: CPU time of this thread, the median of the rounds; what other processes do adds little.
Rule 2: what a server decodes anew for every edit is decoded anew here; the author's view and head share nothing.
Prints one line of JSON per case.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time
from collections.abc import Callable
from typing import Final, cast

from signtusk_realtime.documents.canonical import canonical, content_hash
from signtusk_realtime.documents.edit import put_on, read_edit
from signtusk_realtime.documents.policy import PLAIN
from signtusk_realtime.documents.resolve import merge_fully, resolve
from signtusk_realtime.documents.text import merge_text
from signtusk_realtime.documents.values import Json, Object

SEED: Final = 7
WORDS: Final = ("party", "agreement", "shall", "confidential", "information", "receiving", "term", "of", "the", "and")


def document(kilobytes: int) -> Object:
    """Make a document like those of signing: five recipients, and as many fields (200 bytes each) as its size asks for."""
    recipients: list[Json] = [
        {"id": f"r{n}", "name": f"Ada {n}", "email": f"ada{n}@example.org", "role": "signer", "order": n + 1}
        for n in range(5)
    ]
    fields: list[Json] = [
        {
            "id": f"field-{n}",
            "type": "signature",
            "recipientId": f"r{n % 5}",
            "page": n // 10,
            "x": 40.5,
            "y": 13 * (n % 50),
            "width": 120,
            "height": 36,
            "required": True,
            "label": "Signature of the receiving party, in words",
        }
        for n in range(kilobytes * 5)
    ]
    return {"title": "NDA", "tags": ["nda", "2026"], "recipients": recipients, "signatureFields": fields}


def anew(value: Object) -> Object:
    """Give a copy that shares nothing, as decoding does."""
    return cast("Object", json.loads(json.dumps(value)))


def text(words: int) -> str:
    """Make a text of so many words in lines of twelve."""
    draw = random.Random(SEED)
    return " ".join(draw.choice(WORDS) + ("\n" if n % 12 == 11 else "") for n in range(words))


def edited(source: str, edits: int, seed: int) -> str:
    """Replace, delete and insert words at random places."""
    draw = random.Random(seed)
    words = source.split(" ")
    for n in range(edits):
        at = draw.randrange(len(words))
        words[at : at + 1] = ([f"new{seed}-{n}"], [], [words[at], f"more{n}"])[n % 3]
    return " ".join(words)


def measure(name: str, run: Callable[[], object], rounds: int) -> None:
    """Print the median of some rounds."""
    run()
    times = []
    for _ in range(rounds):
        begun = time.thread_time_ns()
        run()
        times.append((time.thread_time_ns() - begun) / 1000)
    print(json.dumps({"case": name, "median_us": round(statistics.median(times)), "most_us": round(max(times))}))


def documents(rounds: int) -> None:
    """Documents of 4, 40 and 400 KB."""
    for kilobytes in (4, 40, 400):
        base = document(kilobytes)
        size = len(canonical(base))
        apart = put_on(base, read_edit({"title": "NDA v2", "/recipients/r1/name": "Eve"}))
        change = {"/signatureFields/field-3/x": 300, "/signatureFields/field-3/y": 12}
        current = anew(apart)

        def edit(base: Object, current: Object, change: dict[str, object]) -> Callable[[], object]:
            return lambda: resolve(base, current, put_on(base, read_edit(change)))

        measure(f"edit at head, {size} bytes", edit(base, base, change), rounds)
        measure(f"edit without overlap, {size} bytes", edit(base, current, change), rounds)
        fields = cast("list[dict[str, Json]]", base["signatureFields"])
        for share in (20, 2):
            ours = {f"/signatureFields/{each['id']}/x": n for n, each in enumerate(fields) if n % share == 0}
            theirs = {f"/signatureFields/{each['id']}/y": -n for n, each in enumerate(fields) if n % (share + 1) == 0}
            moved, also = anew(put_on(base, read_edit(ours))), anew(put_on(base, read_edit(theirs)))
            clashes = len(merge_fully(base, moved, also, PLAIN, "merge").conflicts)
            measure(
                f"three-way merge, {size} bytes, {len(fields)} fields, {len(ours)} and {len(theirs)} changed, {clashes} clash",
                lambda base=base, moved=moved, also=also: merge_fully(base, moved, also, PLAIN, "merge"),  # type: ignore[misc]  # defaults bind now
                rounds,
            )
        measure(f"content hash, {size} bytes", lambda base=base: content_hash(base), rounds)  # type: ignore[misc]  # the same


def texts(rounds: int) -> None:
    """Texts of up to 32000 words."""
    for words, edits in ((400, 10), (4000, 25), (4000, 50), (4000, 500), (32000, 50)):
        base = text(words)
        current, incoming = edited(base, edits, 1), edited(base, edits, 2)
        merged = merge_text(base, current, incoming)
        said = "too much, a scalar" if merged is None else f"{len(merged.hunks)} overlaps"
        measure(
            f"text of {words} words, {edits} edits on each side, {said}",
            lambda base=base, current=current, incoming=incoming: merge_text(base, current, incoming),  # type: ignore[misc]  # the same
            rounds,
        )


def main() -> None:
    """Measure everything."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=30)
    rounds = parser.parse_args().rounds
    documents(rounds)
    texts(rounds)


if __name__ == "__main__":
    main()
