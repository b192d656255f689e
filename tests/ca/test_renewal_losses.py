"""Renewals that lose several stored parts at once: no private key stays behind unreported."""

from collections.abc import Iterator
from datetime import datetime
from functools import cache
from itertools import combinations
from typing import Final

import pytest
from msgspec.structs import replace

from sentry_trio.ca.certificates import read_certificates, write_certificates
from sentry_trio.ca.parts import BUNDLE, KEYS_BESIDE, PREVIOUS, RENEWAL
from sentry_trio.ca.renewal import Plan, RenewalRequest, Situation, plan
from sentry_trio.ca.renewal_policy import RenewalPolicy
from sentry_trio.ca.renewal_record import read_record
from sentry_trio.ca.renewal_root import new_parts
from sentry_trio.errors import Part, RenewalRejectedError
from sentry_trio.renewal_status import Phase, Step
from testkit.ca import making
from testkit.ca.making import DAY, HOUR, NOW, certificate, new_key
from testkit.ca.renewing import (
    BEGIN,
    DISTRIBUTING,
    MOMENTS,
    POLICY,
    RETIRING,
    SETTLED,
    SIGNING,
    STEADY,
    SWITCH,
    YEAR,
    Stored,
    after,
    parts_of,
    remembering,
    run,
    without,
)

LONG_ENOUGH: Final = 5 * DAY
NEEDED: Final[dict[Phase, set[Part]]] = {
    Phase.STEADY: {Part.ROOT_KEY},
    Phase.DISTRIBUTING: {Part.NEXT_KEY, Part.ROOT_KEY, Part.NEXT_ROOT_KEY},
    Phase.SIGNING: {Part.PREVIOUS_KEY, Part.ROOT_KEY, Part.PREVIOUS_ROOT_KEY},
    Phase.RETIRING: {Part.ROOT_KEY},
}
KEEP: Final = replace(POLICY, keeps_root_key=True, root_lifetime=2 * YEAR)


def kept(phase: Phase) -> tuple[Stored, datetime]:
    """Parts of the renewal of a root whose key is kept, which begins at half of its life."""
    stored, now = new_parts(KEEP, NOW, None), NOW
    while True:
        found = plan(stored, KEEP, Situation(now=now))
        if found.phase is phase and (Part.NEXT_ROOT_KEY in stored or Part.PREVIOUS_ROOT_KEY in stored):
            return stored, now
        stored = after(stored, found)
        assert found.due is not None
        now = max(now, found.due)


@cache
def moments() -> dict[str, tuple[Stored, datetime, RenewalPolicy]]:
    rejected = run(without(DISTRIBUTING, Part.NEXT_CHAIN), BEGIN + HOUR, Step.REJECT, policy=off(POLICY))
    both = run({**SIGNING, Part.NEXT_KEY: DISTRIBUTING[Part.NEXT_KEY]}, SWITCH, Step.REJECT)
    renewed = run(new_parts(KEEP, NOW, None), BEGIN, Step.RENEW_ISSUER, policy=KEEP)
    plain = {phase.value: (*MOMENTS[phase], POLICY) for phase in Phase}
    return plain | {
        "rejected": (rejected, BEGIN + HOUR, POLICY),
        "rejected while signing": (both, SWITCH, POLICY),
        "another issuer below the root": (renewed, BEGIN, KEEP),
        "another root, distributing": (*kept(Phase.DISTRIBUTING), KEEP),
        "another root, signing": (*kept(Phase.SIGNING), KEEP),
    }


def off(policy: RenewalPolicy) -> RenewalPolicy:
    return replace(policy, enabled=False)


def damaged(stored: Stored) -> Iterator[tuple[str, Stored]]:
    """Yields the parts without two of them, with two cut short, and without the bridge and one of them."""
    beside = [part for part in RENEWAL if part in stored]
    bare = {**stored, Part.CHAIN: write_certificates(read_certificates(stored[Part.CHAIN])[:1])}
    for one in beside:
        yield f"the bridge and {one.value} are lost", without(bare, one)
    for pair in combinations(beside, 2):
        names = " and ".join(part.value for part in pair)
        yield f"{names} are lost", without(stored, *pair)
        yield f"{names} are cut short", {**stored, **{part: stored[part][:-40] for part in pair}}


