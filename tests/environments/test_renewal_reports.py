"""Reports of a renewal: status, metrics and Events, through all phases in virtual time."""

from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
import trio
from msgspec.structs import replace
from trio.testing import MockClock

from sentry_trio.ca.bundle import verify
from sentry_trio.ca.certificates import fingerprint, read_certificates
from sentry_trio.ca.generate import generate
from sentry_trio.ca.keys import KeyType
from sentry_trio.ca.parts import Changes, Parts, bundle_of, bundle_parts
from sentry_trio.ca.renewal import RenewalRequest, Situation, plan
from sentry_trio.ca.renewal_next import roots_made_here
from sentry_trio.ca.renewal_policy import RenewalPolicy
from sentry_trio.environments.clocks import ClockGuard
from sentry_trio.environments.renewal import RenewalOfRun, Renewer
from sentry_trio.environments.renewal_report import RenewalReporter
from sentry_trio.environments.root_keys import RootKeyAccess
from sentry_trio.environments.workloads import Workloads
from sentry_trio.errors import Part
from sentry_trio.kube.pods import Pod
from sentry_trio.kube.sidecar_anchors import Sidecar, SidecarAnchors
from sentry_trio.kube.uptake import Uptake, measure
from sentry_trio.reload import ReloadCause
from sentry_trio.renewal_status import RenewalStatus
from sentry_trio.telemetry.metrics import Metrics
from testkit.scraping import scrape, value

pytestmark = pytest.mark.uncovered

