"""TLS by the real command."""

from __future__ import annotations

import json
import signal
import ssl
from pathlib import Path

import pytest
from websockets.asyncio.client import connect

from tests.support.certificates import make_certificate
from tests.support.command import serving
from tests.support.server import IDENTITY


async def test_the_command_serves_tls_and_takes_a_renewed_certificate(tmp_path: Path) -> None:
    """By options; SIGHUP has the files read again, and nobody is disconnected."""
    files, other = make_certificate(tmp_path), make_certificate(tmp_path, "other")
    first = files.trusted()
    async with serving(tmp_path, "--tls-certificate", str(files.certificate), "--tls-key", str(files.key)) as server:
        address = f"wss://localhost:{server.port}/ws?{IDENTITY}"
        async with connect(address, ssl=first) as before:
            await before.recv()
            files.certificate.write_bytes(other.certificate.read_bytes())
            files.key.write_bytes(other.key.read_bytes())
            server.process.send_signal(signal.SIGHUP)
            await server.says("certificate reloaded")
            with pytest.raises(ssl.SSLCertVerificationError):
                await connect(address, ssl=first)
            async with connect(address, ssl=other.trusted()) as after:
                assert json.loads(await after.recv())["type"] == "connected"
            await before.send('{"type":"ping"}')
            assert json.loads(await before.recv())["type"] == "pong"
