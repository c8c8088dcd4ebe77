"""The embedded engine: one SQLite file, owned by one serving process.

Owns: durable logs and records on one node.   Not: more than one node (an engine over Redis).
`engine` lives on the loop and groups what is asked; `writer`, `store`, `stage` and `upkeep` live on the writer's thread; `reader` on its own.
`backup` and `restore` are other processes' ways to the file.
"""

from signtusk_realtime.engines.sqlite.engine import SqliteEngine

__all__ = ["SqliteEngine"]
