"""Pages in a real browser whose server is killed and started again: a native EventSource, and the how-to's pages as they stand there."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

from playwright.async_api import BrowserContext, Page

from tests.support.browser import chromium, needs_browser, open_page, page_server
from tests.support.command import Api, Browsers, a_free_port, document_update, serving

HOW_TO = Path(__file__).parents[2] / "docs" / "how-to" / "resume.md"
NATIVE = Path(__file__).parent / "pages" / "event_stream.html"

pytestmark = needs_browser


def snippet(name: str, port: str) -> str:
    """Give a page of the how-to, with the server's port in place of 8080."""
    found = re.search(
        rf"^```html page={re.escape(name)}\n(.*?)^```$", HOW_TO.read_text("utf-8"), re.DOTALL | re.MULTILINE
    )
    assert found, f"{HOW_TO} has no {name}"
    return found[1].replace("localhost:8080", f"localhost:{port}")


def native(port: str) -> str:
    """Give the page of the original README: an EventSource, and nothing done for it."""
    return NATIVE.read_text("utf-8").replace("EventSource('/api", f"EventSource('http://localhost:{port}/api")


async def open_all(context: BrowserContext, texts: Mapping[str, str], stack: AsyncExitStack) -> dict[str, Page]:
    """Open each page from a server that stays, as a front-end's does."""
    pages = {}
    for name, text in texts.items():
        port = await stack.enter_async_context(page_server(text))
        pages[name] = await open_page(context, f"http://localhost:{port}/")
    return pages


async def publish(url: str, *numbers: int) -> None:
    """Publish numbered events, each by a call of its own."""
    async with Api(url) as api:
        for number in numbers:
            await api.publish(document_update("doc123", id=f"event-{number}."))


async def until_shown(pages: Mapping[str, Page], text: str) -> None:
    """Wait until a text stands on every page."""
    for page in pages.values():
        await page.wait_for_function("text => document.querySelector('#log').textContent.includes(text)", arg=text)


async def events_on(page: Page) -> Sequence[int]:
    """Give the numbers of the events that a page shows, in order."""
    return [int(number) for number in re.findall(r"event-(\d+)\.", await page.inner_text("#log"))]


async def test_every_event_is_shown_once_over_kills_and_restarts(tmp_path: Path) -> None:
    """Published before, while the browser is not back yet, after, and at the moment of a kill: each page shows all, once, in order."""
    port = await a_free_port(tmp_path)
    texts = {
        "native EventSource": native(port),
        "stream.html": snippet("stream.html", port),
        "socket.html": snippet("socket.html", port),
    }
    async with chromium() as context, AsyncExitStack() as stack:
        async with serving(tmp_path, "--port", port) as served:
            pages = await open_all(context, texts, stack)
            await until_shown(pages, "subscribed")
            await publish(served.url, 1, 2)
            await until_shown(pages, "event-2.")
            await served.kill()
        async with serving(tmp_path, "--port", port) as served:
            await publish(served.url, 3, 4)
            await until_shown(pages, "event-4.")
            await publish(served.url, 5, 6)
            await until_shown(pages, "event-6.")
            await publish(served.url, 7)
            await served.kill()
        async with serving(tmp_path, "--port", port) as served:
            await publish(served.url, 8)
            await until_shown(pages, "event-8.")
            assert await served.terminate() == 0
        async with serving(tmp_path, "--port", port) as served:
            await publish(served.url, 9)
            await until_shown(pages, "event-9.")
            for name, page in pages.items():
                await page.screenshot(path=tmp_path / f"{name}.png")
                assert await events_on(page) == list(range(1, 10)), name
                assert "anew" not in await page.inner_text("#log"), name
            assert await served.terminate() == 0


async def test_the_socket_page_goes_on_after_a_reload(tmp_path: Path) -> None:
    """A page that is loaded again begins where it was, not with what it showed already, and not behind what it missed."""
    async with (
        serving(tmp_path) as served,
        chromium() as context,
        page_server(snippet("socket.html", str(served.port))) as port,
    ):
        page = await open_page(context, f"http://localhost:{port}/")
        await until_shown({"": page}, "subscribed")
        await publish(served.url, 1)
        await until_shown({"": page}, "event-1.")
        await page.goto("about:blank")
        await publish(served.url, 2)
        await page.goto(f"http://localhost:{port}/")
        await until_shown({"": page}, "event-2.")
        assert await events_on(page) == [2]
        assert await served.terminate() == 0


async def test_the_stream_page_comes_back_after_a_refusal(tmp_path: Path) -> None:
    """Where a browser gives up, because the server was full, the page does not."""
    async with serving(tmp_path, "--limits-connections", "1") as served, chromium() as context:
        async with Browsers(served) as others, page_server(snippet("stream.html", str(served.port))) as port:
            occupant = await others.websocket()
            page = await context.new_page()
            async with page.expect_response(lambda answer: "/api/realtime/events" in answer.url) as refused:
                await page.goto(f"http://localhost:{port}/")
            assert (await refused.value).status == 503
            await occupant.close()
            await until_shown({"": page}, "subscribed")
            await publish(served.url, 1)
            await until_shown({"": page}, "event-1.")
            assert await events_on(page) == [1]
        assert await served.terminate() == 0
