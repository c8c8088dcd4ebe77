"""Sockets in, and everything that speaks HTTP: Front, native WebSocket and event stream, the HTTP API."""
