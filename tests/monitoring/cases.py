"""Situations of a mesh, and the alerts that each must raise: all of them, and no other.

A case begins with two healthy releases in one Prometheus, two replicas and one, and names what differs; see `mesh` for
the notation.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from .mesh import (
    HEALTHY,
    REPLICAS,
    SAMPLES,
    bridge,
    calls,
    everywhere,
    expiring,
    failing,
    flat,
    gone,
    held,
    named,
    next_step,
    oidc,
    once,
    refreshes,
    reloads,
    rising,
    shed,
    turns,
)


@dataclass(frozen=True)
class Case:
    """Situation of a mesh, and the alerts that it has to raise.

    Attributes:
        name: for people.
        fires: the alerts that fire at that moment, all of them.
        series: what differs from two healthy releases; None is a series that is not there.
        at: the moment, in promtool's notation of a duration.
        alone: nothing is there but these series.
    """

    name: str
    fires: frozenset[str]
    series: Mapping[str, str | None] = field(default_factory=dict)
    at: str = "80m"
    alone: bool = False

    @property
    def input_series(self) -> list[dict[str, str]]:
        """As promtool reads them."""
        whole = self.series if self.alone else {**HEALTHY, **self.series}
        return [{"series": series, "values": values} for series, values in whole.items() if values is not None]


def case(
    name: str,
    *fires: str,
    series: Mapping[str, str | None] | None = None,
    at: str = "80m",
    alone: bool = False,
) -> Case:
    return Case(name, frozenset(fires), series or {}, at, alone)


# A whole fleet with next to no traffic: two requests in an hour.
_QUIET: Final = everywhere("dapr_sentry_cert_sign_request_received_total", f"0+0x{SAMPLES}")
_FOUR_STARTS: Final = "1000+0x60 1100+0x4 1200+0x4 1300+0x4 1400+0x60"

CASES: Final[tuple[Case, ...]] = (
    case("all is well"),
    case("all is well from the first scrapes", at="25m"),
    # --- expiry
    case("an issuer with 31 days", series=expiring("issuer", 31)),
    case("an issuer with 29 days", "SentryIssuerExpiring", series=expiring("issuer", 29)),
    case("an intermediate with 29 days", "SentryIssuerExpiring", series=expiring("intermediate", 29)),
    case("an issuer with 29 days, a moment ago", series=expiring("issuer", 29), at="10m"),
    case("an issuer with 6 days", "SentryIssuerExpiringSoon", series=expiring("issuer", 6)),
    case("an issuer that has expired", "SentryIssuerExpired", series=expiring("issuer", 0)),
    case("an anchor with 31 days", series=expiring("anchor", 31)),
    case("an anchor with 29 days", "SentryAnchorExpiring", series=expiring("anchor", 29)),
    case("an anchor with 6 days", "SentryAnchorExpiringSoon", series=expiring("anchor", 6)),
    case("an anchor that has expired", "SentryAnchorExpired", series=expiring("anchor", -1)),
    case("a former root that expires", series=expiring("former", 1) | expiring("bridge", 1, fingerprint="dd")),
    # --- renewal
    *(
        case(f"a step is held: {reason}", "SentryRenewalHeld", series=held(reason, flat(1)))
        for reason in ("config_map", "store", "read_only", "root_key", "bundle")
    ),
    case("a step was held for some minutes", series=held("store", "0+0x70 1+0x5 0+0x40")),
    case("the clock differs", "SentryClockDisagrees", series=held("clock", flat(1))),
    case("the clock was set once", series=held("clock", "0+0x70 1+0x40")),
    case("a renewal that should have begun 6 days ago", series=next_step("publish", -6)),
    case("a renewal that should have begun 8 days ago", "SentryRenewalLate", series=next_step("publish", -8)),
    case("a switch that should have been 8 days ago", "SentryRenewalLate", series=next_step("switch", -8)),
    case("a bridge that was not removed for 8 days", series=next_step("cut", -8)),
    case("a bridge of 31 days", series=bridge(31)),
    case("a bridge of 29 days", "SentrySidecarsPinned", series=bridge(29)),
    case("a bridge of 6 days", "SentrySidecarsCutOffSoon", series=bridge(6)),
    case("a bridge that has ended", "SentrySidecarsCutOffSoon", series=bridge(-1)),
    case(
        "a bridge of 6 days that nobody needs",
        series=bridge(6) | everywhere('sentry_ca_sidecars{anchors="former"}', flat(0)),
    ),
    case("the injector is stale", "SentryInjectorStale", series={named("sentry_ca_injector_stale"): flat(1)}),
    case("the injector was restarted", series={named("sentry_ca_injector_stale"): "0+0x40 1+0x25 0+0x40"}),
    case(
        "a trust bundle was refused",
        "SentryTrustCutRefused",
        series={named('sentry_ca_preflight_refusals_total{code="cut-leaves"}'): once(70)},
    ),
    case(
        "a trust bundle was refused two hours ago",
        series={named('sentry_ca_preflight_refusals_total{code="regression"}'): once(10)},
    ),
    # --- signing
    case(
        "a tenth of all requests fails to be signed",
        *("SentrySigningFailing", "SentrySigningFault"),
        series=failing("signing", rising(9)),
    ),
    case("one signature failed among many", "SentrySigningFault", series=failing("signing", once(78))),
    case("one signature failed an hour ago", series=failing("internal", once(20))),
    case(
        "the only request of an hour failed: that wakes nobody",
        "SentrySigningFault",
        series={
            **_QUIET,
            named("dapr_sentry_cert_sign_request_received_total"): once(76),
            **failing("internal", once(76)),
        },
    ),
    case(
        "the issuer has expired, all requests fail",
        *("SentrySigningFailing", "SentrySigningFault"),
        series=failing("issuer_not_valid", rising(30)),
    ),
    case(
        "an outage of the API server", "SentryValidatorUnavailable", series=failing("validator_unavailable", rising(30))
    ),
    case("a hiccup of the API server", series=failing("validator_unavailable", "0+0x73 30+30x1 60+0x40")),
    case("callers are refused", "SentryCallersRefused", series=failing("not_permitted", rising(30))),
    case("some callers are refused, as always", series=failing("not_permitted", rising(5))),
    case(
        "the only two callers of an hour are refused",
        series={
            **_QUIET,
            named("dapr_sentry_cert_sign_request_received_total"): once(75, 2),
            **failing("not_permitted", once(75, 2)),
        },
    ),
    case("callers give up", "SentryCallersGaveUp", series=failing("cancelled", rising(9))),
    case("a few callers give up", series=failing("cancelled", rising(1))),
    case("one call in twenty is slow", "SentrySigningSlow", series=calls(quick=30, slow=5)),
    case("one call in thousands is slow", series=calls(quick=3000, slow=1)),
    case(
        "the few calls that there are are slow",
        series={
            series: (rising(0.1) if "+Inf" in series or "_count" in series or 'le="2.5"' in series else flat(0))
            for series in HEALTHY
            if series.startswith("sentry_sign_call_duration_seconds")
        },
    ),
    # --- restarts
    case("a bad edit", "SentryDegraded", series=everywhere("sentry_degraded", flat(1))),
    case("a bad edit that was mended within minutes", series={named("sentry_degraded"): "0+0x73 1+0x40"}),
    case(
        "a replica with another bundle",
        "SentryReplicasDisagree",
        series={
            named('sentry_trust_bundle_info{digest="aa"}'): None,
            named('sentry_trust_bundle_info{digest="cc"}'): flat(1),
        },
    ),
    case(
        "a rotation that reaches one replica after the other",
        series={
            named('sentry_trust_bundle_info{digest="aa"}', replica): f"1+0x{50 + 2 * number} stale"
            for number, replica in enumerate(REPLICAS)
        }
        | {
            named('sentry_trust_bundle_info{digest="cc"}', replica): f"_x{51 + 2 * number} 1+0x60"
            for number, replica in enumerate(REPLICAS)
        },
        at="53m",
    ),
    case(
        "its own certificate cannot be renewed",
        "SentryServerCertificateFailing",
        series={named('dapr_sentry_servercert_issue_failed_total{reason="signing"}'): rising(3)},
    ),
    case(
        "its own certificate was renewed at the second try",
        series={named('dapr_sentry_servercert_issue_failed_total{reason="signing"}'): once(78)},
    ),
    case("a crash loop", "SentryCrashLooping", series={named("process_start_time_seconds"): _FOUR_STARTS}),
    case("a crash loop that is over", series={named("process_start_time_seconds"): _FOUR_STARTS}, at="115m"),
    case("a node that was rebooted", series={named("process_start_time_seconds"): "1000+0x70 1100+0x50"}),
    case(
        "the crash loop of another program",
        series={
            'process_start_time_seconds{cluster="one",namespace="shop",job="a",instance="10.0.0.9:80"}': _FOUR_STARTS,
            'up{cluster="one",namespace="shop",job="a",instance="10.0.0.9:80"}': flat(0),
        },
    ),
    case(
        "counters begin anew after a restart of the process",
        series={
            **failing("signing", f"5+0x{SAMPLES}"),
            named("dapr_sentry_cert_sign_request_received_total"): "0+30x76 0+30x40",
            named("process_start_time_seconds"): "1000+0x76 1100+0x40",
        },
    ),
    case(
        "a replica that does not answer",
        "SentryReplicaDown",
        series={
            named("up"): "1+0x60 0+0x60",
            named('sentry_build_info{version="0.1.0"}'): "1+0x60 stale",
            named('sentry_trust_bundle_info{digest="aa"}'): "1+0x60 stale",
        },
    ),
    case(
        "a replica that was scaled away",
        series={
            named("up"): "1+0x60 stale",
            named('sentry_build_info{version="0.1.0"}'): "1+0x60 stale",
            named('sentry_trust_bundle_info{digest="aa"}'): "1+0x60 stale",
        },
    ),
    case("no replica answers", *("SentryDown", "SentryReplicaDown"), series=gone(after=60)),
    case(
        "no replica has answered for an hour and a half",
        *("SentryDown", "SentryReplicaDown"),
        series=gone(after=20),
        at="115m",
    ),
    case("no replica has answered for two minutes", series=gone(after=78)),
    case("nothing is scraped", "SentryNotScraped", series={'up{job="cart"}': flat(1)}, alone=True),
    case("nothing is scraped yet", series={'up{job="cart"}': flat(1)}, alone=True, at="10m"),
    # --- capacity
    case("a long queue", "SentryQueueing", series={named("sentry_grpc_calls_waiting"): flat(800)}),
    case("a queue for a moment", series={named("sentry_grpc_calls_waiting"): "0+0x77 800+0x40"}),
    case("some calls are shed", "SentryShedding", series=shed(rising(5))),
    case("half of all calls are shed", "SentryOverloaded", series=shed(rising(60))),
    case("a mesh has started at once", series=shed("0+0x76 300+0x40")),
    case("a replica stops again and again", "SentryEventLoopBlocked", series=turns(short=3000, long=2)),
    case("a replica stops from time to time", series=turns(short=3000, long=0.5)),
    case(
        "connections are refused",
        "SentryConnectionsRefused",
        series={named("sentry_grpc_connections_refused_total"): rising(5)},
    ),
    case("a connection was refused", series={named("sentry_grpc_connections_refused_total"): once(75)}),
    case(
        "most handshakes fail",
        "SentryHandshakesFailing",
        series=everywhere("sentry_grpc_handshakes_failed_total", rising(20)),
    ),
    case("some handshakes fail, as always", series=everywhere("sentry_grpc_handshakes_failed_total", rising(2))),
    # --- tokens
    case("the key set cannot be read", "SentryKeySetStale", series=refreshes(rising(0), rising(1))),
    case("the key set was read again", series=refreshes(once(75), rising(1))),
    case(
        "one replica reads the key set, another one cannot",
        "SentryKeySetStale",
        series=refreshes(rising(1), rising(0)) | refreshes(rising(0), rising(1), REPLICAS[1]),
    ),
    case("OIDC fails", "SentryOidcFailing", series=oidc("200", rising(10)) | oidc("500", rising(10))),
    case("OIDC is asked in an unknown version of HTTP", series=oidc("200", rising(10)) | oidc("505", rising(10))),
    case("OIDC refuses hosts", series=oidc("200", rising(10)) | oidc("403", rising(10))),
    case("OIDC failed once", series=oidc("200", rising(1)) | oidc("500", once(75))),
    case("a bad certificate for OIDC", "SentryOidcCertificateRefused", series=reloads(rising(0), once(50))),
    case("a bad certificate for OIDC, mended", series=reloads(once(55), once(50))),
    case(
        "decisions are lost to the audit log",
        "SentryAuditLosing",
        series={named("sentry_audit_decisions_lost_total"): once(75)},
    ),
    case("decisions were lost long ago", series={named("sentry_audit_decisions_lost_total"): once(30)}),
    case(
        "a JWT key cannot be rotated",
        "SentryJwtRotationFailing",
        series={named("sentry_jwt_key_rotation_failures_total"): rising(1)},
    ),
    case(
        "a JWT key was rotated at the second try",
        series={named("sentry_jwt_key_rotation_failures_total"): once(70)},
    ),
)
