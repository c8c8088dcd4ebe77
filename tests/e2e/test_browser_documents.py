"""Two people edit one document in two pages of a real browser, over plain WebSocket."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import pytest
from playwright.async_api import BrowserContext, Page

from tests.support.browser import chromium, needs_browser, open_page, page_server
from tests.support.command import Api, Served, serving

PAGE: Final = Path(__file__).parent / "pages" / "documents.html"
BODY: Final = "The parties keep secret what they learn. This holds for two years."

pytestmark = needs_browser


class Editor:
    """One person's page on one field of a document."""

    def __init__(self, page: Page) -> None:
        self.page = page

    async def begin(self, text: str) -> None:
        """Begin to type: the edit is meant for what is shown now."""
        await self.page.focus("#wish")
        await self.page.fill("#wish", text)

    async def save(self, strategy: str) -> None:
        """Send what was typed."""
        await self.page.select_option("#strategy", strategy)
        await self.page.click("#save")

    async def shows(self, line: str) -> None:
        """Wait until it stands in the list of what happened."""
        await self.page.locator("#log li", has_text=line).first.wait_for()

    async def told(self) -> list[str]:
        """Give the list of what happened, without its first line."""
        lines = await self.page.locator("#log li").all_inner_texts()
        assert lines[0].startswith("following from version")
        return lines[1:]

    async def state(self) -> tuple[str, str, str]:
        """Give version, state and value as they are shown."""
        return (
            await self.page.inner_text("#version"),
            await self.page.inner_text("#state"),
            await self.page.inner_text("#value"),
        )

    async def to_decide(self) -> list[str]:
        """Give the conflicts that are shown as open."""
        return await self.page.locator("#open li").all_inner_texts()


class Documents:
    """The documents' calls of one user."""

    def __init__(self, api: Api, user: str) -> None:
        self._http = api.http
        self._headers = {"Authorization": f"Bearer {user}@org123"}

    async def post(self, path: str, body: object) -> tuple[int, dict[str, Any]]:
        """Ask for something; give status and answer."""
        answer = await self._http.post(f"/api/realtime/{path}", json=body, headers=self._headers)
        return answer.status_code, answer.json()

    async def get(self, path: str) -> dict[str, Any]:
        """Give what is there."""
        answer = await self._http.get(f"/api/realtime/{path}", headers=self._headers)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def create(self, document_id: str) -> None:
        """Make a document with a title and a text."""
        edit = {"changeId": "created", "baseVersion": 0, "changes": {"title": "NDA", "body": BODY}}
        status, answer = await self.post(f"documents/{document_id}/edits", edit)
        assert (status, answer["status"]) == (200, "applied")


async def open_editors(
    context: BrowserContext, port: int, document_id: str, *, field: str = "title"
) -> tuple[Editor, Editor]:
    """Open a page for each of two people, and wait until both follow the document."""
    editors = [
        Editor(await open_page(context, f"http://localhost:{port}/?user={user}&document={document_id}&field={field}"))
        for user in ("ada", "ben")
    ]
    for editor in editors:
        await editor.shows("following from version 1")
    return editors[0], editors[1]


def page_of(served: Served) -> str:
    """Give the page, for this server."""
    return PAGE.read_text(encoding="utf-8").replace("localhost:8080", f"localhost:{served.port}")


WINS: Final = "conflict /title auto_resolved: Ada's NDA / Ben's NDA, incoming wins"
CASES: Final = {
    # strategy: what both then show, what only Ben is told, what both are told
    "merge": (("3", "draft", "Ben's NDA"), ["merged, version 3"], ["version 2 by ada", "version 3 by ben", WINS]),
    "overwrite": (("3", "draft", "Ben's NDA"), ["merged, version 3"], ["version 2 by ada", "version 3 by ben", WINS]),
    "reject": (
        ("2", "draft", "Ada's NDA"),
        [
            "rejected (conflict), version 2",
            "conflict /title auto_resolved: Ada's NDA / Ben's NDA, current wins",
        ],
        ["version 2 by ada"],
    ),
    "manual": (
        ("2", "draft", "Ada's NDA"),
        ["parked, version 2"],
        ["version 2 by ada", "conflict /title open: Ada's NDA / Ben's NDA"],
    ),
}


