"""Open conflicts to their end, beyond the worked cases: several records, faults in a call, records that follow the document."""

from __future__ import annotations

import pytest
from msgspec import UNSET, json
from msgspec.structs import replace

from signtusk_realtime.documents.conflicts import ConflictRecord, place_of
from signtusk_realtime.documents.edit import put_on, read_edit
from signtusk_realtime.documents.manual import Decision, Take, check_decisions, decisions_for, refresh, settle
from signtusk_realtime.documents.policy import PLAIN, SIGNING, Policy, Strategy
from signtusk_realtime.documents.refusals import Refused
from signtusk_realtime.documents.resolve import Resolution, resolve
from signtusk_realtime.documents.values import ABSENT, Json, Object
from tests.support.conflict_cases import AT, EDITED, stored_record

BASE: Object = {"title": "NDA", "note": "a", "signatureFields": [{"id": "f", "page": 1, "x": 1, "y": 1}]}


def put(document: Object, changes: dict[str, object], *deletes: str) -> Object:
    return put_on(document, read_edit(changes, deletes))


def opened(resolution: Resolution) -> list[ConflictRecord]:
    return [replace(stored_record(each), conflict_id=f"c{n}") for n, each in enumerate(resolution.conflicts, 1)]


def clash(strategy: Strategy = "manual", policy: Policy = PLAIN) -> tuple[Object, list[ConflictRecord]]:
    one = put(BASE, {"title": "One", "note": "b", "/signatureFields/f/x": 5})
    other = put(BASE, {"title": "Two", "note": "c", "/signatureFields/f/y": 7})
    resolution = resolve(BASE, one, other, policy, strategy)
    return resolution.document, opened(resolution)


def decision(conflict_id: str, take: Take = "incoming", rev: int = 1, **value: Json) -> Decision:
    return Decision(conflict_id, rev, take, value.get("value", UNSET))


def test_one_word_decides_all_that_are_open() -> None:
    """merge, overwrite and reject decide, manual does nothing; what is decided already is passed over."""
    document, records = clash()
    records[0] = replace(records[0], status="superseded")
    decided = decisions_for(records, "overwrite", "d1")
    assert [(each.conflict_id, each.take) for each in decided] == [("c2", "incoming"), ("c3", "incoming")]
    assert decisions_for(records, "manual", "d1") == ()
    assert {each.take for each in decisions_for(records, "reject", "d1")} == {"current"}
    settled = settle(document, check_decisions(records, decided), {}, policy=PLAIN, resolved_by="u", timestamp=AT)
    assert settled.document["title"] == "Two"
    assert [(each.status, each.resolved_by, each.resolved_at) for each in settled.records] == [
        ("resolved", "u", AT)
    ] * 2


def test_nothing_open_is_said_as_the_original_said_it() -> None:
    """The text that applications look for."""
    with pytest.raises(Refused, match=r"^No active conflicts found for document d1$") as refused:
        decisions_for([], "merge", "d1")
    assert refused.value.code == "no_active_conflicts"


@pytest.mark.parametrize(
    ("decisions", "code", "concerns"),
    [
        ([decision("c1"), decision("c9")], "unknown_conflict", "c9"),
        ([decision("c1"), decision("c2", rev=2)], "conflict_changed", "c2"),
        ([decision("c1"), decision("c1")], "invalid_message", "c1"),
        ([decision("c1", "value")], "invalid_message", "c1"),
        ([decision("c1", "incoming", value=1)], "invalid_message", "c1"),
        ([decision("c3")], "already_resolved", "c3"),
    ],
)
def test_a_faulty_call_decides_nothing(decisions: list[Decision], code: str, concerns: str) -> None:
    """All decisions are carried out or none, and the refusal names the record."""
    _, records = clash()
    records[2] = replace(records[2], status="resolved")
    with pytest.raises(Refused) as refused:
        check_decisions(records, decisions)
    assert (refused.value.code, refused.value.conflict_id) == (code, concerns)


def test_null_is_a_value_that_can_be_taken() -> None:
    """A decision for null is not a decision without a value."""
    document, records = clash()
    decided = check_decisions(records, [decision("c3", "value", value=None)])
    settled = settle(document, decided, {}, policy=PLAIN, resolved_by="u", timestamp=AT)
    assert settled.document["title"] is None


