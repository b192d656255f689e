"""Ten years of three replicas that fail at random, in virtual time: every promise of a renewal holds."""

from bisect import bisect
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from random import Random
from typing import Final

import pytest
from msgspec.structs import replace

from sentry_trio.ca.certificates import Certificate, fingerprint, read_certificates
from sentry_trio.ca.parts import bundle_of as stored_bundle
from sentry_trio.ca.preflight import preflight
from sentry_trio.ca.renewal import Plan, Situation, plan, promote
from sentry_trio.ca.renewal_policy import RenewalPolicy
from sentry_trio.ca.renewal_record import read_record
from sentry_trio.ca.renewal_root import new_parts
from sentry_trio.ca.strictness import Severity
from sentry_trio.ca.trust import trust_in_use
from sentry_trio.errors import Part
from sentry_trio.renewal_status import Step
from testkit.ca.making import DAY, HOUR, NOW
from testkit.ca.renewing import POLICY, YEAR, Clients, Stored, after, bundle_of, remembering

pytestmark = pytest.mark.uncovered

TICK: Final = 12 * HOUR
LONGEST_OUTAGE: Final = 30 * DAY


@lru_cache(maxsize=1000)
def certificates_in(pem: bytes) -> tuple[Certificate, ...]:
    return tuple(read_certificates(pem))


def is_within(now: datetime, periods: Sequence[tuple[datetime, datetime]]) -> bool:
    begun = bisect(periods, (now, now))
    return begun > 0 and now <= periods[begun - 1][1]


class Replica:
    """A process that is up and down at random.

    Attributes:
        accepted: the issuer key of the bundle that its run was made of; None if it is down.
        due: when it plans again.
    """

    def __init__(self, random: Random) -> None:
        self.accepted: bytes | None = None
        self.due = NOW
        self._random = random
        self._changes_at = NOW
        self._is_up = False

    def is_up(self, now: datetime) -> bool:
        while self._changes_at <= now:
            self._is_up = not self._is_up
            mean = 90 if self._is_up else 2
            self._changes_at += min(self._random.expovariate(1 / mean) * DAY, LONGEST_OUTAGE) + TICK
        return self._is_up


class Mesh:
    """Store, ConfigMap, replicas and clients.

    Args:
        policy: how renewals are done.
        seed: of all that happens at random.
    """

    def __init__(self, policy: RenewalPolicy, seed: int) -> None:
        self.policy = policy
        self.random = Random(seed)
        self.store: Stored = new_parts(policy, NOW, None)
        self.clients = Clients()
        self.steps: list[Step] = []
        self.started: dict[tuple[Certificate, ...], datetime] = {}
        self.config_map = b""
        self.replicas = [Replica(self.random) for _ in range(3)]
        self._outages = self._periods(mean_between=100 * DAY, longest=LONGEST_OUTAGE)
        self._api_outages = self._periods(mean_between=40 * DAY, longest=3 * DAY)
        self._observe_issuer(NOW)

    def _periods(self, *, mean_between: timedelta, longest: timedelta) -> list[tuple[datetime, datetime]]:
        periods, at = [], NOW + DAY
        while at < NOW + 11 * YEAR:
            at += self.random.expovariate(1) * mean_between
            end = at + self.random.random() * longest
            periods.append((at, end))
            at = end
        return periods

    def _observe_issuer(self, now: datetime) -> None:
        bundle = bundle_of(self.store, now)
        root = bundle.anchors[0]
        # With its key, a root lives on while its issuers change, and signs the bridge itself.
        self.clients.line.append((root, root.not_after if self.policy.keeps_root_key else bundle.issuer.not_after))
        self.issuer_end = bundle.issuer.not_after

    def run(self, end: datetime) -> None:
        now = NOW
        while now < end:
            for replica in self.replicas:
                if not replica.is_up(now) or is_within(now, self._outages):
                    replica.accepted = None
                else:
                    self._turn(replica, now)
            self._start_pod(now)
            assert self.clients.cut_off(now) == []
            now += TICK

    def _turn(self, replica: Replica, now: datetime) -> None:
        reaches_api = not is_within(now, self._api_outages)
        if replica.accepted is None and reaches_api:
            self._write(promote(self.store, self.policy, Situation(now=now)), now, config_map=False)
        if replica.accepted != self.store[Part.KEY] and reaches_api:
            replica.accepted, replica.due = self.store[Part.KEY], now
        for _ in range(4):
            if not reaches_api or replica.due > now:
                break
            self._publish(now)
            planned = plan(self.store, self.policy, Situation(now=now))
            # The process ends between two writes now and then.
            self._write(planned, now, config_map=self.random.random() < 0.8)
            replica.accepted, replica.due = self.store[Part.KEY], planned.due or now + DAY
        if replica.accepted is not None:
            self._sign(replica, now)

    def _write(self, planned: Plan, now: datetime, *, config_map: bool) -> None:
        if planned.step is None:
            assert planned.held is None
            return
        before, stored = self.store, after(self.store, planned)
        self._check_preflight(before, stored, now)
        self.steps.append(planned.step)
        self.store = stored
        if stored[Part.KEY] != before[Part.KEY]:
            self._observe_issuer(now)
        if config_map:
            self._publish(now)
        for replica in self.replicas:
            replica.due = now

    def _check_preflight(self, before: Stored, stored: Stored, now: datetime) -> None:
        """No step is refused, be it known who holds which trust anchors or not."""
        current = bundle_of(before, now)
        pods = {frozenset(map(fingerprint, anchors)): ("a pod",) for anchors in self.started}
        for held in (pods, None):
            trust = trust_in_use(
                current.anchors,
                current.chain,
                read_record(before.get(Part.RECORD)),
                now=now,
                leaf_lifetime=self.policy.workload_ttl + self.policy.allowed_clock_skew,
                grace=self.policy.grace,
                held=held,
            )
            assert [
                each for each in preflight(stored_bundle(stored), trust, now) if each.severity is Severity.ERROR
            ] == []

    def _publish(self, now: datetime) -> None:
        self.config_map = self.store[Part.ANCHORS]
        self.clients.sets.setdefault(certificates_in(self.config_map), now)

    def _sign(self, replica: Replica, now: datetime) -> None:
        """Certificates that the replica signs; without the API server it may lag behind the store."""
        if replica.accepted == self.store[Part.KEY]:
            chain = certificates_in(self.store[Part.CHAIN])
            assert now < self.issuer_end
            self.clients.served[chain] = min(now + self.policy.workload_ttl, self.issuer_end)

    def _start_pod(self, now: datetime) -> None:
        """Its trust anchors never change; the last one that gets these is the worst off."""
        if self.config_map:
            self.started[certificates_in(self.config_map)] = now

    def served_for(self) -> Iterator[timedelta]:
        """Yields for how long the last holder of each trust anchors works without a restart."""
        for anchors, started in list(self.started.items())[:-1]:
            yield self.clients.serves_until(anchors) - started


