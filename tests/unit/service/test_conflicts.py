"""Deciding conflicts in Python: by the document alone, as the original does."""

from __future__ import annotations

import pytest

from signtusk_realtime import DocumentUpdateEvent, RealtimeService
from signtusk_realtime.documents.refusals import Refused
from signtusk_realtime.errors import InvalidInput

NOTHING = {"activeConflicts": 0, "pendingChanges": 0, "documentsWithConflicts": 0}


async def edit(service: RealtimeService, user: str, title: str, **more: object) -> None:
    """Publish a change of the title; the first one creates the document."""
    event = {
        "documentId": "d",
        "type": "updated",
        "userId": user,
        "organizationId": "org1",
        "changes": {"title": title},
    }
    await service.emit_document_update({**event, **more})  # type: ignore[arg-type]  # a mapping in the wire's names


async def conflict(service: RealtimeService) -> None:
    """Make a document with one open conflict."""
    await edit(service, "ada", "x", type="created")
    await edit(service, "ada", "A", baseVersion=1)
    await edit(service, "bob", "B", baseVersion=1, strategy="manual")


async def test_a_conflict_is_counted_and_decided() -> None:
    """The figures are true at once on this node; one word decides, and then nothing is left to decide."""
    async with RealtimeService() as service:
        assert service.get_conflict_statistics() == NOTHING
        await conflict(service)
        assert service.get_conflict_statistics() == {
            "activeConflicts": 1,
            "pendingChanges": 1,
            "documentsWithConflicts": 1,
        }
        found = await service.resolve_conflicts("d", "overwrite", "carol")
        assert (found.success, found.document_id, found.resolution, found.resolved_by) == (
            True,
            "d",
            "overwrite",
            "carol",
        )
        assert found.version == 3
        assert service.get_conflict_statistics() == NOTHING
        with pytest.raises(Refused, match=r"^No active conflicts found for document d$"):
            await service.resolve_conflicts("d", "overwrite", "carol")


async def test_a_document_that_nobody_holds_has_no_conflicts() -> None:
    """With an organization or without, the original's error is told."""
    async with RealtimeService() as service:
        for organization_id in (None, "org1"):
            with pytest.raises(Refused, match=r"^No active conflicts found for document nothing$"):
                await service.resolve_conflicts("nothing", "merge", "carol", organization_id)


async def test_a_decision_never_falls_upon_anothers_document() -> None:
    """Where several organizations hold a document of that name, the organization must be named."""
    async with RealtimeService() as service:
        await conflict(service)
        await service.emit_document_update(
            DocumentUpdateEvent(
                document_id="d", type="created", user_id="eve", organization_id="org2", changes={"title": "other"}
            )
        )
        with pytest.raises(InvalidInput, match="2 organizations hold"):
            await service.resolve_conflicts("d", "reject", "carol")
        assert (await service.resolve_conflicts("d", "reject", "carol", "org1")).version == 3


@pytest.mark.parametrize(
    ("arguments", "path"),
    [
        (("", "merge", "carol"), ("documentId",)),
        (("d", "guess", "carol"), ("resolution",)),
        (("d", "merge", ""), ("resolvedBy",)),
        (("d", "merge", "carol", "*"), ("organizationId",)),
    ],
)
async def test_malformed_arguments_are_refused(arguments: tuple[str, ...], path: tuple[str, ...]) -> None:
    """Each says which it is."""
    async with RealtimeService() as service:
        with pytest.raises(InvalidInput) as refused:
            await service.resolve_conflicts(*arguments)  # type: ignore[arg-type]  # that is what is tried
        assert refused.value.path == path
