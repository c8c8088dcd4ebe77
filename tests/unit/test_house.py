"""The house stands as ARCHITECTURE.md draws it: imports, pure rooms, the length of files, locks.

The rules are functions from a tree to findings, so that each is also shown to bite on a small tree that breaks it.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = "signtusk_realtime"
LONGEST_FILE = 420
EVERYTHING = "all"
DOORS = frozenset({"__init__", "__main__"})
"""The package's own files, through which the rooms are entered: they hold nothing and may name any room."""

IMPURE_MODULES = frozenset(
    {
        "asyncio",
        "anyio",
        "concurrent",
        "threading",
        "multiprocessing",
        "subprocess",
        "signal",
        "time",
        "random",
        "secrets",
        "uuid",
        "uuid_utils",
        "socket",
        "select",
        "selectors",
        "ssl",
        "logging",
        "structlog",
        "os",
        "io",
        "shutil",
        "tempfile",
        "pathlib",
        "sqlite3",
    }
)
"""What a pure room must not reach for: loops, threads, clocks, chance, the network, files, the environment, logs."""
NOW_METHODS = frozenset({"now", "utcnow", "today"})


@dataclass(frozen=True)
class Room:
    """A row of the table."""

    is_pure: bool
    may_import: frozenset[str]


@dataclass(frozen=True)
class Import:
    """A dotted name that a file imports, with the line that does."""

    name: str
    line: int


def read_law(architecture: str) -> dict[str, Room]:
    """Read the table between the marker comments."""
    marked = re.search(r"<!-- import law: begin -->\n(.*?)<!-- import law: end -->", architecture, re.DOTALL)
    assert marked, "ARCHITECTURE.md has no table between the marker comments"
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in marked[1].splitlines()[2:]]
    return {
        room: Room(pure == "yes", frozenset(name.strip() for name in names.split(",") if name.strip()))
        for room, pure, names in rows
    }


def files_of(source: Path) -> list[Path]:
    """List the package's files below a source folder."""
    return sorted((source / PACKAGE).rglob("*.py"))


def room_of(source: Path, file: Path) -> str:
    """Name the room a file lies in; the package's doors lie in none."""
    return file.relative_to(source / PACKAGE).parts[0].removesuffix(".py")


def imports_of(source: Path, file: Path) -> Iterator[Import]:
    """Give every import of a file by its absolute name, wherever it stands: in functions and under TYPE_CHECKING too.

    `from a import b` is told as `a.b`, since b may be a module.
    """
    package = file.relative_to(source).with_suffix("").parts[:-1]
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, node.lineno)
        elif isinstance(node, ast.ImportFrom):
            base = list(package[: len(package) - node.level + 1]) if node.level else []
            base += node.module.split(".") if node.module else []
            for alias in node.names:
                yield Import(".".join([*base, alias.name]), node.lineno)


def unlawful_imports(source: Path, law: dict[str, Room]) -> list[str]:
    """Find imports of our own that the table does not allow."""
    found = []
    for file in files_of(source):
        name = room_of(source, file)
        room = law.get(name)
        if name in DOORS or room is None or EVERYTHING in room.may_import:
            continue
        allowed = {name, *room.may_import}
        for imported in imports_of(source, file):
            first, _, rest = imported.name.partition(".")
            if first == PACKAGE and not any(f"{rest}.".startswith(f"{target}.") for target in allowed):
                found.append(f"{file.relative_to(source)}:{imported.line} {name} must not import {imported.name}")
    return found


def impurities(source: Path, law: dict[str, Room]) -> list[str]:
    """Find what pure rooms must not use."""
    found = []
    for file in files_of(source):
        room = law.get(room_of(source, file))
        if room is None or not room.is_pure:
            continue
        where = file.relative_to(source)
        found += [
            f"{where}:{imported.line} a pure room imports {imported.name}"
            for imported in imports_of(source, file)
            if imported.name.partition(".")[0] in IMPURE_MODULES
        ]
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in NOW_METHODS:
                found.append(f"{where}:{node.lineno} a pure room asks for the time: {node.func.attr}()")
            elif (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id in {"open", "print", "input"}
            ):
                found.append(f"{where}:{node.lineno} a pure room does I/O: {node.func.id}()")
    return found


