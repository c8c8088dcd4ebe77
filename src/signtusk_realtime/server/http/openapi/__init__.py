"""The HTTP API, described for machines and readers."""

from signtusk_realtime.server.http.openapi.document import OpenApi, document

__all__ = ["OpenApi", "document"]
