"""Items of a report that need attention, and agreement between replicas and stores; pure."""

import enum
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Final

import msgspec

from sentry_trio.ca.expiry import WARNING_PERIOD
from sentry_trio.ca.lineage import Link
from sentry_trio.renewal_status import LEFT_OVER, AnchorsHeld, RenewalStatus
from sentry_trio.status.report import NotShown, Published, Replica, Report, Stored

_RENEWED_BY: Final = 4
"""An authority renews its serving certificate at half its life; with this part of it left, that has failed."""


class Verdict(enum.Enum):
    """Overall result."""

    WELL = "well"
    ATTENTION = "attention"
    UNREACHABLE = "unreachable"


class Cause(enum.StrEnum):
    """Kind of an item that needs attention, for scripts."""

    UNREACHABLE = "unreachable"
    NOT_SHOWN = "not_shown"
    NOT_READY = "not_ready"
    DEGRADED = "degraded"
    EXPIRED = "certificate_expired"
    EXPIRING = "certificate_expiring"
    NOT_YET_VALID = "certificate_not_yet_valid"
    NOT_RENEWED = "serving_certificate_not_renewed"
    STORE_INVALID = "store_invalid"
    STORE_DIFFERS = "store_differs"
    CONFIG_MAP_INVALID = "config_map_invalid"
    CONFIG_MAP_DIFFERS = "config_map_differs"
    REPLICAS_DIFFER = "replicas_differ"
    RENEWAL_HELD = "renewal_held"
    SIDECARS_PINNED = "sidecars_pinned"
    INJECTOR_STALE = "injector_stale"


class Agreement(enum.Enum):
    """Result of comparing several reports."""

    AGREE = "agree"
    DIFFER = "differ"
    UNKNOWN = "unknown"


class StatusFinding(msgspec.Struct, frozen=True):
    """Item that needs attention.

    Attributes:
        cause: cause for scripts.
        text: one line for people.
    """

    cause: Cause
    text: str


class Assessment(msgspec.Struct, frozen=True, kw_only=True):
    """Assessment of a report.

    Attributes:
        verdict: the overall result.
        findings: items that need attention, each once, however many replicas report it.
        replicas: all that were reached use one trust bundle; unknown if fewer than two were.
        store: the store holds the trust bundle that all of them use.
        config_map: the ConfigMap has the trust anchors that all of them use.
    """

    verdict: Verdict
    findings: tuple[StatusFinding, ...]
    replicas: Agreement
    store: Agreement
    config_map: Agreement


def assess(report: Report) -> Assessment:
    """Assesses a report by its own clock."""
    findings = tuple(dict.fromkeys(_findings(report)))
    shown = Verdict.ATTENTION if findings else Verdict.WELL
    return Assessment(
        verdict=shown if report.reached else Verdict.UNREACHABLE,
        findings=findings,
        replicas=_replicas_agree(report),
        store=_store_agrees(report),
        config_map=_config_map_agrees(report),
    )


def short(fingerprint: str | None) -> str:
    """Beginning of a fingerprint, enough for people to compare."""
    return fingerprint[:16] if fingerprint else "none"


def _findings(report: Report) -> Iterator[StatusFinding]:
    yield from _of_replicas(report)
    yield from _of_certificates(_shown_certificates(report), report.at)
    if _replicas_agree(report) is Agreement.DIFFER:
        groups = ", ".join(f"{replica.name} {short(health.bundle)}" for replica, health in report.reached)
        yield StatusFinding(Cause.REPLICAS_DIFFER, f"replicas use different trust bundles: {groups}")
    yield from _of_store(report)
    yield from _of_config_map(report)
    for _, health in report.reached:
        if health.renewal is not None:
            yield from _of_renewal(health.renewal, report.at)


def _of_renewal(renewal: RenewalStatus, now: datetime) -> Iterator[StatusFinding]:
    """Findings without numbers: replicas that counted a moment apart report the same."""
    if renewal.held is not None:
        yield StatusFinding(Cause.RENEWAL_HELD, f"CA renewal is held: {renewal.held}")
    has_former = renewal.sidecars is not None and renewal.sidecars.get(AnchorsHeld.FORMER, 0) > 0
    if has_former and renewal.bridge_end is not None and renewal.bridge_end - now < WARNING_PERIOD:
        yield StatusFinding(
            Cause.SIDECARS_PINNED,
            f"sidecars that hold only former trust anchors stop working on {_date(renewal.bridge_end)}: restart them",
        )
    if renewal.injector_stale:
        yield StatusFinding(
            Cause.INJECTOR_STALE,
            "Dapr's injector gives former trust anchors to new pods: restart it, and the rest of Dapr's control plane",
        )


def _of_replicas(report: Report) -> Iterator[StatusFinding]:
    said: dict[tuple[Cause, str], list[str]] = {}
    for replica in report.replicas:
        for cause, text in _of_replica(replica):
            said.setdefault((cause, text), []).append(replica.name)
    for (cause, text), names in said.items():
        # If none was reached the text names the place already.
        named = cause is Cause.UNREACHABLE and any(name in text for name in names)
        yield StatusFinding(cause, text if named or len(report.replicas) == 1 else f"{', '.join(names)}: {text}")
    if report.not_found is not None and report.not_found.asked:
        yield StatusFinding(Cause.NOT_SHOWN, f"replicas: {report.not_found.reason}")


