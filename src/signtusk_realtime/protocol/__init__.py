"""The wire, pure: codes, JSON, cursors, WebSocket frames and handshake, event-stream blocks, messages.

Owns: every byte that crosses the border of the service, and what it means.   Not: sockets, who may do what, where events are kept.
Rule 1: no clock, no I/O, no ids of its own.   Rule 2: what arrives is hostile until a function here has looked at all of it.
"""
