"""A server behind TLS: proven by a certificate, or not spoken to."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from signtusk_realtime.config import Settings
from signtusk_realtime.engines.redis import RedisEngine
from signtusk_realtime.engines.redis.trust import trusting
from signtusk_realtime.errors import ConfigurationError, Unavailable
from signtusk_realtime.service.doctor import examine
from tests.support.certificates import Certificate, make_certificate
from tests.support.engines import LOG, RecordingSink, publish
from tests.support.valkey import Valkey, running

pytestmark = pytest.mark.real_time


@pytest.fixture
def server() -> Iterator[Valkey]:
    with running(Valkey(("appendonly", "yes"))) as server:
        yield server


@asynccontextmanager
async def behind_tls(server: Valkey, own: Certificate, peers: Certificate) -> AsyncIterator[str]:
    """Stand before a server that speaks no TLS, and let in who shows `peers`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(own.certificate, own.key)
    context.load_verify_locations(peers.certificate)
    context.verify_mode = ssl.CERT_REQUIRED

    async def carry(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(1 << 16):
                target.write(data)
                await target.drain()
        except OSError:
            pass
        target.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back, forth = await asyncio.open_connection("127.0.0.1", server.port)
        await asyncio.gather(carry(reader, forth), carry(back, writer))

    front = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    async with front:
        yield f"rediss://127.0.0.1:{front.sockets[0].getsockname()[1]}"


async def test_both_prove_themselves(server: Valkey, tmp_path: Path) -> None:
    """With the authority's file, a certificate and its key all goes on as without TLS; without one of them nothing does."""
    (tmp_path / "client").mkdir()
    own, client = make_certificate(tmp_path), make_certificate(tmp_path / "client", "client")
    ca, certificate, key = str(own.certificate), str(client.certificate), str(client.key)
    async with behind_tls(server, own, client) as url:
        engine, sink = RedisEngine([url], tls=trusting(ca, certificate, key)), RecordingSink()
        await engine.start(sink)
        await engine.follow(LOG)
        await publish(engine, "a")
        assert len(sink.entries()) == 1
        await engine.close()
        for context in (trusting(None, certificate, key), trusting(ca, None, None)):
            with pytest.raises(Unavailable):
                await RedisEngine([url], tls=context).start(RecordingSink())


async def test_doctor_proves_itself_too(server: Valkey, tmp_path: Path) -> None:
    """It goes by the same settings as the service: with them it looks at the server, without them, or with files that are none, it says what failed."""
    (tmp_path / "client").mkdir()
    own, client = make_certificate(tmp_path), make_certificate(tmp_path / "client", "client")
    files = {
        "redis_ca": str(own.certificate),
        "redis_certificate": str(client.certificate),
        "redis_key": str(client.key),
    }
    async with behind_tls(server, own, client) as url:

        async def failed(settings: Settings) -> set[str]:
            found = await asyncio.to_thread(lambda: list(examine(settings, [url])))
            return {one.check for one in found if one.level == "fail" and one.check != "open files"}

        assert await failed(Settings(**files)) == set()
        assert (
            await failed(Settings(redis_certificate=files["redis_certificate"], redis_key=files["redis_key"])) != set()
        )
        assert await failed(Settings(redis_ca=str(tmp_path / "missing.pem"))) == {"certificates"}


def test_files_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    """By their setting, all of them before anything is connected."""
    own = make_certificate(tmp_path)
    missing = str(tmp_path / "missing.pem")
    with pytest.raises(ConfigurationError, match="redis_ca"):
        trusting(missing, None, None)
    with pytest.raises(ConfigurationError, match="redis_key"):
        trusting(None, str(own.certificate), None)
    with pytest.raises(ConfigurationError, match="redis_certificate"):
        trusting(None, None, str(own.key))
    with pytest.raises(ConfigurationError, match="redis_certificate"):
        trusting(None, str(own.certificate), missing)
