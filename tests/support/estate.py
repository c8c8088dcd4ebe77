"""Three organizations with the same people in one server, and what each of them may be shown.

Owns: the people and their tokens, everything that they can do over HTTP and both transports, the canaries in what they write, and the search of
whatever anybody is sent.   Not: who does what when (tests/property/test_isolation.py).
Rule 1: ids are the same everywhere; only canaries and the names of organizations differ. A canary says whose it is and what it is part of.
Rule 2: `may_see` is the rule as the specification words it, and shares nothing with the service's way of compiling it.
Rule 3: whoever is refused is told the same whether what he asked for exists or not.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Coroutine, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, TypeVar

from signtusk_realtime.auth.authenticator import Credentials
from signtusk_realtime.engines.memory import MemoryEngine
from signtusk_realtime.errors import Forbidden, Unauthenticated
from signtusk_realtime.sessions.identity import ADMINISTER, PUBLISH, Grant, Identity
from tests.support.server import CLOSE, TEXT, Answer, Serving, StreamPeer, WebSocketPeer, call, serving, until
from tests.support.wire import client_frame

T = TypeVar("T")

ORGANIZATIONS: Final = ("cnry~A~org~", "cnry~B~org~", "cnry~C~org~")
PEOPLE: Final = ("ann", "bob", "app", "gil", "guy")
"""Two members of a team each; one who publishes and operates, in the second's team; two guests: of a document and, as somebody else, of a signing
request; of a signing request."""
DOCUMENTS: Final = ("d0", "d1", "d2")
REQUESTS: Final = ("s0", "s1", "s2")
RECIPIENTS: Final = ("r0", "r1", "r2")
TEAMS: Final = ("t0", "t1", "t2")
TEAM_OF: Final[Mapping[str, tuple[str, ...]]] = {"ann": ("t0",), "bob": ("t1",), "app": ("t1",)}
GRANTS: Final[Mapping[str, tuple[Grant, ...]]] = {
    "gil": (
        Grant(
            actions=("subscribe", "edit", "resolve"),
            types=("document_updates", "signing_updates", "notifications"),
            document_id="d0",
            recipient_id="r0",
        ),
        Grant(actions=("subscribe",), types=("signing_updates",), signing_request_id="s2", recipient_id="r2"),
    ),
    "guy": (Grant(actions=("subscribe",), signing_request_id="s1", recipient_id="r1"),),
}
CANARY: Final = re.compile(r"cnry~([ABC])~([^~]*)~([^~\" ]*)")
_API: Final = "/api/realtime"
_SOON_S: Final = 10_000
"""Tokens of the second generation are issued so much later: what bars the first does not bar them."""


class Person(NamedTuple):
    """Somebody of an organization."""

    user: str
    organization: str

    @property
    def is_guest(self) -> bool:
        return self.user in GRANTS


def canary(organization: str, scope: str, *of: str) -> str:
    """Give a canary of something: `of` says what it belongs to."""
    return f"cnry~{organization[5]}~{scope}~{'.'.join(of)}"


def may_see(who: Person, organization: str, scope: str, of: list[str]) -> bool:
    """Say whether somebody may be shown what carries this canary."""
    if organization != who.organization[5]:
        return False
    if scope == "org":
        return True
    if who.user == "gil":
        return {
            "doc": lambda: of == ["d0"],
            "sig": lambda: of[0] == "d0" or of[1] == "s2",
            "req": lambda: of[0] == "d0" or of[1] == "s2",
            "sigdata": lambda: (of[0], of[2]) == ("d0", "r0") or of[1:] == ["s2", "r2"],
            "note": lambda: of == ["gil"],
        }.get(scope, lambda: False)()
    if who.user == "guy":
        return {
            "sig": lambda: of[1] == "s1",
            "sigdata": lambda: of[1:] == ["s1", "r1"],
            "req": lambda: of[1] == "s1",
        }.get(scope, lambda: False)()
    if scope == "note":
        return of == [who.user]
    if scope == "team":
        return of == list(TEAM_OF[who.user])
    return True


class People:
    """Knows tokens `user|organization|generation`."""

    def __init__(self) -> None:
        self._now_s = int(time.time())

    async def authenticate(self, credentials: Credentials) -> Identity:
        if credentials.bearer is None:
            raise Unauthenticated("a token is needed")
        user, organization, generation = credentials.bearer.split("|")
        if credentials.organization_id not in (None, organization):
            raise Forbidden("the token is of another organization")
        return Identity(
            user_id=user,
            organization_id=organization,
            teams=TEAM_OF.get(user, ()),
            scopes=frozenset({PUBLISH, ADMINISTER}) if user == "app" else frozenset(),
            grants=GRANTS.get(user),
            issued_at=self._now_s - 100 + int(generation) * _SOON_S,
            token_id=f"{user}-{generation}",
        )


@dataclass(eq=False)
class Seat:
    """An open connection, and what came in over it."""

    who: Person
    peer: WebSocketPeer | StreamPeer
    connection_id: str = ""
    texts: list[str] = field(default_factory=list)
    is_over: bool = False
    reading: asyncio.Task[None] | None = None

    async def read(self) -> None:
        """Read until the end."""
        try:
            while True:
                if isinstance(self.peer, StreamPeer):
                    event = await self.peer.event()
                    self.texts.append(f"{event.type} {event.data} {event.last_event_id}")
                else:
                    frame = await self.peer.frame()
                    if frame.opcode == CLOSE:
                        break
                    self.texts.append(frame.payload.decode())
        except (EOFError, OSError):
            pass
        self.is_over = True
        await self.peer.end()

    def has(self, text: str) -> bool:
        return any(text in one for one in self.texts)


class Estate:
    """See the module. Every method but `run` and `end` is something that somebody does; what must come of it is asserted there."""

    def __init__(self) -> None:
        self._runner = asyncio.Runner()
        self._opened = AsyncExitStack()
        self.seats: list[Seat] = []
        self.cursors: list[tuple[str, str]] = []
        """Cursors and whose they are."""
        self.generations: dict[Person, int] = {}
        self.ids: dict[tuple[str, str], str] = {}
        """What was published under an id."""
        self.documents: set[tuple[str, str]] = set()
        self.written: set[tuple[str, str]] = set()
        """Canaries of what is in the log, with their organizations."""
        self._numbers = 0
        self._it: Serving = self.run(
            self._opened.enter_async_context(serving(engine=MemoryEngine(), authenticator=People()))
        )

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(work)

    def end(self) -> None:
        """Let everybody read to the end, check that all has been shown that was to be, and close."""
        try:
            self.run(self._last_words())
        finally:
            try:
                self.run(self._close())
            finally:
                self._runner.close()

    # ---- what is shown

    def look(self, who: Person, text: str) -> None:
        """Search what somebody was sent."""
        for organization, scope, of in CANARY.findall(text):
            assert may_see(who, organization, scope, of.split(".")), (who, organization, scope, of, text[:2000])

    async def ask(
        self, who: Person, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Make a call; whatever the answer, it is searched."""
        head = {"Authorization": f"Bearer {self.token(who)}", **(headers or {})}
        data = b""
        if body is not None:
            head["Content-Type"] = "application/json"
            data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        answer = await call(self._it.port, method, _API + path, head, data)
        self.look(who, answer.body.decode() + json.dumps(dict(answer.headers)))
        return answer

    def token(self, who: Person) -> str:
        return f"{who.user}|{who.organization}|{self.generations.get(who, 0)}"

    def mark(self, who: Person, scope: str, *of: str) -> str:
        """Make a canary for something that is about to be published."""
        found = canary(who.organization, scope, *of)
        self.written.add((who.organization, found))
        return found

    # ---- publishing

    async def publish(self, who: Person, kind: str, pick: tuple[int, int, int, int], event_id: str | None) -> None:
        """Publish an event of any kind. An id counts in its own organization only."""
        before = set(self.written)
        event = self._event(who, kind, pick)
        self._numbers += 1
        event["metadata"] = {**event["metadata"], "number": self._numbers}
        named = f"{event['id']}" if kind == "notification" else event_id
        if named is not None:
            event["id"] = named
        answer = await self.ask(who, "POST", "/events", event)
        key = (who.organization, named or "")
        if named is not None and key in self.ids:
            self.written = before
            assert (answer.status, answer.code) == (409, "event_id_reused")
            return
        assert answer.status == 200, answer.body
        if named is not None:
            self.ids[key] = kind
        results = answer.json()["results"]
        assert isinstance(results, list)
        self.cursors.append((results[0]["cursor"], who.organization))

    def _event(self, who: Person, kind: str, pick: tuple[int, int, int, int]) -> dict[str, Any]:
        document, request = DOCUMENTS[pick[0]], REQUESTS[pick[1]]
        recipient, user = RECIPIENTS[pick[2]], PEOPLE[(pick[3] + pick[0]) % 5]
        event: dict[str, Any] = {"kind": kind, "userId": user}
        match kind:
            case "document_update":
                text = self.mark(who, "doc", document)
                event |= {"documentId": document, "type": "signed", "clientId": text}
            case "signature_status":
                text = self.mark(who, "sig", document, request)
                data = {"ipAddress": self.mark(who, "sigdata", document, request, recipient)}
                event |= {"documentId": document, "signingRequestId": request, "recipientId": recipient}
                event |= {"status": "signed", "signatureData": data}
            case "signing_request":
                text = self.mark(who, "req", document, request)
                event |= {"documentId": document, "signingRequestId": request, "type": "created", "recipients": [text]}
            case "notification":
                text = self.mark(who, "note", user)
                event |= {"id": f"n{pick[0]}{pick[1]}", "title": text, "message": "m", "type": "info"}
            case "user_presence":
                text = self.mark(who, "pres")
                event |= {"status": "away", "currentDocument": document}
            case "organization_activity":
                text = self.mark(who, "act")
                event |= {"activityType": text, "payload": {"documentId": document, "signingRequestId": request}}
            case _:
                text = self.mark(who, "team", TEAMS[pick[2]])
                event |= {"teamId": TEAMS[pick[2]], "updateType": "u", "payload": {"text": text}}
        event["metadata"] = {"text": text}
        return event

    async def publish_elsewhere(self, who: Person, other: str) -> None:
        """Name another organization in an event, in the query and over a cursor: forbidden, and nothing is there."""
        if other != who.organization:
            event = {"kind": "organization_activity", "activityType": canary(who.organization, "act"), "payload": {}}
            for path, body in (
                ("/events", {**event, "organizationId": other}),
                (f"/events?organizationId={other}", event),
            ):
                head = {"Authorization": f"Bearer {self.token(who)}", "Content-Type": "application/json"}
                # Not searched: a refusal may name the organization that this person named.
                answer = await call(self._it.port, "POST", _API + path, head, json.dumps(body).encode())
                assert (answer.status, answer.code) == (403, "forbidden")

    # ---- reading

    async def connect(
        self,
        who: Person,
        *,
        wanted: set[str],
        is_stream: bool,
        by_ticket: bool,
        document: str | None,
        cursor: int | None,
    ) -> None:
        """Open a connection of either kind, by a token or a ticket, from here on or from anybody's cursor."""
        headers = {"Authorization": f"Bearer {self.token(who)}"}
        query = ""
        if by_ticket:
            answer = await self.ask(who, "POST", "/tickets")
            assert answer.status == 200
            query, headers = f"ticket={answer.json()['ticket']}", {}
        filters = {} if document is None else {"documentId": document}
        asked = [{"type": name, "filters": filters} for name in sorted(wanted) if not who.is_guest]
        asked.append({"type": "signing_updates", "filters": {}})
        if who.user == "gil" and "document_updates" in wanted:
            asked.append({"type": "document_updates", "filters": {}})
        resumed = None if cursor is None or not self.cursors else self.cursors[cursor % len(self.cursors)]
        if is_stream:
            query += "&subscriptions=" + json.dumps(asked).replace(" ", "").replace('"', "%22")
            if resumed is not None:
                headers["Last-Event-ID"] = resumed[0]
            seat = Seat(
                who, await self._opened.enter_async_context(await StreamPeer.open(self._it.port, query, headers))
            )
        else:
            peer = await self._opened.enter_async_context(await WebSocketPeer.open(self._it.port, query, headers))
            request = {
                "type": "subscribe",
                "subscriptions": asked,
                **({} if resumed is None else {"cursor": resumed[0]}),
            }
            await peer.send(client_frame(TEXT, json.dumps(request).encode()))
            if who.is_guest:
                # What lies outside is refused, and nothing of it comes.
                for name in sorted(wanted):
                    more = {"type": "subscribe", "subscription": {"type": name, "filters": {"documentId": "d1"}}}
                    await peer.send(client_frame(TEXT, json.dumps(more).encode()))
            seat = Seat(who, peer)
        seat.reading = asyncio.create_task(seat.read())
        self.seats.append(seat)
        await until(lambda: seat.is_over or seat.has('"subscribed"'))
        assert not seat.is_over
        found = next(
            json.loads(text[text.index("{") : text.rindex("}") + 1]) for text in seat.texts if "connectionId" in text
        )
        seat.connection_id = found["connectionId"]
        if resumed is not None:
            is_own = resumed[1] == who.organization
            assert seat.has('"recovered":true' if is_own else '"reason":"unknown"'), seat.texts

    async def come_back_everywhere(self, users: set[str], wanted: set[str], nth: int, *, is_stream: bool) -> None:
        """These of every organization connect at the same time, each from the nth cursor of his own, or its last."""
        async with asyncio.TaskGroup() as tasks:
            for name in ORGANIZATIONS:
                own = [at for at, (_, organization) in enumerate(self.cursors) if organization == name]
                cursor = own[min(nth, len(own) - 1)] if own else None
                for user in sorted(users):
                    work = self.connect(
                        Person(user, name),
                        wanted=wanted,
                        is_stream=is_stream,
                        by_ticket=False,
                        document=None,
                        cursor=cursor,
                    )
                    tasks.create_task(work)

    async def take_a_ticket_elsewhere(self, who: Person, other: str) -> None:
        """A ticket opens nothing of an organization that is not its own."""
        if other != who.organization:
            ticket = (await self.ask(who, "POST", "/tickets")).json()["ticket"]
            answer = await call(self._it.port, "GET", f"{_API}/events?ticket={ticket}&organizationId={other}")
            assert (answer.status, answer.code) == (403, "forbidden")

    async def read_history(self, who: Person, cursor: int | None, limit: int) -> None:
        """Read a page, from the beginning or anybody's cursor."""
        after = None if cursor is None or not self.cursors else self.cursors[cursor % len(self.cursors)]
        answer = await self.ask(who, "GET", f"/history?limit={limit}" + ("" if after is None else f"&after={after[0]}"))
        if after is None or after[1] == who.organization:
            assert answer.status == 200, answer.body
            self.cursors.append((str(answer.json()["cursor"]), who.organization))
        else:
            assert (answer.status, answer.json()["reason"]) == (410, "unknown")

    # ---- documents

    def _is_outside(self, who: Person, document: str, action: str) -> bool:
        return who.is_guest and not any(
            grant.document_id == document and action in grant.actions for grant in GRANTS[who.user]
        )

    def _check_document(self, who: Person, document: str, answer: Answer, action: str) -> bool:
        """See that a refusal says what it must, and say whether the document is there for this person."""
        if self._is_outside(who, document, action):
            assert (answer.status, answer.code) == (403, "forbidden")
            assert answer.json()["detail"] == "this is outside what was granted"
            return False
        if (who.organization, document) not in self.documents:
            assert answer.status == 404, answer.body
            return False
        return True

    async def be_there(self, who: Person, document: str, status: str) -> None:
        """Say how one is and what one does, and ask who else is there; guests are told of nobody, and go nowhere else."""
        headers = {"Authorization": f"Bearer {self.token(who)}"}
        async with await WebSocketPeer.open(self._it.port, "", headers) as peer:
            await peer.message()
            own, doing = canary(who.organization, "there", who.user), canary(who.organization, "doc", document)
            for message in (
                {"type": "presence", "status": status, "currentDocument": document, "metadata": {"mark": own}},
                {"type": "signal", "signal": "typing", "documentId": document, "data": {"mark": doing}},
            ):
                await peer.ask(message)
            may = not who.is_guest or (who.user, document) == ("gil", "d0")
            answer = await peer.message()
            self.look(who, json.dumps(answer))
            assert answer["type"] == ("presence_accepted" if may else "error")
            if not may:
                assert (await peer.message())["type"] == "error"
            found = await self.ask(who, "GET", f"/presence?documentId={document}")
            assert found.status == (403 if who.is_guest else 200)
            if not who.is_guest and status != "offline":
                assert own in found.body.decode()

    async def see_who_is_there(self, document: str) -> None:
        """A member of each organization asks at the same time; what they are told is searched."""
        async with asyncio.TaskGroup() as tasks:
            for name in ORGANIZATIONS:
                tasks.create_task(self.ask(Person("ann", name), "GET", f"/presence?documentId={document}"))

    async def edit(self, who: Person, document: str, *, base: int, over_http: bool, field: str) -> None:
        """Edit over either transport; base 0 creates."""
        self._numbers += 1
        text = canary(who.organization, "doc", document)
        body = {
            "changeId": f"c{self._numbers}-{who.user}",
            "baseVersion": base,
            "changes": {field: f"{text} {self._numbers}"},
            "strategy": "manual" if who.user == "app" else "merge",
        }
        if not over_http:
            headers = {"Authorization": f"Bearer {self.token(who)}"}
            async with await WebSocketPeer.open(self._it.port, "", headers) as peer:
                await peer.message()
                await peer.ask({"type": "edit", "documentId": document, **body})
                result = await peer.message()
            self.look(who, json.dumps(result))
            code, is_done = result.get("code"), result["status"] in ("applied", "merged", "parked", "noop")
        else:
            answer = await self.ask(who, "POST", f"/documents/{document}/edits", body)
            code, is_done = answer.json().get("code"), answer.status == 200
        key = (who.organization, document)
        if self._is_outside(who, document, "edit"):
            assert code == "forbidden"
        elif key not in self.documents and base:
            assert code == "unknown_document", code
        elif key not in self.documents:
            assert is_done, code
            self.documents.add(key)
            self.written.add((who.organization, text))
        if is_done:
            self.written.add((who.organization, text))

    async def read_document(self, who: Person, document: str, what: str) -> None:
        answer = await self.ask(who, "GET", f"/documents/{document}{what}")
        if self._check_document(who, document, answer, "subscribe"):
            assert answer.status == 200, answer.body

    async def resolve(self, who: Person, document: str, resolution: str) -> None:
        answer = await self.ask(who, "POST", f"/conflicts/{document}/resolve", {"resolution": resolution})
        is_there = self._check_document(who, document, answer, "resolve")
        if is_there and answer.status == 200 and resolution != "manual":  # which takes them on, and leaves them open
            left = await self.ask(
                Person("app", who.organization), "GET", f"/documents/{document}/conflicts?status=open"
            )
            assert left.json()["conflicts"] == []

    async def move(self, who: Person, document: str, to: str) -> None:
        answer = await self.ask(who, "POST", f"/documents/{document}/transitions", {"to": to})
        self._check_document(who, document, answer, "transition")

    # ---- operating

    async def list_connections(self, who: Person, user: str | None) -> None:
        """An operator is shown his organization's connections, nobody else any."""
        answer = await self.ask(who, "GET", "/connections" + ("" if user is None else f"?user={user}"))
        if who.user != "app":
            assert (answer.status, answer.code) == (403, "forbidden")
            return
        listed = answer.json()["connections"]
        assert isinstance(listed, list)
        own = {seat.connection_id for seat in self.seats if seat.who.organization == who.organization}
        assert {one["connectionId"] for one in listed} <= own

    async def close_connections(self, who: Person, user: str) -> None:
        closed = [seat for seat in self._present() if seat.who == (user, who.organization)]
        answer = await self.ask(who, "DELETE", f"/connections?user={user}")
        assert answer.json()["closed"] == len(closed)
        await until(lambda: all(seat.is_over for seat in closed))
        self._nobody_else(closed)

    async def revoke_a_connection(self, who: Person, pick: int) -> None:
        """Another organization's is as unknown as none."""
        if not self.seats:
            return
        seat = self.seats[pick % len(self.seats)]
        is_own = seat.who.organization == who.organization and not seat.is_over
        answer = await self.ask(who, "POST", "/revocations", {"connectionId": seat.connection_id})
        assert answer.json()["closed"] == is_own, answer.body
        if is_own:
            await until(lambda: seat.is_over)
        self._nobody_else([seat] if is_own else [])

    async def revoke_a_user(self, who: Person, user: str) -> None:
        """His tokens end in this organization, and his namesakes' elsewhere do not."""
        target = Person(user, who.organization)
        if target == who or self.generations.get(target):
            return
        closed = [seat for seat in self._present() if seat.who == target]
        answer = await self.ask(who, "POST", "/revocations", {"userId": user})
        assert answer.json()["closed"] == len(closed), answer.body
        await until(lambda: all(seat.is_over for seat in closed))
        assert (await self.ask(target, "GET", "/history")).status == 401
        self._nobody_else(closed)
        self.generations[target] = 1

    def _present(self) -> list[Seat]:
        return [seat for seat in self.seats if not seat.is_over]

    def _nobody_else(self, closed: list[Seat]) -> None:
        left = {seat.connection_id for seat in self.seats if not seat.is_over and seat not in closed}
        assert left <= self._it.hub.connections.keys()

    async def refresh(self, who: Person, pick: int, *, over_http: bool) -> None:
        """A token renews its own user's connections; others' are unknown, or the token is another's."""
        present = self._present()
        if not present:
            return
        seat = present[pick % len(present)]
        if over_http or isinstance(seat.peer, StreamPeer):
            answer = await self.ask(
                who, "POST", f"/connections/{seat.connection_id}/refresh", {"token": self.token(who)}
            )
            if who == seat.who:
                assert answer.status == 200, answer.body
            else:
                assert (answer.status, answer.code) == (404, "not_found")
            return
        told = sum("identity_mismatch" in text or "refreshed" in text for text in seat.texts)
        await seat.peer.ask({"type": "refresh", "token": self.token(who)})
        await until(lambda: sum("identity_mismatch" in text or "refreshed" in text for text in seat.texts) > told)
        assert ("refreshed" if who == seat.who else "identity_mismatch") in [
            text for text in seat.texts if "identity_mismatch" in text or "refreshed" in text
        ][-1]

    async def refresh_by_a_namesake(self, organization: str, pick: int, *, over_http: bool) -> None:
        """Of two who have the same name each renews his own connections only."""
        if present := self._present():
            namesake = Person(present[pick % len(present)].who.user, organization)
            await self.refresh(namesake, pick, over_http=over_http)

    async def read_metrics(self, who: Person) -> None:
        """Counts, for operators, of nobody in particular."""
        headers = {"Authorization": f"Bearer {self.token(who)}"}
        for path in ("/metrics", _API + "/metrics"):
            answer = await call(self._it.port, "GET", path, headers)
            assert answer.status == (200 if who.user == "app" else 403)
            assert "cnry" not in answer.body.decode()

    async def err(self, who: Person, body: str) -> None:
        """Send what is malformed, to every call."""
        for path in ("/events", "/documents/d0/edits", "/conflicts/d0/resolve", "/revocations", "/nothing"):
            assert (await self.ask(who, "POST", path, body)).status >= 400
        for path in ("/history?limit=0", "/history?after=x", "/documents/d9", "/connections?user="):
            assert (await self.ask(who, "GET", path)).status >= 400

    # ---- the end

    async def _last_words(self) -> None:
        """Everybody is shown one more event; then each history must hold exactly what its reader may see."""
        for organization in ORGANIZATIONS:
            await self.publish(Person("app", organization), "signature_status", (0, 1, 0, 0), None)
            last = f'"number":{self._numbers}'
            for seat in self._present():
                if seat.who.organization == organization:
                    await until(lambda seat=seat, last=last: seat.is_over or seat.has(last))  # type: ignore[misc]  # bound at once
                    assert not seat.is_over, seat.texts[-3:]
        for seat in self.seats:
            for text in seat.texts:
                self.look(seat.who, text)
        for organization in ORGANIZATIONS:
            for user in PEOPLE:
                await self._check_history(Person(user, organization))

    async def _check_history(self, who: Person) -> None:
        answer = await self.ask(who, "GET", "/history?limit=1000")
        assert answer.status == 200, (who, answer.body)
        shown = {match[0] for match in CANARY.finditer(answer.body.decode())} - {who.organization}
        shown = {one for one in shown if "~org~" not in one}
        due = {
            one for organization, one in self.written if organization == who.organization and may_see(who, *_parts(one))
        }
        assert shown == due, (who, shown ^ due)

    async def _close(self) -> None:
        tasks = [seat.reading for seat in self.seats if seat.reading is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._opened.aclose()


def _parts(text: str) -> tuple[str, str, list[str]]:
    found = CANARY.fullmatch(text)
    assert found is not None
    return found[1], found[2], found[3].split(".")
