"""uWebSockets (C++) through socketify: clients subscribe to a topic, `app.publish` sends to it."""

from __future__ import annotations

import sys
from typing import Any

from socketify import App, AppListenOptions, OpCode  # type: ignore[import-untyped]  # ships no types; bench.txt only

app = App()


async def publish(response: Any, _request: Any) -> None:
    """Send each line of the body to everybody."""
    body = await response.get_data()
    for line in body.getvalue().decode().split("\n"):
        app.publish("all", line, OpCode.TEXT)
    response.end("")


app.ws("/*", {"compression": 0, "open": lambda socket: socket.subscribe("all"), "idle_timeout": 0})
app.post("/*", publish)
app.listen(AppListenOptions(port=int(sys.argv[1]), host="127.0.0.1"))
app.run()
