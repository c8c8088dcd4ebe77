"""Documents for Hypothesis: values, documents of one shape that clash often, and edits that lead from one to another.

Owns: what documents the suites are run over.   Not: worked cases (conflict_cases.py).
Rule: names, ids and values come from few, so that two sides often touch the same place, in the same or in another way.
"""

from __future__ import annotations

from typing import Final

from hypothesis import strategies as st

from signtusk_realtime.documents.values import Json, Object

WORDS: Final = ("the", "party", "shall", "not", "disclose", " ", ",", "\n", "\u00e9", "e\u0301", "ß", "𝒳")


def texts() -> st.SearchStrategy[str]:
    """Give texts of few words, some of which are equal only in NFC."""
    return st.lists(st.sampled_from(WORDS), max_size=8).map("".join)


def scalars() -> st.SearchStrategy[Json]:
    """Give scalars among which 1, 1.0 and true stand, and null."""
    few: list[Json] = [None, True, False, 0, 1, 1.0, 2, -0.0, 2.5, "", "a", "b", "\u00e9", "e\u0301"]
    return st.sampled_from(few)


def values() -> st.SearchStrategy[Json]:
    """Give any JSON value that may stand in a document."""
    leaves = (
        st.none()
        | st.booleans()
        | st.integers(-(2**53), 2**53)
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(st.characters(codec="utf-8"), max_size=8)
    )
    names = st.text(st.characters(codec="utf-8"), max_size=4)
    return st.recursive(
        leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4), max_leaves=12
    )


def _maybe(**fields: st.SearchStrategy[Json]) -> st.SearchStrategy[Object]:
    return st.fixed_dictionaries({}, optional=dict(fields))


def _keyed(element: st.SearchStrategy[Object]) -> st.SearchStrategy[Json]:
    elements = st.dictionaries(st.sampled_from(("a", "b", "c", "d")), element, max_size=4)
    return elements.map(lambda drawn: [{"id": identity, **fields} for identity, fields in drawn.items()])


def arrays() -> st.SearchStrategy[Json]:
    """Give arrays that are not keyed, but for the empty one."""
    return st.lists(st.sampled_from(("x", "y", "z", 1, 1.0, True)), max_size=4)


def documents() -> st.SearchStrategy[Object]:
    """Give documents of one shape: scalars, texts, sets, arrays, objects, keyed arrays with groups, and now and then another type."""
    field = _maybe(
        page=st.sampled_from((1, 2)),
        x=st.sampled_from((1, 1.0, 2)),
        y=st.sampled_from((1, 2)),
        width=st.sampled_from((1, 2)),
        height=st.sampled_from((1, 2)),
        label=scalars(),
        parts=_keyed(_maybe(v=scalars())),
    )
    meta = st.recursive(
        scalars() | arrays(),
        lambda inner: st.dictionaries(st.sampled_from(("p", "q", "a/b", "~")), inner, max_size=3),
        max_leaves=5,
    )
    return _maybe(
        title=scalars(),
        body=texts() | scalars(),
        tags=arrays() | scalars(),
        list=arrays() | _keyed(_maybe(v=scalars())),
        meta=meta,
        signatureFields=_keyed(field) | scalars(),
        recipients=_keyed(_maybe(name=scalars(), order=st.sampled_from((1, 2)))),
    )