def settled(stored: Stored, now: datetime, policy: RenewalPolicy) -> tuple[Stored, Plan]:
    """Takes all steps that are due within days; returns what is stored then, and the last plan."""
    end = now + LONG_ENOUGH
    while True:
        found = plan(stored, policy, Situation(now=now))
        if found.step is not None:
            stored = after(stored, found)
        elif found.due is None or found.due > end:
            return stored, found
        else:
            now = max(found.due, now + HOUR)


@pytest.mark.parametrize("name", moments())
def test_each_key_beside_is_needed_or_reported(name: str) -> None:
    stored, now, policy = moments()[name]
    left = []
    with remembering():
        for what, torn in damaged(stored):
            final, found = settled(torn, now, off(policy))
            keys = {part for part in KEYS_BESIDE if part in final} - NEEDED[found.phase]
            left += [f"{what}: {key.value}" for key in keys if key not in found.stray_keys]
    assert left == []


def test_a_rejected_key_beside_a_bridge_is_removed_without_a_record() -> None:
    rejected = run({**SIGNING, Part.NEXT_KEY: DISTRIBUTING[Part.NEXT_KEY]}, SWITCH, Step.REJECT)
    final, found = settled(without(rejected, Part.RECORD), SWITCH, off(POLICY))
    assert found.stray_keys == ()
    assert not set(KEYS_BESIDE) & final.keys()


def below_an_intermediate() -> Stored:
    root_key, middle_key, key = new_key(), new_key(), new_key()
    root = certificate("Root", root_key, not_after=NOW + YEAR)
    middle = certificate("Middle", middle_key, "Root", root_key, not_after=NOW + YEAR)
    issuer = certificate("Issuer", key, "Middle", middle_key, not_after=NOW + YEAR)
    return parts_of(making.stored([root], [issuer, middle], key))


def test_the_key_of_a_root_that_is_not_in_use_is_reported_beside_an_intermediate() -> None:
    """No trust anchor has signed the issuer of the other authority itself."""
    stored, _, policy = moments()["another issuer below the root"]
    replaced = {**stored, **below_an_intermediate()}
    final, found = settled(replaced, BEGIN, off(policy))
    assert final[Part.ROOT_KEY] == stored[Part.ROOT_KEY]
    assert found.stray_keys == (Part.ROOT_KEY,)


def test_a_key_of_others_is_left_alone_and_reported() -> None:
    found = plan({**STEADY, Part.PREVIOUS_KEY: b"mine"}, POLICY, Situation(now=NOW))
    assert (found.step, found.stray_keys) == (None, (Part.PREVIOUS_KEY,))
    managed = Situation(now=SETTLED, managed_by="cert-manager")
    assert plan(RETIRING, POLICY, managed).stray_keys == ()
    assert plan(SIGNING, POLICY, managed).stray_keys == (Part.PREVIOUS_KEY,)


@pytest.mark.parametrize("policy", [POLICY, KEEP])
def test_each_of_three_generations_keeps_its_key_until_its_certificates_have_expired(policy: RenewalPolicy) -> None:
    """The record keeps their public parts."""
    stored, now = new_parts(policy, NOW, None), NOW
    replaced: list[Stored] = []
    while len(replaced) < 3:
        found = plan(stored, policy, Situation(now=now))
        before, stored = stored, after(stored, found)
        if stored[Part.KEY] != before[Part.KEY]:
            replaced.append(before)
            settled_at = now + policy.workload_ttl + policy.allowed_clock_skew
        if Part.PREVIOUS_KEY in stored:
            assert [stored[part] for part in PREVIOUS] == [replaced[-1][part] for part in BUNDLE]
            assert stored.get(Part.PREVIOUS_ROOT_KEY, b"") in (b"", replaced[-1].get(Part.ROOT_KEY))
            assert now < settled_at
            # A second generation cannot follow before: then it would have two keys.
            with pytest.raises(RenewalRejectedError, match="cannot start another renewal while the phase is signing"):
                plan(stored, policy, Situation(now=now), RenewalRequest.START)
        now = now if found.step is not None else found.due or now
    stored, _ = settled(stored, now, off(policy))
    keys = [stored[part] for part in (Part.KEY, *KEYS_BESIDE) if part in stored]
    assert keys == [stored[Part.KEY], *([stored[Part.ROOT_KEY]] if policy.keeps_root_key else [])]
    record = read_record(stored[Part.RECORD])
    assert record is not None
    assert [each.chain.encode() for each in record.former] == [each[Part.CHAIN] for each in replaced]
