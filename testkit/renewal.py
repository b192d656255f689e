"""An authority whose trust bundle is in memory, with runs that follow one another, in virtual time."""

from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import trio

from sentry_trio.ca.bundle import TrustBundle
from sentry_trio.ca.certificates import Certificate
from sentry_trio.ca.parts import BUNDLE_AND_RENEWAL, Changes, Parts
from sentry_trio.component_settings import environment_settings
from sentry_trio.conditions import Conditions
from sentry_trio.environments.clocks import ClockGuard
from sentry_trio.environments.environment import Environment
from sentry_trio.environments.run_inputs import Sources, causes_of
from sentry_trio.environments.token_validators import Made
from sentry_trio.environments.workloads import Workloads
from sentry_trio.errors import Part, SentryError
from sentry_trio.event_reasons import EventReason
from sentry_trio.kube.uptake import Uptake
from sentry_trio.proto.sentry_pb2 import SignCertificateRequest
from sentry_trio.reload import Changed, ReloadCause
from sentry_trio.settings.command_line import parse_options
from sentry_trio.settings.configuration import Configuration
from sentry_trio.telemetry.metrics import Metrics
from sentry_trio.validators import Validators
from sentry_trio.validators.insecure import InsecureValidator

START = datetime(2030, 1, 1, tzinfo=UTC)
DAY = 86400.0
YEAR = 365 * DAY
SKEW = 900.0
BEGIN = YEAR / 2 - SKEW / 2
"""Seconds after the start when the first renewal begins, but for the pause that keeps replicas apart."""
GRACE = DAY
SETTLED = DAY + SKEW
END = START + timedelta(seconds=YEAR)
LIMIT = YEAR - DAY - SKEW
BEGINNINGS = {
    "steady": 20.0,
    "distributing": BEGIN,
    "signing": BEGIN + GRACE,
    "retiring": BEGIN + GRACE + SETTLED,
}
_SUSPENDED_FROM, _AWAKE = 7200.0, 200.0


class MemoryStore:
    """A store of parts.

    Attributes:
        stored: the parts.
        trouble: raised by each write.
        writes: time of each write that was tried, and what it changed.
        before_write: called before a write is looked at.
        read_only: why it can never be written.
        suspended: seconds for which the machines of all replicas were suspended, which pass at once.
    """

    place = "the shelf"

    def __init__(self, stored: Parts | None = None) -> None:
        self.stored: dict[Part, bytes] = dict(stored or {})
        self.trouble: SentryError | None = None
        self.writes: list[tuple[float, Changes]] = []
        self.before_write: Callable[[], None] = lambda: None
        self.read_only: str | None = None
        self.changed = trio.Event()
        self.suspended = 0.0

    @property
    def elapsed(self) -> float:
        return trio.current_time() + self.suspended

    async def read(self, parts: Collection[Part]) -> Parts:
        return {part: content for part, content in self.stored.items() if part in parts}

    async def read_bundle(self) -> Parts:
        return await self.read(BUNDLE_AND_RENEWAL)

    async def replace(self, changes: Changes, *, expected: Changes) -> bool:
        self.before_write()
        self.writes.append((self.elapsed, changes))
        if self.trouble is not None:
            raise self.trouble
        if any(self.stored.get(part) != content for part, content in expected.items()):
            return False
        self.edit(changes)
        return True

    def edit(self, changes: Changes) -> None:
        """Changes parts like another writer."""
        held = {**self.stored, **changes}
        self.stored = {part: content for part, content in held.items() if content is not None}
        self.changed.set()
        self.changed = trio.Event()

    def locate(self, *parts: Part) -> str:
        return f"{' and '.join(part.value for part in parts)} on the shelf"

    def sources(self, parts: Collection[Part]) -> tuple[str, ...]:
        return (self.place,) if parts else ()

    async def read_only_reason(self) -> str | None:
        return self.read_only


