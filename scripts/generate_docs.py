"""Writes the reference pages that follow from the code, and the tables of spec/protocol.md.

    python scripts/generate_docs.py           write what differs
    python scripts/generate_docs.py --check   write nothing; exit 1 and name what differs

Owns: how types, codes, settings and events become pages.   Not: their content, which stands in src/, samples
(docs_examples.py), the words around it (docs_words.toml).
Rule 1: every example went through the code that makes the real thing; none is typed by hand.
Rule 2: a field without a meaning in docs_words.toml is an error, so that nothing new stays undocumented.
"""

from __future__ import annotations

import json
import re
import sys
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Final, Literal, Union, get_args, get_origin, get_type_hints

import msgspec
from docs_conflicts import conflicts_page
from docs_documents import document_events
from docs_examples import ROOT, WORDS, client_samples, publications, server_samples, stream_sample, subscription_samples
from msgspec import Raw, Struct, UnsetType

from signtusk_realtime.config.check import SERVE_DEFAULTS
from signtusk_realtime.config.settings import NONE, SETTINGS, Setting, written
from signtusk_realtime.documents.conflicts import ConflictRecord, HunkRecord
from signtusk_realtime.documents.ops import Op
from signtusk_realtime.events.event import EVENT_TYPES, event_type_of
from signtusk_realtime.events.ids import Id
from signtusk_realtime.events.instants import Instant
from signtusk_realtime.events.kinds import KINDS, JsonObject, Location, SignatureData, Version
from signtusk_realtime.events.subscriptions import TYPES_OF, EventType, Filters, Subscription, SubscriptionType
from signtusk_realtime.protocol import codes, messages
from signtusk_realtime.protocol.codes import Code, Kind

SPECIFICATION: Final = "spec/protocol.md"
NOTICE: Final = "<!-- Made by scripts/generate_docs.py; do not edit. -->\n"
ANSWERS: Final = (
    messages.Subscribed,
    messages.Unsubscribed,
    messages.Pong,
    messages.Refreshed,
    messages.EditResult,
    messages.PresenceAccepted,
    messages.ErrorMessage,
)
"""Messages that answer a request, and repeat its `requestId`."""
SHORT: Final = 100
"""How much of an example may stand on one line."""

Rows = Iterable[Sequence[str]]


# --- markdown -----------------------------------------------------------------------------


def table(head: Sequence[str], rows: Rows) -> str:
    """Give a table. A bar within a cell would end it."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def fenced(language: str, text: str) -> str:
    """Give a code block."""
    return f"```{language}\n{text.rstrip()}\n```\n"


def shown(value: object, indent: str = "") -> str:
    """Give a JSON value as readers like it: spread over lines only where it is long, or the outermost."""
    line = json.dumps(value, ensure_ascii=False)
    if not isinstance(value, dict) or (indent and len(indent) + len(line) <= SHORT):
        return line
    inner = indent + "  "
    members = [f"{inner}{json.dumps(name)}: {shown(item, inner)}" for name, item in value.items()]
    return "{\n" + ",\n".join(members) + f"\n{indent}}}"


def code(words: Iterable[str]) -> str:
    """Give names as code."""
    return ", ".join(f"`{word}`" for word in words)


def prose(text: str) -> str:
    """Give a paragraph or several."""
    return text.strip() + "\n"


# --- types in words -----------------------------------------------------------------------

_NAMED: Final[Mapping[object, str]] = {
    Id: "id",
    Instant: "instant",
    Version: "integer",
    JsonObject: "object",
    EventType: "event type",
    SubscriptionType: "subscription type",
    Raw: "any JSON",
    str: "text",
    bool: "true or false",
    int: "integer",
    float: "number",
    object: "any JSON",
}


def words(hint: object) -> str:
    """Say what JSON a type stands for."""
    if hint in _NAMED:
        return _NAMED[hint]
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return words(arguments[0]) + _bounds(arguments[1])
    if origin is Literal:
        return " · ".join(f"`{value}`" for value in arguments)
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(words(each) for each in arguments if each is not UnsetType))
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return "object"
    if isinstance(origin, type) and issubclass(origin, Sequence):
        return f"list of {words(arguments[0])}"
    if isinstance(hint, type) and issubclass(hint, Struct):
        return f"[{hint.__name__}](#{hint.__name__.lower()})"
    raise TypeError(f"no words for {hint!r}")


def _bounds(meta: object) -> str:
    assert isinstance(meta, msgspec.Meta)
    if meta.max_length is not None:
        return f", {meta.min_length or 0} to {meta.max_length}"
    if meta.ge is not None and meta.le is not None:
        return f", {meta.ge} to {meta.le}"
    return ""


def fields(of: type[Struct], *, without: Iterable[str] = ()) -> str:
    """Give the table of a type's fields."""
    rows = []
    hints = get_type_hints(of, include_extras=True)
    for field in msgspec.structs.fields(of):
        name = field.encode_name
        if name in without:
            continue
        told = words(hints[field.name])
        if isinstance(field.default, str):
            told += f"; `{field.default}` if absent"
        meaning = _meaning(of, name)
        rows.append([f"`{name}`", told, "yes" if field.required else "", meaning])
    return table(["field", "type", "required", "meaning"], rows)