async def test_the_same_field_under_each_strategy(tmp_path: Path) -> None:
    """Both typed on version 1; the second to save meets the first by the strategy he asked for, and both pages show the same."""
    async with (
        serving(tmp_path) as served,
        Api(served.url) as api,
        page_server(page_of(served)) as port,
        chromium() as context,
    ):
        for strategy, (state, to_ben, to_both) in CASES.items():
            await Documents(api, "eve").create(strategy)
            ada, ben = await open_editors(context, port, strategy)
            await ada.begin("Ada's NDA")
            await ben.begin("Ben's NDA")
            await ada.save(strategy)
            await ada.shows("applied, version 2")
            await ben.shows("version 2 by ada")
            await ben.save(strategy)
            for line in [*to_ben, *to_both]:
                await ben.shows(line)
            for line in to_both:
                await ada.shows(line)
            for editor, more in ((ada, ["applied, version 2"]), (ben, to_ben)):
                await editor.page.screenshot(path=tmp_path / f"{strategy}-{'ben' if editor is ben else 'ada'}.png")
                assert sorted(await editor.told()) == sorted([*to_both, *more]), strategy
                assert await editor.state() == state, strategy
                is_open = ["/title: Ada's NDA stands, ben wants Ben's NDA"] if strategy == "manual" else []
                assert await editor.to_decide() == is_open
            held = await Documents(api, "eve").get(f"documents/{strategy}")
            assert (str(held["version"]), held["state"], held["data"]["title"]) == state
        assert await served.terminate() == 0


async def test_two_change_different_sentences_of_one_text(tmp_path: Path) -> None:
    """A text is merged by its words, without a conflict, and both pages show the whole of it."""
    async with (
        serving(tmp_path, "--database", ":memory:") as served,
        Api(served.url) as api,
        page_server(page_of(served)) as port,
        chromium() as context,
    ):
        await Documents(api, "eve").create("doc123")
        ada, ben = await open_editors(context, port, "doc123", field="body")
        await ada.begin(BODY.replace("The parties", "Both parties"))
        await ben.begin(BODY.replace("two years", "five years"))
        await ada.save("merge")
        await ben.shows("version 2 by ada")
        await ben.save("merge")
        await ben.shows("applied, version 3")
        for editor in (ada, ben):
            await editor.shows("version 3 by ben")
            text = "Both parties keep secret what they learn. This holds for five years."
            assert await editor.state() == ("3", "draft", text)
            assert await editor.to_decide() == []
        assert await served.terminate() == 0


@pytest.mark.parametrize(
    ("take", "title", "outcome"),
    [("incoming", "Ben's NDA", "overwrite"), ("current", "Ada's NDA", "reject")],
)
async def test_a_third_decides_and_after_a_signature_nobody_edits(
    tmp_path: Path, take: str, title: str, outcome: str
) -> None:
    """What was parked is shown to both, decided over HTTP by somebody else and shown decided; signed with a fresh hash only, then closed to both."""
    async with (
        serving(tmp_path) as served,
        Api(served.url) as api,
        page_server(page_of(served)) as port,
        chromium() as context,
    ):
        eve = Documents(api, "eve")
        await eve.create("doc123")
        ada, ben = await open_editors(context, port, "doc123")
        await ada.begin("Ada's NDA")
        await ben.begin("Ben's NDA")
        await ada.save("manual")
        await ben.shows("version 2 by ada")
        await ben.save("manual")
        for editor in (ada, ben):
            await editor.shows("conflict /title open")

        (conflict,) = (await eve.get("documents/doc123/conflicts"))["conflicts"]
        shown = (await eve.get("documents/doc123"))["contentHash"]
        transition = {"to": "signing", "contentHash": shown}
        status, problem = await eve.post("documents/doc123/transitions", transition)
        assert (status, problem["code"]) == (409, "open_conflicts")

        decision = {"conflictId": conflict["conflictId"], "rev": conflict["rev"], "take": take}
        status, answer = await eve.post("conflicts/doc123/resolve", {"decisions": [decision]})
        assert (status, answer["resolution"], answer["resolvedBy"], answer["version"]) == (200, outcome, "eve", 3)
        for editor in (ada, ben):
            await editor.shows("version 3 by eve")
            await editor.shows("conflict /title resolved by eve")
            assert await editor.state() == ("3", "draft", title)
            assert await editor.to_decide() == []

        if title != "Ada's NDA":
            status, problem = await eve.post("documents/doc123/transitions", transition)
            assert (status, problem["code"]) == (409, "content_changed")
        fresh = (await eve.get("documents/doc123"))["contentHash"]
        # Ada types on what is still a draft; the signature is faster.
        await ada.begin("Ada's last wish")
        status, signed = await eve.post("documents/doc123/transitions", {"to": "signing", "contentHash": fresh})
        assert (status, signed["state"], signed["version"]) == (200, "signing", 4)
        for editor, strategy in ((ada, "overwrite"), (ben, "merge")):
            await editor.shows("version 4 by eve")
            if editor is ben:
                await editor.begin("Ben's last wish")
            await editor.save(strategy)
            await editor.shows("refused (document_locked: signing), version 4")
            assert await editor.state() == ("4", "signing", title)
            await editor.page.screenshot(path=tmp_path / f"signed-{'ben' if editor is ben else 'ada'}.png")
        held = await eve.get("documents/doc123")
        assert (held["version"], held["data"]["title"], held["contentHash"]) == (4, title, fresh)
        assert await served.terminate() == 0
