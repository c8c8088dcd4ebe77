"""signtusk-realtime: what happens to documents, told at once, in order, without losing anything.

Everything an application needs to embed the service is reached by `from signtusk_realtime import …`.
Why lazily: who imports one room, or asks the command for its version, does not wait for all of them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from signtusk_realtime.config import AuthSettings as AuthSettings
    from signtusk_realtime.config import InvalidSettings as InvalidSettings
    from signtusk_realtime.config import LimitSettings as LimitSettings
    from signtusk_realtime.config import Settings as Settings
    from signtusk_realtime.documents.refusals import Refused as Refused
    from signtusk_realtime.errors import ConfigurationError as ConfigurationError
    from signtusk_realtime.errors import EventIdReused as EventIdReused
    from signtusk_realtime.errors import Forbidden as Forbidden
    from signtusk_realtime.errors import InvalidInput as InvalidInput
    from signtusk_realtime.errors import LimitExceeded as LimitExceeded
    from signtusk_realtime.errors import RealtimeError as RealtimeError
    from signtusk_realtime.errors import Unavailable as Unavailable
    from signtusk_realtime.events.kinds import DocumentUpdateEvent as DocumentUpdateEvent
    from signtusk_realtime.events.kinds import Location as Location
    from signtusk_realtime.events.kinds import NotificationEvent as NotificationEvent
    from signtusk_realtime.events.kinds import OrganizationActivityEvent as OrganizationActivityEvent
    from signtusk_realtime.events.kinds import SignatureData as SignatureData
    from signtusk_realtime.events.kinds import SignatureStatusEvent as SignatureStatusEvent
    from signtusk_realtime.events.kinds import SigningRequestEvent as SigningRequestEvent
    from signtusk_realtime.events.kinds import SystemAnnouncementEvent as SystemAnnouncementEvent
    from signtusk_realtime.events.kinds import TeamUpdateEvent as TeamUpdateEvent
    from signtusk_realtime.events.kinds import UserPresenceEvent as UserPresenceEvent
    from signtusk_realtime.events.subscriptions import Filters as Filters
    from signtusk_realtime.events.subscriptions import Subscription as Subscription
    from signtusk_realtime.operations.documents.documents import EditRefused as EditRefused
    from signtusk_realtime.service import ConnectionChange as ConnectionChange
    from signtusk_realtime.service import LoadBalancing as LoadBalancing
    from signtusk_realtime.service import Published as Published
    from signtusk_realtime.service import RealtimeService as RealtimeService
    from signtusk_realtime.service import RedisCluster as RedisCluster
    from signtusk_realtime.service import ScalingConfig as ScalingConfig
    from signtusk_realtime.service import WebSocketServer as WebSocketServer
    from signtusk_realtime.service import create_default_config as create_default_config
    from signtusk_realtime.service import create_websocket_server as create_websocket_server
    from signtusk_realtime.service.documents import ConflictResolution as ConflictResolution

__version__ = "0.1.0"

_ROOMS: Final = {
    "config": ("AuthSettings", "InvalidSettings", "LimitSettings", "Settings"),
    "documents.refusals": ("Refused",),
    "errors": (
        "ConfigurationError",
        "EventIdReused",
        "Forbidden",
        "InvalidInput",
        "LimitExceeded",
        "RealtimeError",
        "Unavailable",
    ),
    "events.kinds": (
        "DocumentUpdateEvent",
        "Location",
        "NotificationEvent",
        "OrganizationActivityEvent",
        "SignatureData",
        "SignatureStatusEvent",
        "SigningRequestEvent",
        "SystemAnnouncementEvent",
        "TeamUpdateEvent",
        "UserPresenceEvent",
    ),
    "events.subscriptions": ("Filters", "Subscription"),
    "operations.documents.documents": ("EditRefused",),
    "service": (
        "ConnectionChange",
        "LoadBalancing",
        "Published",
        "RealtimeService",
        "RedisCluster",
        "ScalingConfig",
        "WebSocketServer",
        "create_default_config",
        "create_websocket_server",
    ),
    "service.documents": ("ConflictResolution",),
}
_ROOM_OF: Final = {name: room for room, names in _ROOMS.items() for name in names}

__all__ = ["__version__", *_ROOM_OF]  # noqa: PLE0604 - all of them are texts


def __getattr__(name: str) -> object:
    try:
        room = _ROOM_OF[name]
    except KeyError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
    return getattr(import_module(f"{__name__}.{room}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
