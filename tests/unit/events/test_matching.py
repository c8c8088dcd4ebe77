"""Clauses and index keys, where the properties leave single cases worth naming."""

from __future__ import annotations

from signtusk_realtime.events.matching import clause, index_keys
from signtusk_realtime.events.subscriptions import TYPES_OF

DOCUMENTS = TYPES_OF["document_updates"]


def test_a_clause_of_a_whole_type_has_one_key() -> None:
    """All types of a subscription type are one index key; a choice of them is one each."""
    whole = clause("document_updates", DOCUMENTS, ("d:1",))
    assert whole is not None
    assert whole.index_keys() == ["document_updates\x1fd:1"]
    some = clause("document_updates", frozenset({"document_signed", "document_created"}), ())
    assert some is not None
    assert some.index_keys() == ["document_created", "document_signed"]


def test_what_nothing_can_match_is_no_clause() -> None:
    """No type left, or two values for one field."""
    assert clause("document_updates", frozenset(), ()) is None
    assert clause("document_updates", DOCUMENTS, ("d:1", "d:2")) is None
    assert clause("document_updates", DOCUMENTS, ("d:1", "d:1")) is not None


def test_the_order_of_conditions_does_not_matter() -> None:
    """Equal conditions give equal clauses."""
    assert clause("signing_updates", TYPES_OF["signing_updates"], ("u:1", "s:1", "d:1")) == clause(
        "signing_updates", TYPES_OF["signing_updates"], ("d:1", "u:1", "s:1")
    )


def test_only_shapes_in_use_are_looked_up() -> None:
    """The cost of an event depends on the shapes of clauses, not on its own keys."""
    keys = ("document_updated", "d:1", "u:1")
    assert index_keys(keys, 0) == []
    assert index_keys(keys, 1 << 0b0001) == ["document_updates\x1fd:1", "document_updated\x1fd:1"]
    assert index_keys(keys, 1 << 0b0010) == []


def test_an_event_with_two_documents_is_found_by_either() -> None:
    """The filter documentId is compared with currentDocument too."""
    keys = ("organization_activity", "d:1", "d:2", "u:1")
    assert index_keys(keys, 1 << 0b1001) == [
        "organization_activity\x1fd:1\x1fu:1",
        "organization_activity\x1fd:2\x1fu:1",
    ]
