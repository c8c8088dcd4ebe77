"""The messages of WebSocket and event stream, described for machines and readers."""

from signtusk_realtime.server.http.asyncapi.document import asyncapi, asyncapi_at

__all__ = ["asyncapi", "asyncapi_at"]
