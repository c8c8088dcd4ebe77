"""Properties of values, canonical forms, edits and histories, over any JSON."""

from __future__ import annotations

import json
from dataclasses import replace
from unicodedata import normalize

from hypothesis import event, given
from hypothesis import strategies as st

from signtusk_realtime.documents.canonical import canonical, content_hash, key_of, number
from signtusk_realtime.documents.edit import put_on, read_edit
from signtusk_realtime.documents.history import GENESIS, Body, Entry, Header, erase, replay, seal, verify
from signtusk_realtime.documents.nodes import get, places
from signtusk_realtime.documents.ops import apply, diff
from signtusk_realtime.documents.paths import ANY, DEEP, Path, beyond, contains, parse_pointer, pointer, reach
from signtusk_realtime.documents.policy import PLAIN
from signtusk_realtime.documents.resolve import resolve
from signtusk_realtime.documents.values import Json, Object, check_value, equal
from tests.support.documents import documents, values


def reformed(value: Json, form: str) -> Json:
    """Give the value with every string, keys excepted, in a normal form."""
    if isinstance(value, str):
        return normalize(form, value)  # type: ignore[arg-type]  # one of the four
    if isinstance(value, list):
        return [reformed(each, form) for each in value]
    if isinstance(value, dict):
        return {name: reformed(each, form) for name, each in value.items()}
    return value


@given(values())
def test_a_canonical_form_reads_back_as_the_value(value: Json) -> None:
    """It is JSON, it is the same value, and it is its own canonical form."""
    text = canonical(value)
    # Read as JavaScript reads it: whole numbers beyond 2^53 have no fraction in this form, and are floats all the same.
    read = json.loads(text, parse_int=float)
    assert equal(read, value)
    assert canonical(read) == text


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_reads_back_exactly(value: float) -> None:
    """The shortest digits that are this number, in a form without waste."""
    text = number(value)
    assert float(text) == value
    # From 1e-6 on without exponent: a nought, five more behind the point, and 17 digits.
    assert len(text.lstrip("-").replace(".", "")) <= 23 or "e" in text


@given(values(), values())
def test_keys_are_equal_exactly_if_values_are(one: Json, other: Json) -> None:
    """By key or by walking, equality is the same; and it is an equivalence that NFC and NFD fall into."""
    assert (key_of(one) == key_of(other)) is equal(one, other)
    assert equal(reformed(one, "NFC"), reformed(one, "NFD"))
    assert key_of(reformed(one, "NFC")) == key_of(reformed(one, "NFD"))


@given(st.lists(st.text(st.characters(codec="utf-8")), min_size=1, max_size=4))
def test_pointers_read_back(path: list[str]) -> None:
    """Whatever stands in a segment, a pointer names it."""
    assert parse_pointer(pointer(path)) == tuple(path)


@given(st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=3).filter(lambda key: key[:1] != "/"), values()))
def test_whatever_is_set_stands_there(changes: dict[str, Json]) -> None:
    """Any field name without a leading slash is a field, and holds what was set."""
    document = put_on({}, read_edit(dict(changes)))
    assert document == changes
    assert check_value(document, ()) is document
    assert all(equal(get(document, (name,)), value) for name, value in changes.items())


@given(st.lists(documents(), min_size=1, max_size=5), st.data())
def test_a_history_leads_to_its_document(versions: list[Object], data: st.DataObject) -> None:
    """Entries replay to every version by hash; erasing any of them leaves a chain that verifies."""
    entries: list[Entry] = []
    document: Object = {}
    for number_, wanted in enumerate(versions, 1):
        ops = diff(document, wanted)
        document = apply(document, ops)
        header = Header(
            version=number_,
            kind="edit",
            user_id="ada",
            change_id=f"c{number_}",
            base_version=number_ - 1,
            status="applied",
            timestamp="2026-11-22T18:49:22.123Z",
        )
        entries.append(seal(header, Body(ops=ops), salt="s", prev_hash=entries[-1].hash if entries else GENESIS))
        assert content_hash(replay({}, entries)) == content_hash(document)
        assert equal(document, wanted)
    erased = data.draw(st.sets(st.integers(1, len(entries))))
    told = verify([erase(each) if each.header.version in erased else each for each in entries])
    assert told.erased == tuple(sorted(erased))
    assert told.integrity == ("erased" if erased else "intact")


@given(
    st.lists(
        st.tuples(documents(), st.integers(0, 5), st.sampled_from(("merge", "overwrite", "reject", "manual"))),
        max_size=5,
    )
)
def test_replicas_converge(edits: list[tuple[Object, int, str]]) -> None:
    """Edits made on any earlier version: a replica that applies each version's operations holds what the server holds."""
    versions: list[Object] = [{}]
    replica: Object = {}
    for wanted, lag, strategy in edits:
        base = versions[max(0, len(versions) - 1 - lag)]
        resolution = resolve(base, versions[-1], wanted, strategy=strategy)  # type: ignore[arg-type]  # one of the four
        replica = apply(replica, resolution.ops)
        if resolution.ops:
            versions.append(resolution.document)
        assert content_hash(replica) == content_hash(versions[-1])


SIGNED = (
    "/title",
    "/recipients/*/name",
    "/recipients/a",
    "/signatureFields/*/parts/*/v",
    "/list/*/v",
    "/*/*/label",
    "/meta/*/p",
)


@given(documents(), documents(), st.lists(st.sampled_from(SIGNED).map(parse_pointer), min_size=1, max_size=3))
def test_what_is_signed_changes_the_hash(before: Object, after: Object, signed: list[Path]) -> None:
    """Two documents that differ anywhere that `signed` leads to, through objects or arrays by id, have two hashes."""
    policy = replace(PLAIN, signed=tuple(signed))
    hashes = {content_hash(policy.scope(each)) for each in (before, after)}
    shown: list[Json] = [
        [{pointer(at): value for at, value in places(each, leads)} for leads in signed] for each in (before, after)
    ]
    differ = canonical(shown[0]) != canonical(shown[1])
    event(f"differ there: {differ}")
    assert not differ or len(hashes) == 2


names = st.sampled_from(("a", "b", "meta", "signatureFields", "parts", "v", "p"))
DEEPEST = 8


@given(
    st.lists(names | st.just(ANY), max_size=2),
    st.lists(names | st.just(ANY), min_size=1, max_size=2),
    st.lists(names, min_size=1, max_size=6).map(tuple),
    documents(),
)
def test_a_deep_pattern_is_all_that_it_stands_for(
    before: list[str], behind: list[str], path: Path, document: Object
) -> None:
    """`**` names what one pattern for each depth would: paths, what lies below a path, and the places of a document, each once."""
    deep = (*before, DEEP, *behind)
    each = [(*before, *[ANY] * depth, *behind) for depth in range(DEEPEST)]
    assert reach(deep, path) == max(reach(one, path) for one in each)
    found = [at for at, _ in places(document, deep)]
    assert sorted(found) == sorted({at for one in each for at, _ in places(document, one)})
    for start in {at[:n] for at in found for n in range(1, len(at))} | {path}:
        below = [(*start, *at) for rest in beyond(deep, start) for at, _ in places(get(document, start), rest)]
        assert set(below) == {at for at in found if len(at) > len(start) and contains(start, at)}
