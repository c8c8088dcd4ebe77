"""Names of keys and channels.

Owns: where a log and what indexes it lie.   Not: what lies there (stored.py, lua/).
Rule 1: keys begin with the prefix, `rt1` unless told otherwise; another layout will begin with another number.
Rule 2: everything of a log lies in its partition, and a partition is one hash tag, so that a commit is one step in a Cluster too.
"""

from __future__ import annotations

import binascii
import functools
from typing import Final, NamedTuple
from urllib.parse import quote, unquote

from signtusk_realtime.events.log import LogName

PARTITIONS: Final = 1024
SLOTS: Final = 16384
PREFIX: Final = "rt1"


class LogKeys(NamedTuple):
    """Keys of one log: its state, its stream, its event ids, its records and their order, and the channel that tells of it."""

    meta: str
    entries: str
    ids: str
    records: str
    order: str
    channel: str


class PartitionKeys(NamedTuple):
    """Keys of one partition: which logs there are, in what order they moved, when their oldest goes, when records expire."""

    logs: str
    changed: str
    moves: str
    due: str
    expiries: str


def partition_of(log: LogName) -> int:
    """Give the partition of a log: its CRC-16 (XMODEM, the one of Redis Cluster) modulo their number."""
    return binascii.crc_hqx(log.encode(), 0) % PARTITIONS


@functools.cache
def slot_of(partition: int) -> int:
    """Give the slot of a Cluster in which a partition lies: that of its hash tag."""
    return binascii.crc_hqx(str(partition).encode(), 0) % SLOTS


def encoded(log: LogName) -> str:
    """Write a name so that it ends at the next colon."""
    return quote(log, safe="")


def split_expiry(member: bytes) -> tuple[LogName, bytes]:
    """Give the log and the record's member that an entry of `expiries` names."""
    name, _, rest = member.partition(b":")
    return LogName(unquote(name.decode())), rest


class Keys:
    """All names under one prefix."""

    def __init__(self, prefix: str = PREFIX) -> None:
        self._prefix = prefix
        self.log = functools.lru_cache(maxsize=4096)(self._log)
        self.partition = functools.lru_cache(maxsize=PARTITIONS)(self._partition)

    def partition_of(self, log: LogName) -> PartitionKeys:
        """Give the keys of the partition in which a log lies."""
        return self.partition(partition_of(log))

    def _log(self, log: LogName) -> LogKeys:
        base = f"{self._prefix}:{{{partition_of(log)}}}:{encoded(log)}"
        return LogKeys(*(f"{base}:{part}" for part in LogKeys._fields))

    def _partition(self, partition: int) -> PartitionKeys:
        # No name of a log is empty, so nothing of a log is named like this.
        base = f"{self._prefix}:{{{partition}}}:"
        return PartitionKeys(*(f"{base}:{part}" for part in PartitionKeys._fields))