BORN = datetime(2026, 3, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
SKEW = MINUTE
LIFETIME = 60 * MINUTE
POLICY = RenewalPolicy(
    trust_domain="cluster.local",
    namespace="dapr-system",
    key_type=KeyType.ED25519,
    workload_ttl=5 * MINUTE,
    allowed_clock_skew=SKEW,
    lifetime=LIFETIME,
    grace=5 * MINUTE,
)


class MemoryStore:
    """A store of parts in memory."""

    place = "memory"

    def __init__(self, parts: Parts) -> None:
        self.parts = dict(parts)

    async def read_bundle(self) -> Parts:
        await trio.lowlevel.checkpoint()
        return dict(self.parts)

    async def replace(self, changes: Changes, *, expected: Changes) -> bool:
        await trio.lowlevel.checkpoint()
        assert all(self.parts.get(part) == content for part, content in expected.items())
        merged = {**self.parts, **changes}
        self.parts = {part: content for part, content in merged.items() if content is not None}
        return True

    def sources(self, parts: Collection[Part]) -> tuple[str, ...]:
        return tuple(part.value for part in parts)

    async def read_only_reason(self) -> str | None:
        return None


class Mesh:
    """An environment with pods, a clock that can be set, and recorded events."""

    def __init__(self, policy: RenewalPolicy) -> None:
        self.policy = policy
        self.began = trio.current_time()
        stored = generate(
            "cluster.local", "dapr-system", KeyType.ED25519, now=BORN, allowed_clock_skew=SKEW, lifetime=LIFETIME
        )
        self.store = MemoryStore(bundle_parts(stored))
        self.clock_set_by = timedelta()
        self.pods: list[Pod] = []
        self.reported: list[tuple[str, str]] = []
        self.metrics = Metrics(now=self.now)
        self.renewer = Renewer(
            policy,
            RenewalReporter(cast("Workloads", self), self.notify, metrics=self.metrics, now=self.now),
            self.is_published,
            self.managed_by,
            now=self.now,
            clocks=ClockGuard(self.now, elapsed=trio.current_time, server_offset=lambda: None),
            root_keys=RootKeyAccess(None),
            chance=lambda: 0.0,
        )

    def now(self) -> datetime:
        return BORN + timedelta(seconds=trio.current_time() - self.began) + self.clock_set_by

    @property
    def roots(self) -> tuple[str, ...]:
        """Fingerprints of what is published: the injector gives them all to new pods."""
        return tuple(fingerprint(each) for each in read_certificates(self.store.parts[Part.ANCHORS]))

    def start_pod(self, name: str, *roots: str) -> None:
        sidecar = Sidecar(SidecarAnchors(frozenset(roots or self.roots)), int(self.now().timestamp()))
        self.pods.append(Pod("shop", name, name, "cart", {}, (), sidecar))

    # --- environment and workloads

    def notify(self, reason: str, message: str) -> None:
        self.reported.append((str(reason), message))

    async def is_published(self, _stored: Parts) -> bool:
        return True

    async def managed_by(self) -> str | None:
        return None

    def uptake(self, roots: Mapping[str, datetime], published_at: datetime | None) -> Uptake | None:
        return measure(self.pods, roots, published_at=published_at, now=self.now())

    # ---

    async def keep(self) -> None:
        """Runs, one after the other."""
        while True:
            parts = dict(self.store.parts)
            bundle = verify(bundle_of(parts), self.now())
            run = RenewalOfRun(store=cast("Any", self.store), stored=parts, bundle=bundle, policy=self.policy)
            with trio.CancelScope() as scope:

                async def changed(*_causes: ReloadCause, scope: trio.CancelScope = scope) -> None:
                    scope.cancel()

                await self.renewer.renew(run, changed)

    async def until(self, minutes: float) -> None:
        await trio.sleep_until(self.began + minutes * 60)

    @property
    def status(self) -> RenewalStatus:
        assert self.renewer.status is not None
        return self.renewer.status

    def reasons(self) -> list[str]:
        return [reason for reason, _ in self.reported]


def start_mesh(nursery: trio.Nursery, policy: RenewalPolicy = POLICY) -> Mesh:
    """A mesh with a sidecar from its first minute; no fixture, since virtual time passes before a test begins."""
    made = Mesh(policy)
    made.start_pod("old")
    nursery.start_soon(made.keep)
    return made


def bridge_left(mesh: Mesh) -> timedelta:
    assert mesh.status.bridge_end is not None
    return mesh.status.bridge_end - mesh.now()


async def test_status_and_metrics_follow_the_phases(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    mesh = start_mesh(nursery)
    await mesh.until(20)
    assert (mesh.status.phase, mesh.status.next_step, mesh.status.bridge_end) == ("steady", "publish", None)
    assert mesh.status.sidecars == {"current": 1, "former": 0, "none": 0, "file": 0}

    await mesh.until(32)
    assert (mesh.status.phase, mesh.status.next_step) == ("distributing", "switch")
    assert mesh.status.sidecars == {"current": 0, "former": 1, "none": 0, "file": 0}
    assert mesh.status.bridge_end == BORN + LIFETIME
    assert value(mesh.metrics, "dapr_sentry_ca_renewal_pending") == 1
    mesh.start_pod("new")

    await mesh.until(37)
    assert (mesh.status.phase, mesh.status.generation) == ("signing", 2)
    await mesh.until(44)
    assert (mesh.status.phase, mesh.status.held) == ("retiring", None)
    assert mesh.status.sidecars == {"current": 1, "former": 1, "none": 0, "file": 0}
    assert value(mesh.metrics, "dapr_sentry_ca_renewal_total") == 1
    assert value(mesh.metrics, "dapr_sentry_ca_switchover_total") == 1
    assert value(mesh.metrics, "sentry_ca_bridge_end_timestamp_seconds") == (BORN + LIFETIME).timestamp()
    assert mesh.reasons() == ["RenewalBegun", "SidecarsNeedRestart", "IssuerSwitched", "OldKeyErased"]


@pytest.mark.parametrize(
    ("is_auto", "has_restarted", "phase"),
    [(True, True, "signing"), (True, False, "distributing"), (False, True, "distributing")],
)
async def test_the_next_issuer_signs_when_the_last_sidecar_has_restarted(
    autojump_clock: MockClock, nursery: trio.Nursery, *, is_auto: bool, has_restarted: bool, phase: str
) -> None:
    mesh = start_mesh(nursery, replace(POLICY, grace=15 * MINUTE, grace_may_end_early=is_auto))
    await mesh.until(32)
    mesh.start_pod("new")
    await mesh.until(42)
    assert (mesh.status.phase, mesh.status.next_step) == ("distributing", "switch")
    if has_restarted:
        del mesh.pods[0]
    await mesh.until(44)
    assert mesh.status.phase == phase
    await mesh.until(47)
    assert mesh.status.phase == "signing"


async def test_the_generation_that_is_cut_off_first_counts(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    mesh = start_mesh(nursery)
    await mesh.until(32)
    mesh.start_pod("second")
    await mesh.until(61)
    assert mesh.status.phase in {"distributing", "signing", "retiring"}
    assert mesh.status.sidecars == {"current": 0, "former": 2, "none": 0, "file": 0}
    # The oldest has been cut off since the first issuer has expired; the bridge for the second goes on.
    assert bridge_left(mesh) <= timedelta()
    mesh.pods = [pod for pod in mesh.pods if pod.name == "second"]
    await mesh.until(63)
    assert bridge_left(mesh) > 20 * MINUTE


async def test_pods_to_restart_are_named_once_a_day(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    mesh = start_mesh(nursery)
    for number in range(11):
        mesh.start_pod(f"old-{number:02}")
    await mesh.until(44)
    ((_, text),) = [each for each in mesh.reported if each[0] == "SidecarsNeedRestart"]
    assert "shop/old, shop/old-00," in text
    assert "shop/old-08 and 2 more" in text
    assert "shop/old-09" not in text


async def test_a_clock_that_was_ahead_does_not_delay_reports(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    mesh = start_mesh(nursery)
    await mesh.until(44)
    mesh.clock_set_by = timedelta(days=200)
    await mesh.until(46)
    assert mesh.reasons().count("SidecarsNeedRestart") == 2
    mesh.clock_set_by = timedelta()
    await mesh.until(48)
    assert mesh.reasons().count("SidecarsNeedRestart") == 3


async def test_a_stale_injector_is_reported(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    mesh = start_mesh(nursery)
    first = mesh.roots
    await mesh.until(39)
    mesh.start_pod("in time", *first)
    await mesh.until(43)
    stale = [mesh.status.injector_stale]
    await mesh.until(44)
    mesh.start_pod("late", *first)
    await mesh.until(46)
    assert [*stale, mesh.status.injector_stale] == [False, True]
    assert mesh.reasons().count("InjectorStale") == 1


async def test_a_clock_that_was_set_holds_and_is_reported_before_a_step_is_due(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    mesh = start_mesh(nursery)
    await mesh.until(10)
    mesh.clock_set_by = -5 * MINUTE
    await mesh.until(12)
    assert (mesh.status.held_reason, mesh.status.next_step) == ("clock", "publish")
    assert value(mesh.metrics, "sentry_ca_held", reason="clock") == 1
    assert mesh.reasons() == []  # nothing is late
    await mesh.until(22)
    assert (mesh.status.held, mesh.status.held_reason) == (None, None)
    assert value(mesh.metrics, "sentry_ca_held", reason="clock") == 0


async def test_the_roots_made_here_are_known_without_a_record(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    mesh = start_mesh(nursery)
    parts = mesh.store.parts
    assert roots_made_here(parts, verify(bundle_of(parts), mesh.now())) == mesh.roots


async def test_a_root_that_was_taken_back_is_none_that_pods_lack(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    mesh = start_mesh(nursery)
    first = mesh.roots
    for request in (RenewalRequest.START, RenewalRequest.FLATTEN):
        await mesh.until(10 if request is RenewalRequest.START else 12)
        planned = plan(mesh.store.parts, POLICY, Situation(now=mesh.now()), request)
        assert await mesh.store.replace(planned.changes, expected={})
    assert mesh.roots == first
    made = roots_made_here(mesh.store.parts, verify(bundle_of(mesh.store.parts), mesh.now()))
    assert (made[:1], len(made)) == (first, 2)
    uptake = mesh.uptake(dict.fromkeys(made, mesh.now()), mesh.now() - 5 * MINUTE)
    assert uptake is not None
    assert (uptake.pinned, uptake.injector_stale) == ((), False)


def test_series_of_sidecars_are_absent_where_nothing_is_known() -> None:
    metrics = Metrics()
    metrics.ca_renewal(RenewalStatus(phase="steady", generation=1))
    assert "sentry_ca_sidecars" not in scrape(metrics)
