"""Planner of JWT key rotation: changes of the stored keys that are due, and the time of the next plan. Pure.

A key goes through these states, which the stored parts show:

    published   in the key set, with the time from which it signs: long enough before for caches and replicas to know it
    signing     from that time on, in every process that has the key set; nothing is written at that moment
    retired     its private part is gone; it stays in the key set for a while after its last token has ended
    gone

A store writes the key set first and the private keys second: after a crash between the two, the key set still has all
keys that sign or will sign. The next plan completes the rest.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

import msgspec
from msgspec.structs import replace

from sentry_trio.ca.jwk import (
    MOST_KEYS,
    Jwk,
    Schedule,
    make_jwk,
    read_jwks,
    schedule_of,
    thumbprint,
    with_schedule,
    write_jwks,
)
from sentry_trio.ca.jwt_key import ALWAYS, RSA_ALGORITHMS, StoredJwtKey, make_signing_key, signing_keys
from sentry_trio.ca.keys import PrivateKey, write_private_key
from sentry_trio.ca.published import MAX_AGE
from sentry_trio.errors import InvalidBundleError
from sentry_trio.renewal_status import JwtKeyState

LEAD: Final = 2 * MAX_AGE
"""Time between publication of a key and its first signature: once for caches, once more for replicas."""


class Rotation(msgspec.Struct, frozen=True, kw_only=True):
    """Parameters of key rotation.

    Attributes:
        interval: time for which each key signs; zero for no limit. A rotation in progress is completed.
        lifetime: longest lifetime of a token.
        algorithm: algorithm of new keys.
    """

    interval: timedelta
    lifetime: timedelta
    algorithm: str

    @property
    def is_slow(self) -> bool:
        """True if a plan may take some tenths of a second, to make an RSA key."""
        return self.algorithm in RSA_ALGORITHMS

    @property
    def lead(self) -> timedelta:
        """Time for which a key is published before it signs and after its last token: `LEAD` at most."""
        return min(LEAD, self.interval / 2) if self.interval else LEAD

    @property
    def max_age(self) -> timedelta:
        """Time for which the key set may be cached."""
        return min(MAX_AGE, self.lead / 2)


class RotationPlan(msgspec.Struct, frozen=True):
    """Actions that are due.

    Attributes:
        stored: the new stored keys; None if they do not change.
        changes: the changes, for people and metrics.
        due: time to plan again if nothing changes until then; None for never.
    """

    stored: StoredJwtKey | None
    changes: tuple["Change", ...]
    due: datetime | None


class Change(msgspec.Struct, frozen=True):
    """One change of a plan.

    Attributes:
        step: the new state of a key; `noted` if it is rotated from now on.
        key_id: ID of the key.
        text: description for people.
    """

    step: JwtKeyState
    key_id: str
    text: str


def plan(stored: StoredJwtKey, rotation: Rotation, now: datetime) -> RotationPlan:
    """Compares the stored keys with the intended ones; see `Rotation.is_slow`.

    Args:
        stored: stored keys, verified.
        rotation: parameters.
        now: the current time, aware.

    Raises:
        InvalidBundleError: the stored keys are not readable, the key set has no room for another key, or a time would
            be after the year 9999.
    """
    try:
        return _plan(stored, rotation, now)
    except OverflowError as error:
        raise InvalidBundleError(f"cannot plan the rotation of the JWT signing key: {error}; set the clock") from error


def _plan(stored: StoredJwtKey, rotation: Rotation, now: datetime) -> RotationPlan:
    draft = _Draft(stored, rotation, now)
    if rotation.interval or draft.is_scheduled:
        draft.note_signing_key()
        draft.drop_former_keys()
        draft.prune()
    if rotation.interval:
        draft.publish_next_key()
    return RotationPlan(draft.result(), tuple(draft.changes), draft.due())


class _Entry(msgspec.Struct):
    """Key of the set, its private part if that is stored, and its times."""

    member: Jwk
    private: PrivateKey | None
    times: Schedule | None
    stored_private: bool

    @property
    def since(self) -> datetime:
        return ALWAYS if self.times is None or self.times.since is None else self.times.since

    @property
    def until(self) -> datetime | None:
        return None if self.times is None else self.times.until

    @property
    def name(self) -> str:
        return str(self.member.get("kid", ""))


class _Draft:
    """Stored keys while they are changed to the intended ones."""

    def __init__(self, stored: StoredJwtKey, rotation: Rotation, now: datetime) -> None:
        self._stored = stored
        self._rotation = rotation
        self._now = now
        self._entries, self._order = _entries(stored)
        self._private = [entry.private for entry in self._order]
        self.changes: list[Change] = []
        own = [entry for entry in self._order if entry.since <= now]
        self._signing = max(own, key=lambda entry: entry.since) if own else self._order[0]

    @property
    def is_scheduled(self) -> bool:
        return any(entry.times is not None for entry in self._entries)

    @property
    def _to_come(self) -> list[_Entry]:
        return [entry for entry in self._order if entry.since > self._now]

    def note_signing_key(self) -> None:
        """Notes the time from which the key signs, and the lifetime of its tokens."""
        signing, lifetime = self._signing, self._rotation.lifetime
        times = signing.times or Schedule()
        if times.since is None and self._rotation.interval:
            times = replace(times, since=self._now)
            self._note("noted", signing, "is rotated from now on")
        signing.times = replace(times, lifetime=max(times.lifetime, lifetime))
        if self._to_come:
            self._retire(signing, self._to_come[0].since)

    def drop_former_keys(self) -> None:
        """Drops the private parts of keys whose time is over."""
        for entry in [each for each in self._order if each.since < self._signing.since]:
            self._order.remove(entry)
            entry.private = None
            self._retire(entry, self._now)
            self._note("signing", self._signing, f"signs in place of {entry.name!r}, whose private part is removed")

    def prune(self) -> None:
        """Removes public keys without valid tokens; never one with a stored private part."""
        for entry in list(self._entries):
            if entry.stored_private or entry.times is None:
                continue
            if entry.until is None and entry.since <= self._now:
                # Its private part was removed by another writer; tokens that it has signed until now are still valid.
                self._retire(entry, self._now)
            elif entry.until is None or entry.until <= self._now:
                self._entries.remove(entry)
                self._note("gone", entry, "is removed from the key set: all tokens that it signed have expired")

    def publish_next_key(self) -> None:
        """Makes the next key when it is time to publish it."""
        lead = self._rotation.lead
        if self._to_come or self._now < self._turn - lead:
            return
        if len(self._entries) >= MOST_KEYS:
            raise InvalidBundleError(
                f"cannot rotate the JWT signing key: the key set already has {MOST_KEYS} keys; remove those whose "
                "tokens have expired"
            )
        key = make_signing_key(self._rotation.algorithm)
        since = max(self._turn, self._now + lead)
        times = Schedule(since=since, lifetime=self._rotation.lifetime)
        member = make_jwk(key.public_key(), self._rotation.algorithm, thumbprint(key.public_key()))
        entry = _Entry(member, key, times, stored_private=True)
        self._entries.append(entry)
        self._order.append(entry)
        self._retire(self._signing, since)
        self._note("published", entry, f"is published, and signs from {since:%Y-%m-%dT%H:%M:%SZ} on")

    @property
    def _turn(self) -> datetime:
        """Time at which the signing key is replaced."""
        since = self._signing.since
        return (self._now if since == ALWAYS else since) + self._rotation.interval

    def due(self) -> datetime | None:
        times = [entry.since for entry in self._to_come]
        times += [entry.until for entry in self._entries if entry.until is not None and entry not in self._order]
        if self._rotation.interval and not self._to_come:
            times.append(self._turn - self._rotation.lead)
        return min(times, default=None)

    def result(self) -> StoredJwtKey | None:
        members = [
            entry.member if entry.times is None else with_schedule(entry.member, entry.times) for entry in self._entries
        ]
        private = [entry.private for entry in self._order if entry.private is not None]
        same_keys = private == self._private
        if same_keys and members == read_jwks(self._stored.jwks):
            return None
        # Text around keys that stay belongs to the operator.
        pem = self._stored.key if same_keys else b"".join(map(write_private_key, private))
        return StoredJwtKey(pem, write_jwks(members))

    def _retire(self, entry: _Entry, last: datetime) -> None:
        """Sets the end of a key that signs until `last` at most: all its tokens have expired then."""
        times = entry.times or Schedule()
        lifetime = max(times.lifetime, self._rotation.lifetime)
        until = last + lifetime + self._rotation.lead
        entry.times = replace(times, lifetime=lifetime, until=max(until, times.until or until))

    def _note(self, step: JwtKeyState, entry: _Entry, text: str) -> None:
        self.changes.append(Change(step, entry.name, f"JWT signing key {entry.name!r} {text}"))


def _entries(stored: StoredJwtKey) -> tuple[list[_Entry], list[_Entry]]:
    """Returns all keys of the set, and those with stored private parts in the order of these."""
    members: Sequence[Jwk] = read_jwks(stored.jwks)
    private = signing_keys(stored, list(members))
    entries = []
    for member in members:
        own = next((key for key, its in private if its is member), None)
        entries.append(_Entry(member, own, schedule_of(member), stored_private=own is not None))
    order = [entry for key, _ in private for entry in entries if entry.private is key]
    return entries, order
