"""The head of every connection: HTTP/1.1, until a request is for one of our own protocols.

Owns: bounds of heads and bodies in bytes and in time, and the hand-over of a transport.   Not: HTTP parsing and the ASGI side (the base class
from uvicorn; docs/decisions/0010-front.md names the members we use), what is answered (http/, websocket.py, stream.py).
Rule 1: a head is at most `head_bytes` long, has `MAX_HEADERS` headers at most, and is complete within `head_timeout_s`; a body at most
`body_bytes`, within `body_timeout_s`; of answers that wait `TAKEN_BYTES` are taken each `body_timeout_s`, or the connection is cut.
Rule 2: answers keep the order of their requests: a hand-over and a refusal wait until what came before is answered. What waits is bounded (intake.py).
Rule 3: what was refused is told before the connection ends, and nothing that follows is acted on.
Rule 4: after a hand-over nothing of this object is left: no timer, no parser, no reference.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.protocols.utils import get_local_addr, get_remote_addr, is_ssl

from signtusk_realtime.errors import InvalidInput
from signtusk_realtime.server.answer import Answer
from signtusk_realtime.server.entrance import NativeProtocol
from signtusk_realtime.server.goodbye import say_no_more
from signtusk_realtime.server.intake import HEAD_END, SLICE_BYTES, Intake
from signtusk_realtime.server.origins import VARY
from signtusk_realtime.server.problems import Problem, encode_response, problem, problem_of
from signtusk_realtime.server.request import RequestHead, announced_bytes, settle_head, target_of

if TYPE_CHECKING:
    from signtusk_realtime.server.fronts import Fronts

log = logging.getLogger(__name__)

UNREAD_BODY_BYTES: Final = 64 << 10
"""How much may come in within a body that is none of it: chunk extensions and trailers."""

TAKEN_BYTES: Final = 64 << 10
"""What a peer must take at least of answers that wait for it, each `body_timeout_s`."""

MAX_HEADERS: Final = 100
"""Of one head. In memory each costs far more than its bytes."""

_VERSIONS: Final = frozenset({"1.0", "1.1"})


class HandOver(NamedTuple):
    """A request for one of our own protocols, and who takes it."""

    make: Callable[[], NativeProtocol]
    head: RequestHead


class Front(HttpToolsProtocol):
    """See the module. One per connection, until it is handed over or ends."""

    flow: Intake

    def __init__(self, fronts: Fronts) -> None:
        super().__init__(fronts.config, fronts.state, {}, asyncio.get_running_loop())
        # Its lines would hold query strings, which may hold tokens.
        self.access_log = False
        self._fronts = fronts
        self._awaits_head = True
        """From connecting, or the first byte after a request, to the end of a head; otherwise a body is read, or nothing."""
        self._in_body = False
        self._has_begun = False
        """Whether anything of the awaited head has come in."""
        self._has_completed = False
        """Whether a head ended within the piece being read."""
        self._head_bytes = 0
        self._announced_bytes = 0
        self._body_bytes = 0
        self._unread_bytes = 0
        self._untaken_bytes = 0
        """What the peer had not taken of answers when that was looked at last."""
        self._is_ended = False
        self._hand_over: HandOver | None = None
        self._rest = b""
        self._farewell: Problem | None = None

    # ---- the transport's side

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in the base class
        """Begin, with the deadline of the first head."""
        # Why not the base class's: it asks the kernel for both addresses, and a request that is handed over needs neither.
        self.connections.add(self)
        self.transport, self.flow = transport, Intake(transport, self.pipeline)
        if self._fronts.is_stopping:
            transport.close()
        else:
            self._fronts.heads.add(self)

    def pause_writing(self) -> None:
        """Answers wait for the peer; not for ever, and no keep-alive timer runs while further requests wait."""
        super().pause_writing()
        self._untaken_bytes = self.transport.get_write_buffer_size()
        self._fronts.answers.add(self)

    def resume_writing(self) -> None:
        """The peer has taken enough."""
        super().resume_writing()
        self._fronts.answers.discard(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Let go of everything."""
        super().connection_lost(exc)
        self._unset_keepalive_if_required()
        self._forget()
        self._fronts.answers.discard(self)
        self._hand_over = None
        self._fronts.changed()

    def data_received(self, data: bytes) -> None:
        """Read, unless what came before still waits: then this comes although we have stopped reading."""
        if self.flow.is_held:
            self._wait(data)
        else:
            self._read(data)

    def _read(self, data: bytes) -> None:
        """Take in slices: what one leaves undone can be counted, what the parser swallows at once cannot."""
        start = 0
        while start < len(data) and not self._is_ended:
            if self._hand_over is not None:
                self._keep(data[start:])
                break
            if self.pipeline:
                self._wait(data[start:])
                break
            end = self._slice_end(data, start)
            self._unset_keepalive_if_required()
            self._feed(data[start:end])
            start = end
        if self._hand_over is not None:
            self._try_hand_over()

    def _slice_end(self, data: bytes, start: int) -> int:
        # Of a body nothing can come that is not part of it, nor of a head behind its end.
        body_bytes = self._announced_bytes - self._body_bytes if self._in_body else 0
        end = start + max(min(SLICE_BYTES, self._fronts.limits.head_bytes), body_bytes)
        head_end = -1 if self._in_body else data.find(HEAD_END, start, end)
        return end if head_end < 0 else head_end + len(HEAD_END)

    def _wait(self, data: bytes) -> None:
        if self._hand_over is not None:
            self._keep(data)
        elif not self._is_ended:
            self.flow.hold(data)

    def _read_on(self) -> None:
        """Take in what waited, now that it does so no longer."""
        if not (self._is_ended or self.pipeline or self.transport.is_closing()):
            self._read(self.flow.release())

    def _feed(self, piece: bytes) -> None:
        if not self._awaits_head and not self._in_body:
            self._expect_head()
        self._has_completed = False
        body_bytes = self._body_bytes
        try:
            self._parse(piece)
        except httptools.HttpParserError as error:
            if not self._is_passed_over:
                log.info("malformed request", extra={"reason": str(error)})
                refuse = self._refuse_body if self._in_body else self._refuse
                refuse(problem("invalid_request", "the request is not HTTP/1.1 as RFC 9112 defines it"))
            elif self._hand_over is not None:
                self._rest = b""
            return
        if not self._is_passed_over:
            self._count(len(piece), is_body=self._body_bytes != body_bytes)

    def _parse(self, piece: bytes) -> None:
        while piece:
            try:
                self.parser.feed_data(piece)
                break
            except httptools.HttpParserUpgrade as upgrade:
                # The parser stops behind every request that offers an upgrade, also one that is not taken up: then HTTP goes on.
                piece = piece[upgrade.args[0] :]
                if self._hand_over is not None:
                    self._keep(piece)
                    break

    def _count(self, fed: int, *, is_body: bool) -> None:
        limits = self._fronts.limits
        if self._awaits_head:
            # Where in the piece a pipelined head began is not known; it is counted from the next piece on.
            self._head_bytes += 0 if self._has_completed else fed
            if self._head_bytes >= limits.head_bytes:
                self._refuse(problem("head_too_large", f"a head may have {limits.head_bytes} bytes at most"))
        elif self._in_body:
            self._fronts.bodies.watch(self)
            self._unread_bytes = 0 if is_body else self._unread_bytes + fed
            if self._unread_bytes > UNREAD_BODY_BYTES:
                self._refuse_body(problem("invalid_request", "the body's chunk extensions or trailers are too long"))

    # ---- the parser's side

    def on_message_begin(self) -> None:
        """A request begins."""
        if not self._is_passed_over:
            if not self._awaits_head:
                self._expect_head()
            self._has_begun = True
            super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Take a part of the target."""
        if not self._is_passed_over:
            super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; trailers are none (RFC 9110 §6.5.1: they may be ignored)."""
        if self._awaits_head and not self._is_passed_over:
            super().on_header(name, value)
            if len(self.headers) > MAX_HEADERS:
                self._refuse(problem("head_too_large", f"a head may have {MAX_HEADERS} headers at most"))

    def on_headers_complete(self) -> None:
        """Decide who answers."""
        if self._is_passed_over:
            return
        self._awaits_head, self._has_completed = False, True
        self._fronts.heads.discard(self)
        version = self.parser.get_http_version()
        if version not in _VERSIONS:
            self._refuse(problem("invalid_request", f"HTTP/{version} is not spoken here; send HTTP/1.1"))
            return
        try:
            settle_head(self.url, self.headers, version)
        except InvalidInput as error:
            self._refuse(problem_of(error))
            return
        if self.parser.get_method() == b"GET":
            path, query = target_of(self.url)
            make = self._fronts.natives.get(path)
            if make is not None:
                self._hand_over = HandOver(make, RequestHead(b"GET", path, query, self.headers, version))
                return
        self._announced_bytes = announced_bytes(self.headers)
        if self._announced_bytes > self._fronts.limits.body_bytes:
            self._refuse(self._body_too_large())
            return
        if self.scheme is None:
            self.server, self.client = get_local_addr(self.transport), get_remote_addr(self.transport)
            self.scheme = "https" if is_ssl(self.transport) else "http"
            self.scope.update({"server": self.server, "client": self.client, "scheme": self.scheme})
        super().on_headers_complete()
        if self.scope["method"] != "HEAD":
            # No body follows that head.
            self.cycle.transport = Answer(self.transport)  # type: ignore[assignment]  # all that it uses of one
        if self._fronts.is_stopping:
            self.cycle.keep_alive = False
        self._in_body = True
        self._body_bytes = 0

    def on_body(self, body: bytes) -> None:
        """Count, and pass on."""
        if self._is_passed_over:
            return
        self._body_bytes += len(body)
        if self._body_bytes > self._fronts.limits.body_bytes:
            self._refuse_body(self._body_too_large())
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """A request's end."""
        if not self._is_passed_over:
            self._in_body = False
            self._fronts.bodies.discard(self)
            super().on_message_complete()

    def _should_upgrade(self) -> bool:
        return False

    # ---- the application's side

    def on_response_complete(self) -> None:
        """Go on with what waited for this answer."""
        was_last = not self.pipeline
        super().on_response_complete()
        if self.transport.is_closing():
            # Closing waits until the answer is taken; not for ever.
            self._fronts.bodies.add(self)
        elif was_last:
            if self._farewell is not None:
                self._say(self._farewell)
            elif self._hand_over is not None:
                self._try_hand_over()
        elif not self.pipeline:
            # Ordering: the last that waited is being answered, and now the next may wait.
            self._fronts.turnstile.enter(self._read_on)

    @property
    def _is_answering(self) -> bool:
        # The base class says that there is always a cycle; before the first request there is none.
        cycle: RequestResponseCycle | None = self.cycle
        return bool(self.pipeline) or (cycle is not None and not cycle.response_complete)

    @property
    def _is_passed_over(self) -> bool:
        """Whether what the parser finds is behind a refusal or a request that was handed over."""
        return self._is_ended or self._hand_over is not None

    # ---- the hand-over

    def _keep(self, data: bytes) -> None:
        self._rest += data
        if len(self._rest) > self._fronts.limits.head_bytes:
            self.flow.pause_reading()

    def _try_hand_over(self) -> None:
        if self._is_answering:
            self.flow.pause_reading()
            return
        hand_over, rest = self._hand_over, self._rest
        assert hand_over is not None
        self._unset_keepalive_if_required()
        self._forget()
        self._fronts.answers.discard(self)
        self.connections.discard(self)
        transport = self.transport
        protocol = hand_over.make()
        transport.set_protocol(protocol)
        self.flow.resume_reading()
        # Rule 4: the parser and this object hold each other.
        self.parser = None  # type: ignore[assignment]  # as the base class does at the end
        protocol.begin(transport, hand_over.head, rest)

    # ---- refusals

    def _refuse(self, found: Problem) -> None:
        """Answer with a problem, once all before is answered, and end."""
        self._forget()
        if self._is_answering:
            self._farewell = found
        else:
            self._say(found)

    def _refuse_body(self, found: Problem) -> None:
        """Refuse a request whose head has been passed on already."""
        cycle = self.cycle
        cycle.disconnected = True
        cycle.message_event.set()
        if self.pipeline and self.pipeline[0][0] is cycle:
            self.pipeline.popleft()
            self._forget()
            self._farewell = found
        elif cycle.response_started:
            self._forget()
            self.transport.close()
        else:
            self._forget()
            self._say(found)

    def _say(self, found: Problem) -> None:
        # The peer is let finish, and not heard.
        self._unset_keepalive_if_required()
        self.flow.resume_reading()
        self._fronts.endings.add(self)
        self.transport.write(encode_response(found, (VARY, *self._fronts.always)))
        say_no_more(self.transport)

    def _forget(self) -> None:
        self._is_ended = True
        self.flow.release()
        self._fronts.unwatch(self)

    def _expect_head(self) -> None:
        self._awaits_head = True
        self._has_begun = False
        self._head_bytes = 0
        self._fronts.heads.add(self)

    def _body_too_large(self) -> Problem:
        return problem("payload_too_large", f"a body may have {self._fronts.limits.body_bytes} bytes at most")

    # ---- deadlines

    def head_late(self) -> None:
        """A head is not complete, or none has begun."""
        if self.flow.read_paused:
            # We do not read: the peer is not to blame.
            self._fronts.heads.add(self)
        elif self._has_begun or self._is_answering:
            self._refuse(problem("request_timeout", "the head of the request did not arrive in time"))
        else:
            self.transport.close()

    def body_late(self) -> None:
        """A body has not come in whole, or an answer was not taken whole."""
        if self.cycle.response_complete:
            self.transport.abort()
        else:
            self._refuse_body(problem("request_timeout", "the body of the request did not arrive in time"))

    def answer_late(self) -> None:
        """Answers were not taken; a peer that takes some, however slowly, is let go on."""
        left = self.transport.get_write_buffer_size()
        if self._untaken_bytes - left < TAKEN_BYTES:
            self.transport.abort()
        else:
            self._untaken_bytes = left
            self._fronts.answers.add(self)

    def timeout_keep_alive_handler(self) -> None:
        """Nothing more is asked; who has not even taken the last answer is cut."""
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        else:
            self.transport.close()

    def ending_late(self) -> None:
        """The peer does not end after its refusal."""
        self.transport.abort()
