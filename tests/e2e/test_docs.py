"""What the documentation says to type is typed here, against a real server, page by page from the top.

A fenced block takes part if its info string says how:

    sh run            run in bash                           sh follow     run on beside what follows, until the next of its kind
    python run        run by this Python                    text shows    what the followed command goes on to print
    json/text answer  what the last run printed             html page=N   a page of that name, opened in a browser
                                                            text page shows   the lines of its list
`…` stands for anything within a line, in JSON for any text. Port 8080 becomes the port of the server.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
from playwright.async_api import Browser, Page, async_playwright

from tests.support.command import DEADLINE_S, serving

ROOT = Path(__file__).parents[2]
CHROMIUM = Path("/usr/bin/chromium")
COMMANDS = Path(sys.executable).parent
"""Where the command is installed, as a reader has it at hand."""
RUNNABLE = ("run", "follow", "answer", "shows", "page")

pytestmark = [
    pytest.mark.skipif(
        shutil.which("curl") is None, reason="NO CURL: nothing shows that the documentation can be followed"
    ),
    pytest.mark.timeout(120),
]


class Block(NamedTuple):
    """A fenced block that takes part: its language, what it is, its text, where it stands."""

    language: str
    role: str
    text: str
    line: int


def blocks(markdown: str) -> Iterator[Block]:
    """Give the blocks of a page that take part, in order."""
    for found in re.finditer(r"^```(\w+) ([^\n]+)\n(.*?)^```$", markdown, re.DOTALL | re.MULTILINE):
        if found[2].split()[0].partition("=")[0] in RUNNABLE:
            yield Block(found[1], found[2].strip(), found[3], markdown.count("\n", 0, found.start()) + 1)


PAGES = {
    str(path.relative_to(ROOT)): found
    for path in sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
    if (found := list(blocks(path.read_text(encoding="utf-8"))))
}


SERVED = {"docs/how-to/authenticate.md": ("--auth-mode", "jwt", "--auth-secret-file", "secret.txt")}
"""Options that a page has its reader give to `serve`."""
SECRET = "zMm2T4t2a1lbmSt3cX1rUo5yM0b2cIYhR5nGm8qk4aE="


def pattern(text: str) -> re.Pattern[str]:
    """Give what matches a text with `…` in it."""
    return re.compile(re.escape(text.strip()).replace("…", "[^\n]*"))


def matches(expected: object, found: object) -> bool:
    """Say whether a JSON value is the expected one, `…` in its texts standing for anything."""
    match expected, found:
        case dict(), dict():
            return expected.keys() == found.keys() and all(matches(expected[name], found[name]) for name in expected)
        case list(), list():
            return len(expected) == len(found) and all(map(matches, expected, found))
        case str(), str():
            return pattern(expected).fullmatch(found) is not None
    return expected == found and type(expected) is type(found)


class Reader:
    """Someone who follows a page: one terminal that follows, one that runs, a browser."""

    def __init__(self, port: int, folder: Path, stack: AsyncExitStack) -> None:
        self._port = port
        self._folder = folder
        self._stack = stack
        self._printed = ""
        self._followed: asyncio.subprocess.Process | None = None
        self._shown = ""
        self._browser: Browser | None = None
        self._page: Page | None = None

    async def take(self, block: Block) -> None:
        """Do what a block says, or look whether it is so."""
        match block.language, block.role.split():
            case "sh", ["run"]:
                self._printed = await self._run("bash", "-euo", "pipefail", "-c", self._here(block.text))
            case "python", ["run"]:
                self._printed = await self._run(sys.executable, "-c", self._here(block.text))
            case "json", ["answer"]:
                assert matches(json.loads(block.text), json.loads(self._printed)), self._printed
            case "text", ["answer"]:
                assert pattern(block.text).fullmatch(self._printed.strip()), self._printed
            case "sh", ["follow"]:
                await self._follow(self._here(block.text))
            case "text", ["shows"]:
                await self._await_shown(pattern(block.text))
            case "html", [role] if role.startswith("page="):
                await self._open(role.removeprefix("page="), self._here(block.text))
            case "text", ["page", "shows"]:
                await self._await_page(block.text.strip().split("\n"))
            case _:
                pytest.fail(f"nobody knows what a {block.language} block does that is {block.role!r}")

    def _here(self, text: str) -> str:
        return re.sub(r"(localhost|127\.0\.0\.1):8080", rf"\1:{self._port}", text)

    async def _start(self, *command: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *command,
            cwd=self._folder,
            env={**os.environ, "NO_PROXY": "*", "no_proxy": "*", "PATH": f"{COMMANDS}{os.pathsep}{os.environ['PATH']}"},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
        )

    async def _run(self, *command: str) -> str:
        process = await self._start(*command)
        try:
            out, _ = await asyncio.wait_for(process.communicate(), DEADLINE_S)
        finally:
            await _end(process)
        assert process.returncode == 0, f"exit {process.returncode}: {out.decode()}"
        return out.decode()

    async def _follow(self, command: str) -> None:
        if self._followed is not None:
            await _end(self._followed)
        # `exec`, so that what is ended is the command and not the shell around it.
        self._followed = await self._start("bash", "-c", "exec " + command)
        self._stack.push_async_callback(_end, self._followed)
        self._shown = ""

    async def _await_shown(self, expected: re.Pattern[str]) -> None:
        followed = self._followed
        assert followed is not None, "no block is followed"
        assert followed.stdout is not None
        try:
            async with asyncio.timeout(DEADLINE_S):
                while (found := expected.search(self._shown)) is None:
                    more = await followed.stdout.read(65_536)
                    assert more, f"the command ended after {self._shown!r}"
                    self._shown += more.decode()
        except TimeoutError:
            pytest.fail(f"not shown, but {self._shown}")
        self._shown = self._shown[found.end() :]

    async def _open(self, name: str, text: str) -> None:
        if not CHROMIUM.exists():
            pytest.skip(
                f"NO BROWSER: {CHROMIUM} is missing, the rest of the page is not followed; scripts/chromium.sh installs it"
            )
        if self._browser is None:
            playwright = await self._stack.enter_async_context(async_playwright())
            self._browser = await playwright.chromium.launch(
                executable_path=CHROMIUM,
                args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-proxy-server"],
                timeout=DEADLINE_S * 3000,
            )
            self._stack.push_async_callback(self._browser.close)
        if self._page is not None:
            await self._page.close()
        self._page = await self._browser.new_page()
        port = await self._stack.enter_async_context(page_server(text))
        await self._page.goto(f"http://localhost:{port}/{name}")
        # What a reader sees before the next step.
        await self._page.wait_for_function("() => document.querySelectorAll('#log li').length >= 2")

    async def _await_page(self, lines: list[str]) -> None:
        assert self._page is not None, "no page is open"
        shown = "() => [...document.querySelectorAll('#log li')].map((line) => line.textContent)"
        await self._page.wait_for_function(
            f"(count) => ({shown})().length >= count", arg=len(lines), timeout=DEADLINE_S * 1000
        )
        assert await self._page.evaluate(shown) == lines


@asynccontextmanager
async def page_server(text: str) -> AsyncIterator[int]:
    """Serve one page on loopback under any name; give the port."""
    content = text.encode()
    head = f"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {len(content)}\r\nConnection: close\r\n\r\n"

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(head.encode() + content)
        except asyncio.IncompleteReadError:
            pass  # browsers open connections in advance, and use them or not
        finally:
            writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port: int = server.sockets[0].getsockname()[1]
        yield port


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.kill()
    # What is left in the pipe is read, or the transport of a process that ended would never close.
    assert process.stdout is not None
    await process.stdout.read()
    await process.wait()


@pytest.mark.parametrize("page", PAGES)
async def test_a_page_can_be_followed_as_it_stands(page: str, tmp_path: Path) -> None:
    """Every block that is to be run runs, and what the page says it shows is shown."""
    (tmp_path / "secret.txt").write_text(SECRET + "\n", encoding="utf-8")
    async with serving(tmp_path, *SERVED.get(page, ())) as served, AsyncExitStack() as stack:
        reader = Reader(served.port, tmp_path, stack)
        for block in PAGES[page]:
            try:
                await reader.take(block)
            except Exception as error:
                error.add_note(f"{page}:{block.line}: {block.language} {block.role}")
                raise


async def test_who_skips_the_browser_can_follow_the_shell(tmp_path: Path) -> None:
    """Editing together is told for the back end as well: its commands and answers hold without the page."""
    async with serving(tmp_path) as served, AsyncExitStack() as stack:
        reader = Reader(served.port, tmp_path, stack)
        for block in PAGES["docs/how-to/edit-together.md"]:
            if "page" not in block.role:
                await reader.take(block)


def test_the_pages_that_teach_are_followed() -> None:
    """The tutorial and the how-tos that show calls have blocks that run, and answers that are looked at."""
    assert {"run", "answer", "follow", "shows", "page"} == roles("docs/tutorials/first-event.md")
    assert {"run", "answer"} <= roles("docs/how-to/publish.md")
    assert {"run", "answer"} <= roles("docs/how-to/back-up-and-restore.md")
    assert {"run", "answer"} <= roles("docs/how-to/authenticate.md")
    assert {"follow", "shows"} <= roles("docs/how-to/choose-a-transport.md")
    assert {"run", "answer", "page"} <= roles("docs/how-to/edit-together.md")


def roles(page: str) -> set[str]:
    return {block.role.split()[0].partition("=")[0] for block in PAGES[page]}


@pytest.mark.parametrize(
    ("expected", "found", "is_matched"),
    [
        ({"a": "x…"}, {"a": "xyz"}, True),
        ({"a": "x…"}, {"a": "yx"}, False),
        ({"a": "…"}, {"a": "x", "b": 1}, False),
        ([{"a": 1}], [{"a": 1}, {"a": 1}], False),
        ({"a": False}, {"a": 0}, False),
        ({"a": 1}, {"a": 1}, True),
    ],
)
def test_an_answer_must_be_what_the_page_says(expected: object, found: object, is_matched: bool) -> None:
    """`…` stands for a part of a text and nothing else: a missing, further or other value is none."""
    assert matches(expected, found) is is_matched
