"""Reports made to order."""

from datetime import timedelta
from typing import Any

import msgspec

from sentry_trio.ca.lineage import Link
from sentry_trio.renewal_status import RenewalStatus
from sentry_trio.status.report import Figures, NotShown, Published, Replica, ReplicaHealth, Report, Stored
from testkit.ca.making import DAY, HOUR, NOW

YEAR = 365 * DAY
ANCHOR, MIDDLE, ISSUER, SERVING = (letter * 64 for letter in "abcd")
BUNDLE, OTHER_BUNDLE = "1" * 64, "2" * 64


def link(role: str, fingerprint: str, signed_by: str | None = None, **changes: Any) -> Link:
    """A year old, with another year to go; a serving certificate lasts a day, of which half is gone."""
    age = 12 * HOUR if role == "serving" else YEAR
    made = Link(
        role=role,
        subject="spiffe://localhost/ns/default/dapr-sentry" if role == "serving" else f"CN={role}",
        fingerprint=fingerprint,
        not_before=NOW - age,
        not_after=NOW + age,
        signed_by=signed_by,
    )
    return msgspec.structs.replace(made, **changes)


CERTIFICATES = (
    link("anchor", ANCHOR),
    link("intermediate", MIDDLE, ANCHOR),
    link("issuer", ISSUER, MIDDLE),
    link("serving", SERVING, ISSUER),
)


RENEWED = (
    link("anchor", "e" * 64, subject="O=cluster.local,CN=root 1a2b3c4d", not_after=NOW + 2 * YEAR),
    link("former", ANCHOR, subject="O=cluster.local,CN=root 5e6f7a8b", not_after=NOW + 20 * DAY),
    link("bridge", MIDDLE, ANCHOR, subject="CN=issuer 5e6f7a8b", not_after=NOW + 20 * DAY),
    link("bridge", "f" * 64, MIDDLE, subject="O=cluster.local,CN=root 1a2b3c4d", not_after=NOW + 20 * DAY),
    link("issuer", ISSUER, "e" * 64, subject="CN=issuer 1a2b3c4d", not_after=NOW + 2 * YEAR),
    link("serving", SERVING, ISSUER),
)
"""Certificates after a renewal, with its bridge."""


def renewal(**changes: Any) -> RenewalStatus:
    made = RenewalStatus(
        phase="retiring",
        generation=2,
        next_step="publish",
        next_step_at=NOW + 182 * DAY,
        bridge_end=NOW + 183 * DAY,
        sidecars={"current": 1_200, "former": 34, "none": 0, "file": 2},
        injector_stale=False,
    )
    return msgspec.structs.replace(made, **changes)


def health(**changes: Any) -> ReplicaHealth:
    made = ReplicaHealth(
        ready=True,
        targets={"sentry-server": True, "metrics-exporter": True},
        run=1,
        bundle=BUNDLE,
        degraded=None,
        loaded_at=NOW - HOUR,
        started_at=NOW - HOUR,
        version="0.1.0",
        mode="standalone",
        certificates=CERTIFICATES,
    )
    return msgspec.structs.replace(made, **changes)


def figures(**changes: Any) -> Figures:
    return msgspec.structs.replace(Figures(signing_requests=0, certificates=0), **changes)


def replica(name: str = "127.0.0.1:8080", *, counts: Figures | NotShown | None = None, **changes: Any) -> Replica:
    """Replica that was reached; the changes are those of its health."""
    return Replica(name, health(**changes), figures() if counts is None else counts)


def unreachable(name: str = "127.0.0.1:8080", reason: str = "") -> Replica:
    why = reason or f"cannot reach {name}: Connection refused"
    return Replica(name, NotShown(why), NotShown(why, asked=False))


def stored(**changes: Any) -> Stored:
    return msgspec.structs.replace(Stored(".sentry", BUNDLE, CERTIFICATES[:3], None), **changes)


def published(*anchors: str, **changes: Any) -> Published:
    return msgspec.structs.replace(
        Published("ConfigMap dapr-system/dapr-trust-bundle", anchors or (ANCHOR,)), **changes
    )


def report(*replicas: Replica, **changes: Any) -> Report:
    return msgspec.structs.replace(Report(at=NOW, replicas=replicas or (replica(),)), **changes)


MINUTE = timedelta(minutes=1)
