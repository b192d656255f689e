"""A report as one JSON document; pure. docs/status.md and docs/status.schema.json describe its format.

Times are RFC 3339 in UTC, durations are seconds. A value that could not be determined is `null`, with the reason
beside it.
"""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from functools import partial
from typing import Final, TypeVar

import msgspec

from sentry_trio.ca.lineage import Link
from sentry_trio.renewal_status import RenewalStatus
from sentry_trio.status.assess import Assessment
from sentry_trio.status.report import Figures, NotShown, Published, Replica, ReplicaHealth, Report, Stored

SCHEMA: Final = 1
"""Raised if a member is removed or changes its meaning; additions do not change it."""

T = TypeVar("T")
Json = dict[str, object]


def json_report(report: Report, assessment: Assessment) -> Json:
    """Returns the document.

    Args:
        report: the collected state.
        assessment: assessment of that report.
    """
    now = report.at
    return {
        "schema": SCHEMA,
        "time": _time(now),
        "verdict": assessment.verdict.value,
        "findings": [{"cause": finding.cause.value, "text": finding.text} for finding in assessment.findings],
        "agreement": {
            "replicas": assessment.replicas.value,
            "store": assessment.store.value,
            "config_map": assessment.config_map.value,
        },
        "replicas": [_replica(replica, now) for replica in report.replicas],
        "replicas_not_shown": None if report.not_found is None else report.not_found.reason,
        **_shown("store", report.stored, partial(_stored, now=now)),
        **_shown("config_map", report.published, _members),
    }


def _shown(name: str, found: T | NotShown | None, convert: Callable[[T], Json]) -> Json:
    """Returns the member of that name, and the reason if it is not shown."""
    if found is None or isinstance(found, NotShown):
        return {name: None, f"{name}_not_shown": found and found.reason}
    return {name: convert(found), f"{name}_not_shown": None}


def _replica(replica: Replica, now: datetime) -> Json:
    return {
        "name": replica.name,
        **_shown("health", replica.health, partial(_health, now=now)),
        **_shown("metrics", replica.figures, _figures),
    }


def _health(health: ReplicaHealth, now: datetime) -> Json:
    renewal = None if health.renewal is None else _members(health.renewal)
    return _members(health) | {"certificates": _certificates(health.certificates, now), "renewal": renewal}


def _figures(figures: Figures) -> Json:
    rejected = [
        {"cause": cause, "status": status, "count": count} for (cause, status), count in figures.rejected.items()
    ]
    return _members(figures) | {"rejected": rejected}


def _stored(stored: Stored, now: datetime) -> Json:
    return {
        "place": stored.place,
        "bundle": stored.fingerprint,
        "certificates": _certificates(stored.certificates, now),
        "problem": stored.problem,
    }


def _certificates(links: Iterable[Link], now: datetime) -> list[Json]:
    return [_members(link) | {"seconds_left": (link.not_after - now).total_seconds()} for link in links]


def _members(record: ReplicaHealth | RenewalStatus | Figures | Link | Published) -> Json:
    members = msgspec.structs.asdict(record)
    return members | {name: _time(value) for name, value in members.items() if isinstance(value, datetime)}


def _time(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
