"""A real browser, and pages for it.

Owns: starting and ending Chromium, serving a page on loopback, waiting for what a page shows.   Not: what a page should show.
Rule: loopback only; the browser asks nobody outside.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest
from playwright.async_api import BrowserContext, Page, async_playwright

from tests.support.command import DEADLINE_S

CHROMIUM: Final = Path("/usr/bin/chromium")

needs_browser: Final = [
    pytest.mark.skipif(
        not CHROMIUM.exists(),
        reason=f"NO BROWSER: {CHROMIUM} is missing, so that nothing shows that browsers work; scripts/chromium.sh installs it",
    ),
    # Starting a browser on a busy machine takes its time.
    pytest.mark.timeout(120),
]
"""A module's `pytestmark`."""

FOREIGN: Final = "attacker.example"
# Loopback only, and nothing asked of anybody outside. The foreign name points at this machine, as an attacker's may.
ARGUMENTS: Final = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-proxy-server",
    f"--host-resolver-rules=MAP {FOREIGN} 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1",
]


@asynccontextmanager
async def chromium() -> AsyncIterator[BrowserContext]:
    """Start a browser; give a fresh profile of it."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS, timeout=DEADLINE_S * 3000)
        try:
            context = await browser.new_context()
            context.set_default_timeout(DEADLINE_S * 1000)
            yield context
        finally:
            await browser.close()


@asynccontextmanager
async def page_server(body: str) -> AsyncIterator[int]:
    """Serve one page on loopback, whatever the name and path asked for; give the port.

    Why not a fulfilled route: for a browser such a page comes from nowhere, and pages from nowhere may not call loopback addresses.
    """
    content = body.encode()
    head = f"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {len(content)}\r\nConnection: close\r\n\r\n"

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(head.encode() + content)
        except asyncio.IncompleteReadError:
            pass  # browsers open connections in advance, and use them or not
        finally:
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        port: int = server.sockets[0].getsockname()[1]
        yield port


async def open_page(context: BrowserContext, url: str) -> Page:
    """Open a page in a tab of its own."""
    page = await context.new_page()
    await page.goto(url)
    return page
