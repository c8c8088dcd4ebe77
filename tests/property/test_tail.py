"""Tails: gapless, found by key as if looked through, within one budget; the log used longest ago gives first, and bodies before keys."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signtusk_realtime.delivery import tail as tails_of_a_node
from signtusk_realtime.delivery.tail import ENTRY_OVERHEAD, OUTLINE_BYTES, OUTLINE_PART, Tail, Tails
from signtusk_realtime.events.log import ORIGIN_TAG, Entry, Epoch
from signtusk_realtime.events.subscriptions import Subscription
from signtusk_realtime.sessions.entitlement import Selection, compile_selection
from tests.support.delivery import member, subscription

EPOCHS = (Epoch("0" * 16), Epoch("1" * 16))
NAMES = ("a", "b", "c")
KEYS = (
    ("document_updated", "d:a", "u:a"),
    ("document_signed", "d:b", "u:b"),
    ("signature_completed", "d:a", "s:a", "u:b", "r:a"),
    ("notification", "u:a"),
    ("notification", "u:b"),
    ("user_presence", "d:b", "u:a"),
)
WISHES = (
    Subscription("document_updates"),
    Subscription("notifications"),
    subscription("document_updates", document_id="a"),
    subscription("document_updates", event_types=("document_signed", "document_created")),
    subscription("signing_updates", document_id="a", user_id="b"),
    subscription("user_presence", document_id="b"),
)


def entry(offset: int, size: int = 0, keys: tuple[str, ...] = KEYS[0]) -> Entry:
    return Entry(offset, ORIGIN_TAG, 0, f"evt_{offset}", keys, bytes(size))


def filling(entries: list[Entry], epoch: Epoch = EPOCHS[0]) -> Tail:
    """Give what was read from the engine to fill a tail."""
    tail = Tail(epoch)
    for each in entries:
        tail.append(each)
    return tail


def kept(tail: Tail | None) -> list[int]:
    """Give the offsets a tail knows."""
    return [] if tail is None or not len(tail) else list(range(tail.first, tail.last.offset + 1))


@given(
    st.lists(st.tuples(st.integers(1, 12), st.sampled_from([b"one..", b"other"])), max_size=40),
    st.integers(0, 12),
    st.integers(0, 12),
    st.integers(0, 15),
)
def test_a_tail_is_gapless(events: list[tuple[int, bytes]], outlined: int, dropped: int, after: int) -> None:
    """Rule 1: it knows an unbroken run; the very entry it holds is passed over, what else does not follow begins it anew."""
    tail = Tail(EPOCHS[0])
    held: dict[int, bytes] = {}
    for offset, tag in events:
        if held.get(offset) != tag:
            if held and offset != max(held) + 1:
                held.clear()
            held[offset] = tag
        tail.append(entry(offset)._replace(tag=tag))
    model = list(held)
    outlined = min(outlined, len(model))
    for _ in range(outlined):
        tail.outline_oldest()
    dropped = min(dropped, len(model))
    for _ in range(dropped):
        tail.drop_oldest()
        model.pop(0)
    assert kept(tail) == model
    assert len(tail) == len(model)
    assert tail.outlined == max(0, outlined - dropped)
    assert tail.whole_bytes == (len(model) - tail.outlined) * ENTRY_OVERHEAD
    assert tail.bytes == tail.whole_bytes + tail.outlined * OUTLINE_BYTES
    assert tail.knows_after(after) == (bool(model) and model[0] - 1 <= after <= model[-1])
    found = tail.at(after)
    assert (None if found is None else found.offset) == (after if after in model else None)


@given(
    st.lists(st.sampled_from(KEYS), min_size=1, max_size=300),
    st.integers(0, 299),
    st.integers(0, 299),
    st.integers(0, 299),
    st.lists(st.sampled_from(WISHES), max_size=3),
    st.integers(0, 400),
    st.integers(1, 20),
    st.sampled_from([1, 7, 50, 1_000_000]),
)
def test_a_tail_finds_what_looking_through_it_would(
    events: list[tuple[str, ...]],
    dropped: int,
    outlined: int,
    after: int,
    wishes: list[Subscription],
    max_bytes: int,
    window: int,
    looks: int,
) -> None:
    """Rule 3: `find` gives the matching entries in order, up to its bounds, and how far it has looked; of outlined ones the offsets are given.
    Whoever goes on from there misses none.
    """
    tail = Tail(EPOCHS[0])
    for offset, keys in enumerate(events, start=1):
        tail.append(entry(offset, 10, keys))
    dropped = min(dropped, len(events) - 1)
    for _ in range(dropped):
        tail.drop_oldest()
    for _ in range(min(outlined, len(events) - dropped)):
        tail.outline_oldest()
    after = max(dropped, min(after, len(events)))
    selection: Selection = compile_selection(wishes, member("a"))
    matching = [o for o, keys in enumerate(events, start=1) if o > after and selection.matches(keys)]
    due = [o for o in matching if o >= tail.whole_from]
    most = max(1, -(-max_bytes // 10))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tails_of_a_node, "WINDOW", window)
        patch.setattr(tails_of_a_node, "LOOKS", looks)
        outlined_due = [o for o in matching if o < tail.whole_from]
        looked = after
        while looked < min(tail.whole_from - 1, len(events)):
            offsets, further = tail.find_outlined(selection, looked, most)
            assert offsets == [o for o in outlined_due if looked < o <= further]
            assert len(offsets) <= most
            assert further > looked
            looked = further
        looked = max(after, tail.whole_from - 1)
        while looked < len(events):
            found = tail.find(selection, looked, max_bytes)
            reached = found.reached.offset if found.reached is not None else looked
            assert [e.offset for e in found.entries] == [o for o in due if looked < o <= reached]
            assert len(found.entries) <= most
            if len(found.entries) < most and looks > 10 * len(events):
                assert reached == len(events)
            assert reached > looked
            looked = reached


OPERATIONS = st.one_of(
    *[st.tuples(st.just("append"), st.sampled_from(NAMES), st.integers(0, 1000))] * 3,
    st.tuples(st.sampled_from(["use", "forget", "another life"]), st.sampled_from(NAMES), st.just(0)),
    st.tuples(st.just("fill"), st.sampled_from(NAMES), st.integers(0, 8)),
)


@given(st.lists(OPERATIONS, min_size=10, max_size=60), st.integers(0, 9000))
def test_all_tails_share_one_budget(operations: list[tuple[str, str, int]], budget: int) -> None:
    """Rules 2 and 4: the sum never exceeds the budget; the oldest of the one used longest ago gives its body, then all; filling restores."""
    tails = Tails(budget)
    logs: dict[str, list[Entry]] = {name: [] for name in NAMES}
    known: dict[str, list[Entry]] = {}
    outlined = dict.fromkeys(NAMES, 0)
    life = dict.fromkeys(NAMES, 0)

    def cost() -> int:
        return sum(
            OUTLINE_BYTES if place < outlined[name] else len(e.body) + ENTRY_OVERHEAD
            for name, held in known.items()
            for place, e in enumerate(held)
        )

    def forget(name: str) -> None:
        known.pop(name, None)
        outlined[name] = 0

    def shrink() -> None:
        while cost() > budget:
            name = next(iter(known))
            has_room = (sum(outlined.values()) + 1) * OUTLINE_BYTES <= OUTLINE_PART * budget
            if has_room and len(known[name]) > outlined[name] + 1:
                outlined[name] += 1
                continue
            known[name].pop(0)
            outlined[name] = max(0, outlined[name] - 1)
            if not known[name]:
                forget(name)

    for verb, name, number in operations:
        match verb:
            case "append":
                added = [entry(len(logs[name]) + each, number) for each in range(1, 2 + number % 3)]
                logs[name] += added
                tails.extend(name, EPOCHS[life[name]], added)
                known.setdefault(name, []).extend(added)
                shrink()
            case "use":
                assert (tails.of(name) is None) == (name not in known)
                if name in known:
                    known[name] = known.pop(name)
            case "forget":
                tails.forget(name)
                forget(name)
            case "another life":
                life[name] = 1 - life[name]
                tails.forget(name)
                forget(name)
                logs[name] = []
            case "fill":
                entries = logs[name][number:]
                filled = tails.fill(name, filling(entries, EPOCHS[life[name]]), number)
                if entries:
                    forget(name)
                    known[name] = list(entries)
                    shrink()
                assert filled == (bool(entries) and len(known.get(name, [])) == len(entries))
        assert tails.bytes == cost() <= budget
        for other in NAMES:
            tail = tails._tails.get(other)
            assert kept(tail) == [e.offset for e in known.get(other, [])]
            assert (0 if tail is None else tail.outlined) == outlined[other]
            for place, e in enumerate(known.get(other, [])):
                assert tail is not None
                held = tail.at(e.offset)
                assert held == (e if place >= outlined[other] else e._replace(at=0, event_id="", body=b""))


def test_another_epoch_begins_the_tail_anew() -> None:
    """Entries of another life of the log share no tail with those before, and do not fill one."""
    tails = Tails(1 << 20)
    tails.extend("a", EPOCHS[0], [entry(1)])
    tails.extend("a", EPOCHS[1], [entry(2)])
    assert kept(tails.of("a")) == [2]
    assert tails.bytes == ENTRY_OVERHEAD
    assert not tails.fill("a", filling([entry(1)]), 0)
    assert kept(tails.of("a")) == [2]
    assert not tails.fill("a", Tail(EPOCHS[1]), 0)


def test_what_does_not_meet_the_tail_does_not_fill_it() -> None:
    """Entries that leave a gap before what is held are refused; those that overlap are joined."""
    tails = Tails(1 << 20)
    for offset in (5, 6):
        tails.extend("a", EPOCHS[0], [entry(offset)])
    assert not tails.fill("a", filling([entry(1), entry(2)]), 0)
    assert kept(tails.of("a")) == [5, 6]
    assert tails.fill("a", filling([entry(n) for n in (3, 4, 5)]), 2)
    assert kept(tails.of("a")) == [3, 4, 5, 6]


def test_what_is_outlined_is_not_joined_behind_what_is_whole() -> None:
    """A tail whose oldest entries are outlined, filled from before them: what was read is outlined as well, what is whole stays so."""
    tails = Tails(1 << 20)
    for offset in range(4, 9):
        tails.extend("a", EPOCHS[0], [entry(offset)])
    tails._tails["a"].outline_oldest()
    tails._count(OUTLINE_BYTES - ENTRY_OVERHEAD, 1)
    assert tails.fill("a", filling([entry(n) for n in (1, 2, 3)]), 0)
    tail = tails.of("a")
    assert tail is not None
    assert (kept(tail), tail.outlined) == ([1, 2, 3, 4, 5, 6, 7, 8], 4)
    assert tails.bytes == tail.bytes == 4 * (ENTRY_OVERHEAD + OUTLINE_BYTES)


def test_the_log_used_longest_ago_gives_first() -> None:
    """Looking at a tail is using it; appending to one is not."""
    tails = Tails(4 * ENTRY_OVERHEAD)
    for name in ("a", "a", "b", "b"):
        tails.extend(name, EPOCHS[0], [entry(len(kept(tails._tails.get(name))) + 1)])
    tails.of("a")
    tails.extend("b", EPOCHS[0], [entry(3)])
    known = {name: (kept(tail), tail.outlined) for name, tail in tails._tails.items()}
    assert known == {"a": ([1, 2], 0), "b": ([2, 3], 1)}