def rooms_unlike_the_table(source: Path, law: dict[str, Room]) -> list[str]:
    """Find rooms that the table does not list, and rows without a room."""
    rooms = {room_of(source, file) for file in files_of(source)} - DOORS
    return [f"the table has no row for {room}" for room in sorted(rooms - law.keys())] + [
        f"there is no room {room}" for room in sorted(law.keys() - rooms)
    ]


def long_files(source: Path) -> list[str]:
    """Find files that are no longer one idea."""
    lengths = {file: len(file.read_text().splitlines()) for file in files_of(source)}
    return [
        f"{file.relative_to(source)} has {n} lines; at most {LONGEST_FILE}"
        for file, n in lengths.items()
        if n > LONGEST_FILE
    ]


def faulty_locks(requirements: Path) -> list[str]:
    """Find locks that name an address, or a package without a hash."""
    found = []
    for lock in sorted(requirements.glob("*.txt")):
        text = lock.read_text()
        found += [
            f"{lock.name}: {line.strip()}" for line in text.splitlines() if "://" in line or line.startswith("--")
        ]
        packages = re.split(r"\n(?=\S)", text.replace("\\\n", " ").strip())
        found += [
            f"{lock.name}: no hash: {package.split()[0]}" for package in packages if "--hash=sha256:" not in package
        ]
    return found


def names_of_nothing(root: Path, page: str) -> list[str]:
    """Find files and folders that a page names in backticks or links to, and that are not there. Names may begin within the package."""
    text = re.sub(r"```.*?```", "", (root / page).read_text(), flags=re.DOTALL)
    named = {
        name
        for name in re.findall(r"`([\w./-]+)`", text)
        if re.search(r"\w\.(py|sh|md|toml|txt|in)$|^(tests|docs|benchmarks)/", name)
    }
    linked = {name for name in re.findall(r"\]\(([^)#]+)", text) if "://" not in name}
    places = (root, (root / page).parent, root / "src" / PACKAGE)
    return sorted(name for name in named | linked if not any((place / name).exists() for place in places))


@pytest.fixture(scope="module")
def law() -> dict[str, Room]:
    return read_law((ROOT / "ARCHITECTURE.md").read_text())


def test_rooms_import_only_what_the_table_allows(law: dict[str, Room]) -> None:
    """No import crosses the house but along the table's arrows."""
    assert unlawful_imports(ROOT / "src", law) == []


def test_i8_pure_rooms_read_no_clock_randomness_or_ids(law: dict[str, Room]) -> None:
    """Invariant I8: what decides is a function of its arguments."""
    assert impurities(ROOT / "src", law) == []


def test_pure_rooms_stand_on_pure_rooms_only(law: dict[str, Room]) -> None:
    """Invariant I8 cannot be evaded through a room that is not pure."""
    pure = {name for name, room in law.items() if room.is_pure}
    assert {"events", "documents", "protocol", "sessions"} <= pure
    for name in pure:
        assert {target.partition(".")[0] for target in law[name].may_import} <= pure, name


def test_the_table_lists_the_rooms_there_are(law: dict[str, Room]) -> None:
    """No room without a row, no row without a room."""
    assert rooms_unlike_the_table(ROOT / "src", law) == []


def test_a_file_is_one_idea() -> None:
    """No file grows beyond what one can hold in mind."""
    assert long_files(ROOT / "src") == []


def test_locks_carry_hashes_and_no_address() -> None:
    """What is installed is what was locked, from wherever it comes."""
    assert {lock.name for lock in (ROOT / "requirements").glob("*.txt")} >= {"tools.txt", "runtime.txt", "dev.txt"}
    assert faulty_locks(ROOT / "requirements") == []


@pytest.mark.parametrize("page", ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "requirements/README.md"])
def test_pages_name_what_exists(page: str) -> None:
    """Who follows a page into the tree finds what it speaks of."""
    assert names_of_nothing(ROOT, page) == []


# ---- each rule bites

SEEDED_LAW = read_law("""
<!-- import law: begin -->
| room | pure | may import |
|---|---|---|
| errors | yes | |
| events | yes | errors |
| engines | | errors, events |
| delivery | | events, engines.engine |
| cli | | all |
<!-- import law: end -->
""")


