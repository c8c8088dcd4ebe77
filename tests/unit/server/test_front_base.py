"""The members of uvicorn's httptools class that Front stands on (docs/decisions/0010-front.md)."""

from __future__ import annotations

import inspect
from importlib.metadata import version

import uvicorn.protocols.http.httptools_impl as base
from uvicorn.config import Config
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.server import ServerState


class _Transport:
    def get_extra_info(self, name: str, default: object = None) -> object:
        return default

    def is_closing(self) -> bool:
        return False

    def close(self) -> None: ...

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def write(self, data: bytes) -> None: ...


async def _app(scope: object, receive: object, send: object) -> None: ...


def test_the_minor_is_the_one_that_was_read() -> None:
    """Another minor needs a look at its httptools class first, and at the record of the decision."""
    assert version("uvicorn").startswith("0.54.")


async def test_the_members_we_extend_are_there() -> None:
    """Methods with their arguments, and the state they keep, of one connection with one request in progress."""
    protocol = base.HttpToolsProtocol(Config(_app, log_config=None, lifespan="off", ws="none"), ServerState(), {})
    before = dict(vars(protocol))
    protocol.connection_made(_Transport())  # type: ignore[arg-type]  # all that the class asks of one
    # Front does this itself, the last three later (`on_headers_complete`); beside these it is in `connections`, see below.
    changed = {name for name, value in vars(protocol).items() if value != before.get(name)}
    assert changed <= {"transport", "flow", "server", "client", "scheme", "connections", "server_state"}
    assert (before["server"], before["client"], before["scheme"]) == (None, None, None)
    arguments = {
        name: list(inspect.signature(getattr(protocol, name)).parameters)
        for name in (
            "connection_made",
            "connection_lost",
            "data_received",
            "on_message_begin",
            "on_url",
            "on_header",
            "on_headers_complete",
            "on_body",
            "on_message_complete",
            "on_response_complete",
            "shutdown",
            "timeout_keep_alive_handler",
            "_should_upgrade",
            "_unset_keepalive_if_required",
        )
    }
    assert arguments == {
        "connection_made": ["transport"],
        "connection_lost": ["exc"],
        "data_received": ["data"],
        "on_message_begin": [],
        "on_url": ["url"],
        "on_header": ["name", "value"],
        "on_headers_complete": [],
        "on_body": ["body"],
        "on_message_complete": [],
        "on_response_complete": [],
        "shutdown": [],
        "timeout_keep_alive_handler": [],
        "_should_upgrade": [],
        "_unset_keepalive_if_required": [],
    }
    protocol.data_received(b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n")
    for name in ("server", "client", "scheme"):
        assert protocol.scope[name] == getattr(protocol, name)
    assert protocol in protocol.server_state.connections
    assert protocol.connections is protocol.server_state.connections
    assert len(protocol.server_state.tasks) == 1
    assert protocol.access_log in (True, False)
    assert protocol.url == b"/a"
    assert (b"host", b"x") in protocol.headers
    assert not protocol.pipeline
    assert type(protocol.flow) is FlowControl
    assert list(inspect.signature(FlowControl).parameters) == ["transport"]
    assert not protocol.flow.read_paused
    assert not protocol.cycle.response_started
    assert not protocol.cycle.response_complete
    assert not protocol.cycle.disconnected
    first = protocol.cycle
    protocol.data_received(b"xGET /b HTTP/1.1\r\nHost: x\r\n\r\nGET /c HTTP/1.1\r\nHost: x\r\n\r\n")
    # Newest left: the last request is the first of the pipeline, and the parser's cycle.
    assert protocol.pipeline[0][0] is protocol.cycle
    assert protocol.flow.read_paused
    protocol.connection_lost(None)
    assert first.disconnected or protocol.cycle.disconnected
    assert protocol not in protocol.server_state.connections
    for task in list(protocol.server_state.tasks):
        await task
