"""Reports as people see them: at a fixed width, by a fixed clock."""

from datetime import timedelta
from typing import Final

from sentry_trio.status.report import NotShown, Report
from testkit.ca.making import DAY, HOUR, NOW

from .making import (
    ANCHOR,
    BUNDLE,
    CERTIFICATES,
    ISSUER,
    MIDDLE,
    MINUTE,
    OTHER_BUNDLE,
    RENEWED,
    SERVING,
    figures,
    link,
    published,
    renewal,
    replica,
    report,
    stored,
    unreachable,
)

_OLD: Final = "e" * 64
_NEW: Final = "f" * 64

REPORTS: Final[dict[str, Report]] = {
    "well": report(
        replica(
            counts=figures(
                signing_requests=1_234,
                certificates=1_200,
                rejected={("invalid_csr", "PermissionDenied"): 4, ("not_permitted", "PermissionDenied"): 30},
                calls={"OK": 1_200, "PermissionDenied": 34},
                restarts={"success": 2},
                connections=7,
            ),
            run=3,
            last_restart="succeeded",
            last_restart_at=NOW - 3 * MINUTE,
        ),
        stored=stored(),
    ),
    "attention": report(
        replica(
            "dapr-sentry-6d5f-x2x9q",
            counts=figures(
                signing_requests=20,
                certificates=20,
                restarts={"failure": 2, "success": 1},
                restart_failures={"bundle": 2},
                calls_waiting=4,
                calls_shed={"in_vain": 3, "queue_full": 12},
                connections_refused=5,
                handshakes_failed=6,
            ),
            run=2,
            last_restart="failed",
            last_restart_at=NOW - timedelta(seconds=5),
            degraded="failed to verify CA bundle: key is not PEM encoded (issuer key issuer.key in Secret "
            "dapr-system/dapr-trust-bundle)",
            certificates=(
                link("anchor", _OLD, not_after=NOW - HOUR),
                link("anchor", ANCHOR),
                link("intermediate", MIDDLE, ANCHOR, not_after=NOW + 12 * DAY),
                link("issuer", ISSUER, MIDDLE),
                link("serving", SERVING, ISSUER),
            ),
        ),
        replica(
            "dapr-sentry-6d5f-z8k4m",
            counts=NotShown("10.0.0.2:9090 did not answer within 5 s", asked=False),
            bundle=OTHER_BUNDLE,
            certificates=(link("anchor", _NEW), link("issuer", "9" * 64, _NEW, not_before=NOW + HOUR)),
        ),
        unreachable("dapr-sentry-6d5f-pending", "no address yet (phase Pending)"),
        stored=NotShown("missing permission to get secrets dapr-trust-bundle in dapr-system", asked=False),
        published=published(),
    ),
    "renewed": report(
        replica("dapr-sentry-6d5f-x2x9q", certificates=RENEWED, renewal=renewal()),
        replica(
            "dapr-sentry-6d5f-z8k4m",
            certificates=RENEWED,
            renewal=renewal(
                next_step="erase",
                next_step_at=NOW - HOUR,
                bridge_end=NOW + 20 * DAY,
                held="the clock was set forward by 3600 s",
                held_reason="clock",
                injector_stale=True,
                has_root_key=True,
            ),
        ),
        published=published("e" * 64, ANCHOR),
    ),
    "unreachable": report(
        unreachable(),
        stored=stored(fingerprint=BUNDLE, certificates=CERTIFICATES[:1], problem="issuer key does not match"),
        published=NotShown("missing permission to get configmaps dapr-trust-bundle in dapr-system", asked=False),
        not_found=NotShown("missing permission to list pods in dapr-system", asked=False),
    ),
}
