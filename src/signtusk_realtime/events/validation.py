"""The rules between fields, and checking what was made in Python.

Owns: what a wire type cannot say about a published event, and `validate`.   Not: types and ranges of single fields (events/kinds.py),
sizes and depth (where bytes come in), who may publish what (sessions).
Rule 1: what passed here never makes `prepare` (events/event.py) raise.
Rule 2: every refusal names one field by its path within the event; the caller puts a batch's index before it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from msgspec import UNSET, UnsetType, ValidationError
from msgspec.json import Decoder, Encoder, decode

from signtusk_realtime.errors import InvalidInput
from signtusk_realtime.events.choices import REFUSALS, explained
from signtusk_realtime.events.ids import ID_FAULT, ID_RULE, RESERVED_ORGANIZATIONS
from signtusk_realtime.events.kinds import (
    DocumentUpdateEvent,
    JsonObject,
    NotificationEvent,
    OrganizationActivityEvent,
    Published,
    SignatureStatusEvent,
    SigningRequestEvent,
    SystemAnnouncementEvent,
    TeamUpdateEvent,
    UserPresenceEvent,
)

CODE: Final = "invalid_event"
PLAIN_JSON_DEPTH: Final = 256
"""Python values nested deeper than this are refused before anything recursive sees them; the limit of the service is at most that."""

_encoder: Final = Encoder()
_decoder: Final[Decoder[Published]] = Decoder(Published)
_place = re.compile(r"^(?P<what>.*?)(?: - at `(?:key in `)?\$(?P<path>[^`]*)`)?$", re.DOTALL).match
_segments = re.compile(r"\.([^.\[]+)|\[(\d+)\]").finditer
_field = re.compile(r"(?:missing required|contains unknown) field `([^`]*)`").search


def check(published: Published, *, organization_required: bool = False) -> None:
    """Hold a decoded event to the rules between fields.

    `organization_required`: the publisher's credentials name no organization, so the event has to.
    Raises: InvalidInput (`invalid_event`) with the path of the field.
    """
    _check_instant(published.timestamp, "timestamp")
    match published:
        case SystemAnnouncementEvent():
            _check_instant(published.starts_at, "startsAt")
            _check_instant(published.ends_at, "endsAt")
            return
        case DocumentUpdateEvent():
            if published.type not in ("created", "updated"):
                for name, value in (("changes", published.changes), ("deletes", published.deletes)):
                    if value is not UNSET:
                        raise _invalid(f"{name} goes with type created or updated, not with {published.type}", name)
        case SignatureStatusEvent():
            if published.signature_data is not UNSET:
                _check_instant(published.signature_data.signed_at, "signatureData", "signedAt")
        case SigningRequestEvent() | NotificationEvent():
            _check_instant(published.expires_at, "expiresAt")
        case UserPresenceEvent():
            _check_instant(published.last_seen, "lastSeen")
        case OrganizationActivityEvent():
            _check_merged(published.payload, "activityType")
        case TeamUpdateEvent():
            _check_merged(published.payload, "teamId", "updateType")
    _check_organization(published.organization_id, organization_required)


def validate(published: Published, *, organization_required: bool = False) -> Published:
    """Check an event that was made in Python, and return it as it would have been decoded from JSON.

    Not for what was decoded from bytes: `check` suffices there.
    Raises: InvalidInput (`invalid_event`) with the path of the field, in the wire's names.
    """
    for attribute, name in zip(published.__struct_fields__, published.__struct_encode_fields__, strict=True):
        value: object = getattr(published, attribute)
        if isinstance(value, Mapping | list | tuple | float):
            _check_plain(value, (name,))
    encoded = b""
    try:
        encoded = _encoder.encode(published)
        decoded = _decoder.decode(encoded)
    except ValidationError as error:
        raise _explain(error, encoded) from None
    except UnicodeEncodeError:
        raise _invalid("a text holds a lone surrogate, which UTF-8 cannot carry") from None
    except (TypeError, ValueError, RecursionError) as error:
        raise _invalid(f"cannot be written as JSON: {error}") from None
    check(decoded, organization_required=organization_required)
    return decoded


def _explain(error: ValidationError, encoded: bytes) -> InvalidInput:
    """Turn the decoder's refusal of a published event into ours, with the path as segments."""
    text = str(error)
    found = _place(text)
    what, place = (found["what"], found["path"] or "") if found is not None else (text, "")
    path = [segment[1] or segment[2] for segment in _segments(place)]
    named = _field(what)
    if named is not None:
        path.append(named[1])
    if what == ID_FAULT:
        what = f"not an id: {ID_RULE}"
    elif what.startswith(REFUSALS):
        what = explained(what, Published, decode(encoded), path)
    return InvalidInput(what, code=CODE, path=tuple(path))


def _invalid(message: str, *path: str) -> InvalidInput:
    return InvalidInput(message, code=CODE, path=path)


def _check_organization(organization_id: str | UnsetType, required: bool) -> None:
    if organization_id is UNSET:
        if required:
            raise _invalid("organizationId is required: the credentials name no organization", "organizationId")
    elif organization_id in RESERVED_ORGANIZATIONS:
        raise _invalid(f"organization {organization_id!r} is reserved", "organizationId")


def _check_instant(instant: datetime | UnsetType, *path: str) -> None:
    """Refuse what lies outside the years 1 to 9999 once it is moved to UTC."""
    if instant is not UNSET and instant.tzinfo is not UTC:
        try:
            instant.astimezone(UTC)
        except OverflowError:
            raise _invalid("an instant outside the years 1 to 9999 of UTC", *path) from None


def _check_merged(payload: JsonObject, *own: str) -> None:
    for name in own:
        if name in payload:
            raise _invalid(f"payload may not contain {name}: the event has one of its own", "payload", name)


def _check_plain(value: object, path: tuple[str, ...]) -> None:
    """Refuse what JSON cannot say and the encoder would write as something else, or not survive."""
    if isinstance(value, float) and not math.isfinite(value):
        raise _invalid("JSON has no NaN and no infinity", *path)
    if len(path) > PLAIN_JSON_DEPTH:
        raise _invalid(f"nested deeper than {PLAIN_JSON_DEPTH}", path[0])
    if isinstance(value, Mapping):
        for key, item in value.items():
            _check_plain(item, (*path, str(key)))
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            _check_plain(item, (*path, str(index)))
