"""Data that `collect` finds, and parsers for what replicas and stores contain; pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from typing import Annotated, Any, Final, TypeVar

import msgspec
from prometheus_client.parser import text_string_to_metric_families

from sentry_trio.ca.bundle import fingerprint_of, verify_public
from sentry_trio.ca.certificates import fingerprint, is_self_signed, read_certificates
from sentry_trio.ca.lineage import Link, lineage
from sentry_trio.errors import InvalidBundleError, SentryError
from sentry_trio.renewal_status import RenewalStatus
from sentry_trio.stores.part_store import PublicParts

_MAX_ITEMS: Final = 1000  # targets, and certificates: more than any trust bundle that can be read
_ANCHORS: Final = frozenset({"anchor", "former"})
_RECEIVED: Final = "dapr_sentry_cert_sign_request_received_total"
# What the parser raises for lines that it was not made for.
_UNREADABLE: Final = (ValueError, KeyError, IndexError, TypeError, AttributeError, OverflowError)


class NotOursError(ValueError):
    """An answer that does not come from sentry-trio; the text has the reason."""


@dataclass(frozen=True, slots=True)
class NotShown:
    """Information that is not available.

    Attributes:
        reason: one line.
        asked: the user asked for it; False if it was merely looked for.
    """

    reason: str
    asked: bool = True


class HiddenError(SentryError):
    """Information is not available.

    Attributes:
        not_shown: the reason. A missing permission is not a fault of the authority, and does not need attention.
    """

    def __init__(self, reason: str, *, forbidden: bool = False) -> None:
        super().__init__(reason)
        self.not_shown = NotShown(reason, asked=not forbidden)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaHealth:
    """Response of a replica to `/livez?verbose`; members that an older release does not report are None or empty.

    Attributes:
        ready: all targets are ready.
        targets: state of each part that has to be ready.
        version: of sentry-trio.
        mode: `standalone` or `kubernetes`.
        started_at: when the process began.
        run: number of the current run; 0 before the first.
        loaded_at: when this run's trust bundle was read.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Figures from a replica's metrics: counts since the process began, and gauges. Series that are 0 are left out.

    Attributes:
        signing_requests: received.
        certificates: issued.
        rejected: signing requests that were rejected or failed, by cause and gRPC status.
        calls: finished gRPC calls, by gRPC status.
        restarts: by outcome, `success` or `failure`.
        restart_failures: by cause.
        connections: open now.
        connections_refused: at the limit.
        handshakes_failed: TLS handshakes that peers did not complete.
        calls_waiting: now.
        calls_shed: calls rejected because of overload, by reason.
    """

    signing_requests: int
    certificates: int
    rejected: Mapping[tuple[str, str], int] = field(default_factory=dict)
    calls: Mapping[str, int] = field(default_factory=dict)
    restarts: Mapping[str, int] = field(default_factory=dict)
    restart_failures: Mapping[str, int] = field(default_factory=dict)
    connections: int = 0
    connections_refused: int = 0
    handshakes_failed: int = 0
    calls_waiting: int = 0
    calls_shed: Mapping[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class Replica:
    """One process.

    Attributes:
        name: of the pod, or its address.
        health: its health report.
        figures: from its metrics.
    """

    name: str
    health: ReplicaHealth | NotShown
    figures: Figures | NotShown


@dataclass(frozen=True, slots=True)
class Stored:
    """Public parts of the trust bundle in a store.

    Attributes:
        place: names the store.
        fingerprint: of the bundle; None if certificates cannot be read.
        certificates: trust anchors, then the issuer chain from its upper end down.
        problem: why no run could use it; None if one could, as far as can be seen without the key.
    """

    place: str
    fingerprint: str | None
    certificates: tuple[Link, ...]
    problem: str | None


@dataclass(frozen=True, slots=True)
class Published:
    """Trust anchors that a ConfigMap publishes to the mesh.

    Attributes:
        place: names the ConfigMap.
        anchors: their fingerprints, in their order.
        problem: why there are none.
    """

    place: str
    anchors: tuple[str, ...]
    problem: str | None = None


@dataclass(slots=True, kw_only=True)
class Report:
    """Everything that was collected.

    Attributes:
        at: when, UTC.
        replicas: at least one.
        stored: the store; None if none was looked for.
        published: the ConfigMap; None if none was looked for.
        not_found: why replicas were not found by the Kubernetes API, if that was tried.
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