def _of_replica(replica: Replica) -> Iterator[tuple[Cause, str]]:
    if isinstance(replica.health, NotShown):
        yield Cause.UNREACHABLE, replica.health.reason
        return
    if not replica.health.ready:
        yield Cause.NOT_READY, f"not ready: {', '.join(replica.health.unready) or 'no target is known'}"
    if replica.health.degraded is not None:
        yield Cause.DEGRADED, f"degraded: {replica.health.degraded}"
    if isinstance(replica.figures, NotShown) and replica.figures.asked:
        yield Cause.NOT_SHOWN, f"metrics: {replica.figures.reason}"


def _shown_certificates(report: Report) -> Iterator[Link]:
    for _, health in report.reached:
        yield from health.certificates
    if isinstance(report.stored, Stored):
        yield from report.stored.certificates


def _of_certificates(links: Iterable[Link], now: datetime) -> Iterator[StatusFinding]:
    known: dict[str, Link] = {}
    for link in links:
        known.setdefault(link.fingerprint, link)  # a replica knows which anchors are former ones, the store does not
    for link in known.values():
        if link.role in LEFT_OVER:
            continue
        name = f"{link.role} certificate {link.subject}"
        left = link.not_after - now
        if now > link.not_after:
            yield StatusFinding(Cause.EXPIRED, f"{name} expired on {_date(link.not_after)}")
        elif now < link.not_before:
            yield StatusFinding(Cause.NOT_YET_VALID, f"{name} is not valid before {_date(link.not_before)}")
        elif link.role != "serving":
            if left < WARNING_PERIOD:
                yield StatusFinding(Cause.EXPIRING, f"{name} expires on {_date(link.not_after)}")
        elif left < (link.not_after - link.not_before) / _RENEWED_BY and _outlasted(link, known):
            yield StatusFinding(
                Cause.NOT_RENEWED, f"{name} should have been renewed; it expires on {_date(link.not_after)}"
            )


def _outlasted(serving: Link, known: Mapping[str, Link]) -> bool:
    """Returns True if the issuer could sign one that lasts longer."""
    issuer = known.get(serving.signed_by or "")
    return issuer is not None and issuer.not_after > serving.not_after


def _of_store(report: Report) -> Iterator[StatusFinding]:
    match report.stored:
        case NotShown(reason, asked=True):
            yield StatusFinding(Cause.NOT_SHOWN, f"trust bundle in the store: {reason}")
        case Stored(place=place, problem=str(problem)):
            yield StatusFinding(Cause.STORE_INVALID, f"the trust bundle in {place} cannot be used: {problem}")
        case Stored(place=place, fingerprint=fingerprint) if _store_agrees(report) is Agreement.DIFFER:
            yield StatusFinding(
                Cause.STORE_DIFFERS,
                f"the trust bundle in use is not the one in {place}: {in_use(report)} in use, "
                f"{short(fingerprint)} in the store",
            )


def _of_config_map(report: Report) -> Iterator[StatusFinding]:
    match report.published:
        case NotShown(reason, asked=True):
            yield StatusFinding(Cause.NOT_SHOWN, f"trust anchors for the mesh: {reason}")
        case Published(place=place, problem=str(problem)):
            yield StatusFinding(Cause.CONFIG_MAP_INVALID, f"{place} has no trust anchors for the mesh: {problem}")
        case Published(place=place, anchors=anchors) if _config_map_agrees(report) is Agreement.DIFFER:
            published = ", ".join(map(short, anchors))
            yield StatusFinding(
                Cause.CONFIG_MAP_DIFFERS, f"{place} has trust anchors that differ from those in use: {published}"
            )


def in_use(report: Report) -> str:
    """Returns the trust bundles of the replicas that were reached, for people."""
    return ", ".join(dict.fromkeys(short(health.bundle) for _, health in report.reached))


def _replicas_agree(report: Report) -> Agreement:
    if len(report.reached) < 2:
        return Agreement.UNKNOWN
    return _agreement(health.bundle for _, health in report.reached)


def _store_agrees(report: Report) -> Agreement:
    if not isinstance(report.stored, Stored) or report.stored.fingerprint is None or not report.reached:
        return Agreement.UNKNOWN
    return _agreement((report.stored.fingerprint, *(health.bundle for _, health in report.reached)))


def _config_map_agrees(report: Report) -> Agreement:
    anchors = [health.anchors for _, health in report.reached if health.anchors]
    if not isinstance(report.published, Published) or report.published.problem is not None or not anchors:
        return Agreement.UNKNOWN
    return _agreement((report.published.anchors, *anchors))


def _agreement(values: Iterable[object]) -> Agreement:
    return Agreement.AGREE if len(set(values)) == 1 else Agreement.DIFFER


def _date(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"