class MemoryEnvironment(Environment, Workloads):
    """One replica.

    Attributes:
        store: its store, which others may share.
        skip: how far its wall clock was set.
        server_offset: how far another clock is ahead.
        published: false while trust anchors cannot be published.
        manager: the program that keeps the trust bundle.
        pods: what sidecars hold, as measured; None if that is unknown.
        held_sets: fingerprints of the roots that pods hold, with the pods; None if that is unknown.
        roots_of_pods: certificates of these roots.
        events: those that were reported.
        runs: the bundle of each run.
        failure: raised instead of making another run.
        failures: those that kept a run from being replaced.
        causes: those of all reloads.
        conditions: lasting problems.
    """

    _storage = "a shelf"
    _configuration_source = "the defaults"

    def __init__(self, store: MemoryStore, *flags: str, chance: float = 0.5, skip: timedelta = timedelta()) -> None:
        self.store = store
        self.skip = skip
        self.server_offset: timedelta | None = None
        self.published = True
        self.manager: str | None = None
        self.pods: Uptake | None = None
        self.asked: tuple[Mapping[str, datetime], datetime | None] | None = None
        self.roots_of_pods: Sequence[Certificate] = ()
        self.held_sets: Mapping[frozenset[str], tuple[str, ...]] | None = None
        self.events: list[tuple[EventReason, str]] = []
        self.runs: list[TrustBundle] = []
        self.failure: SentryError | None = None
        self.failures: list[SentryError] = []
        self.causes: list[ReloadCause] = []
        self.configuration = Configuration()
        self.began = store.elapsed
        self.metrics = Metrics()
        settings = environment_settings(parse_options(["--ca-key-type=ed25519", *flags], {}))
        self.conditions = Conditions()
        clocks = ClockGuard(self.now, elapsed=lambda: store.elapsed, server_offset=lambda: self.server_offset)
        super().__init__(
            settings,
            workloads=self,
            clocks=clocks,
            metrics=self.metrics,
            now=self.now,
            conditions=self.conditions,
            chance=lambda: chance,
        )

    def now(self) -> datetime:
        return START + self.skip + timedelta(seconds=self.since)

    @property
    def since(self) -> float:
        return self.store.elapsed - self.began

    @property
    def reasons(self) -> list[str]:
        return [reason.value for reason, _ in self.events]

    def counted(self, line: str) -> float:
        """The value of a series in the metrics."""
        text = self.metrics.exposition()[0].decode()
        return next(float(each.removeprefix(line)) for each in text.splitlines() if each.startswith(f"{line} "))

    async def serve(self) -> None:
        """Runs that follow one another, until cancelled."""
        inputs = await self.run_inputs(may_generate=True)
        while True:
            self.runs.append(inputs.bundle)
            with trio.CancelScope() as run:

                async def changed(*causes: ReloadCause, run: trio.CancelScope = run) -> None:
                    nonlocal inputs
                    self.causes += causes
                    try:
                        if self.failure is not None:
                            raise self.failure
                        inputs = await self.run_inputs(may_generate=False)
                    except SentryError as error:
                        self.failures.append(error)
                    else:
                        run.cancel()

                await inputs.watch(changed)

    # --- what an environment has

    def notify(self, reason: EventReason, message: str) -> None:
        self.events.append((reason, message))

    async def is_published(self, stored: Parts) -> bool:
        return self.published

    async def managed_by(self) -> str | None:
        return self.manager

    def anchor_sets(self) -> Mapping[frozenset[str], tuple[str, ...]] | None:
        return self.held_sets

    def held_roots(self) -> Sequence[Certificate]:
        return self.roots_of_pods

    def uptake(self, roots: Mapping[str, datetime], published_at: datetime | None) -> Uptake | None:
        self.asked = roots, published_at
        return self.pods

    async def _open_sources(self) -> Sources:
        return Sources(self.store, self._watch_store)

    async def _watch_store(
        self, stored: Parts, configuration: Configuration, changed: Changed, *, in_use: bool
    ) -> None:
        known: dict[Part, bytes] = dict(stored)
        while True:
            has_changed = self.store.changed
            current = self.store.stored
            differing = [part for part in Part if known.get(part) != current.get(part)]
            if differing:
                known = dict(current)
                await changed(*causes_of(differing, self.store))
            else:
                await has_changed.wait()

    async def _read_configuration(self) -> Configuration:
        return self.configuration

    async def _accepted(self, stored: Parts, *, generated: bool) -> None:
        pass

    def _validators(self, added: Made) -> Validators:
        return Validators(present={SignCertificateRequest.INSECURE: InsecureValidator()}, default=None)

    async def _cluster_domain(self) -> Callable[[], str]:
        return lambda: "cluster.local"


@asynccontextmanager
async def serving(*replicas: MemoryEnvironment) -> AsyncIterator[None]:
    async with trio.open_nursery() as nursery:
        for each in replicas:
            nursery.start_soon(each.serve)
            await trio.sleep(1)
        yield
        nursery.cancel_scope.cancel()


async def until(replica: MemoryEnvironment, moment: float) -> None:
    """Sleeps until some time after the replica was made; the machines are suspended for most of a long time."""
    gap = moment - replica.since
    if gap > _SUSPENDED_FROM:
        replica.store.suspended += gap - _AWAKE
        gap = _AWAKE
    await trio.sleep(max(gap, 0))


async def until_after(replica: MemoryEnvironment, moment: float, seconds: float) -> None:
    """Sleeps until some seconds after a moment at which the machines are awake."""
    await until(replica, moment - 10)
    await until(replica, moment + seconds)


async def later(replica: MemoryEnvironment, seconds: float) -> None:
    await until(replica, replica.since + seconds)


def phase(replica: MemoryEnvironment) -> str | None:
    return None if replica.renewal is None else replica.renewal.phase


async def in_phase(replica: MemoryEnvironment, wanted: str) -> None:
    """Sleeps until shortly after a phase of the first renewal has begun."""
    for name, begun in BEGINNINGS.items():
        await until_after(replica, begun, 180)
        if name == wanted:
            assert phase(replica) == name
            return


@asynccontextmanager
async def serving_in(wanted: str, *flags: str) -> AsyncIterator[MemoryEnvironment]:
    """Serves by one replica with a store of its own, in a phase of its first renewal."""
    replica = MemoryEnvironment(MemoryStore(), *flags)
    async with serving(replica):
        await in_phase(replica, wanted)
        yield replica


async def stored_in(wanted: str) -> MemoryStore:
    """Parts that a replica has stored in a phase."""
    async with serving_in(wanted) as replica:
        pass
    return MemoryStore(replica.store.stored)
