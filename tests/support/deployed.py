"""The proxies' configurations that we ship (deploy/), run by the real programs before nodes of a test.

Owns: putting a test's addresses in the place of the sample's.   Not: running the programs (proxies.py), what is sent through.
Rule: nothing else of a sample is changed, and each change must find its line.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Final

from tests.support.proxies import AROUND_NGINX, free_port, running

DEPLOY: Final = Path(__file__).parents[2] / "deploy"


def deployed(name: str, nodes: Sequence[int], folder: Path) -> AbstractAsyncContextManager[int]:
    """Run a proxy with our sample before the two nodes on those ports; give its own port."""
    port = free_port()
    return running(name, _configuration(name, nodes, port, folder), port, folder)


def _configuration(name: str, nodes: Sequence[int], port: int, folder: Path) -> str:
    text = next(DEPLOY.glob(f"{name}.*")).read_text(encoding="utf-8")
    for number, node in enumerate(nodes, 1):
        text = _changed(text, rf"10\.0\.0\.1{number}:8080", f"127.0.0.1:{node}")
    if name == "haproxy":
        return _changed(text, r"bind :8443 ssl .*", f"bind 127.0.0.1:{port}")
    text = _changed(text, r"listen 8443 ssl;", f"listen 127.0.0.1:{port};")
    text = _changed(text, r" *ssl_certificate .*\n *ssl_certificate_key .*\n", "")
    return AROUND_NGINX.format(folder=folder, site=text)


def _changed(text: str, pattern: str, by: str) -> str:
    text, count = re.subn(pattern, by, text)
    assert count == 1, f"the sample has {count} places for {by}"
    return text
