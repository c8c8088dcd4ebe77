"""The Python client: publish events, follow an organization.

Owns: what an application in another process needs of the service.   Not: the service itself; an application that embeds it needs no client.
"""

from signtusk_realtime.client.address import Address, parse_address
from signtusk_realtime.client.failures import Refused
from signtusk_realtime.client.feed import Delivery, Feed, Gap, ReceivedEvent, subscribe
from signtusk_realtime.client.publisher import Published, Publisher

__all__ = [
    "Address",
    "Delivery",
    "Feed",
    "Gap",
    "Published",
    "Publisher",
    "ReceivedEvent",
    "Refused",
    "parse_address",
    "subscribe",
]
