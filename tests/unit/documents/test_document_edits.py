"""Paths, edits put upon a view, operations."""

from __future__ import annotations

import pytest

from signtusk_realtime.documents.edit import put_on, put_seen, read_edit
from signtusk_realtime.documents.nodes import Reader, get, keyed
from signtusk_realtime.documents.ops import Op, apply, diff, touched
from signtusk_realtime.documents.paths import parse, pointer
from signtusk_realtime.documents.refusals import Refused
from signtusk_realtime.documents.values import ABSENT, Json, Object, equal

DOCUMENT: Object = {
    "title": "NDA",
    "a.b": 1,
    "meta": {"a/b": {"~": 1}},
    "steps": [1, 2],
    "recipients": [{"id": "r1", "name": "A"}, {"id": "0", "name": "B"}],
    "empty": [],
}


@pytest.mark.parametrize(
    ("key", "path"),
    [
        ("title", ("title",)),
        ("/title", ("title",)),
        ("a.b", ("a.b",)),
        ("a/b", ("a/b",)),
        ("/meta/a~1b/~0", ("meta", "a/b", "~")),
        ("/", ("",)),
        ("", ("",)),
        ("/a/", ("a", "")),
    ],
)
def test_a_key_is_a_pointer_only_with_a_slash(key: str, path: tuple[str, ...]) -> None:
    """A leading slash makes a pointer; anything else is a field as it stands, dots and slashes included."""
    assert parse(key) == path
    assert parse(pointer(path)) == path


@pytest.mark.parametrize(
    "key", ["/a/~2", "/~", "__proto__", "/a/__proto__/b", "/constructor", "/x/prototype", "/\ud800"]
)
def test_a_bad_path_is_refused(key: str) -> None:
    """Bad escapes, half surrogate pairs, and names by which JavaScript leaves its object."""
    with pytest.raises(Refused) as refused:
        parse(key)
    assert refused.value.code == "invalid_path"


@pytest.mark.parametrize(
    ("changes", "deletes"),
    [
        ({"title": 1, "/title": 2}, []),
        ({"/meta": {}, "/meta/x": 1}, []),
        ({"/meta/x": 1}, ["meta"]),
        ({"title": 1}, ["title"]),
        ({}, ["/meta/a", "/meta/a/b"]),
        ({"/meta!": 1, "/meta/x": 1, "/meta": 1}, []),
    ],
)
def test_paths_of_one_edit_stand_apart(changes: dict[str, object], deletes: list[str]) -> None:
    """No two are equal, and none contains another, among changes and deletes together."""
    with pytest.raises(Refused) as refused:
        read_edit(changes, deletes)
    assert refused.value.code == "invalid_path"


def test_paths_that_merely_begin_alike_are_apart() -> None:
    """`/a` does not contain `/ab`, nor `/a!b` what lies in `/a`."""
    edit = read_edit({"/a!b": 1, "/ab": 1}, ["/a"])
    assert set(edit.paths) == {("a!b",), ("ab",), ("a",)}


def test_an_edit_has_at_most_5000_paths() -> None:
    """One more is limit_exceeded, deletes counted too."""
    changes: dict[str, object] = {f"f{n}": n for n in range(4999)}
    assert len(read_edit(changes, ["gone"]).paths) == 5000
    with pytest.raises(Refused) as refused:
        read_edit(changes, ["gone", "too"])
    assert refused.value.code == "limit_exceeded"


@pytest.mark.parametrize(
    ("changes", "deletes", "expected"),
    [
        ({"/recipients/r1/name": "Z"}, [], {"recipients": [{"id": "r1", "name": "Z"}, {"id": "0", "name": "B"}]}),
        ({"/recipients/0/name": "Z"}, [], {"recipients": [{"id": "r1", "name": "A"}, {"id": "0", "name": "Z"}]}),
        ({"/recipients/x": {"id": "x"}}, ["/recipients/r1"], {"recipients": [{"id": "0", "name": "B"}, {"id": "x"}]}),
        ({"/empty/x": {"id": "x"}}, [], {"empty": [{"id": "x"}]}),
        ({"/recipients/r1/id": "r1"}, [], {}),
        ({"/meta/new": 1}, [], {"meta": {"a/b": {"~": 1}, "new": 1}}),
        ({"steps": [3]}, [], {"steps": [3]}),
        ({}, ["nothing", "/meta/x/y", "/recipients/r9", "/recipients/r8/name", "/title/x"], {}),
        ({}, ["title"], {"title": ABSENT}),
    ],
)
def test_an_edit_is_put_upon_the_view(changes: dict[str, object], deletes: list[str], expected: Object) -> None:
    """Ids lead into keyed arrays, an absent id is appended, deleting what is absent is no change; the view stays as it was."""
    before = diff(DOCUMENT, {})
    wanted = {name: value for name, value in {**DOCUMENT, **expected}.items() if value is not ABSENT}
    assert equal(put_on(DOCUMENT, read_edit(changes, deletes)), wanted)
    assert diff(DOCUMENT, {}) == before