@pytest.mark.parametrize(
    ("conflict_id", "value", "code"),
    [("c3", float("nan"), "invalid_value"), ("c2", 5, "invalid_value"), ("c1", {1: 2}, "invalid_value")],
)
def test_a_value_that_cannot_stand_there_is_refused(conflict_id: str, value: Json, code: str) -> None:
    """NaN nowhere, and a group's value is an object of its members."""
    document, records = clash()
    group = next(each for each in records if each.path.endswith("(page,x,y)"))
    decided = check_decisions(
        records, [decision(str(group.conflict_id) if value == 5 else conflict_id, "value", value=value)]
    )
    with pytest.raises(Refused) as refused:
        settle(document, decided, {}, policy=PLAIN, resolved_by="u", timestamp=AT)
    assert refused.value.code == code


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"left": 5, "top": 6},
        {"page": 1, "x": 1, "y": 1, "width": 5},
        {"page": 1, "x": 1, "y": 1, "id": "g"},
        {"x": 1, "y": 1},
        {"page": 1, "x": 1, "y": float("nan")},
        [1, 1, 1],
        None,
    ],
)
def test_a_group_is_decided_whole(value: Json) -> None:
    """Its value has its members and nothing else, and drops none that stands there by leaving it out."""
    document, records = clash()
    group = next(each for each in records if each.reason == "group")
    decided = check_decisions(records, [decision(str(group.conflict_id), "value", value=value)])
    with pytest.raises(Refused) as refused:
        settle(document, decided, {}, policy=PLAIN, resolved_by="u", timestamp=AT)
    assert (refused.value.code, refused.value.path and refused.value.path[:2]) == (
        "invalid_value",
        ("signatureFields", "f"),
    )


def test_a_group_may_lack_what_it_lacks_already() -> None:
    """A field without a page is decided by x and y; a page may come with them."""
    base: Object = {"signatureFields": [{"id": "f", "x": 1, "y": 1}]}
    one, other = put(base, {"/signatureFields/f/x": 2}), put(base, {"/signatureFields/f/x": 3})
    records = opened(resolve(base, one, other, PLAIN, "manual"))
    for value in ({"x": 7, "y": 8}, {"page": 1, "x": 7, "y": 8}):
        decided = check_decisions(records, [decision("c1", "value", value={**value})])
        settled = settle(one, decided, {}, policy=PLAIN, resolved_by="u", timestamp=AT)
        assert settled.document == {"signatureFields": [{"id": "f", **value}]}


@pytest.mark.parametrize(
    "value",
    [[], ["c", "b"], ["c", "b", "nope"], ["c", "b", "a", "a"], ["c", "b", "b"], [7, "c", "b", "a"], {"a": 1}, None],
)
def test_an_order_is_decided_by_exactly_the_ids_that_stand_there(value: Json) -> None:
    """None left out, none twice, none that is unknown or no id at all."""
    rows: list[dict[str, str]] = [{"id": "a"}, {"id": "b"}, {"id": "c"}]
    base = put({}, {"rows": rows})
    one, other = put(base, {"rows": [rows[1], rows[0], rows[2]]}), put(base, {"rows": [rows[0], rows[2], rows[1]]})
    records = opened(resolve(base, one, other, PLAIN, "manual"))
    with pytest.raises(Refused) as refused:
        settle(
            one,
            check_decisions(records, [decision("c1", "value", value=value)]),
            {},
            policy=PLAIN,
            resolved_by="u",
            timestamp=AT,
        )
    assert (refused.value.code, refused.value.path) == ("invalid_value", ("rows", "#order"))


def test_records_follow_the_document() -> None:
    """A commit refreshes what it touched (rev, value, version, user) and leaves the rest; equal or deleted places end."""
    document, records = clash()
    later = put(document, {"title": "One more", "note": "c"})
    told = refresh(records, later, version=7, user_id="eve", timestamp=AT, policy=PLAIN)
    assert [(each.path, each.rev, each.current_value, each.current_version, each.user_id) for each in told.changed] == [
        ("/title", 2, "One more", 7, "eve")
    ]
    assert [(each.path, each.status, each.resolved_by) for each in told.superseded] == [("/note", "superseded", "eve")]
    gone = put(later, {}, "/signatureFields/f")
    (ended,) = refresh(
        records[:0] + [r for r in records if "(" in r.path], gone, version=8, user_id="eve", timestamp=AT, policy=PLAIN
    ).superseded
    assert (ended.value("current"), list(ended.absent)) == (ABSENT, ["current"])


def test_a_machine_does_not_guard_against_a_person() -> None:
    """Deciding by merge merges, also where the policy parked or would park again."""
    base: Object = {"recipients": [{"id": "r", "name": "A", "email": "a"}]}
    one, other = put(base, {"/recipients/r/name": "B"}), put(base, {"/recipients/r/name": "C"})
    resolution = resolve(base, one, other, SIGNING)
    records = opened(resolution)
    decided = check_decisions(records, decisions_for(records, "merge", "d1"))
    assert settle(one, decided, {}, policy=SIGNING, resolved_by="u", timestamp=AT).document == other