def _meaning(of: type[Struct], name: str) -> str:
    meanings = WORDS["meanings"]
    found = meanings.get(f"{of.__name__}.{name}") or meanings.get(name)
    if found is None:
        raise KeyError(f"say in docs_words.toml what {of.__name__}.{name} means")
    assert isinstance(found, str)
    return found


def sentence(of: type) -> str:
    """Give a type's docstring as a paragraph."""
    return re.sub(r"\s+", " ", of.__doc__ or "").strip()


# --- parts that pages and specification share -----------------------------------------------


def codes_table(kind: Kind) -> str:
    """Give the rows of one kind of code."""

    def row(each: Code) -> list[str]:
        number = [str(each.number)] if each.number else []
        return [*number, f"`{each.name}`", "yes" if each.comes_back else "no", each.meaning, each.action]

    rows = [row(each) for each in codes.of_kind(kind)]
    numbered = {Kind.CLOSE: ["number"], Kind.PROBLEM: ["status"]}.get(kind, [])
    last = {Kind.CLOSE: "come back?", Kind.RECOVERED: "come back?"}.get(kind, "repeat?")
    return table([*numbered, "reason" if kind in (Kind.CLOSE, Kind.RECOVERED) else "code", last, "meaning", "do"], rows)


def kinds_table() -> str:
    """Give every kind with its fields and the event types that it gives."""
    common = {"id", "timestamp", "metadata", "organizationId"}
    rows = []
    for kind, published in KINDS.items():
        names = [
            f"`{field.encode_name}`" + ("" if field.required else "?")
            for field in msgspec.structs.fields(published)
            if field.encode_name not in common or (field.encode_name == "id" and field.required)
        ]
        rows.append([f"`{kind}`", ", ".join(names), " · ".join(f"`{each}`" for each in EVENT_TYPES[kind])])
    return table(["kind", "its fields (? optional)", "event type"], rows)


def subscriptions_table() -> str:
    """Give the subscription types and the event types of each."""
    order = list(get_args(EventType))
    rows = [[f"`{name}`", code(sorted(found, key=order.index))] for name, found in TYPES_OF.items()]
    return table(["subscription type", "event types"], rows)


def _allowed(setting: Setting) -> str:
    if setting.is_list:
        return f"list of {code(setting.choices) or 'texts'}"
    if setting.choices:
        return " or ".join(f"`{choice}`" for choice in setting.choices)
    if not setting.is_number:
        return "text" + (f", or `{NONE}`" if setting.is_optional else "")
    unit = f" {setting.unit}" if setting.unit else ""
    return f"{setting.least} to {setting.most}{unit}" + (f", or `{NONE}`" if setting.is_optional else "")


# --- pages --------------------------------------------------------------------------------


