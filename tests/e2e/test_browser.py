"""The original README's two clients in a real browser, pasted as they stand but for the port."""

from __future__ import annotations

import json
from pathlib import Path

from playwright.async_api import BrowserContext, Page, Route

from tests.support.browser import FOREIGN, chromium, needs_browser, open_page, page_server
from tests.support.command import Api, JsonObject, document_update, serving

PAGES = Path(__file__).parent / "pages"

pytestmark = needs_browser


def page_text(name: str, port: int) -> str:
    """Give a page with the API's port in place of 8080."""
    return (PAGES / name).read_text(encoding="utf-8").replace("localhost:8080", f"localhost:{port}")


async def open_beside_api(context: BrowserContext, name: str, port: int) -> Page:
    """Open a page as if the API's own server had it, as behind a proxy: only then is a relative address the API's."""
    url = f"http://localhost:{port}/{name}"

    async def answer(route: Route) -> None:
        await route.fulfill(body=page_text(name, port), content_type="text/html")

    await context.route(url, answer)
    return await open_page(context, url)


async def shown(page: Page, prefix: str, until: str) -> list[JsonObject]:
    """Wait until a text stands on the page; give what was logged with a prefix, in order."""
    await page.wait_for_function("text => document.querySelector('#log').textContent.includes(text)", arg=until)
    lines = (await page.inner_text("#log")).split("\n")
    return [json.loads(line.removeprefix(prefix)) for line in lines if line.startswith(prefix)]


def documents(events: list[JsonObject]) -> list[tuple[object, object]]:
    """Give the organization and the document of each event."""
    found = []
    for event in events:
        payload = event["payload"]
        assert isinstance(payload, dict)
        found.append((event["organizationId"], payload["documentId"]))
    return found


async def test_the_originals_clients_show_what_concerns_them_at_once(tmp_path: Path) -> None:
    """Published over HTTP, seen in both pages; another document not in the first, another organization in neither."""
    async with (
        serving(tmp_path) as served,
        Api(served.url) as api,
        # Another origin on this machine, as a front-end's development server is.
        page_server(page_text("websocket.html", served.port)) as port,
        chromium() as context,
    ):
        sockets = await open_page(context, f"http://localhost:{port}/")
        streams = await open_beside_api(context, "event_stream.html", served.port)
        await shown(sockets, "Real-time update: ", '"subscribed"')
        await shown(streams, "Real-time event: ", '"subscribed"')

        await api.publish(document_update("doc123", "org456"))
        await api.publish(document_update("doc999"))
        await api.publish(document_update("doc123", changes={"title": "NDA </pre> \u2028 ü 🖋"}))
        # What follows everything else: once it is there, nothing before it is still on its way.
        (last,) = await api.publish(document_update("doc123"))

        messages = await shown(sockets, "Real-time update: ", str(last["eventId"]))
        events = await shown(streams, "Document updated: ", str(last["eventId"]))
        unnamed = await shown(streams, "Real-time event: ", str(last["eventId"]))
        await sockets.screenshot(path=tmp_path / "websocket.png")
        await streams.screenshot(path=tmp_path / "event_stream.png")

        assert [message["type"] for message in messages] == ["connected", "subscribed", "event", "event"]
        received = [message["event"] for message in messages[2:]]
        assert documents(received) == [("org123", "doc123"), ("org123", "doc123")]  # type: ignore[arg-type]
        assert documents(events) == [("org123", "doc999"), ("org123", "doc123"), ("org123", "doc123")]
        assert events[1:] == received
        assert received[0]["payload"]["changes"] == {"title": "NDA </pre> \u2028 ü 🖋"}  # type: ignore[index]
        assert [message["type"] for message in unnamed] == ["connected", "subscribed"]
        assert await served.terminate() == 0


async def test_an_event_stream_crosses_origins_on_one_machine(tmp_path: Path) -> None:
    """In development a page of any loopback origin may open a stream, with CORS as a browser wants it."""
    async with serving(tmp_path, "--database", ":memory:") as served, Api(served.url) as api:
        absolute = page_text("event_stream.html", served.port).replace(
            "EventSource('/api", f"EventSource('http://localhost:{served.port}/api"
        )
        async with page_server(absolute) as port, chromium() as context:
            page = await open_page(context, f"http://localhost:{port}/")
            await shown(page, "Real-time event: ", '"subscribed"')
            (result,) = await api.publish(document_update("doc123"))
            (event,) = await shown(page, "Document updated: ", str(result["eventId"]))
            assert event["id"] == result["eventId"]
        assert await served.terminate() == 0


ATTEMPTS = """port => Promise.all([
    new Promise(done => {
        const socket = new WebSocket(`ws://localhost:${port}/ws?userId=user123&organizationId=org123`);
        socket.onopen = () => done('open');
        socket.onerror = () => done('refused');
    }),
    new Promise(done => {
        const stream = new EventSource(`http://localhost:${port}/api/realtime/events?userId=user123&organizationId=org123`);
        stream.onopen = () => done('open');
        stream.onerror = () => done(stream.readyState === EventSource.CLOSED ? 'refused' : 'trying again');
    }),
    fetch(`http://localhost:${port}/api/realtime/history?userId=user123&organizationId=org123`)
        .then(answer => answer.status, () => 'refused'),
    // Sent without asking first, as any page may; whether it was taken shows in the history.
    fetch(`http://localhost:${port}/api/realtime/events`, {method: 'POST', mode: 'no-cors', body: EVENT})
        .then(answer => answer.type, () => 'refused'),
])""".replace("EVENT", repr(json.dumps(document_update("doc123"))))


async def test_a_foreign_page_gets_nothing(tmp_path: Path) -> None:
    """A page from elsewhere, open in a developer's browser, learns nothing and publishes nothing; one of this machine does both."""
    async with (
        serving(tmp_path, "--database", ":memory:") as served,
        Api(served.url) as api,
        page_server("<title>a page</title>") as port,
        chromium() as context,
    ):
        foreign = await open_page(context, f"http://{FOREIGN}:{port}/")
        assert (await foreign.evaluate(ATTEMPTS, served.port))[:3] == ["refused"] * 3
        assert await api.history() == []

        # The same from a page that is let in: what was refused above was refused for where the page came from.
        friendly = await open_page(context, f"http://localhost:{port}/")
        assert (await friendly.evaluate(ATTEMPTS, served.port))[:3] == ["open", "open", 200]

        # By way of DNS, a foreign page can be of our own origin: then the name gives it away.
        rebound = await foreign.goto(f"http://{FOREIGN}:{served.port}/api/realtime/history?userId=u&organizationId=o")
        assert rebound is not None
        assert (rebound.status, (await rebound.json())["code"]) == (403, "host_not_allowed")
        assert await served.terminate() == 0
