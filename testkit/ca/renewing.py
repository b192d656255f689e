"""Renewals of a certificate authority in memory, for the tests of the planner."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final, TypeAlias

import pytest
from cryptography.exceptions import InvalidSignature

from sentry_trio.ca import certificates
from sentry_trio.ca.bundle import StoredBundle, TrustBundle, verify
from sentry_trio.ca.certificates import Certificate
from sentry_trio.ca.generate import generate
from sentry_trio.ca.keys import KeyType, PublicKey, public_key_info
from sentry_trio.ca.paths import Path, find_paths
from sentry_trio.ca.renewal import Plan, Situation, plan
from sentry_trio.ca.renewal_policy import RenewalPolicy
from sentry_trio.ca.signatures import verify_signature
from sentry_trio.errors import InvalidBundleError, Part
from sentry_trio.renewal_status import Phase, Step
from testkit.ca import making
from testkit.ca.making import DAY, HOUR, NOW, SKEW, certificate, new_key

SECOND = timedelta(seconds=1)
YEAR = 365 * DAY
POLICY = RenewalPolicy(
    trust_domain="td", namespace="ns", key_type=KeyType.ED25519, workload_ttl=DAY, allowed_clock_skew=SKEW
)
BEGIN = NOW + (YEAR - SKEW) / 2

Stored: TypeAlias = dict[Part, bytes]
Chain: TypeAlias = tuple[Certificate, ...]
Anchors: TypeAlias = tuple[Certificate, ...]
NEVER: Final = datetime(1970, 1, 1, tzinfo=UTC)


def parts_of(bundle: StoredBundle) -> Stored:
    return {Part.ANCHORS: bundle.anchors, Part.CHAIN: bundle.chain, Part.KEY: bundle.key}


def generated(now: datetime = NOW, lifetime: timedelta = YEAR) -> Stored:
    return parts_of(generate("td", "ns", KeyType.ED25519, now=now, allowed_clock_skew=SKEW, lifetime=lifetime))


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
BRIDGE_END = NOW + YEAR + SKEW + SECOND
LIMIT = NOW + YEAR - DAY - SKEW

MOMENTS = {
    Phase.STEADY: (STEADY, NOW),
    Phase.DISTRIBUTING: (DISTRIBUTING, BEGIN),
    Phase.SIGNING: (SIGNING, SWITCH),
    Phase.RETIRING: (RETIRING, SETTLED),
}
"""Stored parts of each phase, and the time at which the phase begins."""


@contextmanager
def remembering() -> Iterator[None]:
    """Caches read certificates and verified signatures, which take most of the time of planning."""
    read = certificates.read_certificate
    verdicts: dict[tuple[bytes, bytes, bytes], str | None] = {}

    def verify_once(signed: bytes, algorithm: bytes, signature: bytes, key: PublicKey) -> None:
        entry = (signed, signature, public_key_info(key))
        if entry not in verdicts:
            verdicts[entry] = None
            try:
                verify_signature(signed, algorithm, signature, key)
            except InvalidSignature as error:
                verdicts[entry] = str(error)
        if (why := verdicts[entry]) is not None:
            raise InvalidSignature(why)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(certificates, "read_certificate", lru_cache(maxsize=10_000)(read))
        patch.setattr(certificates, "verify_signature", verify_once)
        yield


class Clients:
    """Clients that verify chains, each with trust anchors that never change.

    A set of anchors serves until the latest end of an issuer whose root is in it; then its holder has to restart.
    """

    def __init__(self) -> None:
        self.sets: dict[Anchors, datetime] = {}
        """Trust anchors that were published, and since when."""
        self.served: dict[Chain, datetime] = {}
        """Chains that were served, and when the last certificate below them expires."""
        self.line: list[tuple[Certificate, datetime]] = []
        """Roots of the issuers that have signed one after another, and the ends of these issuers."""
        self._paths: dict[tuple[Chain, Anchors], list[Path]] = {}

    def serves_until(self, anchors: Anchors) -> datetime:
        return max((end for root, end in self.line if root in anchors), default=NEVER)

    def path_end(self, chain: Chain, anchors: Anchors, now: datetime) -> datetime:
        """Returns until when a chain verifies that does so now; a time long ago if it does not."""
        paths = self._paths.get((chain, anchors))
        if paths is None or not any(path.not_before <= now <= path.not_after for path in paths):
            try:
                paths = find_paths(chain[0], chain[1:], anchors, now)
            except InvalidBundleError:
                paths = []
            self._paths[chain, anchors] = paths
        return max((path.not_after for path in paths), default=NEVER)

    def cut_off(self, now: datetime) -> list[tuple[Chain, Anchors]]:
        """Returns the chains with certificates that are valid now, and holders of anchors that reject them too soon."""
        served = [(chain, end) for chain, end in self.served.items() if end >= now]
        held = [(anchors, end) for anchors in self.sets if (end := self.serves_until(anchors)) >= now]
        return [
            (chain, anchors)
            for chain, certificates_end in served
            for anchors, holders_end in held
            if self.path_end(chain, anchors, now) < min(certificates_end, holders_end)
        ]
