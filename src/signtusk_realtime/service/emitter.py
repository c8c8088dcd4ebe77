"""Publishing as an application does it in Python: the original's verbs, with typed events.

Owns: from a typed event, or the same as a mapping in the wire's names, to a publication.   Not: what publishing does (operations/publish.py).
Rule 1: an event made in Python is held to the same rules as one that came as JSON, and its faults are named by the wire's names.
Rule 2: the application acts as a service: it names the organization per event.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple, TypeVar

from msgspec import UNSET, Struct, ValidationError, convert

from signtusk_realtime.errors import InvalidInput, RealtimeError
from signtusk_realtime.events.kinds import Published as PublishedEvent
from signtusk_realtime.events.validation import CODE, PLAIN_JSON_DEPTH, validate
from signtusk_realtime.operations.publish import Publish
from signtusk_realtime.protocol import json
from signtusk_realtime.protocol.publications import decode_publications
from signtusk_realtime.service.handed import HandedIn
from signtusk_realtime.sessions.identity import ANY_ORGANIZATION, PUBLISH, Identity

E = TypeVar("E", bound=Struct)
SERVICE: Final = Identity(user_id="service", organization_id=ANY_ORGANIZATION, scopes=frozenset({PUBLISH}))


class Published(NamedTuple):
    """Where a published event stands. `cursor` covers it; `duplicate`: it had been published before, and was not again.

    The cursor of a repetition is empty where the event is no longer kept.
    """

    event_id: str
    cursor: str
    duplicate: bool


class Emitter:
    """See the module."""

    def __init__(self, publish: Publish, handed: HandedIn, *, json_depth: int, payload_bytes: int) -> None:
        self._publish = publish
        self._handed = handed
        self._json_depth = json_depth
        self._payload_bytes = payload_bytes

    async def __call__(self, kind: type[PublishedEvent], event: PublishedEvent | Mapping[str, object]) -> Published:
        """Publish one event of a kind; an answer means durable and delivered.

        Raises: InvalidInput (invalid_event), LimitExceeded (payload_too_large), EventIdReused, Unavailable.
        """
        try:
            published = validate(_typed(kind, event), organization_required=True)
            publications, _ = decode_publications(
                json.encode(published), depth=self._json_depth, max_events=1, max_payload_bytes=self._payload_bytes
            )
        except RealtimeError as error:
            self._publish.counters.publications += 1
            self._publish.counters.publications_refused[error.code] += 1
            raise
        organization_id = published.organization_id
        await self._handed.settled(None if organization_id in (UNSET, ANY_ORGANIZATION) else str(organization_id))
        (result,) = await self._publish(SERVICE, publications)
        cursor = "" if result.cursor is UNSET else result.cursor
        return Published(result.event_id, cursor, result.duplicate)


def _typed(kind: type[PublishedEvent], event: PublishedEvent | Mapping[str, object]) -> PublishedEvent:
    if isinstance(event, kind):
        return event
    if not isinstance(event, Mapping):
        raise InvalidInput(
            f"a {kind.__name__} is expected, or a mapping with its fields, not a {type(event).__name__}",
            code=CODE,
            path=(),
        )
    tag = kind.__struct_config__.tag
    if event.get("kind", tag) != tag:
        raise InvalidInput(f"kind must be {tag} here", code=CODE, path=("kind",))
    tagged = {**event, "kind": tag}
    try:
        return convert(tagged, kind)
    except ValidationError as error:
        raise _explained(tagged, error) from None


def _explained(tagged: Mapping[str, object], error: ValidationError) -> InvalidInput:
    """Tell a mapping's fault as that of the same JSON, with its place."""
    try:
        decode_publications(json.encode(tagged), depth=PLAIN_JSON_DEPTH, max_events=1, max_payload_bytes=1 << 30)
    except InvalidInput as found:
        return found
    except (TypeError, ValueError, RecursionError):
        pass  # it cannot be written as JSON at all
    return InvalidInput(str(error), code=CODE, path=())
