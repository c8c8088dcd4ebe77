"""The engine over Redis or Valkey: one server or a Cluster that many nodes share.

Owns: durable logs and records where several nodes work on them.   Not: who asks for them.
`link` is one connection; `ear` and `primary` keep some to one server, `servers` to all, by what `topology` believes; `keys` and `stored` say how
things lie there, `scripts` what is done there in one step; `followed`, `delivery` and `comparing` turn what is heard into what is delivered;
`engine` is the port over them.
"""

from signtusk_realtime.engines.redis.engine import RedisEngine

__all__ = ["RedisEngine"]
