"""Audiences: joining, leaving and settling, also in the middle of a flush that ran out of time."""

from __future__ import annotations

from typing import cast

import pytest

from signtusk_realtime.delivery import audience as audiences
from signtusk_realtime.delivery.audience import Audience
from signtusk_realtime.delivery.connection import Connection
from signtusk_realtime.delivery.formats import FRAMES, TEXTS, Format
from signtusk_realtime.delivery.item import Item
from signtusk_realtime.delivery.organization import Organization
from signtusk_realtime.delivery.place import Place
from signtusk_realtime.events.log import ORIGIN_TAG, SYSTEM_LOG, Entry, Epoch, Position
from signtusk_realtime.sessions.entitlement import FULL
from signtusk_realtime.sessions.session import Session, SessionLimits
from tests.support.delivery import Turns, drafted, member
from tests.support.outlets import Outlet
from tests.support.samples import sample_event

START = Position(Epoch("0" * 16), 0, ORIGIN_TAG)
HERE = Place(START, START)
ORGANIZATION = Organization("org123", START, lambda connection, place: None)


class Member:
    """A connection without a hub."""

    def __init__(self, form: Format = TEXTS) -> None:
        self.outlet = Outlet()
        session = Session(member(), SessionLimits())
        self.connection = Connection("conn_1", session, self.outlet, form, ORGANIZATION, 0)

    def got(self) -> list[str]:
        """Give the ids of the events written since the last call."""
        return [m["event"]["id"] for m in self.outlet.messages(self.connection.form.name)]


def place(offset: int) -> Place:
    return Place(START._replace(offset=offset), START)


def item(name: str, offset: int = 1, *, more: int = 0) -> Item:
    """Give an event of this name, with `more` bytes in it."""
    published = sample_event("document_update", changes={"text": "x" * more})
    draft = drafted(published, name, "org123")
    return Item(Entry(offset, ORIGIN_TAG, 0, name, draft.keys, draft.body), "cursor", place(offset))


def audience_of(*members: Member) -> Audience:
    audience = Audience((), FULL, members[0].connection.form, HERE)
    for one in members:
        audience.join(one.connection, HERE)
    return audience


def flush(audience: Audience, looks: int | None = None) -> bool:
    """Flush in a slice that ends after `looks` looks at the clock."""
    turns, done = Turns(), []
    turns.waiting.append(lambda: done.append(audience.flush(turns.clock, 1.0)))
    turns.turn(looks)
    return cast("bool", done[0])


@pytest.fixture
def _one_write_per_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audiences, "WRITES_PER_LOOK", 1)


def test_all_of_a_turn_is_joined_into_one_write() -> None:
    """What is pending is joined once, and the same bytes go to every member in one write each."""
    one, two = Member(FRAMES), Member(FRAMES)
    audience = audience_of(one, two)
    assert audience.offer(item("a"))
    assert audience.offer(item("b"))
    assert flush(audience)
    [written] = one.outlet.writes
    assert two.outlet.writes == [written]
    assert two.outlet.writes[0] == written
    assert one.got() == ["a", "b"]


def test_an_item_is_taken_once() -> None:
    """An item that several keys find is offered several times and pending once."""
    one = Member()
    audience = audience_of(one)
    repeated = item("a")
    assert audience.offer(repeated)
    assert not audience.offer(repeated)
    flush(audience)
    assert one.got() == ["a"]


def test_who_joins_gets_nothing_that_was_pending() -> None:
    """A member gets what is offered after it joined, though the rest of the audience gets more in the same flush."""
    early, late = Member(), Member()
    audience = audience_of(early)
    audience.offer(item("a"))
    audience.join(late.connection, HERE)
    audience.offer(item("b"))
    flush(audience)
    assert (early.got(), late.got()) == (["a", "b"], ["b"])


def test_who_leaves_gets_its_share_and_no_more() -> None:
    """Leaving writes what is pending; what is offered later goes to the others."""
    one, two, three = Member(), Member(), Member()
    audience = audience_of(one, two, three)
    audience.offer(item("a"))
    audience.leave(one.connection)
    assert one.got() == ["a"]
    audience.offer(item("b"))
    flush(audience)
    assert (one.got(), two.got(), three.got()) == ([], ["a", "b"], ["a", "b"])


def test_who_is_closed_is_written_nothing() -> None:
    """Dropping a member writes nothing to it, now or later."""
    one, two = Member(), Member()
    audience = audience_of(one, two)
    audience.offer(item("a"))
    audience.offer_to(one.connection, item("mine"))
    audience.drop(one.connection)
    flush(audience)
    assert (one.got(), two.got()) == ([], ["a"])
    assert audience.members == [two.connection]
    audience.offer_to(two.connection, item("alone"))
    audience.drop(two.connection)
    assert flush(audience)
    assert two.got() == []


