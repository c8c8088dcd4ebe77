"""The documentation agrees with the code and with itself, and needs nothing that is not in the repository."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from signtusk_realtime.config.check import load
from signtusk_realtime.events.subscriptions import Subscription
from signtusk_realtime.protocol import codes, messages
from signtusk_realtime.protocol.codes import Kind
from signtusk_realtime.protocol.messages import ServerMessage

ROOT = Path(__file__).parents[2]
SPECIFICATION = ROOT / "spec" / "protocol.md"
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("spec/*.md")])
KNOWN_ROLES = re.compile(r"run|follow|answer|shows|page shows|page=[\w.-]+|client|server")
ELSEWHERE = re.compile(
    r"\b(CONTRACT|DESIGN|CONFLICTS|FACTS|STYLE)\b(?!\.md\b)|\b(DESIGN|STYLE|CONTRACT|FACTS|CONFLICTS)\.md\b"
)
"""Documents that were written before the code and do not ship with it."""


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def blocks(path: Path) -> Iterator[tuple[str, str]]:
    """Give info string and text of a page's fenced blocks."""
    for found in re.finditer(r"^```([^\n]*)\n(.*?)^```$", path.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE):
        yield found[1].strip(), found[2]


def prose(path: Path) -> str:
    """Give a page without its fenced blocks and code spans."""
    text = re.sub(r"^```[^\n]*\n.*?^```$", "", path.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"`[^`\n]*`", "", text)


def anchors(path: Path) -> set[str]:
    """Give what a page's headings can be linked by."""
    text = re.sub(r"^```[^\n]*\n.*?^```$", "", path.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_generated_pages_are_what_the_code_says() -> None:
    """Nobody forgets to run scripts/generate_docs.py after changing a type, a code, a setting or a kind."""
    command = [sys.executable, str(ROOT / "scripts" / "generate_docs.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    """A link within the repository names a file that is there, and a heading that is in it."""
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        assert found.exists(), f"{name(page)} links to {target}"
        assert found.is_relative_to(ROOT), f"{name(page)} links out of the repository: {target}"
        if anchor and found.suffix == ".md":
            assert anchor in anchors(found), f"{name(page)} links to {target}"


def test_the_index_knows_every_page() -> None:
    """A page that docs/index.md does not link is not found by anybody. Decisions are linked by their folder."""
    index = ROOT / "docs" / "index.md"
    linked = {
        (index.parent / target.partition("#")[0]).resolve()
        for target in re.findall(r"\]\(([^)\s]+)\)", index.read_text("utf-8"))
    }
    pages = {page for page in PAGES if page.is_relative_to(ROOT / "docs") and page.parent.name != "decisions"} - {index}
    assert sorted(map(name, pages - linked)) == []


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_blocks_say_what_they_are_in_words_that_are_known(page: Path) -> None:
    """A misspelt role would leave a block unread by every test. A block of JSON is JSON, one of TOML is TOML."""
    for info, text in blocks(page):
        language, _, role = info.partition(" ")
        assert not role or KNOWN_ROLES.fullmatch(role), f"{name(page)}: {info}"
        if language == "json":
            values = [text] if role == "answer" or text.startswith(("{\n", "[\n")) else text.splitlines()
            assert [json.loads(value) for value in values]
        if language == "toml":
            assert tomllib.loads(text)


def examples(role: str) -> list[str]:
    found = [line for info, text in blocks(SPECIFICATION) if info == f"json {role}" for line in text.splitlines()]
    assert len(found) >= 4
    return found


@pytest.mark.parametrize("line", examples("client"))
def test_the_specifications_requests_are_understood(line: str) -> None:
    """What the specification says a client may send is a message to the code."""
    messages.decode(line.encode(), depth=32)


@pytest.mark.parametrize("line", examples("server"))
def test_the_specifications_answers_are_those_of_the_code(line: str) -> None:
    """What the specification says the service sends has the code's fields, all of them known, in the code's order."""
    answer = msgspec.json.decode(line, type=ServerMessage, strict=True)
    assert messages.encode(answer) == line.encode()


def test_every_message_is_in_the_specification() -> None:
    """No message was added to the code and left out of the specification."""
    text = SPECIFICATION.read_text(encoding="utf-8")
    for of in (*messages.ClientMessage.__args__, *ServerMessage.__args__):
        assert f'{{"type":"{of.__struct_config__.tag}"' in text, of


def test_the_specifications_subscription_is_one() -> None:
    """The example of section 5 is accepted as it stands."""
    (text,) = (
        text for info, text in blocks(SPECIFICATION) if info == "json" and text.startswith('{"type":"document_updates"')
    )
    msgspec.json.decode(text, type=Subscription)


def test_codes_in_the_specification_exist() -> None:
    """A number of four digits beginning with 44 or 45, or a name beside an HTTP status, is one of the table's."""
    text = re.sub(r"<!-- generated.*?<!-- end -->", "", SPECIFICATION.read_text(encoding="utf-8"), flags=re.DOTALL)
    numbers = {code.number for code in codes.of_kind(Kind.CLOSE)}
    assert {int(found) for found in re.findall(r"\b4[45]\d\d\b", text)} - {4499, 4500} <= numbers
    named = re.findall(r"\b([45]\d\d) `(\w+)`", text)
    assert len(named) >= 5
    for status, code in named:
        assert codes.problem_status(code) == int(status)


def test_the_example_of_a_settings_file_is_accepted(tmp_path: Path) -> None:
    """The file that docs/reference/settings.md shows starts a server."""
    ((_, text),) = (block for block in blocks(ROOT / "docs" / "reference" / "settings.md") if block[0] == "toml")
    file = tmp_path / "settings.toml"
    file.write_text(text, encoding="utf-8")
    assert load({}, {}, file).settings.port == tomllib.loads(text)["port"]


def test_nothing_refers_to_documents_outside_the_repository() -> None:
    """Whoever reads the code can open what it names."""
    found = [
        f"{name(path)}:{number}: {line.strip()}"
        for folder in ("src", "tests", "scripts", "benchmarks", "docs", "spec")
        for path in sorted((ROOT / folder).rglob("*"))
        if path.suffix in (".py", ".md", ".sql", ".sh", ".toml") and path != Path(__file__)
        if "node_modules" not in path.parts
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if ELSEWHERE.search(line)
    ]
    assert found == []
