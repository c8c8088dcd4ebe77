"""One view of a user, from what several nodes and the application say."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from signtusk_realtime.sessions.presence import Declared, Seen, View, combine, is_same

declared = st.builds(
    Declared,
    status=st.sampled_from(["online", "away", "busy", "offline"]),
    at=st.integers(0, 3),
    last_seen=st.integers(0, 9),
    current_document=st.sampled_from([None, "d1", "d2"]),
    metadata=st.sampled_from([None, "{}", '{"a":1}']),
)
seen = st.builds(Seen, connections=st.integers(0, 3), last_seen=st.integers(0, 9), declared=st.none() | declared)


@given(st.lists(seen, max_size=4), st.none() | declared, st.randoms(use_true_random=False))
def test_every_node_takes_the_same_view(
    one: list[Seen], published: Declared | None, shuffled: st.random.Random
) -> None:  # type: ignore[name-defined]  # hypothesis' own
    """In whatever order it looks at the others, also where two said something in the same millisecond."""
    view = combine(one, published)
    again = list(one)
    shuffled.shuffle(again)
    assert combine(again, published) == view
    words = [each.declared for each in one if each.declared is not None] + ([] if published is None else [published])
    if view is None:
        assert not one
        assert published is None
    elif words:
        newest = max(word.at for word in words)
        assert view.status in {word.status for word in words if word.at == newest}
    else:
        assert view.status == "online"
    if view is not None:
        assert view.connections == sum(each.connections for each in one)


def test_what_a_watcher_sees_no_difference_in() -> None:
    """Times and numbers of connections are none; and who is not there is not there, however that came."""
    here = View("online", 1, 5, None, None)
    assert is_same(here, here._replace(connections=2, last_seen=9))
    assert is_same(None, View("offline", 1, 5, "d1", None))
    assert not is_same(None, here)
    assert not is_same(here, here._replace(current_document="d1"))
    assert not is_same(here, here._replace(metadata="{}"))
    assert not is_same(here, here._replace(status="away"))