def tree(tmp_path: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        file = tmp_path / PACKAGE / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return tmp_path


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("events/kinds.py", "from signtusk_realtime.engines.engine import Engine"),
        ("events/kinds.py", "import signtusk_realtime.engines"),
        ("events/kinds.py", "from signtusk_realtime import engines"),
        ("events/kinds.py", "from .. import engines"),
        ("events/kinds.py", "from ..engines.engine import Engine"),
        ("events/deeper/kinds.py", "from ...engines import engine"),
        ("events/kinds.py", "def late():\n    from signtusk_realtime.engines import engine"),
        ("events/kinds.py", "if TYPE_CHECKING:\n    from signtusk_realtime.cli import main"),
        ("events/__init__.py", "from ..delivery import hub"),
        ("delivery/hub.py", "from signtusk_realtime.engines.sqlite import SqliteEngine"),
        ("delivery/hub.py", "from signtusk_realtime.engines import engine_room"),
        ("delivery/hub.py", "from signtusk_realtime import errors"),
        ("errors.py", "from signtusk_realtime import __version__"),
    ],
)
def test_a_forbidden_import_is_found(tmp_path: Path, file: str, text: str) -> None:
    """However an import is written, it is seen."""
    assert len(unlawful_imports(tree(tmp_path, {file: text}), SEEDED_LAW)) == 1


def test_allowed_imports_pass(tmp_path: Path) -> None:
    """A room may import itself, what its row names, and what is not ours."""
    source = tree(
        tmp_path,
        {
            "__init__.py": "from signtusk_realtime.cli import main",
            "events/kinds.py": "from signtusk_realtime.errors import InvalidInput\nfrom . import log\nfrom .log import Entry\nimport json",
            "delivery/hub.py": "from signtusk_realtime.engines import engine\nfrom signtusk_realtime.engines.engine import Engine",
            "cli.py": "from signtusk_realtime.engines.sqlite import SqliteEngine",
        },
    )
    assert unlawful_imports(source, SEEDED_LAW) == []


@pytest.mark.parametrize(
    "text",
    [
        "import asyncio",
        "from time import monotonic",
        "import os.path as paths",
        "from random import Random",
        "from logging import getLogger",
        "def late():\n    import socket",
        "from uuid import uuid4",
        "at = datetime.now(UTC)",
        "day = date.today()",
        "text = open('x')",
    ],
)
def test_an_impurity_is_found(tmp_path: Path, text: str) -> None:
    """Clock, chance, ids and I/O are seen in a pure room, and left alone in another."""
    assert len(impurities(tree(tmp_path / "a", {"events/kinds.py": text}), SEEDED_LAW)) == 1
    assert impurities(tree(tmp_path / "b", {"engines/memory.py": text}), SEEDED_LAW) == []


def test_an_unlisted_room_and_an_empty_row_are_found(tmp_path: Path) -> None:
    """The table and the tree cannot part."""
    source = tree(
        tmp_path, {f"{room}/__init__.py": "" for room in ("errors", "events", "engines", "delivery", "attic")}
    )
    assert rooms_unlike_the_table(source, SEEDED_LAW) == ["the table has no row for attic", "there is no room cli"]


def test_a_long_file_is_found(tmp_path: Path) -> None:
    """The first line too many counts."""
    assert long_files(tree(tmp_path, {"errors.py": "x = 1\n" * LONGEST_FILE})) == []
    assert len(long_files(tree(tmp_path, {"errors.py": "x = 1\n" * (LONGEST_FILE + 1)}))) == 1


def test_a_name_of_nothing_is_found(tmp_path: Path) -> None:
    """A file that was moved away is missed where it is named and where it is linked."""
    source = tree(tmp_path / "src", {"events/log.py": ""})
    (source.parent / "PAGE.md").write_text(
        "`events/log.py` `events/gone.py` [here](PAGE.md) [there](docs/gone) `tests/gone`"
    )
    assert names_of_nothing(source.parent, "PAGE.md") == ["docs/gone", "events/gone.py", "tests/gone"]


@pytest.mark.parametrize(
    "line",
    [
        "--index-url https://example.invalid/simple",
        "thing @ https://example.invalid/thing.whl --hash=sha256:00",
        "thing==1",
    ],
)
def test_a_faulty_lock_is_found(tmp_path: Path, line: str) -> None:
    """An address or a missing hash is seen among good lines."""
    good = "good==1 \\\n    --hash=sha256:00\n    # via other\n"
    (tmp_path / "runtime.txt").write_text(good)
    assert faulty_locks(tmp_path) == []
    (tmp_path / "runtime.txt").write_text(f"{good}{line}\n")
    assert faulty_locks(tmp_path) != []