def codes_page() -> str:
    """docs/reference/codes.md."""
    parts = [
        "# Codes\n",
        prose(WORDS["codes"]["introduction"]),
        "## Close codes\n",
        prose(WORDS["codes"]["close"]),
        codes_table(Kind.CLOSE),
        "## Error messages\n",
        "The `code` of an `error` message. The connection lives on.\n",
        codes_table(Kind.ERROR),
        "## Cursors that cannot be continued\n",
        '`reason` beside `"recovered":false`, and of the problem `cursor_expired`.\n',
        codes_table(Kind.RECOVERED),
        "## Problems\n",
        "The `code` of an HTTP answer of the type `application/problem+json`.\n",
        codes_table(Kind.PROBLEM),
    ]
    return "\n".join(parts)


def settings_page() -> str:
    """docs/reference/settings.md."""
    groups: dict[str, list[Setting]] = {}
    for setting in SETTINGS.values():
        groups.setdefault(setting.name.rpartition(".")[0], []).append(setting)
    parts = ["# Settings\n", prose(WORDS["settings"]["introduction"])]
    for group, rows in groups.items():
        parts.append(f"## {WORDS['settings']['groups'][group]}\n")
        cells = []
        for setting in rows:
            default = f"`{written(setting.default)}`" if setting.default != () else "empty"
            served = SERVE_DEFAULTS.get(setting.name)
            told = default if served is None else f"`{served}`; embedded {default}"
            cells.append([f"`{setting.name}`", told, _allowed(setting), setting.about])
        parts.append(table(["setting", "default", "allowed", "meaning"], cells))
    names = SETTINGS["limits.batch"]
    parts += [
        "## How a setting is written\n",
        "An option beats the environment, the environment beats the file, the file beats the default.\n",
        table(
            ["where", f"`{names.name}` is"],
            [
                ["option", f"`{names.option} 500`"],
                ["environment", f"`{names.variable}=500`"],
                ["file", "`batch = 500` below `[limits]`"],
                ["Python", "`Settings(limits=LimitSettings(batch=500))`"],
            ],
        ),
        prose(WORDS["settings"]["files"]),
        fenced("toml", WORDS["settings"]["example"]),
        prose(WORDS["settings"]["faults"]),
    ]
    return "\n".join(parts)


def messages_page() -> str:
    """docs/reference/messages.md."""
    asked, told = client_samples(), server_samples()
    parts = [
        "# Messages\n",
        prose(WORDS["messages"]),
        "## From the client\n",
        "A message with a field that is not listed is refused (`invalid_message`).\n",
    ]
    for each, examples in asked.items():
        parts += [f"### {_tag(each)}\n", sentence(each) + "\n", fields(each)]
        parts.append(fenced("json", "\n".join(json.dumps(example) for example in examples)))
    parts += [
        "## From the service\n",
        "Fields that a client does not know are passed over: later versions may add some.\n",
    ]
    for each, lines in told.items():
        without = () if each in ANSWERS else ("requestId",)
        parts += [f"### {_tag(each)}\n", sentence(each) + "\n", fields(each, without=without)]
        parts.append(fenced("json", "\n".join(lines)))
    parts += ["## Parts\n"]
    for each in (
        Subscription,
        Filters,
        messages.ServerFeatures,
        messages.PresenceChange,
        Op,
        ConflictRecord,
        HunkRecord,
    ):
        parts += [f"### {each.__name__}\n", sentence(each) + "\n", fields(each)]
    parts += ["## Over an event stream\n", prose(WORDS["stream"]), fenced("text", stream_sample())]
    return "\n".join(parts)


def _tag(of: type[Struct]) -> str:
    tag = of.__struct_config__.tag
    assert isinstance(tag, str)
    return tag