def test_settling_writes_now_and_not_again() -> None:
    """`settle` writes one member's share; the flush gives it only what came after."""
    one, two = Member(), Member()
    audience = audience_of(one, two)
    audience.offer(item("a"))
    audience.settle(one.connection)
    assert one.got() == ["a"]
    audience.settle(one.connection)
    audience.offer(item("b"))
    flush(audience)
    assert (one.got(), two.got()) == (["b"], ["a", "b"])
    assert len(two.outlet.writes) == 1


def test_own_items_stand_at_their_place() -> None:
    """What is for one member alone is spliced in where it came, for that member only."""
    one, two = Member(), Member()
    audience = audience_of(one, two)
    audience.offer_to(one.connection, item("first"))
    audience.offer(item("a"))
    audience.offer_to(one.connection, item("second"))
    audience.offer_to(one.connection, item("third"))
    audience.offer(item("b"))
    flush(audience)
    assert one.got() == ["first", "a", "second", "third", "b"]
    assert two.got() == ["a", "b"]
    audience.offer_to(two.connection, item("alone"))
    flush(audience)
    assert (one.got(), two.got()) == ([], ["alone"])


def test_own_items_of_a_late_member_follow_what_it_missed() -> None:
    """A member that joined late gets its own items and the later shared ones, in order."""
    early, late = Member(), Member()
    audience = audience_of(early)
    audience.offer(item("a"))
    audience.join(late.connection, HERE)
    audience.offer_to(late.connection, item("mine"))
    audience.offer(item("b"))
    flush(audience)
    assert late.got() == ["mine", "b"]


@pytest.mark.usefixtures("_one_write_per_look")
def test_a_flush_goes_on_where_it_stopped() -> None:
    """A slice that ends leaves the rest of the members for the next one, before what came in meanwhile."""
    members = [Member() for _ in range(4)]
    audience = audience_of(*members)
    audience.offer(item("a"))
    assert not flush(audience, looks=1)
    assert sorted(len(m.outlet.writes) for m in members) == [0, 0, 1, 1]
    audience.offer(item("b"))
    assert flush(audience)
    assert [m.got() for m in members] == [["a", "b"]] * 4


@pytest.mark.usefixtures("_one_write_per_look")
def test_joining_within_a_partly_written_flush() -> None:
    """Who joins between two slices gets nothing of the flush under way."""
    members = [Member() for _ in range(3)]
    audience = audience_of(*members)
    audience.offer(item("a"))
    assert not flush(audience, looks=0)
    late = Member()
    audience.join(late.connection, HERE)
    audience.offer(item("b"))
    flush(audience)
    assert late.got() == ["b"]
    assert [m.got() for m in members] == [["a", "b"]] * 3


@pytest.mark.usefixtures("_one_write_per_look")
def test_leaving_within_a_partly_written_flush() -> None:
    """Who leaves between two slices gets what it was still owed, in order, and none of it twice."""
    members = [Member() for _ in range(4)]
    audience = audience_of(*members)
    audience.offer(item("a"))
    assert not flush(audience, looks=0)
    audience.offer(item("b"))
    for one in members:
        audience.leave(one.connection)
    assert [m.got() for m in members] == [["a", "b"]] * 4
    assert flush(audience)
    assert [m.got() for m in members] == [[]] * 4


@pytest.mark.usefixtures("_one_write_per_look")
def test_closing_within_a_partly_written_flush() -> None:
    """Who is closed between two slices is written nothing more, and the others lose nothing by it."""
    members = [Member() for _ in range(4)]
    audience = audience_of(*members)
    audience.offer(item("a"))
    assert not flush(audience, looks=0)
    audience.drop(members[1].connection)
    assert flush(audience)
    assert [m.got() for m in members] == [["a"], [], ["a"], ["a"]]


@pytest.mark.usefixtures("_one_write_per_look")
def test_settling_within_a_partly_written_flush() -> None:
    """Who is settled between two slices gets rest and pending at once, the others as if nothing had happened."""
    members = [Member() for _ in range(3)]
    audience = audience_of(*members)
    audience.offer(item("a"))
    audience.offer_to(members[2].connection, item("mine"))
    assert not flush(audience, looks=0)
    audience.offer(item("b"))
    audience.settle(members[2].connection)
    assert members[2].got() == ["a", "mine", "b"]
    flush(audience)
    assert [m.got() for m in members] == [["a", "b"], ["a", "b"], []]


@pytest.mark.usefixtures("_one_write_per_look")
@pytest.mark.parametrize("how", ["leave", "drop", "settle"])
@pytest.mark.parametrize("who", range(5))
@pytest.mark.parametrize("with_own", [False, True])
def test_whoever_goes_or_settles_within_a_flush_changes_nothing_for_the_others(
    how: str, who: int, with_own: bool
) -> None:
    """Whichever seat it has, written or not, all others get each item once; it gets each once too, but for one that is closed."""
    members = [Member() for _ in range(5)]
    audience = audience_of(*members)
    audience.offer(item("a"))
    if with_own:
        audience.offer_to(members[1].connection, item("mine"))
    assert not flush(audience, looks=2)
    getattr(audience, how)(members[who].connection)
    audience.offer(item("b"))
    assert flush(audience)
    for number, one in enumerate(members):
        due = ["a", "mine", "b"] if with_own and number == 1 else ["a", "b"]
        got = one.got()
        if number == who and how != "settle":
            assert got == due[:-1] or (how == "drop" and got == [])
        else:
            assert got == due
    assert [left.seat for left in audience.members] == list(range(len(audience.members)))


