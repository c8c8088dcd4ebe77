"""Publish over HTTP, from a program that has nothing of ours installed: `python examples/publish_http.py` beside a running service."""

from __future__ import annotations

import json
from urllib.request import Request, urlopen

URL = "http://127.0.0.1:8080/api/realtime/events"

event = {
    "kind": "document_update",
    # Made by the publisher, so that repeating the call after a lost answer publishes once.
    "id": "contract-draft-2",
    "documentId": "doc123",
    "type": "updated",
    "changes": {"title": "Contract, draft 2"},
    "userId": "user456",
    "organizationId": "org123",
}
request = Request(URL, data=json.dumps(event).encode(), headers={"Content-Type": "application/json"})
with urlopen(request, timeout=10) as answer:
    print(answer.read().decode())