# --- parsers


T = TypeVar("T", ReplicaHealth, Link, RenewalStatus)
_decoder: Final = msgspec.json.Decoder(ReplicaHealth)


def read_health(body: bytes) -> ReplicaHealth:
    """Reads a health report; unknown members are ignored.

    Raises:
        NotOursError: the body is not a health report.
    """
    try:
        health = _decoder.decode(body)
        renewal = None if health.renewal is None else _in_utc(health.renewal)
        return replace(_in_utc(health), certificates=tuple(map(_in_utc, health.certificates)), renewal=renewal)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise NotOursError(f"not a health report of sentry-trio: {error}") from error
    except OverflowError as error:
        raise NotOursError("not a health report of sentry-trio: a time is out of range") from error


def _in_utc(record: T) -> T:
    """A dataclass with its times in UTC."""
    values = {each.name: getattr(record, each.name) for each in fields(record)}
    times: dict[str, Any] = {name: value for name, value in values.items() if isinstance(value, datetime)}
    if any(time.tzinfo is None for time in times.values()):
        raise NotOursError("a time has no time zone")
    return replace(record, **{name: time.astimezone(UTC) for name, time in times.items()})


def read_figures(body: bytes) -> Figures:
    """Reads the figures in a Prometheus text exposition.

    Raises:
        NotOursError: the text is not Prometheus' format, or not from a Sentry.
    """
    try:
        return _figures(body.decode())
    except NotOursError:
        raise
    except _UNREADABLE as error:
        raise NotOursError("not metrics in the Prometheus text format") from error


def _figures(text: str) -> Figures:
    samples: dict[str, list[tuple[Mapping[str, str], float]]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            samples.setdefault(sample.name, []).append((sample.labels, sample.value))
    if _RECEIVED not in samples:
        raise NotOursError(f"not the metrics of a Sentry: {_RECEIVED} is missing")

    def total(name: str) -> int:
        return int(sum(value for _, value in samples.get(name, ())))

    def by(name: str, label: str) -> dict[str, int]:
        return dict(sorted((labels.get(label, ""), int(value)) for labels, value in samples.get(name, ()) if value))

    rejected = {
        (labels.get("reason", ""), labels.get("code", "")): int(value)
        for labels, value in samples.get("sentry_sign_failures_total", ())
        if value
    }
    return Figures(
        signing_requests=total(_RECEIVED),
        certificates=total("dapr_sentry_cert_sign_success_total"),
        rejected=dict(sorted(rejected.items())),
        calls=by("sentry_grpc_calls_total", "code"),
        restarts=by("sentry_restarts_total", "outcome"),
        restart_failures=by("sentry_restart_failures_total", "cause"),
        connections=total("sentry_grpc_connections"),
        connections_refused=total("sentry_grpc_connections_refused_total"),
        handshakes_failed=total("sentry_grpc_handshakes_failed_total"),
        calls_waiting=total("sentry_grpc_calls_waiting"),
        calls_shed=by("sentry_grpc_calls_shed_total", "reason"),
    )


def read_stored(parts: PublicParts, place: str, now: datetime) -> Stored:
    """Reads and verifies the public parts of a stored trust bundle.

    Args:
        parts: as they are in the store.
        place: names it.
        now: an aware datetime.
    """
    problem = None
    try:
        verify_public(parts.anchors, parts.chain, now)
    except InvalidBundleError as error:
        problem = str(error)
    try:
        anchors = read_certificates(parts.anchors, role="trust anchors")
        chain = read_certificates(parts.chain, role="issuer chain")
    except InvalidBundleError:
        return Stored(place, None, (), problem)
    chain = [each for each in chain if not is_self_signed(each)]  # verification leaves out anchors, too
    return Stored(place, fingerprint_of(anchors, chain), lineage(anchors, chain), problem)


def read_published(anchors: str | None, place: str) -> Published:
    """Reads the trust anchors of a ConfigMap.

    Args:
        anchors: PEM; None if it has no such key.
        place: names it.
    """
    if not anchors:
        return Published(place, (), "it has no trust anchors")
    try:
        found = read_certificates(anchors.encode(errors="replace"), role="trust anchors")
    except InvalidBundleError as error:
        return Published(place, (), str(error))
    return Published(place, tuple(fingerprint(each) for each in found))
