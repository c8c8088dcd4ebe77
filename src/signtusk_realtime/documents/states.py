"""The life of a document: its states, which follows which, and when it may be edited.

Owns: states, transitions and their conditions, locks.   Not: the lease of a correction (lease.py), who may ask at all (grants).
Rule 1: from the first signature nothing is edited under any strategy, but for what the policy lists as open.
Rule 2: a signature stands for the content that the signer was shown, or is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, Literal, TypeAlias, get_args

from signtusk_realtime.documents.lease import Lease
from signtusk_realtime.documents.paths import Path, pointer
from signtusk_realtime.documents.policy import Policy
from signtusk_realtime.documents.refusals import Refused

State: TypeAlias = Literal[
    "draft", "sent", "correcting", "signing", "completed", "declined", "voided", "expired", "deleted"
]
STATES: Final[tuple[State, ...]] = get_args(State)

TRANSITIONS: Final[Mapping[State, frozenset[State]]] = {
    "sent": frozenset(("draft", "correcting")),
    "correcting": frozenset(("sent",)),
    "signing": frozenset(("draft", "sent", "signing")),
    "completed": frozenset(("signing",)),
    "declined": frozenset(("sent", "correcting", "signing")),
    "voided": frozenset(("sent", "correcting", "signing")),
    "expired": frozenset(("sent", "correcting", "signing")),
    "deleted": frozenset(("draft", "declined", "voided", "expired")),
    "draft": frozenset(("correcting", "signing", "declined", "voided", "expired")),
}
"""Each state with those from which it is reached."""
DECIDED: Final[frozenset[State]] = frozenset(("sent", "signing", "completed"))
"""States that no document enters while somebody has still to decide a conflict."""


def check_unsealed(state: State) -> None:
    """See that a document in which nothing is open is not one in which nothing can be decided any more.

    Raises: Refused with document_locked or document_deleted.
    """
    if state == "deleted":
        raise Refused("the document is deleted", code="document_deleted", state=state)
    if state in ("signing", "completed"):
        raise Refused("nothing is decided after a signature", code="document_locked", state=state)


def ends(to: State, path: Path, policy: Policy) -> bool:
    """Say whether nobody may decide a conflict at this place any more once a document is in this state, in which it is sealed or gone.

    Whoever publishes a fact is not held up by what is open. A parked change is never applied after a signature, reopening included; where a
    document was declined, voided or expired, deciding waits for a reopening.
    """
    return to in ("completed", "deleted") or (to == "signing" and not policy.is_open(path))


def is_allowed(current: State, to: State) -> bool:
    """Say whether one state follows the other."""
    return current in TRANSITIONS[to]


def is_reopening(current: State, to: State) -> bool:
    """Say whether this takes a document back to draft so that the signatures it bears are void."""
    return to == "draft" and current != "correcting"


def check_transition(
    current: State,
    to: State,
    *,
    open_conflicts: int,
    head_hash: str,
    content_hash: str | None = None,
    user_id: str | None = None,
    lease: Lease | None = None,
) -> None:
    """See that a transition may be committed on this head. Whoever publishes a fact asks `is_allowed` only.

    Raises: Refused with document_deleted, invalid_transition, document_locked (another corrects it), open_conflicts, invalid_message
    (signing without a contentHash) or content_changed.
    """
    if current == "deleted":
        raise Refused("the document is deleted", code="document_deleted")
    if not is_allowed(current, to):
        then = ", ".join(each for each in STATES if is_allowed(current, each)) or "nothing"
        raise Refused(f"{to} does not follow {current}; {then} does", code="invalid_transition", state=current)
    if current == "correcting" and to in ("sent", "draft") and lease is not None and lease.user_id != user_id:
        raise Refused("the document is being corrected by another", code="document_locked", state=current)
    if to in DECIDED and open_conflicts:
        raise Refused(f"{open_conflicts} conflicts are open; decide them first", code="open_conflicts", state=current)
    if to == "signing" and content_hash is None:
        raise Refused("a signature needs the contentHash that the signer was shown", code="invalid_message")
    if content_hash is not None and content_hash != head_hash:
        raise Refused("the content is no longer what the signer was shown", code="content_changed", state=current)


def check_editable(
    state: State, paths: Iterable[Path], policy: Policy, *, user_id: str | None = None, lease: Lease | None = None
) -> None:
    """See that these places may be edited, or conflicts on them decided. `lease` is the correction's, while it lasts.

    Raises: Refused with document_locked or document_deleted.
    """
    if state == "draft":
        return
    if state == "deleted":
        raise Refused("the document is deleted", code="document_deleted", state=state)
    if state == "correcting" and lease is not None and lease.user_id == user_id:
        return
    if state == "signing":
        closed = next((path for path in paths if not policy.is_open(path)), None)
        if closed is None:
            return
        raise Refused(f"{pointer(closed)} is not edited after a signature", code="document_locked", state=state)
    said = "is being corrected by another" if state == "correcting" else f"is {state}"
    raise Refused(f"the document {said}", code="document_locked", state=state)
