"""Two releases of a mesh as Prometheus sees them, in series: healthy ones, and pieces of what can go wrong.

Samples are a minute apart. Values are in promtool's notation: `0+5x60` begins at 0 and goes up by 5 with each of 60
more samples; `_x10` are ten scrapes without an answer, and `stale` ends a series.
"""

import re
from collections.abc import Mapping
from typing import Final

DAY: Final = 86400
SAMPLES: Final = 120

REPLICAS: Final = tuple(
    f'cluster="one",namespace="dapr-system",job="dapr-sentry",instance="10.0.0.{number}:9090",pod="dapr-sentry-{number}"'
    for number in (1, 2)
)
# A release of another program's, with a trust bundle of its own.
ELSEWHERE: Final = 'cluster="one",namespace="other",job="dapr-sentry",instance="10.0.1.1:9090",pod="dapr-sentry-9"'
FIRST: Final = REPLICAS[0]
_REASONS: Final = (
    *("invalid_request", "invalid_csr", "validator_required", "validator_not_enabled", "not_permitted", "cancelled"),
    *("validator_unavailable", "issuer_not_valid", "signing", "audit_unavailable", "internal"),
)


HOLDS: Final = ("clock", "config_map", "store", "read_only", "root_key", "bundle")
_PHASES: Final = ("steady", "distributing", "signing", "retiring")


def flat(value: float) -> str:
    """The same at each scrape."""
    return f"{value:g}+0x{SAMPLES}"


def rising(step: float) -> str:
    """A counter that grows by so much from scrape to scrape."""
    return f"0+{step}x{SAMPLES}"


def once(at: int, step: float = 1) -> str:
    """A counter that grows at one moment, after so many scrapes, and never before or after."""
    return f"0+0x{at} {step}+0x{SAMPLES - at - 1}"


def ending(days: float) -> str:
    """The time until something expires that has so many days left at first."""
    return f"{days * DAY}-60x{SAMPLES}"


def named(series: str, replica: str = FIRST) -> str:
    """A series of a replica: `name` or `name{label="value"}` with the replica's labels."""
    name, _, labels = series.partition("{")
    return f"{name}{{{labels.rstrip('}') + ',' if labels else ''}{replica}}}"


def everywhere(series: str, values: str) -> dict[str, str]:
    """The same of each of the two replicas."""
    return {named(series, replica): values for replica in REPLICAS}


def _healthy(replica: str, digest: str) -> dict[str, str]:
    reported = {
        "up": flat(1),
        'sentry_build_info{version="0.1.0"}': flat(1),
        "process_start_time_seconds": flat(1.7e9),
        f'sentry_trust_bundle_info{{digest="{digest}"}}': flat(1),
        "sentry_degraded": flat(0),
        "dapr_sentry_cert_sign_request_received_total": rising(30),
        "sentry_grpc_calls_waiting": flat(0),
        "sentry_grpc_calls_waiting_max": flat(2000),
        'sentry_grpc_calls_total{code="OK"}': rising(30),
        'sentry_grpc_calls_total{code="Unavailable"}': rising(0),
        "sentry_grpc_connections_opened_total": rising(30),
        "sentry_grpc_connections_refused_total": rising(0),
        "sentry_grpc_handshakes_failed_total": rising(0),
    }
    for role, days in {"issuer": 300, "anchor": 3000}.items():
        reported[f'sentry_certificate_expiry_seconds{{role="{role}",subject="O={role}",fingerprint="{digest}"}}'] = (
            ending(days)
        )
    for reason in _REASONS:
        reported[f'dapr_sentry_cert_sign_failure_total{{reason="{reason}"}}'] = rising(0)
    for reason in ("issuer_not_valid", "signing"):
        reported[f'dapr_sentry_servercert_issue_failed_total{{reason="{reason}"}}'] = rising(0)
    for reason in ("queue_full", "in_vain", "no_turn"):
        reported[f'sentry_grpc_calls_shed_total{{reason="{reason}"}}'] = rising(0)
    for outcome in ("success", "failure"):
        reported[f'sentry_jwks_refreshes_total{{outcome="{outcome}"}}'] = rising(0)
        reported[f'sentry_oidc_tls_reloads_total{{outcome="{outcome}"}}'] = rising(0)
    reported["sentry_jwt_key_rotation_failures_total"] = rising(0)
    reported |= _renewal()
    reported |= _durations(quick=30) | _turns(short=6000)
    return {named(series, replica): values for series, values in reported.items()}


