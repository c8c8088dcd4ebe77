"""The reference page of concurrent edits: the worked cases that the tests run, and the tables that the code holds.

Owns: how cases, transitions and shipped policies become a page.   Not: the cases (tests/support/conflict_cases.json), the words around them
(docs_words.toml).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Final

from docs_examples import ROOT, WORDS

from signtusk_realtime.documents.paths import pointer
from signtusk_realtime.documents.policy import SHIPPED, Policy
from signtusk_realtime.documents.states import STATES, is_allowed
from signtusk_realtime.documents.values import MAX_DEPTH, MAX_DOCUMENT_BYTES, MAX_PATHS, MAX_VALUES
from signtusk_realtime.operations.documents.lanes import MOST_WAITING
from signtusk_realtime.operations.documents.read import MAX_ANSWER_BYTES, MAX_CONFLICTS
from signtusk_realtime.operations.documents.store import MAX_OPEN, MAX_OPEN_BYTES
from signtusk_realtime.server.http.documents import MAX_EDIT_BYTES, MAX_LIMIT

CASES: Final = json.loads((ROOT / "tests" / "support" / "conflict_cases.json").read_text(encoding="utf-8"))
ORDERS: Final = (("first", "second"), ("second", "first"))


def conflicts_page() -> str:
    """docs/reference/conflicts.md."""
    said = WORDS["conflicts"]
    parts = ["# Concurrent edits", said["introduction"].strip(), "## Worked cases", said["cases"].strip()]
    for section, cases in groupby(CASES["edits"], key=lambda case: case["section"]):
        parts.append(f"### {section}")
        for title, variants in groupby(cases, key=lambda case: case["title"]):
            parts.append(_case(title, list(variants)))
    parts += ["## Deciding what was parked", said["decisions"].strip(), _decisions()]
    parts += ["## Which version an edit was made on", said["bases"].strip(), _bases()]
    parts += ["## States", said["states"].strip(), _states()]
    parts += ["## Policies", said["policies"].strip(), *map(_policy, SHIPPED.values())]
    parts += ["## Limits", said["limits"].strip(), _limits()]
    return "\n\n".join(parts) + "\n"


def _code(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return f"`{text}`"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _case(title: str, variants: Sequence[dict]) -> str:
    one = variants[0]
    facts = [f"**{title[0].upper()}{title[1:]}.** Base {_code(one['base'])}"]
    if "own" in one:
        facts.append(f"stored before, by the author of the first: {_code(one['own'])}")
    facts += [f"first {_code(one['first'])}", f"second {_code(one['second'])}"]
    rows = []
    for case in variants:
        under = case["strategy"] + (f", `{case['policy']}`" if case["policy"] != "plain" else "")
        for (_, arriving), outcome in zip(ORDERS, case["outcomes"], strict=True):
            version = "+1" if outcome["version"] else "="
            conflicts = "<br>".join(map(_conflict, outcome["conflicts"])) or "none"
            rows.append([under, arriving, _code(outcome["document"]), f"{outcome['status']}, {version}", conflicts])
    return (
        "; ".join(facts)
        + ".\n\n"
        + _table(["strategy", "arrives last", "document", "status, version", "conflicts"], rows)
    )


def _conflict(conflict: dict) -> str:
    said = [_code(conflict["path"]), conflict["reason"], conflict["status"]]
    if "winner" in conflict:
        said.append(f"winner {conflict['winner']}")
    if "suggested" in conflict:
        said.append(f"suggested {_code(conflict['suggested'])}")
    said += [f"hunk {_code([hunk['base'], hunk['current'], hunk['incoming']])}" for hunk in conflict.get("hunks", ())]
    return ", ".join(said)


def _limits() -> str:
    depth = f"{MAX_DEPTH}, the document itself counts as 1"
    rows = [
        ["a document, as compact JSON in UTF-8", _bytes(MAX_DOCUMENT_BYTES), "`document_too_large`"],
        ["its nesting", depth, "`limit_exceeded`"],
        ["values in it, and in the body of an edit", f"{MAX_VALUES}, each member and element", "`limit_exceeded`"],
        ["what one edit sets and deletes", f"{MAX_PATHS} paths", "`limit_exceeded`"],
        ["the body of an edit over HTTP", _bytes(MAX_EDIT_BYTES), "`payload_too_large`"],
        ["open conflicts of a document, and decisions at once", f"{MAX_OPEN}", "`limit_exceeded`"],
        ["the same, as they are stored", _bytes(MAX_OPEN_BYTES), "`limit_exceeded`"],
        ["edits of a document that wait on a node", f"{MOST_WAITING}", "`contention`"],
        ["versions in a page of history", f"{MAX_LIMIT}", "`invalid_parameter`"],
        ["conflicts in a page", f"{MAX_CONFLICTS}", "the next page"],
        ["a page of history or conflicts", f"{_bytes(MAX_ANSWER_BYTES)}, and what is begun", "the next page"],
    ]
    return _table(["what", "at most", "else"], rows)


def _bytes(size: int) -> str:
    return f"{size >> 20} MiB"


def _decisions() -> str:
    rows = []
    for case in CASES["decisions"]:
        taken = (
            case["take"]
            + (f" {_code(case['value'])}" if "value" in case else "")
            + (", twice" if case.get("again") else "")
        )
        outcome = case["outcome"]
        ended = f"`{outcome['code']}`; {outcome['status']}" if "code" in outcome else outcome["status"]
        edits = [
            _code(case["base"]),
            _code(case["first"]),
            _code(case["second"]),
            _code(case["then"]) if "then" in case else "",
        ]
        rows.append([case["title"], *edits, f"{taken}, rev {case.get('rev', 1)}", _code(outcome["document"]), ended])
    return _table(["case", "base", "stored", "parked", "then edited", "taken", "document", "the record"], rows)


def _bases() -> str:
    rows = []
    for case in CASES["bases"]:
        head, outcome = case["head"], case["outcome"]
        known = f"head {head['version']}, kept from {head['oldest']}, begun at {head['start']}"
        known += "".join(
            f"; {said} {case[name]}" for name, said in (("newestOwn", "own"), ("newestSeen", "seen")) if name in case
        )
        if "code" in outcome:
            told = f"`{outcome['code']}`" + (f", {outcome['reason']}" if "reason" in outcome else "")
        else:
            told = f"{outcome['version']}, {outcome['certainty']}" + (
                " , with what was seen" if outcome["withSeen"] else ""
            )
        rows.append(
            [case["title"], _code(case["asked"]), known, case.get("versionless", "infer"), told.replace(" ,", ",")]
        )
    return _table(["case", "the edit says", "the service knows", "versionless", "base"], rows)


def _states() -> str:
    rows = [
        [f"`{current}`", ", ".join(f"`{to}`" for to in STATES if is_allowed(current, to)) or "nothing"]
        for current in STATES
    ]
    return _table(["from", "to"], rows)


def _policy(policy: Policy) -> str:
    rows = [
        *([_code(pointer(pattern)), f"guarded: {strategy} at least"] for pattern, strategy in policy.guards.items()),
        *([_code(pointer(group.at)), f"one value: {', '.join(map(_code, group.members))}"] for group in policy.groups),
        *([_code(pointer(pattern)), "a set"] for pattern in policy.sets),
        *([_code(pointer(pattern)), "a text, merged by words"] for pattern in policy.texts),
        *([_code(pointer(each.at)), f"names an element of {_code(pointer(each.to))}"] for each in policy.references),
        *([_code(pointer(each.at)), f"at least {each.least}"] for each in policy.minimums),
    ]
    return f"### {policy.name}\n\n" + _table(["place", "what holds"], rows)
