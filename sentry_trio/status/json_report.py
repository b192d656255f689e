"""A report as one JSON document; pure. docs/status.md and docs/status.schema.json describe its format.

Times are RFC 3339 in UTC, durations are seconds. What could not be found out is `null`, with the reason beside it.
"""

from collections.abc import Iterable
from dataclasses import fields
from datetime import UTC, datetime
from typing import Final

from sentry_trio.ca.lineage import Link
from sentry_trio.status.assess import Assessment
from sentry_trio.status.report import Figures, Health, NotShown, Published, Replica, Report, Stored
from sentry_trio.telemetry.renewal_metrics import RenewalStatus

SCHEMA: Final = 1
"""Raised if a member is removed or changes its meaning; additions do not change it."""

Json = dict[str, object]


def json_report(report: Report, assessment: Assessment) -> Json:
    """Returns the document.

    Args:
        report: what was collected.
        assessment: of that report.
    """
    return {
        "schema": SCHEMA,
        "time": _time(report.at),
        "verdict": assessment.verdict.value,
        "findings": [{"cause": finding.cause.value, "text": finding.text} for finding in assessment.findings],
        "agreement": {
            "replicas": assessment.replicas.value,
            "store": assessment.store.value,
            "config_map": assessment.config_map.value,
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
    renewal = None if health.renewal is None else _members(health.renewal)
    return _members(health) | {"certificates": _certificates(health.certificates, now), "renewal": renewal}


def _members(record: Health | RenewalStatus) -> Json:
    members = {each.name: getattr(record, each.name) for each in fields(record)}
    return members | {name: _time(value) for name, value in members.items() if isinstance(value, datetime)}


def _figures(figures: Figures) -> Json:
    members = {each.name: getattr(figures, each.name) for each in fields(figures)}
    refused = [{"cause": cause, "status": status, "count": count} for (cause, status), count in figures.refused.items()]
    return members | {"refused": refused}


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


def _time(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
