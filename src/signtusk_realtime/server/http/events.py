"""`POST /api/realtime/events`.

Owns: the form of the call.   Not: who may publish what (operations/publish.py), the form of events (protocol/publications.py).
Order: credentials, the scope, form of the head, the body; so that nobody sends 8 MiB to be told that he is unknown, or has them read.
"""

from __future__ import annotations

from functools import partial

from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response

from signtusk_realtime.errors import RealtimeError
from signtusk_realtime.operations.authenticate import Authenticate
from signtusk_realtime.operations.documents.workshop import Workshop
from signtusk_realtime.operations.publish import Publish, PublishResult, check_key
from signtusk_realtime.protocol import json
from signtusk_realtime.protocol.handshake import Headers
from signtusk_realtime.protocol.publications import Publication, decode_publications, weight
from signtusk_realtime.server.entrance import ServerLimits
from signtusk_realtime.server.http.bodies import JSON, bounded_body, check_media_type
from signtusk_realtime.server.request import IDENTITY_PARAMETERS, credentials_of, parse_query, single_header
from signtusk_realtime.sessions.identity import Identity


class Published(Struct, frozen=True):
    """The answer: a result for each event, in their order."""

    results: tuple[PublishResult, ...]


class PublishEvents:
    """See the module."""

    def __init__(self, publish: Publish, authenticator: Authenticate, limits: ServerLimits, workshop: Workshop) -> None:
        self._workshop = workshop
        self._publish = publish
        self._authenticator = authenticator
        self._limits = limits

    async def post(self, request: Request) -> Response:
        """Publish one event or several. An answer means durable."""
        try:
            identity, publications, is_batch, key = await self._read(request)
        except RealtimeError as error:
            # How many events it was to be is not known.
            self._publish.counters.publications += 1
            self._publish.counters.publications_refused[error.code] += 1
            raise
        results = await self._publish(identity, publications, idempotency_key=key, is_batch=is_batch)
        return Response(json.encode(Published(results)), media_type=JSON)

    async def _read(self, request: Request) -> tuple[Identity, list[Publication], bool, str | None]:
        headers: Headers = request.scope["headers"]
        query = parse_query(request.scope["query_string"], IDENTITY_PARAMETERS)
        identity = await self._authenticator.authenticate(credentials_of("publish", headers, query))
        self._publish.check_scope(identity)
        check_media_type(headers)
        key = _idempotency_key(headers)
        limits = self._limits
        body = await bounded_body(request, limits.body_bytes)
        decode = partial(
            decode_publications,
            body,
            depth=limits.json_depth,
            max_events=limits.batch,
            max_payload_bytes=limits.payload_bytes,
        )
        # Aside if it is much: the loop goes on meanwhile.
        publications, is_batch = await self._workshop.do(decode, size=weight(body))
        # The body may have taken a minute to come.
        self._authenticator.check(identity)
        return identity, publications, is_batch, key


def _idempotency_key(headers: Headers) -> str | None:
    value = single_header(headers, b"idempotency-key")
    if value is None:
        return None
    try:
        key = value.decode()
    except UnicodeDecodeError:
        key = ""
    return check_key(key)
