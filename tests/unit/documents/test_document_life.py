"""States and locks, the lease of a correction, the history's chain."""

from __future__ import annotations

from hashlib import sha256

import msgspec
import pytest

from signtusk_realtime.documents.canonical import canonical
from signtusk_realtime.documents.history import GENESIS, Body, Entry, Header, erase, replay, seal, verify
from signtusk_realtime.documents.lease import GONE_MS, LEASE_MS, lose_connection, renew, take
from signtusk_realtime.documents.ops import Op
from signtusk_realtime.documents.policy import PLAIN, Policy, pattern
from signtusk_realtime.documents.refusals import Refused
from signtusk_realtime.documents.states import STATES, State, check_editable, check_transition, is_allowed, is_reopening

ALLOWED: dict[State, set[State]] = {
    "draft": {"sent", "signing", "deleted"},
    "sent": {"correcting", "signing", "declined", "voided", "expired"},
    "correcting": {"sent", "draft", "declined", "voided", "expired"},
    "signing": {"signing", "completed", "declined", "voided", "expired", "draft"},
    "completed": set(),
    "declined": {"draft", "deleted"},
    "voided": {"draft", "deleted"},
    "expired": {"draft", "deleted"},
    "deleted": set(),
}


@pytest.mark.parametrize("current", STATES)
def test_each_state_leads_where_the_table_says(current: State) -> None:
    """And nowhere else; a refusal says what would follow."""
    for to in STATES:
        assert is_allowed(current, to) is (to in ALLOWED[current])
        if to not in ALLOWED[current]:
            with pytest.raises(Refused) as refused:
                check_transition(current, to, open_conflicts=0, head_hash="h", content_hash="h")
            assert refused.value.code == ("document_deleted" if current == "deleted" else "invalid_transition")
    assert is_reopening("declined", "draft")
    assert not is_reopening("correcting", "draft")


@pytest.mark.parametrize(
    ("current", "to", "shown", "opened", "code"),
    [
        ("sent", "signing", None, 0, "invalid_message"),
        ("sent", "signing", "old", 0, "content_changed"),
        ("signing", "signing", "old", 0, "content_changed"),
        ("draft", "sent", None, 1, "open_conflicts"),
        ("correcting", "sent", None, 1, "open_conflicts"),
        ("signing", "completed", None, 2, "open_conflicts"),
        ("sent", "signing", "h", 1, "open_conflicts"),
        ("sent", "signing", "h", 0, None),
        ("sent", "voided", None, 1, None),
        ("draft", "deleted", None, 1, None),
    ],
)
def test_a_signature_stands_for_what_was_shown(
    current: State, to: State, shown: str | None, opened: int, code: str | None
) -> None:
    """Signing needs head's contentHash; open conflicts keep a document from being sent, signed and completed."""
    if code is None:
        check_transition(current, to, open_conflicts=opened, head_hash="h", content_hash=shown)
        return
    with pytest.raises(Refused) as refused:
        check_transition(current, to, open_conflicts=opened, head_hash="h", content_hash=shown)
    assert refused.value.code == code


def test_only_who_corrects_ends_the_correction() -> None:
    """Another may void it, and the service itself ends it by handing in no lease."""
    lease = take("ada", 0)
    for to in ("sent", "draft"):
        with pytest.raises(Refused) as refused:
            check_transition("correcting", to, open_conflicts=0, head_hash="h", user_id="eve", lease=lease)  # type: ignore[arg-type]  # both are states
        assert refused.value.code == "document_locked"
    check_transition("correcting", "voided", open_conflicts=0, head_hash="h", user_id="eve", lease=lease)
    check_transition("correcting", "sent", open_conflicts=0, head_hash="h", user_id="ada", lease=lease)
    check_transition("correcting", "sent", open_conflicts=0, head_hash="h")


@pytest.mark.parametrize(
    ("state", "user", "paths", "code"),
    [
        ("draft", "eve", ["a"], None),
        ("sent", "ada", ["a"], "document_locked"),
        ("correcting", "ada", ["a"], None),
        ("correcting", "eve", ["a"], "document_locked"),
        ("signing", "ada", ["a"], "document_locked"),
        ("signing", "eve", ["notes"], None),
        ("signing", "eve", ["notes", "a"], "document_locked"),
        ("completed", "ada", ["notes"], "document_locked"),
        ("declined", "ada", ["a"], "document_locked"),
        ("voided", "ada", ["a"], "document_locked"),
        ("expired", "ada", ["a"], "document_locked"),
        ("deleted", "ada", ["a"], "document_deleted"),
    ],
)
def test_who_may_edit_when(state: State, user: str, paths: list[str], code: str | None) -> None:
    """Drafts freely, a correction by its holder, after a signature only what the policy lists as open, then nothing."""
    policy = Policy("p", open=(pattern("/notes"),))
    lease = take("ada", 0)
    places = [(path,) for path in paths]
    if code is None:
        check_editable(state, places, policy, user_id=user, lease=lease)
        return
    with pytest.raises(Refused) as refused:
        check_editable(state, places, policy, user_id=user, lease=lease)
    assert (refused.value.code, refused.value.state) == (code, state)
    with pytest.raises(Refused):
        check_editable("signing", [("notes",)], PLAIN)


