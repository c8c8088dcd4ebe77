"""The service: what it is made of, its verbs in Python, its servers."""

from signtusk_realtime.service.emitter import Published
from signtusk_realtime.service.listeners import ConnectionChange
from signtusk_realtime.service.realtime import RealtimeService
from signtusk_realtime.service.rooms import Rooms
from signtusk_realtime.service.scaling import LoadBalancing, RedisCluster, ScalingConfig, create_default_config
from signtusk_realtime.service.servers import WebSocketServer, create_websocket_server, make_server

__all__ = [
    "ConnectionChange",
    "LoadBalancing",
    "Published",
    "RealtimeService",
    "RedisCluster",
    "Rooms",
    "ScalingConfig",
    "WebSocketServer",
    "create_default_config",
    "create_websocket_server",
    "make_server",
]