def test_a_parked_change_is_applied_once_for_all_its_records() -> None:
    """Two invariants of one edit: both decided for incoming, it is put on once; what was edited since and meets nothing stays."""
    base: Object = {
        "recipients": [{"id": "r1"}, {"id": "r2"}],
        "signatureFields": [{"id": "f1", "recipientId": "r1"}, {"id": "f2", "recipientId": "r1"}],
        "body": "one two three",
    }
    current = put(base, {}, "/recipients/r2")
    incoming = put(
        base,
        {"/signatureFields/f1/recipientId": "r2", "/signatureFields/f2/recipientId": "r2", "body": "one two 3"},
    )
    resolution = resolve(base, current, incoming)
    records = opened(resolution)
    assert len(records) == 2
    assert resolution.parked is not None
    later = put(current, {"body": "1 two three", "title": "t"})
    decided = check_decisions(records, decisions_for(records, "overwrite", "d1"))
    settled = settle(later, decided, {EDITED: resolution.parked}, policy=PLAIN, resolved_by="u", timestamp=AT)
    assert settled.document["body"] == "1 two 3"
    assert settled.document["title"] == "t"
    assert settled.document["signatureFields"] == incoming["signatureFields"]


def parked_twice() -> tuple[Object, Resolution, list[ConflictRecord]]:
    """Give a document, and an edit of two of its fields that an invariant parked, with its two records."""
    base: Object = {
        "recipients": [{"id": "r1"}, {"id": "r2"}],
        "signatureFields": [{"id": "f", "recipientId": "r1"}, {"id": "g", "recipientId": "r1"}],
        "title": "NDA",
    }
    wanted = {"/signatureFields/f/recipientId": "r2", "/signatureFields/g/recipientId": "r2", "title": "Two"}
    current = put(base, {}, "/recipients/r2")
    resolution = resolve(base, current, put(base, dict(wanted)))
    records = opened(resolution)
    assert [each.path for each in records] == ["/signatureFields/f/recipientId", "/signatureFields/g/recipientId"]
    return current, resolution, records


@pytest.mark.parametrize(
    "applies", [decision("c1", "incoming"), decision("c1", "merge"), decision("c1", "value", value="r1")]
)
@pytest.mark.parametrize("order", [1, -1])
def test_a_parked_edit_is_not_both_applied_and_dropped(applies: Decision, order: int) -> None:
    """Its records contradict each other in one call: nothing is decided, and the second decision is named. Two edits may differ."""
    _, _, records = parked_twice()
    decisions = [applies, decision("c2", "current")][::order]
    with pytest.raises(Refused) as refused:
        check_decisions(records, decisions)
    assert (refused.value.code, refused.value.conflict_id) == ("invalid_message", decisions[1].conflict_id)
    for other in (replace(records[1], change_id="another"), replace(records[1], incoming_user_id="u9")):
        assert len(check_decisions([records[0], other], decisions)) == 2


@pytest.mark.parametrize("take", [decision("c1", "current"), decision("c1"), decision("c1", "value", value="r1")])
def test_a_decision_on_one_record_of_a_parked_edit_ends_the_others(take: Decision) -> None:
    """Dropped or applied, nobody decides the same edit again; the records of another edit stay open."""
    document, resolution, records = parked_twice()
    assert resolution.parked is not None
    decided = check_decisions(records, [take])
    settled = settle(document, decided, {EDITED: resolution.parked}, policy=PLAIN, resolved_by="ed", timestamp=AT)
    others = [replace(records[1], conflict_id="c3", change_id="another"), replace(records[1], incoming_user_id="u9")]
    told = refresh(
        [records[1], *others],
        document,
        version=4,
        user_id="ed",
        timestamp=AT,
        policy=PLAIN,
        decided=settled.records,
    )
    assert [(each.conflict_id, each.status, each.rev, each.resolved_by) for each in told.superseded] == [
        ("c2", "superseded", 2, "ed")
    ]
    assert told.changed == ()


def test_a_record_is_the_same_after_being_stored() -> None:
    """Absent values, suggestions and null survive JSON; the path leads back to its place."""
    _, records = clash()
    deleted = resolve(BASE, put(BASE, {}, "title"), put(BASE, {"title": None}), PLAIN, "manual")
    records += opened(deleted)
    for each in records:
        stored = json.decode(json.encode(each), type=ConflictRecord)
        assert stored == each
        assert place_of(stored.path, stored.reason, PLAIN).segments == place_of(each.path, each.reason, PLAIN).segments
    told = json.decode(json.encode(records[-1]))
    assert told["absent"] == ["current"]
    assert told["currentValue"] is None
    assert told["incomingValue"] is None
    assert told["suggested"] is None
    assert told["status"] == "open"