@pytest.mark.parametrize(
    ("changes", "deletes", "code"),
    [
        ({"/missing/x": 1}, [], "invalid_path"),
        ({"/title/x": 1}, [], "invalid_path"),
        ({"/steps/0": 1}, [], "invalid_path"),
        ({}, ["/steps/0"], "invalid_path"),
        ({"/recipients/r9/name": 1}, [], "invalid_path"),
        ({"/recipients/x": {"id": "y"}}, [], "invalid_value"),
        ({"/recipients/x": {"name": "no id"}}, [], "invalid_value"),
        ({"/recipients/x": 5}, [], "invalid_value"),
        ({"/recipients/r1": {"id": "r2"}}, [], "invalid_value"),
        ({"/recipients/r1/id": "r2"}, [], "invalid_value"),
        ({}, ["/recipients/r1/id"], "invalid_value"),
    ],
)
def test_an_edit_that_does_not_fit_is_refused(changes: dict[str, object], deletes: list[str], code: str) -> None:
    """Parents are not created, other arrays are not entered, an element keeps its id."""
    with pytest.raises(Refused) as refused:
        put_on(DOCUMENT, read_edit(changes, deletes))
    assert refused.value.code == code


def test_many_paths_into_one_array_cost_their_number() -> None:
    """5000 edits of one array of 5000 elements are put on by a walk, not by a search each (this would take minutes)."""
    rows: list[Json] = [{"id": f"r{n}", "n": 0} for n in range(5000)]
    edit = read_edit({f"/rows/r{n}/n": 1 for n in range(5000)})
    result = put_on({"rows": rows}, edit)
    elements = keyed(result["rows"])
    assert elements is not None
    assert all(element["n"] == 1 for element in elements.values())


def test_what_was_seen_is_put_where_there_is_a_place() -> None:
    """Values an author says he saw go into head; what has no place there any more is passed over."""
    seen = put_seen(DOCUMENT, {("title",): "Old", ("missing", "x"): 1, ("recipients", "r1", "name"): "Q"})
    assert get(seen, ("title",)) == "Old"
    assert get(seen, ("recipients", "r1", "name")) == "Q"
    assert "missing" not in seen


@pytest.mark.parametrize(
    ("array", "is_keyed"),
    [
        ([], True),
        ([{"id": "a"}], True),
        ([{"id": "a"}, {"id": "a"}], False),
        ([{"id": 1}], False),
        ([{}], False),
        ([1], False),
        ({"id": "a"}, False),
    ],
)
def test_an_array_is_keyed_by_unique_string_ids(array: Json, is_keyed: bool) -> None:
    """The empty one counts too."""
    assert (keyed(array) is not None) is is_keyed


def test_a_reader_reads_what_get_reads() -> None:
    """Whether one place is read or many, it is the same place."""
    reader = Reader(DOCUMENT)
    for path in [
        (),
        ("title",),
        ("title", "x"),
        ("recipients", "0", "name"),
        ("recipients", "9"),
        ("steps", "0"),
        ("empty", "x"),
    ]:
        assert equal(reader.get(path), get(DOCUMENT, path))


def test_operations_are_told_leaf_by_leaf() -> None:
    """Objects and keyed arrays are entered; an order is told only where appending does not give it."""
    after = put_on(
        DOCUMENT,
        read_edit({"/meta/a~1b/~0": 2, "steps": [1], "/recipients/x": {"id": "x"}}, ["title", "/recipients/r1"]),
    )
    assert diff(DOCUMENT, after) == (
        Op("delete", "/title"),
        Op("set", "/meta/a~1b/~0", 2),
        Op("set", "/steps", [1]),
        Op("delete", "/recipients/r1"),
        Op("set", "/recipients/x", {"id": "x"}),
    )
    moved = {**DOCUMENT, "recipients": [{"id": "0", "name": "B"}, {"id": "r1", "name": "C"}]}
    assert diff(DOCUMENT, moved) == (
        Op("set", "/recipients/r1/name", "C"),
        Op("order", "/recipients", ["0", "r1"]),
    )
    assert touched(diff(DOCUMENT, moved)) == ("/recipients", "/recipients/r1/name")


@pytest.mark.parametrize(
    "op",
    [
        Op("set", "/missing/x", 1),
        Op("delete", "/steps/0"),
        Op("order", "/recipients", ["r1"]),
        Op("order", "/title", ["r1"]),
        Op("set", "/recipients/x", {"id": "y"}),
    ],
)
def test_an_operation_that_does_not_fit_is_refused_or_passed_over(op: Op) -> None:
    """A replica that is not where it should be finds out; an author's changes on another version are put on as far as they fit."""
    with pytest.raises(Refused):
        apply(DOCUMENT, [op])
    if op.op != "order" or op.path == "/title":
        assert apply(DOCUMENT, [op], tolerant=True) == DOCUMENT


def test_a_tolerant_order_keeps_what_it_does_not_name() -> None:
    """Ids that are gone are passed over, ids that came since keep their neighbour."""
    document: Object = {"rows": [{"id": each} for each in "abcx"]}
    ordered = apply(document, [Op("order", "/rows", ["c", "gone", "a", "b"])], tolerant=True)
    elements = keyed(ordered["rows"])
    assert elements is not None
    assert list(elements) == ["c", "x", "a", "b"]


def test_an_operation_upon_what_an_earlier_one_took_away() -> None:
    """Operations count in order: an array that was replaced or deleted after something was written into it stays so."""
    into = Op("set", "/recipients/r1/name", "Z")
    assert apply(DOCUMENT, [into, Op("set", "/recipients", [1])])["recipients"] == [1]
    assert "recipients" not in apply(DOCUMENT, [into, Op("delete", "/recipients")])
