"""A report as one JSON document; pure. Its form is told in docs/status.md and held by docs/status.schema.json.

Times are RFC 3339 in UTC, durations are seconds. What could not be found out is `null`, with the reason beside it.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final

from sentry_trio.ca.lineage import Link
from sentry_trio.status.figures import Figures
from sentry_trio.status.health import Health
from sentry_trio.status.judging import Judgement
from sentry_trio.status.report import NotShown, Published, Replica, Report, Stored

SCHEMA: Final = 1
"""Raised when something that was there is gone or means something else; what is added changes nothing."""

Json = dict[str, object]


def document(report: Report, judgement: Judgement) -> Json:
    """The document.

    Args:
        report: what was found.
        judgement: what is to be thought of it.
    """
    return {
        "schema": SCHEMA,
        "time": _time(report.at),
        "verdict": judgement.verdict.value,
        "findings": [{"cause": finding.cause.value, "text": finding.text} for finding in judgement.findings],
        "agreement": {
            "replicas": judgement.replicas.value,
            "store": judgement.store.value,
            "config_map": judgement.config_map.value,
        },
        "replicas": [_replica(replica, report.at) for replica in report.replicas],
        "replicas_not_shown": _reason(report.not_found),
        "store": _stored(report.stored, report.at) if isinstance(report.stored, Stored) else None,
        "store_not_shown": _reason(report.stored),
        "config_map": _published(report.published) if isinstance(report.published, Published) else None,
        "config_map_not_shown": _reason(report.published),
    }


def _replica(replica: Replica, now: datetime) -> Json:
    return {
        "name": replica.name,
        "health": _health(replica.health, now) if isinstance(replica.health, Health) else None,
        "health_not_shown": _reason(replica.health),
        "metrics": _figures(replica.figures) if isinstance(replica.figures, Figures) else None,
        "metrics_not_shown": _reason(replica.figures),
    }


def _health(health: Health, now: datetime) -> Json:
    return {
        "ready": health.ready,
        "targets": dict(health.targets),
        "version": health.version,
        "mode": health.mode,
        "started_at": _time(health.started_at),
        "run": health.run,
        "loaded_at": _time(health.loaded_at),
        "last_restart": health.last_restart,
        "last_restart_at": _time(health.last_restart_at),
        "degraded": health.degraded,
        "bundle": health.bundle,
        "certificates": _certificates(health.certificates, now),
    }


def _certificates(links: Iterable[Link], now: datetime) -> list[Json]:
    return [
        {
            "role": link.role,
            "subject": link.subject,
            "fingerprint": link.fingerprint,
            "signed_by": link.signed_by,
            "not_before": _time(link.not_before),
            "not_after": _time(link.not_after),
            "seconds_left": (link.not_after - now).total_seconds(),
        }
        for link in links
    ]


def _figures(figures: Figures) -> Json:
    return {
        "signing_requests": figures.received,
        "certificates": figures.signed,
        "refused": [{"cause": cause, "status": status, "count": count} for cause, status, count in figures.refused],
        "calls": dict(figures.calls),
        "restarts": dict(figures.restarts),
        "restart_failures": dict(figures.restart_failures),
        "connections": figures.connections,
        "connections_refused": figures.connections_refused,
        "handshakes_failed": figures.handshakes_failed,
        "calls_waiting": figures.waiting,
        "calls_shed": dict(figures.shed),
    }


def _stored(stored: Stored, now: datetime) -> Json:
    return {
        "place": stored.place,
        "bundle": stored.fingerprint,
        "certificates": _certificates(stored.certificates, now),
        "problem": stored.problem,
    }


def _published(published: Published) -> Json:
    return {"place": published.place, "anchors": list(published.anchors), "problem": published.problem}


def _reason(found: object) -> str | None:
    return found.reason if isinstance(found, NotShown) else None


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
