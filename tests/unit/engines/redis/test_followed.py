"""What a node may deliver of a log that it hears of: only what is confirmed, in order, once, whatever is told in which order."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from signtusk_realtime.engines.redis.followed import Followed
from signtusk_realtime.engines.redis.stored import Hint
from signtusk_realtime.events.log import ORIGIN_TAG, Entry, Epoch, LogName, Page, Position, Top, chain

EPOCH = Epoch("e" * 16)
OTHER = Epoch("f" * 16)


def history(ids: str, *, after: Sequence[Entry] = ()) -> list[Entry]:
    """Make entries, each with a letter for its id."""
    entries = list(after)
    for event_id in ids:
        tag = chain(entries[-1].tag if entries else ORIGIN_TAG, event_id)
        entries.append(Entry(len(entries) + 1, tag, 0, event_id, (), b""))
    return entries


def told(entries: Sequence[Entry], *, is_confirmed: bool, shown: Sequence[Entry] | None = None) -> Hint:
    """Say that a log reaches the last of these entries, holding `shown` (by default that one)."""
    last = entries[-1]
    return Hint(EPOCH, last.offset, last.tag, is_confirmed, entries[-1:] if shown is None else shown)


def page(entries: Sequence[Entry], *, after: int = 0, floor: int = 0, epoch: Epoch = EPOCH) -> Page:
    last = entries[-1]
    tag = entries[floor - 1].tag if floor else ORIGIN_TAG
    return Page(entries[max(after, floor) :], Top(epoch, last.offset, last.tag, floor, tag))


def followed(entries: Sequence[Entry] = ()) -> Followed:
    """Follow a log from where these entries end."""
    log = Followed(LogName("org"))
    log.begin(Position(EPOCH, 0, ORIGIN_TAG))
    if entries:
        assert log.take_page(page(entries)) == list(entries)
    return log


def ids(entries: Sequence[Entry]) -> str:
    return "".join(entry.event_id for entry in entries)


def test_what_was_never_confirmed_is_not_looked_for_forever() -> None:
    """A hint beyond the log's end, of a primary that is gone: read twice without it, nothing is missing. Written after all, it is shown."""
    entries = history("abc")
    log = followed(entries[:1])
    log.hear(told(entries[:2], is_confirmed=False))
    for is_behind in (True, False):
        assert log.is_behind
        assert log.take_page(page(entries[:1])) == []
        assert log.is_behind is is_behind
    log.hear(told(entries[:2], is_confirmed=True, shown=()))
    assert log.take() == []
    assert log.is_behind
    assert log.take_page(page(entries[:2])) == entries[1:2]
    log.hear(told(entries, is_confirmed=False))
    log.hear(told(entries, is_confirmed=True, shown=()))
    assert log.take() == entries[2:]


def test_a_hint_is_not_shown_before_it_is_confirmed() -> None:
    """It waits, and counts as something that is missing."""
    entries = history("ab")
    log = followed()
    log.hear(told(entries[:1], is_confirmed=False))
    log.hear(told(entries, is_confirmed=False))
    assert log.take() == []
    assert (log.is_behind, log.is_late) == (True, False)
    log.hear(told(entries[:1], is_confirmed=True, shown=()))
    assert ids(log.take()) == "a"
    log.hear(told(entries, is_confirmed=True, shown=()))
    assert ids(log.take()) == "b"
    assert not log.is_behind


def test_nothing_is_skipped() -> None:
    """What is confirmed beyond a gap waits for what fills it, be that heard or read."""
    entries = history("abc")
    log = followed()
    log.hear(told(entries, is_confirmed=True))
    assert (log.take(), log.is_late) == ([], True)
    log.hear(told(entries[:1], is_confirmed=False))
    assert log.take() == []
    assert ids(log.take_page(page(entries[:2]))) == "ab"
    assert ids(log.take()) == "c"
    assert not log.is_behind


def test_what_was_only_heard_is_not_shown_in_place_of_what_is_confirmed() -> None:
    """After a loss an offset is given anew: the entry of the lost history is dropped, though its tag chains."""
    kept = history("a")
    lost, true = history("x", after=kept), history("y", after=kept)
    log = followed(kept)
    log.hear(told(lost, is_confirmed=False))
    log.hear(told(true, is_confirmed=True, shown=()))
    assert (log.take(), log.is_behind, log.is_doubtful) == ([], True, False)
    assert ids(log.take_page(page(true, after=1))) == "y"


def test_a_confirmed_place_that_contradicts_is_doubt() -> None:
    """What was delivered may be void; nothing more is given until the log itself was read."""
    delivered = history("abc")
    log = followed(delivered)
    log.hear(told(history("ab"), is_confirmed=True))
    assert not log.is_doubtful
    log.hear(told(history("ay"), is_confirmed=True))
    assert log.is_doubtful
    assert log.take() == []
    assert log.take_page(page(delivered)) == []
    assert not log.is_doubtful


def test_another_life_is_doubt() -> None:
    """So is a log that ends before what was delivered, or was trimmed beyond it."""
    delivered = history("abc")
    for contradicting in (
        page(history("abc"), epoch=OTHER),
        page(history("ab")),
        page(history("abd"), after=3),
        page(history("abxy"), after=3),
        page(history("abcdef"), floor=5),
    ):
        log = followed(delivered)
        assert log.take_page(contradicting) == []
        assert log.is_doubtful
    log = followed(delivered)
    log.hear(told(delivered, is_confirmed=True)._replace(epoch=OTHER))
    assert log.is_doubtful


def test_the_newest_common_place_is_found() -> None:
    """By the tags; where nothing is common it is the floor, and of another life its beginning."""
    delivered = history("abcd")
    log = followed(delivered)
    true = history("abxyz")
    assert log.common(page(true).top, true) == Position(EPOCH, 2, true[1].tag)
    stranger = history("xyz")
    assert log.common(page(stranger).top, stranger) == Position(EPOCH, 0, ORIGIN_TAG)
    assert log.common(page(delivered, epoch=OTHER).top, delivered) == Position(OTHER, 0, ORIGIN_TAG)


def test_what_is_heard_before_it_begins_counts() -> None:
    """It may be newer than the top that was read."""
    entries = history("abc")
    log = Followed(LogName("org"))
    log.hear(told(entries[:2], is_confirmed=True))
    log.hear(told(entries, is_confirmed=True))
    log.begin(Position(EPOCH, 2, entries[1].tag))
    assert ids(log.take()) == "c"


@given(data=st.data(), length=st.integers(1, 12))
def test_whatever_is_told_in_which_order(data: st.DataObject, length: int) -> None:
    """Hints of two histories, confirmations and pages of the true one, in any order: what is given is the true one's beginning."""
    fork = data.draw(st.integers(0, length - 1))
    true = history("abcdefghijkl"[:length])
    lost = history("ABCDEFGHIJKL"[fork:length], after=true[:fork])
    log = followed()
    given: list[Entry] = []
    for kind, n in data.draw(st.lists(st.tuples(st.sampled_from("hlcp"), st.integers(1, length)), max_size=40)):
        match kind:
            case "h":
                log.hear(told(true[:n], is_confirmed=False))
            case "l":
                log.hear(told(lost[:n], is_confirmed=False))
            case "c":
                log.hear(told(true[:n], is_confirmed=True, shown=()))
            case _:
                given += log.take_page(page(true[: max(n, len(given))], after=len(given)))
        given += log.take()
        assert given == true[: len(given)]
        assert not log.is_doubtful
    given += log.take_page(page(true, after=len(given)))
    assert (given, log.is_behind) == (true, False)
