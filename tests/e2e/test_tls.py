"""TLS, and the listener for operators, over real sockets."""

from __future__ import annotations

import asyncio
import json
import ssl
import time
import warnings
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import httpx2
import jwt
import pytest
from websockets.asyncio.client import connect

from signtusk_realtime import RealtimeService, ScalingConfig
from signtusk_realtime.config import AuthSettings, Settings, TlsSettings
from signtusk_realtime.server.server import RealtimeServer
from signtusk_realtime.service import make_server
from tests.support.certificates import Certificate, make_certificate
from tests.support.command import DEADLINE_S
from tests.support.samples import sample
from tests.support.server import IDENTITY

pytestmark = pytest.mark.both_loops

HSTS = "max-age=31536000"
ACTIVITY = {"type": "organization_activity"}


@pytest.fixture
def files(tmp_path: Path) -> Certificate:
    return make_certificate(tmp_path)


@asynccontextmanager
async def serving(settings: Settings) -> AsyncIterator[RealtimeServer]:
    async with RealtimeService(ScalingConfig(), settings=replace(settings, port=0, drain_timeout=1000)) as service:
        server = make_server(service)
        await server.start()
        try:
            yield server
        finally:
            await server.stop()


def with_tls(files: Certificate) -> Settings:
    return Settings(tls=TlsSettings(certificate=str(files.certificate), key=str(files.key)))


async def test_everything_is_served_over_tls(files: Certificate) -> None:
    """HTTP, WebSocket with compression, and the event stream, to clients that check the certificate."""
    trusted = files.trusted()
    async with serving(with_tls(files)) as server, httpx2.AsyncClient(verify=trusted) as http:
        base = f"https://localhost:{server.port}"
        address = f"wss://localhost:{server.port}/ws?{IDENTITY}"
        async with connect(address, ssl=trusted, compression="deflate") as socket:
            assert socket.response is not None
            assert socket.response.headers["Strict-Transport-Security"] == HSTS
            await socket.recv()
            await socket.send(json.dumps({"type": "subscribe", "subscription": ACTIVITY}))
            assert json.loads(await socket.recv())["type"] == "subscribed"
            target = f"{base}/api/realtime/events?{IDENTITY}&types=organization_activity"
            async with http.stream("GET", target) as stream, aclosing(stream.aiter_lines()) as lines:
                assert stream.headers["Strict-Transport-Security"] == HSTS
                await _until(lines, '"subscribed"')
                text = {"text": "agreement " * 20_000}
                event = sample("organization_activity", organizationId="org123", payload=text)
                answer = await http.post(f"{base}/api/realtime/events", json=event)
                assert answer.status_code == 200, answer.text
                event_id = answer.json()["results"][0]["eventId"]
                assert json.loads(await socket.recv())["event"]["id"] == event_id
                assert json.loads((await _until(lines, "data: "))[6:])["id"] == event_id


async def _until(lines: AsyncGenerator[str], part: str) -> str:
    async with asyncio.timeout(DEADLINE_S):
        while part not in (line := await anext(lines)):
            pass
    return line


async def test_every_answer_tells_browsers_to_stay_with_tls(files: Certificate) -> None:
    """Answers and refusals, of HTTP, of both native transports, and of heads that are no HTTP."""
    async with serving(with_tls(files)) as server, httpx2.AsyncClient(verify=files.trusted()) as http:
        base = f"https://localhost:{server.port}"
        for method, path, status, headers in [
            ("GET", "/livez", 200, {}),
            ("GET", "/nothing", 404, {}),
            ("PUT", "/api/realtime/events", 405, {}),
            ("GET", "/api/realtime/history", 401, {}),
            ("GET", "/api/realtime/events?types=nonsense", 400, {}),
            ("GET", "/api/realtime/events", 401, {}),
            ("GET", "/ws", 426, {}),
            ("GET", "/livez", 431, {"X-Long": "x" * 100_000}),
            ("GET", "/api/realtime/health", 403, {"Origin": "https://elsewhere.example"}),
        ]:
            answer = await http.request(method, base + path, headers=headers)
            assert (answer.status_code, answer.headers["Strict-Transport-Security"]) == (status, HSTS), path


async def test_without_tls_nothing_is_said_of_it() -> None:
    """RFC 6797 §7.2: the header is not sent over plain HTTP; who ends TLS before us sends it there."""
    async with serving(Settings()) as server, httpx2.AsyncClient() as http:
        answer = await http.get(f"http://127.0.0.1:{server.port}/livez")
        assert "Strict-Transport-Security" not in answer.headers


