"""The HTTP API: publish, history, health."""

from signtusk_realtime.server.http.app import HttpApi

__all__ = ["HttpApi"]