def test_a_lease_ends_when_nothing_prolongs_it() -> None:
    """60 s after the last renewal, 5 s after the last connection is gone; one that is over is not renewed."""
    lease = take("ada", 1000)
    assert not lease.is_over(1000 + LEASE_MS - 1)
    assert lease.is_over(1000 + LEASE_MS)
    later = renew(lease, 50_000)
    assert later.ends_at == 50_000 + LEASE_MS
    gone = lose_connection(later, 60_000)
    assert gone.ends_at == 60_000 + GONE_MS
    assert lose_connection(gone, 64_000).ends_at == gone.ends_at
    assert renew(gone, 64_999).ends_at == 64_999 + LEASE_MS
    assert renew(gone, 65_000) == gone
    assert lose_connection(lease, LEASE_MS).ends_at == lease.ends_at


# --- history


def entry(version: int, prev_hash: str, title: str) -> Entry:
    header = Header(
        version=version,
        kind="edit",
        user_id="ada",
        change_id=f"change-{version}",
        base_version=version - 1,
        status="applied",
        timestamp="2026-11-22T18:49:22.123Z",
    )
    body = Body(change={"changes": {"title": title}}, ops=[Op("set", "/title", title)], paths=["/title"])
    return seal(header, body, salt=f"salt-{version}", prev_hash=prev_hash)


def chain(length: int) -> list[Entry]:
    entries: list[Entry] = []
    for version in range(1, length + 1):
        entries.append(entry(version, entries[-1].hash if entries else GENESIS, f"v{version}"))
    return entries


def test_a_chain_verifies_and_replays_after_being_stored() -> None:
    """Entries that went through JSON are the same entries; their operations lead to the document."""
    stored = [msgspec.json.decode(msgspec.json.encode(each), type=Entry) for each in chain(3)]
    assert verify(stored).integrity == "intact"
    assert replay({}, stored) == {"title": "v3"}
    assert verify(stored[1:], prev_hash=stored[0].hash, first_version=2).integrity == "intact"
    assert verify(stored[1:], prev_hash=None, first_version=2).integrity == "intact"


def test_erased_values_leave_the_chain_whole() -> None:
    """It is `erased`, not `broken`; the values are gone, and what needs them says so."""
    entries = chain(3)
    entries[1] = erase(entries[1])
    verdict = verify(entries)
    assert (verdict.integrity, verdict.erased) == ("erased", (2,))
    assert b"v2" not in msgspec.json.encode(entries[1])
    with pytest.raises(Refused) as refused:
        replay({}, entries)
    assert refused.value.reason == "compacted"


def tampered(entries: list[Entry]) -> list[tuple[str, list[Entry], int]]:
    first, second, third = entries
    change = msgspec.structs.replace
    assert second.body is not None
    return [
        ("header", [first, change(second, header=change(second.header, user_id="eve")), third], 2),
        ("body", [first, change(second, body=change(second.body, change={"changes": {}})), third], 2),
        ("salt", [first, change(second, salt="other"), third], 2),
        ("body hash of an erased one", [first, change(erase(second), body_hash="0" * 64), third], 2),
        ("hash", [first, change(second, hash="0" * 64), third], 2),
        ("left out", [first, third], 2),
        ("last replaced", [first, second, entry(3, first.hash, "v3")], 3),
        ("order", [second, first, third], 1),
        ("first replaced", [entry(1, "1" * 64, "v1"), second, third], 1),
    ]


@pytest.mark.parametrize("case", tampered(chain(3)), ids=lambda case: case[0])
def test_whatever_is_changed_breaks_the_chain(case: tuple[str, list[Entry], int]) -> None:
    """And verifying names the first version that does not hold."""
    verdict = verify(case[1])
    assert (verdict.integrity, verdict.version) == ("broken", case[2])
    assert verdict.why


def test_an_entry_seals_the_one_before() -> None:
    """The same entry after another one has another hash, by the formula that the reference gives."""
    one, other = entry(2, "1" * 64, "t"), entry(2, "2" * 64, "t")
    assert one.body_hash == other.body_hash
    assert one.hash != other.hash
    header = canonical(
        {
            "version": 2,
            "kind": "edit",
            "userId": "ada",
            "changeId": "change-2",
            "baseVersion": 1,
            "status": "applied",
            "timestamp": "2026-11-22T18:49:22.123Z",
        }
    )
    assert one.hash == sha256(("1" * 64 + header + one.body_hash).encode()).hexdigest()
