"""State of running authorities, as it was collected."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Final

import msgspec

from sentry_trio.ca.lineage import Link
from sentry_trio.errors import SentryError
from sentry_trio.renewal_status import RenewalStatus

_MAX_ITEMS: Final = 1000  # targets, and certificates: more than any trust bundle that can be read
_ANCHORS: Final = frozenset({"anchor", "former"})


class NotShown(msgspec.Struct, frozen=True):
    """Information that is not available.

    Attributes:
        reason: one line.
        asked: true if the user requested it; false if it was only looked for.
    """

    reason: str
    asked: bool = True


class NotShownError(SentryError):
    """Information is not available.

    Attributes:
        not_shown: the reason.
    """

    def __init__(self, reason: str, *, asked: bool = True) -> None:
        super().__init__(reason)
        self.not_shown = NotShown(reason, asked)


class ReplicaHealth(msgspec.Struct, frozen=True, kw_only=True):
    """Response of a replica to `/livez?verbose`; members that an older release does not report are None or empty.

    Attributes:
        ready: all targets are ready.
        targets: state of each part that has to be ready.
        version: version of sentry-trio.
        mode: `standalone` or `kubernetes`.
        started_at: start of the process.
        run: number of the current run; 0 before the first.
        loaded_at: time at which this run's trust bundle was read.
        last_restart: `succeeded` or `failed`.
        last_restart_at: when.
        degraded: the problems that last, in one line; None if there are none.
        bundle: fingerprint of the trust bundle in use.
        certificates: trust anchors, issuer chain from its upper end down, serving certificate.
        renewal: state of CA renewal.
    """

    ready: bool
    targets: Annotated[Mapping[str, bool], msgspec.Meta(max_length=_MAX_ITEMS)]
    version: str | None = None
    mode: str | None = None
    started_at: datetime | None = None
    run: Annotated[int, msgspec.Meta(ge=0)]
    loaded_at: datetime | None = None
    last_restart: str | None = None
    last_restart_at: datetime | None = None
    degraded: str | None
    bundle: str | None
    certificates: Annotated[tuple[Link, ...], msgspec.Meta(max_length=_MAX_ITEMS)] = ()
    renewal: RenewalStatus | None = None

    @property
    def anchors(self) -> tuple[str, ...]:
        """Fingerprints of the trust anchors in use, in their order."""
        return tuple(link.fingerprint for link in self.certificates if link.role in _ANCHORS)

    @property
    def unready(self) -> tuple[str, ...]:
        """Targets that are not ready."""
        return tuple(name for name, is_ready in self.targets.items() if not is_ready)


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """Figures from a replica's metrics: counts since the process began, and gauges. Series that are 0 are left out.

    Attributes:
        signing_requests: received.
        certificates: issued.
        rejected: signing requests that were rejected or failed, by cause and gRPC status.
        calls: finished gRPC calls, by gRPC status.
        restarts: numbers by outcome, `success` or `failure`.
        restart_failures: numbers by cause.
        connections: open now.
        connections_refused: at the limit.
        handshakes_failed: TLS handshakes that peers did not complete.
        calls_waiting: now.
        calls_shed: calls rejected because of overload, by reason.
    """

    signing_requests: int
    certificates: int
    rejected: Mapping[tuple[str, str], int] = msgspec.field(default_factory=dict)
    calls: Mapping[str, int] = msgspec.field(default_factory=dict)
    restarts: Mapping[str, int] = msgspec.field(default_factory=dict)
    restart_failures: Mapping[str, int] = msgspec.field(default_factory=dict)
    connections: int = 0
    connections_refused: int = 0
    handshakes_failed: int = 0
    calls_waiting: int = 0
    calls_shed: Mapping[str, int] = msgspec.field(default_factory=dict)


class Replica(msgspec.Struct):
    """One process.

    Attributes:
        name: name of the pod, or its address.
        health: its health report.
        figures: from its metrics.
    """

    name: str
    health: ReplicaHealth | NotShown
    figures: Figures | NotShown


def absent(name: str, reason: str) -> Replica:
    """Returns a replica that cannot be reached."""
    return Replica(name, NotShown(reason), NotShown(reason, asked=False))


class Stored(msgspec.Struct, frozen=True):
    """Public parts of the trust bundle in a store.

    Attributes:
        place: names the store.
        fingerprint: fingerprint of the bundle; None if certificates cannot be read.
        certificates: trust anchors, then the issuer chain from its upper end down.
        problem: reason why no run could use it; None if there is none, without a check of the key.
    """

    place: str
    fingerprint: str | None
    certificates: tuple[Link, ...]
    problem: str | None


class Published(msgspec.Struct, frozen=True):
    """Trust anchors that a ConfigMap publishes to the mesh.

    Attributes:
        place: names the ConfigMap.
        anchors: their fingerprints, in their order.
        problem: reason why there are none.
    """

    place: str
    anchors: tuple[str, ...]
    problem: str | None = None


class Report(msgspec.Struct, kw_only=True):
    """Everything that was collected.

    Attributes:
        at: when, UTC.
        replicas: at least one.
        stored: the store; None if none was looked for.
        published: the ConfigMap; None if none was looked for.
        not_found: reason why the Kubernetes API did not find replicas, if that was tried.
    """

    at: datetime
    replicas: tuple[Replica, ...] = ()
    stored: Stored | NotShown | None = None
    published: Published | NotShown | None = None
    not_found: NotShown | None = None

    @property
    def reached(self) -> tuple[tuple[Replica, ReplicaHealth], ...]:
        """The replicas that have reported their health."""
        return tuple((each, each.health) for each in self.replicas if isinstance(each.health, ReplicaHealth))