def events_page() -> str:
    """docs/reference/events.md."""
    parts = [
        "# Events\n",
        prose(WORDS["events"]["introduction"]),
        "## What every kind takes\n",
        table(
            ["field", "type", "meaning"],
            [
                [f"`{name}`", type_, WORDS["meanings"][name]]
                for name, type_ in (
                    ("id", "id"),
                    ("organizationId", "id"),
                    ("timestamp", "instant"),
                    ("metadata", "object"),
                )
            ],
        ),
    ]
    examples = list(publications())
    for kind, published in KINDS.items():
        without = {"timestamp", "metadata", "organizationId"} | ({"id"} if kind != "notification" else set())
        parts += [f"## {kind}\n", sentence(published) + "\n", fields(published, without=without)]
        if kind in WORDS["events"]["notes"]:
            parts.append(prose(WORDS["events"]["notes"][kind]))
        for found, sample, event, prepared in examples:
            if found == kind:
                parts += [
                    "Published:\n",
                    fenced("json", shown(sample)),
                    f"What clients see, of type `{event_type_of(event)}`:\n",
                    fenced("json", shown(json.loads(prepared.body))),
                ]
    parts += ["## Parts\n"]
    for each in (SignatureData, Location):
        parts += [f"### {each.__name__}\n", sentence(each) + "\n", fields(each)]
    parts += ["## From the service itself\n", prose(WORDS["events"]["service"])]
    for title, told in document_events():
        parts += [f"{title}\n", fenced("json", shown(told))]
    return "\n".join(parts)


def subscriptions_page() -> str:
    """docs/reference/subscriptions.md."""
    carried: dict[str, set[str]] = {}
    for kind, _, _, prepared in publications():
        for key in prepared.keys[1:]:
            carried.setdefault(key[0], set()).update(EVENT_TYPES[kind])
    facets = WORDS["subscriptions"]["filters"]
    order = list(get_args(EventType))
    rows = []
    for field in msgspec.structs.fields(Filters):
        about = facets[field.encode_name]
        found = sorted(carried.get(about["key"], ()), key=order.index)
        rows.append([f"`{field.encode_name}`", about["compared"], code(found) if found else "all"])
    parts = [
        "# Subscriptions\n",
        prose(WORDS["subscriptions"]["introduction"]),
        fenced("json", "\n".join(json.dumps(each) for each in subscription_samples())),
        "## Types\n",
        subscriptions_table(),
        prose(WORDS["subscriptions"]["types"]),
        "## Filters\n",
        table(["filter", "compared with", "events that have it"], rows),
        prose(WORDS["subscriptions"]["rules"]),
    ]
    return "\n".join(parts)


PAGES: Final[Mapping[str, Callable[[], str]]] = {
    "docs/reference/codes.md": codes_page,
    "docs/reference/settings.md": settings_page,
    "docs/reference/messages.md": messages_page,
    "docs/reference/events.md": events_page,
    "docs/reference/subscriptions.md": subscriptions_page,
    "docs/reference/conflicts.md": conflicts_page,
}
PARTS: Final[Mapping[str, Callable[[], str]]] = {
    "kinds": kinds_table,
    "subscriptions": subscriptions_table,
    "close codes": lambda: codes_table(Kind.CLOSE),
    "error codes": lambda: codes_table(Kind.ERROR),
    "recovery": lambda: codes_table(Kind.RECOVERED),
    "problems": lambda: codes_table(Kind.PROBLEM),
}
"""What the specification has between `<!-- generated: NAME -->` and `<!-- end -->`."""


def generated() -> dict[str, str]:
    """Give every file that follows from the code, as it should be."""
    found = {path: NOTICE + "\n" + make() for path, make in PAGES.items()}

    def part(match: re.Match[str]) -> str:
        return f"<!-- generated: {match[1]} -->\n{PARTS[match[1]]()}<!-- end -->"

    specification = (ROOT / SPECIFICATION).read_text(encoding="utf-8")
    found[SPECIFICATION] = re.sub(r"<!-- generated: (.*?) -->\n.*?<!-- end -->", part, specification, flags=re.DOTALL)
    return found


def stale() -> list[str]:
    """Name the files that are not as they should be."""
    return [path for path, text in generated().items() if not _is(ROOT / path, text)]


def _is(path: Path, text: str) -> bool:
    return path.exists() and path.read_text(encoding="utf-8") == text


def main(arguments: Sequence[str]) -> int:
    """Write or check. Gives the exit code."""
    found = stale()
    if "--check" in arguments:
        for path in found:
            print(f"{path} is not what the code says; run scripts/generate_docs.py", file=sys.stderr)
        return 1 if found else 0
    for path in found:
        (ROOT / path).write_text(generated()[path], encoding="utf-8")
        print(f"wrote {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
