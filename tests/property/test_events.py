"""Properties of published events, over arbitrary valid ones."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from signtusk_realtime.events.event import (
    ALL_EVENT_TYPES,
    EVENT_TYPES,
    Event,
    Prepared,
    event_type_of,
    guest_body,
    prepare,
)
from signtusk_realtime.events.ids import Id, is_id
from signtusk_realtime.events.instants import format_instant, format_milliseconds
from signtusk_realtime.events.kinds import KINDS, Published
from signtusk_realtime.events.matching import FACETS
from signtusk_realtime.events.validation import check, validate
from tests.support import samples

RECEIVED_AT_MS = 1_795_372_162_123
REWRITTEN = {"expiresAt", "lastSeen", "startsAt", "endsAt"}
WIRE_NAMES = {
    "d": ("documentId", "currentDocument"),
    "s": ("signingRequestId",),
    "m": ("teamId",),
    "r": ("recipientId",),
}


def prepared(published: Published) -> Prepared:
    return prepare(published, event_id="evt_1", received_at_ms=RECEIVED_AT_MS, organization_id="org123")


@given(samples.published_events())
def test_what_is_valid_survives_the_wire(published: Published) -> None:
    """Encoding and decoding a valid publication gives an equal one, which passes every check."""
    decoded = validate(published)
    check(decoded)
    assert msgspec.to_builtins(decoded) == msgspec.to_builtins(published)


@given(samples.published_events())
def test_the_body_is_the_event(published: Published) -> None:
    """The body is compact JSON on one line, decodes to the event, and carries the publication's own values."""
    made = prepared(published)
    body = json.loads(made.body)
    assert b"\n" not in made.body
    assert b"\r" not in made.body
    event = msgspec.json.decode(made.body, type=Event)
    assert (event.id, event.type) == ("evt_1", made.event_type)
    assert made.event_type in EVENT_TYPES[published.__struct_config__.tag]
    assert made.event_type == event_type_of(published)
    assert body["organizationId"] == made.organization_id
    sent = json.loads(msgspec.json.encode(published))
    assert without_instants(body["payload"]) == without_instants(expected_payload(sent))


def expected_payload(sent: dict[str, object]) -> dict[str, object]:
    """The kind's fields but for the event's own; a published payload is merged in."""
    hidden = {"kind", "id", "organizationId", "timestamp", "metadata", "userId"}
    shown = {"notification": {"id"}, "user_presence": {"userId", "metadata"}, "document_update": {"userId"}}
    hidden -= shown.get(str(sent["kind"]), set())
    payload = {name: value for name, value in sent.items() if name not in hidden}
    merged = payload.pop("payload", {})
    assert isinstance(merged, dict)
    return payload | merged


def without_instants(payload: dict[str, object]) -> dict[str, object]:
    """Leave out what is rewritten; the instants have a property of their own below."""
    kept = {name: value for name, value in payload.items() if name not in REWRITTEN}
    data = payload.get("signatureData")
    if isinstance(data, dict):
        kept["signatureData"] = {name: value for name, value in data.items() if name != "signedAt"}
    return kept


@given(samples.published_events())
def test_keys_come_from_the_named_fields_only(published: Published) -> None:
    """The type stands first; every further key is an id under its field's name, no key twice, and none is missing."""
    made = prepared(published)
    body = json.loads(made.body)
    assert made.keys[0] == made.event_type
    assert len(set(made.keys)) == len(made.keys)
    expected = {
        f"{facet}:{body['payload'][name]}"
        for facet, names in WIRE_NAMES.items()
        for name in names
        if isinstance(body["payload"].get(name), str) and is_id(body["payload"][name])
    }
    if "userId" in body:
        expected.add(f"u:{body['userId']}")
    assert set(made.keys[1:]) == expected
    assert set(FACETS) <= {*WIRE_NAMES, "u"}


@given(samples.published_events())
def test_a_guest_sees_the_event_but_for_signature_data(published: Published) -> None:
    """Of signatureData a guest sees signedAt alone; everything else is the same, and cutting twice changes nothing."""
    body = prepared(published).body
    cut = guest_body(body)
    full, guest = json.loads(body), json.loads(cut)
    data = full["payload"].pop("signatureData", None)
    seen = guest["payload"].pop("signatureData", None)
    assert guest == full
    if isinstance(data, dict) and "signedAt" in data:
        assert seen == {"signedAt": data["signedAt"]}
    else:
        assert seen is None
    assert guest_body(cut) == cut


@given(samples.instants())
def test_instants_are_written_in_the_wire_form(instant: datetime) -> None:
    """An instant is written in UTC with three digits and Z, and reads as itself cut to the millisecond."""
    text = format_instant(instant)
    assert len(text) == len("2026-11-22T18:49:22.123Z")
    assert text.endswith("Z")
    in_utc = instant.astimezone(UTC)
    assert datetime.fromisoformat(text) == in_utc.replace(microsecond=in_utc.microsecond // 1000 * 1000)


@given(st.integers(-62_135_596_800_000, 253_402_300_799_999))
def test_milliseconds_are_written_like_instants(at_ms: int) -> None:
    """Milliseconds since 1970 give the same text as the instant they stand for."""
    seconds, rest = divmod(at_ms, 1000)
    assert format_milliseconds(at_ms) == format_instant(
        datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest * 1000)
    )


@given(st.text(st.characters(exclude_categories=()), max_size=140))
def test_the_wire_type_and_the_function_agree_on_ids(value: str) -> None:
    """What the function calls an id, the wire type decodes, and the other way round."""
    try:
        msgspec.json.decode(json.dumps(value), type=Id)
        decodes = True
    except msgspec.MsgspecError:
        decodes = False
    assert decodes == is_id(value)


def test_every_kind_has_a_strategy_and_a_sample() -> None:
    """The samples cover the kinds, and the kinds with the service's own cover all event types."""
    assert set(samples.KINDS) == set(KINDS) == set(EVENT_TYPES)
    assert {t for types in EVENT_TYPES.values() for t in types} < ALL_EVENT_TYPES