@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.soak) for seed in range(2, 6))])
@pytest.mark.parametrize(("threshold", "years"), [(0.5, 10), (0.3, 3), pytest.param(0.3, 10, marks=pytest.mark.soak)])
def test_years(threshold: float, years: int, seed: int) -> None:
    policy = replace(POLICY, threshold=threshold)
    policy.check()
    with remembering():
        mesh = Mesh(policy, seed)
        mesh.run(NOW + years * YEAR)
        final = plan(mesh.store, policy, Situation(now=NOW + years * YEAR))
    begun = mesh.steps.count(Step.PUBLISH) + mesh.steps.count(Step.PUBLISH_AND_SWITCH)
    assert begun in range(int((years - 1) / threshold) - 2, int(years / threshold) + 1)
    # Trust anchors change once in each renewal; pods hold their first ones for as long as was promised.
    assert len(mesh.clients.sets) == begun + 1
    assert min(mesh.served_for()) >= (1 - threshold) * YEAR - LONGEST_OUTAGE - 4 * DAY
    assert len(read_certificates(mesh.store[Part.ANCHORS])) <= 2 + policy.anchors_kept
    assert final.held is None


@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.soak) for seed in range(2, 6))])
def test_years_with_the_key_of_the_root(seed: int) -> None:
    """Trust anchors change with the root alone, which lives for four years."""
    policy = replace(POLICY, keeps_root_key=True, root_lifetime=4 * YEAR)
    policy.check()
    with remembering():
        mesh = Mesh(policy, seed)
        mesh.run(NOW + 10 * YEAR)
        final = plan(mesh.store, policy, Situation(now=NOW + 10 * YEAR))
    roots, issuers = mesh.steps.count(Step.PUBLISH), mesh.steps.count(Step.RENEW_ISSUER)
    assert Step.PUBLISH_AND_SWITCH not in mesh.steps
    assert roots in range(3, 6)
    assert roots + issuers in range(16, 21)
    assert len(mesh.clients.sets) == roots + 1
    assert min(mesh.served_for()) >= 2 * YEAR - LONGEST_OUTAGE - 4 * DAY
    assert len(read_certificates(mesh.store[Part.ANCHORS])) <= 2 + policy.anchors_kept
    assert (final.held, final.has_root_key, final.stray_keys) == (None, True, ())