def test_members_keep_their_seats() -> None:
    """However members leave, each one's seat is its place in the list."""
    members = [Member() for _ in range(5)]
    audience = audience_of(*members)
    for gone in (0, 3, 1):
        audience.drop(members[gone].connection)
        assert [audience.members[m.seat] for m in audience.members] == audience.members
    assert set(audience.members) == {members[2].connection, members[4].connection}


def test_the_item_of_an_event_is_encoded_once_per_format_and_view() -> None:
    """Two audiences of one format and view get the same object, another view another one."""
    draft = drafted(sample_event("signature_status"), "evt_1", "org123")
    signed = Item(Entry(1, ORIGIN_TAG, 0, "evt_1", draft.keys, draft.body), "cursor", HERE)
    assert signed.chunk(FRAMES, True) is signed.chunk(FRAMES, True)
    assert signed.chunk(FRAMES, True) != signed.chunk(FRAMES, False)
    assert SYSTEM_LOG not in signed.entry.keys


def test_a_write_holds_no_more_than_a_piece() -> None:
    """I3: what is pending is written in pieces, one a flush, in order and each item once; a single larger event goes alone."""
    one, two = Member(FRAMES), Member(FRAMES)
    audience = audience_of(one, two)
    names = [f"evt_{n}" for n in range(9)]
    for offset, name in enumerate(names, start=1):
        audience.offer(
            item(name, offset, more=2 * audiences.PIECE_BYTES if offset == 5 else audiences.PIECE_BYTES // 3)
        )
    audience.offer_to(two.connection, item("mine", 10))
    while not flush(audience):
        assert audience.pending
    assert one.got() == names
    assert two.got() == [*names, "mine"]
    for written in one.outlet.writes:
        assert len(written) <= audiences.PIECE_BYTES or written.count(b'"id":"evt_') == 1


def test_shares_are_cut_with_the_pieces() -> None:
    """Joining and items of one's own between pieces keep their places, wherever a piece ends."""
    third = audiences.PIECE_BYTES // 3
    for joins in range(7):
        early, late = Member(), Member()
        audience = audience_of(early)
        for offset in range(1, 8):
            if offset == joins + 1:
                audience.join(late.connection, place(joins))
                audience.offer_to(late.connection, item("first", offset))
            audience.offer(item(f"evt_{offset}", offset, more=third))
        audience.offer_to(late.connection, item("last", 8))
        while not flush(audience):
            pass
        names = [f"evt_{offset}" for offset in range(1, 8)]
        assert early.got() == names
        assert late.got() == ["first", *names[joins:], "last"]


def test_a_share_that_is_too_much_is_left_to_the_log() -> None:
    """I3: a member whose own items are more than one write should hold gets none of them; it is named, with how far it has got."""
    one, two = Member(), Member()
    audience = audience_of(one, two)
    audience.offer(item("a", 1))
    flush(audience)
    for offset in range(2, 9):
        audience.offer_to(one.connection, item(f"mine_{offset}", offset, more=audiences.PIECE_BYTES))
    assert audience.is_too_much(one.connection)
    audience.offer(item("b", 9))
    while not flush(audience):
        pass
    assert audience.overfull == [(one.connection, place(1))]
    assert (one.got(), two.got()) == (["a"], ["a", "b"])


@pytest.mark.usefixtures("_one_write_per_look")
def test_how_far_a_member_has_got_is_known() -> None:
    """`owes` and `handed` tell for each member what was written to it, also halfway through a flush."""
    one, two = Member(), Member()
    audience = audience_of(two, one)  # the last who came is written first
    assert not audience.owes(one.connection)
    audience.offer(item("a", 1))
    assert audience.owes(one.connection)
    assert audience.handed(one.connection) == HERE
    assert not flush(audience, looks=0)
    assert not audience.owes(one.connection)
    assert audience.owes(two.connection)
    assert audience.handed(two.connection) == HERE
    assert audience.told == 0
    audience.offer(item("b", 2))
    assert audience.owes(one.connection)
    assert audience.handed(one.connection) == place(1)
    assert audience.handed(two.connection) == HERE
    audience.settle(one.connection)
    assert not audience.owes(one.connection)
    assert audience.handed(one.connection) == place(2)
    assert flush(audience)
    assert audience.told == 2
    assert not audience.owes(two.connection)
    late = Member()
    audience.join(late.connection, place(3))
    assert not audience.owes(late.connection)
    audience.offer_to(late.connection, item("mine", 4))
    assert audience.owes(late.connection)
    assert not audience.owes(two.connection)
    assert audience.handed(late.connection) == place(3)