async def test_old_versions_and_plain_requests_are_refused(files: Certificate) -> None:
    """Neither TLS 1.1 nor HTTP without it gets an answer, and the server goes on."""
    async with serving(with_tls(files)) as server:
        old = files.trusted()
        old.set_ciphers("ALL:@SECLEVEL=0")
        with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
            old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await asyncio.open_connection("localhost", server.port, ssl=old)
        reader, writer = await asyncio.open_connection("localhost", server.port)
        writer.write(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b"HTTP" not in await asyncio.wait_for(_rest(reader), DEADLINE_S)
        writer.close()
        async with httpx2.AsyncClient(verify=files.trusted()) as http:
            assert (await http.get(f"https://localhost:{server.port}/livez")).status_code == 200


async def _rest(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read()
    except ConnectionError:
        return b""


async def test_a_stopping_server_says_goodbye_over_tls(files: Certificate) -> None:
    """The close frame arrives, and then the end."""
    async with (
        serving(with_tls(files)) as server,
        connect(f"wss://localhost:{server.port}/ws?{IDENTITY}", ssl=files.trusted()) as socket,
    ):
        await socket.recv()
        stopping = asyncio.create_task(server.stop())
        await asyncio.wait_for(socket.wait_closed(), DEADLINE_S)
        assert socket.close_code == 1012
        await stopping


OPERATORS = {
    "/metrics": {},
    "/api/realtime/metrics": {},
    "/api/realtime/connections": {"userId": "u", "organizationId": "o"},
}


@pytest.mark.parametrize("is_secured", [False, True])
async def test_what_operators_ask_can_be_apart(files: Certificate, is_secured: bool) -> None:
    """With a port of their own it is served there and nowhere else; probes are on both, everything else is where it was."""
    settings = replace(with_tls(files) if is_secured else Settings(), admin_port=0)
    scheme = "https" if is_secured else "http"
    async with serving(settings) as server, httpx2.AsyncClient(verify=files.trusted()) as http:
        assert server.administration is not None
        assert server.administration.port not in (0, server.port)
        public = f"{scheme}://localhost:{server.port}"
        apart = f"{scheme}://127.0.0.1:{server.administration.port}"
        for path, query in OPERATORS.items():
            assert (await http.get(public + path, params=query)).status_code == 404, path
            assert (await http.get(apart + path, params=query)).status_code == 200, path
        revocation = {"connectionId": "conn_1"}
        who = {"userId": "u", "organizationId": "o"}
        for base, status in ((public, 404), (apart, 200)):
            answer = await http.post(f"{base}/api/realtime/revocations", params=who, json=revocation)
            assert answer.status_code == status
        for path in ("/livez", "/readyz", "/api/realtime/health"):
            assert (await http.get(public + path)).status_code == (await http.get(apart + path)).status_code == 200
        for path in ("/ws", "/api/realtime/history", "/openapi.json", "/api/realtime/events"):
            assert (await http.get(apart + path, params=who)).status_code in (404, 405), path
        assert (await http.get(f"{public}/api/realtime/history", params=who)).status_code == 200


async def test_without_a_port_of_their_own_all_is_in_one_place() -> None:
    """Then the scope of an administrator is what keeps it apart; in development everybody has it."""
    async with serving(Settings()) as server, httpx2.AsyncClient() as http:
        assert server.administration is None
        for path, query in OPERATORS.items():
            answer = await http.get(
                f"http://127.0.0.1:{server.port}{path}", params={"userId": "u", "organizationId": "o", **query}
            )
            assert answer.status_code == 200


SECRET = "a secret of thirty-two bytes or more"


def token(*scopes: str) -> dict[str, str]:
    claims = {"sub": "u", "org": "o", "exp": time.time() + 60, "scope": " ".join(scopes)}
    return {"Authorization": f"Bearer {jwt.encode(claims, SECRET, 'HS256')}"}


@pytest.mark.parametrize("admin_port", [None, 0])
async def test_with_tokens_operators_ask_apart_or_as_administrators(admin_port: int | None) -> None:
    """The metrics are for the scope, or for whoever reaches the listener; what concerns an organization needs the token on both."""
    settings = Settings(auth=AuthSettings(mode="jwt", secret=SECRET), admin_port=admin_port)
    async with serving(settings) as server, httpx2.AsyncClient() as http:

        async def asked(port: int, path: str, headers: dict[str, str]) -> int:
            return (await http.get(f"http://127.0.0.1:{port}{path}", headers=headers)).status_code

        for path in OPERATORS:
            public = [await asked(server.port, path, who) for who in ({}, token(), token("realtime:admin"))]
            assert public == ([401, 403, 200] if admin_port is None else [404, 404, 404]), path
        if server.administration is not None:
            for path in ("/metrics", "/api/realtime/metrics"):
                assert await asked(server.administration.port, path, {}) == 200
                # A page whose own name was pointed here would be of the same origin.
                assert await asked(server.administration.port, path, {"Host": "evil.example"}) == 403
            listed = "/api/realtime/connections"
            for who, status in (({}, 401), (token(), 403), (token("realtime:admin"), 200)):
                assert await asked(server.administration.port, listed, who) == status