def _renewal() -> dict[str, str]:
    """A mesh in the midst of the bridge after a renewal, in which some sidecars were not restarted yet."""
    reported = {f'sentry_ca_held{{reason="{reason}"}}': flat(0) for reason in HOLDS}
    reported |= {f'sentry_ca_phase{{phase="{phase}"}}': flat(phase == "retiring") for phase in _PHASES}
    reported |= {
        f'sentry_ca_sidecars{{anchors="{anchors}"}}': flat(30) for anchors in ("current", "former", "none", "file")
    }
    reported |= {
        f'sentry_ca_preflight_refusals_total{{code="{code}"}}': rising(0) for code in ("cut-leaves", "regression")
    }
    return reported | {
        "sentry_ca_injector_stale": flat(0),
        "sentry_ca_bridge_end_timestamp_seconds": flat(180 * DAY),
        'sentry_ca_next_step_timestamp_seconds{step="publish"}': flat(90 * DAY),
    }


def _durations(*, quick: float, slow: float = 0) -> dict[str, str]:
    """Signing calls between two scrapes: such of up to 5 ms, and such of 1 to 2.5 s."""
    name = "sentry_sign_call_duration_seconds"
    counts = {"0.0025": 0, "0.005": quick, "1.0": quick, "2.5": quick + slow, "+Inf": quick + slow}
    reported = {f'{name}_bucket{{outcome="success",le="{le}"}}': rising(count) for le, count in counts.items()}
    return reported | {f'{name}_count{{outcome="success"}}': rising(quick + slow)}


def _turns(*, short: float, long: float = 0) -> dict[str, str]:
    """Turns of the event loop between two scrapes: of up to 1 ms, and of 0.25 to 0.5 s."""
    name = "sentry_event_loop_turn_duration_seconds"
    counts = {"0.001": short, "0.25": short, "0.5": short + long, "+Inf": short + long}
    reported = {f'{name}_bucket{{le="{le}"}}': rising(count) for le, count in counts.items()}
    return reported | {f"{name}_count": rising(short + long)}


def turns(*, short: float, long: float) -> dict[str, str]:
    """Turns of the first replica."""
    return {named(series): values for series, values in _turns(short=short, long=long).items()}


def calls(*, quick: float, slow: float) -> dict[str, str]:
    """Signing calls of the first replica."""
    return {named(series): values for series, values in _durations(quick=quick, slow=slow).items()}


HEALTHY: Final[Mapping[str, str]] = {
    series: values
    for replica, digest in ((*((replica, "aa") for replica in REPLICAS), (ELSEWHERE, "bb")))
    for series, values in _healthy(replica, digest).items()
}


def gone(*, after: int) -> dict[str, str]:
    """All replicas stop answering after so many scrapes; their targets stay."""
    return {
        series: (f"1+0x{after - 1} 0+0x{SAMPLES - after}" if series.startswith("up{") else _cut(values, after))
        for series, values in HEALTHY.items()
        if 'namespace="dapr-system"' in series
    }


def _cut(values: str, after: int) -> str:
    return re.sub(rf"x{SAMPLES}$", f"x{after - 1} stale", values)


def failing(reason: str, values: str) -> dict[str, str]:
    return {named(f'dapr_sentry_cert_sign_failure_total{{reason="{reason}"}}'): values}


def shed(values: str) -> dict[str, str]:
    return {named('sentry_grpc_calls_shed_total{reason="in_vain"}'): values}


def expiring(role: str, days: float, replica: str = FIRST, fingerprint: str = "cc") -> dict[str, str]:
    """A certificate beside those that are there."""
    series = f'sentry_certificate_expiry_seconds{{role="{role}",subject="O={role}",fingerprint="{fingerprint}"}}'
    return {named(series, replica): ending(days)}


def held(reason: str, values: str) -> dict[str, str]:
    return {named(f'sentry_ca_held{{reason="{reason}"}}'): values}


def bridge(days: float) -> dict[str, str]:
    """The bridge ends so many days after the beginning."""
    return everywhere("sentry_ca_bridge_end_timestamp_seconds", flat(days * DAY))


def next_step(step: str, days: float) -> dict[str, str | None]:
    """The next step of the first replica is due so many days after the beginning."""
    return {
        named('sentry_ca_next_step_timestamp_seconds{step="publish"}'): None,
        named(f'sentry_ca_next_step_timestamp_seconds{{step="{step}"}}'): flat(days * DAY),
    }


def refreshes(success: str, failure: str, replica: str = FIRST) -> dict[str, str]:
    name = "sentry_jwks_refreshes_total"
    return {
        named(f'{name}{{outcome="success"}}', replica): success,
        named(f'{name}{{outcome="failure"}}', replica): failure,
    }


def reloads(success: str, failure: str) -> dict[str, str]:
    name = "sentry_oidc_tls_reloads_total"
    return {named(f'{name}{{outcome="success"}}'): success, named(f'{name}{{outcome="failure"}}'): failure}


def oidc(code: str, values: str) -> dict[str, str]:
    return {named(f'sentry_oidc_requests_total{{path="jwks",code="{code}"}}'): values}
