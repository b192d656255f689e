"""Renewals of a certificate authority in memory, for the tests of the planner."""

from datetime import datetime, timedelta

from sentry_trio.ca.bundle import StoredBundle, TrustBundle, verify
from sentry_trio.ca.generate import generate
from sentry_trio.ca.keys import KeyType
from sentry_trio.ca.renewal import Phase, Plan, RenewalPolicy, Situation, Step, plan
from sentry_trio.errors import Part
from testkit.ca import making
from testkit.ca.making import DAY, HOUR, NOW, SKEW, certificate, new_key

SECOND = timedelta(seconds=1)
YEAR = 365 * DAY
POLICY = RenewalPolicy(
    trust_domain="td", namespace="ns", key_type=KeyType.ED25519, workload_ttl=DAY, allowed_clock_skew=SKEW
)
BEGIN = NOW + (YEAR - SKEW) / 2

Stored = dict[Part, bytes]


def parts_of(bundle: StoredBundle) -> Stored:
    return {Part.ANCHORS: bundle.anchors, Part.CHAIN: bundle.chain, Part.KEY: bundle.key}


def generated(now: datetime = NOW) -> Stored:
    return parts_of(generate("td", "ns", KeyType.ED25519, now=now, allowed_clock_skew=SKEW))


def after(stored: Stored, planned: Plan) -> Stored:
    changed = {**stored, **planned.changes}
    return {part: content for part, content in changed.items() if content is not None}


def without(stored: Stored, *parts: Part) -> Stored:
    return {part: content for part, content in stored.items() if part not in parts}


def run(stored: Stored, now: datetime, *steps: Step, policy: RenewalPolicy = POLICY) -> Stored:
    """Returns the stored parts after the given steps, which have to be due now."""
    for step in steps:
        planned = plan(stored, policy, Situation(now=now))
        assert planned.step is step
        stored = after(stored, planned)
    assert plan(stored, policy, Situation(now=now)).step is None
    return stored


def bundle_of(stored: Stored, now: datetime) -> TrustBundle:
    return verify(StoredBundle(stored[Part.ANCHORS], stored[Part.CHAIN], stored[Part.KEY]), now)


def foreign_authority(now: datetime) -> StoredBundle:
    root_key, key = new_key(), new_key()
    dates = {"not_before": now - HOUR, "not_after": now + YEAR}
    root = certificate("Root", root_key, **dates)
    issuer = certificate("Issuer", key, "Root", root_key, **dates)
    return making.stored([root], [issuer], key)


STEADY = run(generated(), NOW)
DISTRIBUTING = run(STEADY, BEGIN, Step.PUBLISH, Step.NOTE)
SWITCH = BEGIN + DAY
SIGNING = run(DISTRIBUTING, SWITCH, Step.SWITCH)
SETTLED = SWITCH + DAY + SKEW
RETIRING = run(SIGNING, SETTLED, Step.ERASE)
BRIDGE_END = NOW + YEAR + SECOND
LIMIT = NOW + YEAR - DAY - SKEW

MOMENTS = {
    Phase.STEADY: (STEADY, NOW),
    Phase.DISTRIBUTING: (DISTRIBUTING, BEGIN),
    Phase.SIGNING: (SIGNING, SWITCH),
    Phase.RETIRING: (RETIRING, SETTLED),
}
"""Stored parts of each phase, and the time at which the phase begins."""
