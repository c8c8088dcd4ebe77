"""The last step on a transport of which the peer must still read the end.

Owns: saying that nothing follows.   Not: how long the peer may take (deadlines.py).
Rule: nothing here raises; whoever cannot be told any more is gone.
"""

from __future__ import annotations

import asyncio


def say_no_more(transport: asyncio.Transport) -> None:
    """End our side after what was written, and go on reading; where that is not possible, close.

    Why not close: unread bytes would turn it into a reset, and a reset may overtake what was just said.
    """
    if transport.is_closing():
        return
    try:
        if transport.can_write_eof():
            transport.write_eof()
            return
    except OSError:
        pass  # the peer is gone already
    transport.close()
