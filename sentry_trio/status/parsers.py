"""Parsers for the content of replicas and stores; pure."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

import msgspec
from msgspec.structs import replace
from prometheus_client.parser import text_string_to_metric_families

from sentry_trio.ca.bundle import fingerprint_of, verify_public
from sentry_trio.ca.certificates import fingerprint, is_self_signed, read_certificates
from sentry_trio.ca.lineage import Link, lineage
from sentry_trio.errors import InvalidBundleError
from sentry_trio.renewal_status import RenewalStatus
from sentry_trio.status.report import Figures, NotShownError, Published, ReplicaHealth, Stored
from sentry_trio.stores.part_store import PublicParts

T = TypeVar("T", ReplicaHealth, Link, RenewalStatus)

_RECEIVED: Final = "dapr_sentry_cert_sign_request_received_total"
# Errors of the parser for unknown lines.
_UNREADABLE: Final = (ValueError, KeyError, IndexError, TypeError, AttributeError, OverflowError)
_decoder: Final = msgspec.json.Decoder(ReplicaHealth)


def read_health(body: bytes, where: str) -> ReplicaHealth:
    """Reads a health report; unknown members are ignored.

    Args:
        body: body of the answer.
        where: names the replica in errors.

    Raises:
        NotShownError: the body is not a health report.
    """
    try:
        health = _decoder.decode(body)
        renewal = None if health.renewal is None else _in_utc(health.renewal)
        return replace(_in_utc(health), certificates=tuple(map(_in_utc, health.certificates)), renewal=renewal)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise NotShownError(f"{where}: not a health report of sentry-trio: {error}") from error
    except OverflowError as error:
        raise NotShownError(f"{where}: not a health report of sentry-trio: a time is out of range") from error


def _in_utc(record: T) -> T:
    """A record with its times in UTC."""
    values = msgspec.structs.asdict(record)
    times: dict[str, Any] = {name: value for name, value in values.items() if isinstance(value, datetime)}
    if any(time.tzinfo is None for time in times.values()):
        raise ValueError("a time has no time zone")
    return replace(record, **{name: time.astimezone(UTC) for name, time in times.items()})


def read_figures(body: bytes, where: str) -> Figures:
    """Reads the figures in a Prometheus text exposition.

    Args:
        body: body of the answer.
        where: names the port in errors.

    Raises:
        NotShownError: the text is not Prometheus' format, or not from a Sentry.
    """
    try:
        return _figures(body.decode(), where)
    except _UNREADABLE as error:
        raise NotShownError(f"{where}: not metrics in the Prometheus text format") from error


def _figures(text: str, where: str) -> Figures:
    samples: dict[str, list[tuple[Mapping[str, str], float]]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            samples.setdefault(sample.name, []).append((sample.labels, sample.value))
    if _RECEIVED not in samples:
        raise NotShownError(f"{where}: not the metrics of a Sentry: {_RECEIVED} is missing")

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
