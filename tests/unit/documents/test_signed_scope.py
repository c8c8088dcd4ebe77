"""What a signature stands for, where a policy has signed less than all of a document."""

from __future__ import annotations

from dataclasses import replace

import pytest

from signtusk_realtime.documents.canonical import content_hash
from signtusk_realtime.documents.edit import put_on, read_edit
from signtusk_realtime.documents.paths import parse_pointer
from signtusk_realtime.documents.policy import PLAIN
from signtusk_realtime.documents.values import Object

DOCUMENT: Object = {
    "title": "NDA",
    "note": "n",
    "recipients": [
        {"id": "r1", "email": "a@x", "phone": 1, "seats": [{"id": "s1", "row": 1, "colour": "red"}]},
        {"id": "r2", "email": "b@x", "phone": 2},
    ],
    "witnesses": [{"email": "w@x"}],
    "owner": "o@x",
}
TURNED: list[dict[str, str]] = [{"id": "r2", "email": "b@x"}, {"id": "r1", "email": "a@x"}]


def hashed(document: Object, *signed: str) -> str:
    return content_hash(replace(PLAIN, signed=tuple(map(parse_pointer, signed))).scope(document))


@pytest.mark.parametrize(
    ("signed", "changes", "deletes"),
    [
        ("/recipients/*/email", {"/recipients/r1/email": "mallory@x"}, []),
        ("/recipients/*/email", {}, ["/recipients/r1/email"]),
        ("/recipients/*/email", {}, ["/recipients/r2"]),
        ("/recipients/*/email", {"/recipients/r3": {"id": "r3", "email": "c@x"}}, []),
        ("/recipients/*/email", {"recipients": TURNED}, []),
        ("/recipients/*/email", {"recipients": [{"email": "mallory@x"}]}, []),
        ("/recipients/*/seats/*/row", {"/recipients/r1/seats/s1/row": 2}, []),
        ("/recipients/*/seats/*/row", {"/recipients/r1/seats": {}}, []),
        ("/recipients/r2", {"/recipients/r2/phone": 3}, []),
        ("/recipients/r2/email", {"/recipients/r2/email": "mallory@x"}, []),
        ("/*/*/email", {"/recipients/r2/email": "mallory@x"}, []),
        ("/*/r2/email", {"/recipients/r2/email": "mallory@x"}, []),
        ("/recipients/#order", {"recipients": TURNED}, []),
        ("/witnesses/*/email", {"witnesses": [{"email": "mallory@x"}]}, []),
        ("/owner/email", {"owner": "mallory@x"}, []),
        ("/owner/email", {}, ["owner"]),
    ],
)
def test_a_change_at_a_signed_place_changes_the_hash(
    signed: str, changes: dict[str, object], deletes: list[str]
) -> None:
    """Also within keyed arrays, by id and by `*`; what has no ids, or cannot be entered at all, is signed whole."""
    changed = put_on(DOCUMENT, read_edit(changes, deletes))
    assert hashed(changed, signed) != hashed(DOCUMENT, signed)
    assert hashed(changed, "/title", signed) != hashed(DOCUMENT, "/title", signed)


@pytest.mark.parametrize(
    "changes", [{"note": "other"}, {"/recipients/r1/phone": 9}, {"/recipients/r1/seats/s1/colour": "blue"}]
)
def test_a_change_elsewhere_does_not(changes: dict[str, object]) -> None:
    """What no pattern names, beside what one names, may change without a signature's hash."""
    signed = ("/title", "/recipients/*/email", "/recipients/*/seats/*/row")
    assert hashed(put_on(DOCUMENT, read_edit(changes)), *signed) == hashed(DOCUMENT, *signed)


def test_the_signed_scope_of_a_keyed_array_keeps_its_ids() -> None:
    """Whoever has the data can make the scope himself: the elements in their order, each with its id and what is named of it."""
    policy = replace(PLAIN, signed=(parse_pointer("/recipients/r1/email"),))
    assert policy.scope(DOCUMENT) == {"recipients": [{"id": "r1", "email": "a@x"}, {"id": "r2"}]}
