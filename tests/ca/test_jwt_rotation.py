"""The rotation of JWT signing keys: what is stored when, and that no token ever fails to verify."""

import json
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import jwt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from sentry_trio.ca.jwk import MOST_KEYS, SCHEDULE
from sentry_trio.ca.jwt import JwtIssuer
from sentry_trio.ca.jwt_key import StoredJwtKey, generate_jwt_key, verify_jwt_key
from sentry_trio.ca.jwt_rotation import LEAD, Rotation, RotationPlan, plan
from sentry_trio.ca.spiffe import SpiffeId
from sentry_trio.errors import InvalidBundleError

START = datetime(2030, 1, 1, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
ROTATION = Rotation(interval=30 * DAY, lifetime=DAY, algorithm="ES256")
OFF = replace(ROTATION, interval=timedelta())
FIRST = generate_jwt_key("ES256", None)
SUBJECT = SpiffeId.make("acme", "shop", "checkout")


def members(stored: StoredJwtKey) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(stored.jwks)["keys"]
    return found


def names(stored: StoredJwtKey) -> list[str]:
    return [member["kid"] for member in members(stored)]


def times(stored: StoredJwtKey) -> list[dict[str, Any]]:
    return [member.get(SCHEDULE, {}) for member in members(stored)]


def stored_by(planned: RotationPlan) -> StoredJwtKey:
    assert planned.stored is not None
    verify_jwt_key(planned.stored, "ES256", None)
    return planned.stored


def settled(stored: StoredJwtKey, now: datetime, rotation: Rotation = ROTATION) -> StoredJwtKey:
    """Stored keys when there is nothing more to do."""
    while (planned := plan(stored, rotation, now)).stored is not None:
        stored = planned.stored
    return stored


def issuer(stored: StoredJwtKey, lifetime: timedelta = DAY) -> JwtIssuer:
    keys = verify_jwt_key(stored, "ES256", None)
    return JwtIssuer(keys, issuer=None, lifetime=lifetime, allowed_clock_skew=timedelta())


def signed_by(stored: StoredJwtKey, now: datetime) -> str:
    token = issuer(stored).issue(SUBJECT, ["a"], now=now, not_after=now + 365 * DAY)
    return str(jwt.get_unverified_header(token)["kid"])


def test_the_life_of_a_key() -> None:
    planned = plan(FIRST, ROTATION, START)
    noted = stored_by(planned)
    [first] = names(noted)
    assert [change.step for change in planned.changes] == ["noted"]
    assert times(noted) == [{"from": int(START.timestamp()), "lifetime": 86400}]
    assert noted.key == FIRST.key
    turn = START + 30 * DAY
    assert plan(noted, ROTATION, START) == RotationPlan(None, (), turn - LEAD)
    assert plan(noted, ROTATION, turn - LEAD - timedelta(seconds=1)).stored is None

    planned = plan(noted, ROTATION, turn - LEAD)
    both = stored_by(planned)
    _, second = names(both)
    assert [change.step for change in planned.changes] == ["published"]
    assert f"signs from {turn:%Y-%m-%dT%H:%M:%SZ} on" in planned.changes[0].text
    assert plan(both, ROTATION, turn - LEAD) == RotationPlan(None, (), turn)
    # All replicas switch at the same moment, by their clocks.
    assert signed_by(both, turn - timedelta(seconds=1)) == first
    assert signed_by(both, turn) == second

    planned = plan(both, ROTATION, turn)
    replaced = stored_by(planned)
    assert [change.step for change in planned.changes] == ["signing"]
    assert names(replaced) == [first, second]
    assert replaced.key.count(b"BEGIN") == 1
    assert signed_by(replaced, turn) == second
    gone = turn + DAY + LEAD
    assert times(replaced)[0]["until"] == int(gone.timestamp())
    assert plan(replaced, ROTATION, turn) == RotationPlan(None, (), gone)

    planned = plan(replaced, ROTATION, gone)
    alone = stored_by(planned)
    assert [change.step for change in planned.changes] == ["gone"]
    assert names(alone) == [second]
    assert alone.key == replaced.key
    assert plan(alone, ROTATION, gone) == RotationPlan(None, (), turn + 30 * DAY - LEAD)


def test_without_rotation_nothing_is_touched() -> None:
    """Also not the order, the space and the comments of the operator's own files."""
    own = StoredJwtKey(b"# mine\n" + FIRST.key, json.dumps(json.loads(FIRST.jwks), indent=1).encode())
    assert plan(own, OFF, START) == RotationPlan(None, (), None)


def test_a_rotation_in_progress_is_completed_after_it_is_disabled() -> None:
    turn = START + 30 * DAY
    both = settled(settled(FIRST, START), turn - LEAD)
    assert plan(both, OFF, turn - HOUR) == RotationPlan(None, (), turn)
    replaced = stored_by(plan(both, OFF, turn))
    gone = turn + DAY + LEAD
    assert plan(replaced, OFF, turn).due == gone
    alone = stored_by(plan(replaced, OFF, gone))
    assert len(names(alone)) == 1
    assert plan(alone, OFF, gone).due is None
    assert signed_by(alone, gone) == names(both)[1]


def test_one_that_was_away_publishes_before_it_signs() -> None:
    noted = settled(FIRST, START)
    back = START + 400 * DAY
    both = stored_by(plan(noted, ROTATION, back))
    assert times(both)[1]["from"] == int((back + LEAD).timestamp())
    assert signed_by(both, back) == names(noted)[0]


def test_one_that_was_away_while_keys_changed() -> None:
    turn = START + 30 * DAY
    both = settled(settled(FIRST, START), turn - LEAD)
    back = turn + 10 * DAY
    replaced = stored_by(plan(both, ROTATION, back))
    # Another process may have signed with the old key until now.
    assert times(replaced)[0]["until"] == int((back + DAY + LEAD).timestamp())


def test_longer_lived_tokens_are_waited_for() -> None:
    turn = START + 30 * DAY
    both = settled(settled(FIRST, START), turn - LEAD)
    longer = stored_by(plan(both, replace(ROTATION, lifetime=7 * DAY), turn - HOUR))
    assert times(longer)[0]["until"] == int((turn + 7 * DAY + LEAD).timestamp())
    # Those that were issued stay as they are when the flag is changed back.
    assert times(settled(longer, turn))[0]["until"] == int((turn + 7 * DAY + LEAD).timestamp())
    assert times(longer)[0]["lifetime"] == 7 * 86400


def test_a_key_without_its_private_part_never_signs() -> None:
    """The key set was written and the private keys were not: that key never signs, and another is made."""
    noted = settled(FIRST, START)
    now = START + 30 * DAY - LEAD
    both = stored_by(plan(noted, ROTATION, now))
    torn = StoredJwtKey(noted.key, both.jwks)
    again = stored_by(plan(torn, ROTATION, now))
    assert names(again)[0] == names(noted)[0]
    assert names(both)[1] not in names(again)
    assert len(names(again)) == 2
    # When the old key's part is given up, the key set is as it was before.
    turn = START + 30 * DAY
    replaced = stored_by(plan(both, ROTATION, turn))
    assert settled(StoredJwtKey(both.key, replaced.jwks), turn) == replaced


def test_a_private_key_that_was_removed() -> None:
    """Its tokens are still good; when it stopped signing is unknown."""
    noted = settled(FIRST, START)
    other = generate_jwt_key("ES256", None)
    edited = StoredJwtKey(other.key, json.dumps({"keys": [*members(noted), *members(other)]}).encode())
    now = START + DAY
    after = stored_by(plan(edited, ROTATION, now))
    assert names(after) == [*names(noted), *names(other)]
    assert times(after)[0]["until"] == int((now + DAY + LEAD).timestamp())


def test_foreign_keys_stay() -> None:
    own = members(generate_jwt_key("ES256", "theirs"))[0]
    stored = StoredJwtKey(FIRST.key, json.dumps({"keys": [own, *members(FIRST)]}).encode())
    for day in range(0, 100, 5):
        stored = settled(stored, START + day * DAY)
    assert members(stored)[0] == own


@pytest.mark.parametrize("interval", [timedelta(seconds=10), timedelta(hours=1), timedelta(hours=4), 365 * DAY])
def test_caches_know_a_key_before_it_signs(interval: timedelta) -> None:
    rotation = replace(ROTATION, interval=interval)
    assert rotation.lead <= interval / 2 or interval > 2 * LEAD
    assert timedelta() < rotation.max_age <= rotation.lead / 2
    if interval >= 4 * HOUR:
        assert (rotation.lead, rotation.max_age) == (2 * HOUR, HOUR)


@pytest.mark.parametrize("milliseconds", [1, 499, 500, 501, 999])
def test_nothing_is_due_at_once_again(milliseconds: int) -> None:
    """Times are stored in whole seconds, but clocks and intervals are not: a fraction of a second causes no loop."""
    rotation = replace(ROTATION, interval=timedelta(seconds=15), lifetime=timedelta(seconds=7))
    stored, now = FIRST, START + timedelta(milliseconds=milliseconds)
    seen: set[str] = set()
    for _ in range(60):
        stored = settled(stored, now, rotation)
        due = plan(stored, rotation, now).due
        assert due is not None
        assert due > now
        now = due
        seen |= set(names(stored))
    assert len(seen) > 10


def test_a_clock_at_the_end_of_the_calendar_is_an_error() -> None:
    stored = generate_jwt_key("ES256", None)
    with pytest.raises(InvalidBundleError, match="cannot plan the rotation of the JWT signing key: "):
        plan(stored, ROTATION, datetime.max.replace(tzinfo=UTC))


def test_no_room_for_another_key() -> None:
    others = [members(generate_jwt_key("EdDSA", None))[0] for _ in range(MOST_KEYS - 1)]
    full = StoredJwtKey(FIRST.key, json.dumps({"keys": [*members(FIRST), *others]}).encode())
    noted = settled(full, START)
    with pytest.raises(InvalidBundleError, match="the key set already has 100 keys; remove those"):
        plan(noted, ROTATION, START + 30 * DAY)


@pytest.mark.parametrize(
    "schedule", [1, [], {"from": "x"}, {"until": -1}, {"from": 2**70}, {"lifetime": 1e99}, {"from": True}]
)
def test_times_that_make_no_sense(schedule: object) -> None:
    edited = json.dumps({"keys": [{**members(FIRST)[0], SCHEDULE: schedule}]}).encode()
    with pytest.raises(InvalidBundleError, match=r"'sentry-trio/rotation' of key .* cannot be read: .*; remove it"):
        verify_jwt_key(StoredJwtKey(FIRST.key, edited), "ES256", None)


@pytest.mark.uncovered
@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32))
def test_no_token_fails_at_any_moment(seed: int) -> None:
    """Two replicas, each of which may be late by half of the lead, and who verifies caches for as long as is allowed.

    Either replica plans, on what it knows; what is stored is compared and swapped; a crash tears what files tear.
    """
    chance = Random(seed)
    rotation = Rotation(interval=timedelta(hours=6), lifetime=timedelta(hours=3), algorithm="EdDSA")
    stored = generate_jwt_key("EdDSA", None)
    known = {"a": stored, "b": stored}
    reported = {"a": START, "b": START}
    tokens: dict[str, datetime] = {}  # when the last one of a key ends
    cached: list[tuple[datetime, set[str]]] = []
    now = START
    while now < START + 30 * HOUR:
        now += timedelta(seconds=chance.expovariate(1 / 900))
        for name in known:
            if now - reported[name] >= rotation.lead / 2 - timedelta(seconds=1) or chance.random() < 0.02:
                known[name], reported[name] = stored, now
        planner = chance.choice("ab")
        planned = plan(known[planner], rotation, now).stored if chance.random() < 0.7 else None
        if planned is not None and known[planner] == stored:
            # Files are written one after the other, the key set first.
            stored = StoredJwtKey(stored.key, planned.jwks) if chance.random() < 0.3 else planned
            known[planner], reported[planner] = stored, now
        tokens = {kid: end for kid, end in tokens.items() if end > now}
        for each in known.values():
            keys = verify_jwt_key(each, "EdDSA", None)
            assert SCHEDULE.encode() not in keys.published.jwks
            jwts = JwtIssuer(keys, issuer=None, lifetime=rotation.lifetime, allowed_clock_skew=timedelta())
            token = jwts.issue(SUBJECT, ["a"], now=now, not_after=now + DAY)
            tokens[jwt.get_unverified_header(token)["kid"]] = now + rotation.lifetime
            cached.append((now, {member["kid"] for member in json.loads(keys.published.jwks)["keys"]}))
        cached = [(since, published) for since, published in cached if now - since <= rotation.max_age]
        for _, published in cached:
            assert tokens.keys() <= published
    # So keys did follow one another.
    assert len(names(stored)) <= 4
    assert times(stored)[0]["from"] > int((START + 6 * HOUR).timestamp())
