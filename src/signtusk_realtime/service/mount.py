"""What stands behind the ASGI mount of a running service.

Owns: putting it together.   Not: what it does (server/asgi.py), the service's life (realtime.py).
"""

from __future__ import annotations

from signtusk_realtime import __version__
from signtusk_realtime.server.asgi_peers import Doors
from signtusk_realtime.server.entrance import Entrance
from signtusk_realtime.server.host import HostWatch
from signtusk_realtime.server.http import HttpApi
from signtusk_realtime.service.rooms import Rooms

WEBSOCKET_PATH = "/ws"


def make_doors(rooms: Rooms) -> Doors:
    """Make the doors of one life of a service."""
    entrance = Entrance(
        hub=rooms.hub,
        verbs=rooms.verbs,
        policy=rooms.policy,
        limits=rooms.limits,
        changed=lambda: None,
        proxies=rooms.proxies,
        carriers=rooms.carriers,
    )
    api = HttpApi(
        verbs=rooms.verbs,
        policy=rooms.policy,
        limits=rooms.limits,
        health=lambda: rooms.hub.engine_health,
        metrics=rooms.metrics,
        is_stopping=lambda: entrance.is_stopping,
        version=__version__,
        websocket_path=WEBSOCKET_PATH,
        carriers=rooms.carriers,
    )
    return Doors(entrance, api, rooms.pumps, HostWatch(rooms.hub))
