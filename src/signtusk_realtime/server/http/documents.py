"""Documents over HTTP: edit, read, decide conflicts, move on.

Owns: the form of the calls.   Not: what they do (operations/documents/).
Rule: whoever edits gets the same answer as over WebSocket, whatever the status; only what is malformed, not allowed, or about a document that
is not there is a problem.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from http import HTTPStatus
from typing import Final, TypeVar

from msgspec import UNSET, Raw, Struct
from msgspec.json import Decoder
from starlette.requests import Request
from starlette.responses import Response

from signtusk_realtime.auth.authenticator import Purpose
from signtusk_realtime.documents.refusals import Refused
from signtusk_realtime.documents.values import MAX_VALUES
from signtusk_realtime.errors import Forbidden, InvalidInput
from signtusk_realtime.events.ids import check_id
from signtusk_realtime.operations.documents.documents import Documents
from signtusk_realtime.operations.documents.workshop import LARGE_BYTES
from signtusk_realtime.operations.verbs import Verbs
from signtusk_realtime.protocol import json
from signtusk_realtime.protocol.edits import EditBody, EditOutcome, ResolveBody, TransitionBody
from signtusk_realtime.server.entrance import ServerLimits
from signtusk_realtime.server.http.bodies import answer, read_sized_body
from signtusk_realtime.server.problems import DEFAULT_RETRY_AFTER_S, refusal_status
from signtusk_realtime.server.request import IDENTITY_PARAMETERS, credentials_of, invalid_parameter, parse_query
from signtusk_realtime.sessions.identity import Identity

T = TypeVar("T")

MAX_EDIT_BYTES: Final = 2 << 20
MORE_DEPTH: Final = 4
"""How much deeper than other messages the body of an edit may nest: the document stands within it."""
DEFAULT_LIMIT: Final = 100
MAX_LIMIT: Final = 1000
_NUMBER: Final = re.compile(r"[0-9]{1,16}", re.ASCII)
_PROBLEMS: Final = frozenset({"forbidden", "unknown_document", "invalid_message"})
_edit: Final = Decoder(EditBody)
_resolve: Final = Decoder(ResolveBody)
_transition: Final = Decoder(TransitionBody)


class DocumentCalls:
    """See the module."""

    def __init__(self, verbs: Verbs, limits: ServerLimits) -> None:
        self._documents: Documents = verbs.documents
        self._authenticator = verbs.authenticate
        self._depth = limits.json_depth + MORE_DEPTH

    async def edit(self, request: Request) -> Response:
        """Edit a document."""
        identity, _ = await self._who(request, "connect")
        document_id = _document(request)
        body, size = await self._body(request, identity, _edit)
        outcome = await self._documents.edit(identity, document_id, body, size=size)
        if outcome.status == "refused" and outcome.code in _PROBLEMS:
            raise _refused(outcome)
        answered = answer(outcome, _status(outcome))
        if answered.status_code == HTTPStatus.SERVICE_UNAVAILABLE:
            answered.headers["Retry-After"] = str(DEFAULT_RETRY_AFTER_S)
        return answered

    async def read(self, request: Request) -> Response:
        """Give a document, as it is or as it was."""
        identity, query = await self._who(request, "read", "version", "clientId")
        client_id = query.get("clientId")
        if client_id is not None:
            check_id(client_id, path=("clientId",), code="invalid_parameter")
        document_id = _document(request)
        try:
            found = await self._documents.read(
                identity, document_id, version=_number(query, "version"), client_id=client_id
            )
        except Refused as error:
            if error.reason == "future":
                raise Refused(error.message, code="not_found") from None
            raise
        return answer(found)

    async def history(self, request: Request) -> Response:
        """Give a document's versions."""
        identity, query = await self._who(request, "read", "after", "limit")
        limit = _number(query, "limit")
        limit = DEFAULT_LIMIT if limit is None else limit
        if not 1 <= limit <= MAX_LIMIT:
            raise invalid_parameter("limit", f"limit must be a number from 1 to {MAX_LIMIT}")
        after = _number(query, "after") or 0
        found = await self._documents.history(identity, _document(request), after=after, limit=limit)
        following = {} if found.next is UNSET else {"next": found.next}
        return answer({"entries": await self._encoded(found.entries), **following})

    async def conflicts(self, request: Request) -> Response:
        """Give a document's conflicts."""
        identity, query = await self._who(request, "read", "status", "after")
        status = query.get("status", "open")
        if status not in ("open", "all"):
            raise invalid_parameter("status", "status must be open or all")
        found = await self._documents.conflicts(
            identity, _document(request), with_decided=status == "all", after=query.get("after")
        )
        following = {} if found.next is UNSET else {"next": found.next}
        return answer({"documentId": found.document_id, "conflicts": await self._encoded(found.conflicts), **following})

    async def resolve(self, request: Request) -> Response:
        """Decide conflicts."""
        identity, _ = await self._who(request, "connect")
        document_id = _document(request)
        body, _ = await self._body(request, identity, _resolve)
        return answer(await self._documents.resolve(identity, document_id, body))

    async def move(self, request: Request) -> Response:
        """Move a document on."""
        identity, _ = await self._who(request, "connect")
        document_id = _document(request)
        body, _ = await self._body(request, identity, _transition)
        return answer(await self._documents.move(identity, document_id, body))

    async def _encoded(self, items: Sequence[Struct]) -> list[Raw]:
        # One by one: a thread that encodes ten megabytes in one call holds the loop up as long as the loop itself would.
        return await self._documents.workshop.do(lambda: [Raw(json.encode(each)) for each in items], size=LARGE_BYTES)

    async def _who(self, request: Request, purpose: Purpose, *more: str) -> tuple[Identity, dict[str, str]]:
        query = parse_query(request.scope["query_string"], IDENTITY_PARAMETERS.union(more))
        credentials = credentials_of(purpose, request.scope["headers"], query)
        identity = await self._authenticator.authenticate(credentials)
        if identity.is_service:
            raise Forbidden("a service belongs to no organization; it publishes document_update events")
        return identity, query

    async def _body(self, request: Request, identity: Identity, decoder: Decoder[T]) -> tuple[T, int]:
        found = await read_sized_body(
            request,
            decoder,
            depth=self._depth,
            too_deep="limit_exceeded",
            most=MAX_EDIT_BYTES,
            values=MAX_VALUES,
            workshop=self._documents.workshop,
        )
        # The body may have taken a minute to come.
        self._authenticator.check(identity)
        return found


def _document(request: Request) -> str:
    try:
        return check_id(request.path_params["document_id"])
    except InvalidInput as error:
        raise InvalidInput(f"the path's document: {error.message}", code="invalid_message", path=()) from None


def _number(query: dict[str, str], name: str) -> int | None:
    text = query.get(name)
    if text is None:
        return None
    if not _NUMBER.fullmatch(text):
        raise invalid_parameter(name, f"{name} must be a whole number")
    return int(text)


def _status(outcome: EditOutcome) -> int:
    if outcome.code is UNSET:
        return 200
    return refusal_status(outcome.code, None if outcome.reason is UNSET else outcome.reason)


def _refused(outcome: EditOutcome) -> Forbidden | Refused:
    message = "" if outcome.message is UNSET else outcome.message
    if outcome.code == "forbidden":
        return Forbidden(message)
    return Refused(message, code=str(outcome.code))
