"""Who of an organization is connected to this node.

Owns: people by user, for as long as they have a connection here or are about to be gone.   Not: when somebody is gone, what others are told
(operations/presence).
Rule: who has one connection and said nothing costs a place in a dictionary; who is alone in an organization not even that.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from signtusk_realtime.delivery.connection import Connection
from signtusk_realtime.delivery.organization import Organization
from signtusk_realtime.sessions.presence import Declared, Seen


class Person:
    """A user with several connections, with something to say, or with none any more."""

    __slots__ = ("connections", "declarations", "departures", "last_seen", "newest")

    def __init__(self, connections: Iterable[Connection], last_seen: int) -> None:
        self.connections = {one.connection_id: one for one in connections}
        """By id: one name may stand for thousands of viewers."""
        self.last_seen = last_seen
        self.declarations: dict[str, Declared] = {}
        """By connection; those of a closed one count until they are let go."""
        self.newest: Declared | None = None
        """Of them: kept, for one name may have thousands."""
        self.departures = 0
        """How often the last connection was closed: it tells whether somebody has been back meanwhile."""


def add(organization: Organization, connection: Connection, now_ms: int) -> bool:
    """Count a connection that was opened; say whether its user was not there."""
    people, user_id = organization.people, connection.session.identity.user_id
    if people is None:
        organization.people = connection
        return True
    if isinstance(people, Connection):
        people = organization.people = {people.session.identity.user_id: people}
    found = people.get(user_id)
    if found is None:
        people[user_id] = connection
        return True
    if isinstance(found, Connection):
        found = people[user_id] = Person([found], found.connected_at)
    assert isinstance(found, Person)
    found.connections[connection.connection_id] = connection
    found.last_seen = now_ms
    return False


def declare(organization: Organization, connection: Connection, declared: Declared) -> None:
    """Take what a connection says of its user."""
    person = _person(organization, connection.session.identity.user_id)
    if person is not None and person.connections.get(connection.connection_id) is connection:
        person.declarations[connection.connection_id] = declared
        if person.newest is None or declared.at >= person.newest.at:
            person.newest = declared
        person.last_seen = declared.last_seen


def remove(organization: Organization, connection: Connection, now_ms: int) -> Person | None:
    """Count a closed connection no more; give its user if something of it is to be let go later. One that was never counted is passed over."""
    user_id = connection.session.identity.user_id
    if not _has(organization, user_id, connection):
        return None
    person = _person(organization, user_id)
    assert person is not None
    del person.connections[connection.connection_id]
    person.last_seen = now_ms
    if not person.connections:
        person.departures += 1
    return person if not person.connections or connection.connection_id in person.declarations else None


def let_go(organization: Organization, user_id: str, connection_id: str, departures: int) -> bool:
    """Forget what a closed connection had said, and its user if nobody has come back since; say whether the user is gone."""
    people = organization.people
    person = people.get(user_id) if isinstance(people, dict) else None
    if not isinstance(person, Person):
        return False
    if connection_id not in person.connections:
        gone = person.declarations.pop(connection_id, None)
        if gone is not None and gone is person.newest:
            person.newest = max(person.declarations.values(), key=lambda declared: declared.at, default=None)
    if person.connections or person.departures != departures:
        return False
    assert isinstance(people, dict)
    del people[user_id]
    if not people:
        organization.people = None
    return True


def seen(organization: Organization, user_id: str) -> Seen | None:
    """Give what this node knows of a user; None if nothing."""
    people = organization.people
    if isinstance(people, Connection):
        return _seen(people) if people.session.identity.user_id == user_id else None
    found = None if people is None else people.get(user_id)
    return None if found is None else _seen(found)


def everybody(organization: Organization) -> Iterator[tuple[str, Seen]]:
    """Give all whom this node knows of."""
    people = organization.people
    if isinstance(people, Connection):
        yield people.session.identity.user_id, _seen(people)
    elif people is not None:
        for user_id, found in people.items():
            yield user_id, _seen(found)


def spoken(organization: Organization) -> Iterator[str]:
    """Give those of whom more is known than that they are here."""
    people = organization.people
    if isinstance(people, dict):
        for user_id, found in people.items():
            if isinstance(found, Person) and found.declarations:
                yield user_id


def names(organization: Organization) -> Iterable[str]:
    """Give the ids of all whom this node knows of."""
    people = organization.people
    if isinstance(people, Connection):
        return (people.session.identity.user_id,)
    return () if people is None else people.keys()


def _seen(found: Connection | object) -> Seen:
    if isinstance(found, Connection):
        return Seen(connections=1, last_seen=found.connected_at)
    assert isinstance(found, Person)
    return Seen(connections=len(found.connections), last_seen=found.last_seen, declared=found.newest)


def _has(organization: Organization, user_id: str, connection: Connection) -> bool:
    people = organization.people
    if isinstance(people, dict):
        found = people.get(user_id)
        return (
            found.connections.get(connection.connection_id) is connection
            if isinstance(found, Person)
            else found is connection
        )
    return people is connection


def _person(organization: Organization, user_id: str) -> Person | None:
    """Give a user as a person, who was a lone connection until now."""
    people = organization.people
    if isinstance(people, Connection):
        people = organization.people = {people.session.identity.user_id: people}
    if people is None:
        return None
    found = people.get(user_id)
    if isinstance(found, Connection):
        found = people[user_id] = Person([found], found.connected_at)
    return found if isinstance(found, Person) else None
