"""A crew of worker processes that do nothing but obey: `python -m tests.support.crew COUNT [REASON]`.

Owns: what tests of the parent look at: a line on standard output for each worker that begins (`begun NUMBER PID`) and for each signal it gets.
Rule: with a REASON each worker fails before it is ready.
"""

from __future__ import annotations

import logging
import os
import signal
import sys

from signtusk_realtime.errors import Unavailable
from signtusk_realtime.serving.workers import Post, Workers

RESTARTS = 3


def _say(*words: object) -> None:
    os.write(1, " ".join(map(str, words)).encode() + b"\n")


def _work(post: Post) -> None:
    if len(sys.argv) > 2:
        raise Unavailable(sys.argv[2])
    watched = {signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1}
    signal.pthread_sigmask(signal.SIG_BLOCK, watched)
    os.write(post.ready, b"1")
    _say("begun", post.number, os.getpid())
    while (number := signal.sigwait(watched)) != signal.SIGTERM:
        _say(signal.Signals(number).name, post.number)
        if number == signal.SIGUSR1:
            raise RuntimeError("as it was told")
    _say("ended", post.number)


if __name__ == "__main__":
    logging.basicConfig(stream=sys.stderr, format="%(message)s", level=logging.INFO)
    sys.exit(Workers(int(sys.argv[1]), _work, restarts=RESTARTS).run())
