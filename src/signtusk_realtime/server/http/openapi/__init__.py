"""The HTTP API, described for machines and readers."""

from signtusk_realtime.server.http.openapi.document import document, document_at

__all__ = ["document", "document_at"]
