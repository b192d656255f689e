"""Differences while it runs."""

from typing import Final

from .entry import Difference

ENTRIES: Final = (
    Difference(
        id="hot-restart",
        dapr="a change of credentials closes all listeners, waits for all connections and starts over",
        ours="the next run takes over the same socket; no connection is refused",
        reason="rotation costs no call",
        shown="tests/dapr/test_daprd.py::test_calls_go_on_while_certificates_are_renewed_and_the_ca_restarts",
    ),
    Difference(
        id="bad-edits",
        dapr="a bad file ends the process",
        ours="the current run continues; `degraded` in `/readyz?verbose` names the cause",
        reason="an edit never takes the CA down",
        shown="tests/test_bad_edits.py::test_a_bad_edit_changes_nothing",
    ),
    Difference(
        id="trust-cut",
        dapr="any valid trust bundle is used, even if it cuts off all running sidecars",
        ours="one that [would cut off workloads](ca-renewal.md#rejected-trust-bundles) is rejected while a "
        "process runs",
        reason="no edit breaks the mesh unnoticed",
        shown="tests/environments/test_trust_gate.py::test_it_is_not_replaced_as_a_whole",
    ),
    Difference(
        id="one-restart",
        dapr="one restart per file name, 2 s apart, also for its own writes",
        ours="one restart per change of content",
        reason="no reload storm",
        shown="tests/watchers/test_content.py::test_an_own_write_is_never_seen",
    ),
    Difference(
        id="configuration-reload",
        dapr="configuration is read once",
        ours="an edit takes effect by a hot restart",
        reason="new lifetimes need no new process",
        shown="tests/test_app.py::test_an_edit_of_the_configuration_takes_effect",
    ),
    Difference(
        id="bounded-drain",
        dapr="one idle TCP connection delays a stop by 120 s",
        ours="handshakes end after 5 s, silent sockets after 1 s, calls after `--drain-timeout`",
        reason="restarts and shutdowns end in time",
        shown="tests/grpc/test_drain.py::test_a_silent_peer_is_reported_as_silent",
    ),
    Difference(
        id="bounded-peers",
        dapr="connections, handshakes and calls are unbounded",
        ours="bounded; see [limits](limits.md)",
        reason="no client can exhaust the CA",
        shown="tests/grpc/test_attackers.py::test_a_handshake_too_many_ends_the_one_that_has_waited_longest",
    ),
    Difference(
        id="late-calls",
        dapr="calls that waited too long are still signed",
        ours="rejected immediately with Unavailable if they would miss their deadline",
        reason="sidecars retry in time",
        shown="tests/grpc/test_concurrency.py::test_a_call_that_would_miss_its_deadline_is_rejected_at_once",
    ),
    Difference(
        id="sighup",
        dapr="SIGHUP ends the process",
        ours="restarts it",
        reason="the usual meaning",
        shown="tests/integration/test_restart.py::test_restarts_asked_for_all_the_time",
    ),
    Difference(
        id="valid-serving-certificate",
        dapr="ready without a serving certificate that is valid now: the issuer has expired, or the clock was set back",
        ours="not ready; renewed within 10 s after the clock was set back",
        reason="clients are sent to a replica that they can verify",
        shown="tests/test_app.py::test_it_is_not_ready_without_a_valid_serving_certificate",
    ),
    Difference(
        id="failure-reasons",
        dapr="failures are counted under one reason",
        ours="by cause, and by gRPC code",
        reason="alerts distinguish causes",
        seen={"dapr_sentry_cert_sign_failure: label values": ("sign", ".+")},
    ),
    Difference(
        id="more-metrics",
        dapr="no metric shows latency, queue, restarts or the trust bundle in use",
        ours="[metrics](metrics.md) do, and the chart brings a dashboard and [alerts](alerts.md)",
        reason="problems are seen before users report them",
        shown="tests/telemetry/test_metrics_page.py::test_every_series_is_documented_and_every_documented_one_exists",
    ),
    Difference(
        id="audit-log",
        dapr="no record of issued certificates",
        ours="an [audit log](audit-log.md), if it is enabled",
        reason="issuance can be proven",
        shown="tests/audit/test_log.py::test_decisions_are_written_in_their_order",
    ),
    Difference(
        id="metrics-content-type",
        dapr="metrics name an escaping scheme in their content type",
        ours="they do not",
        reason="all names are plain",
        seen={"header content-type": (".+", ".+")},
    ),
    Difference(
        id="go-metrics",
        dapr="metrics of Go's runtime (`go_*`) and of the network (`process_network_*`)",
        ours="metrics of Python's process",
        reason="there is no Go runtime",
        seen={"(go|process)_.*": (".*", r"\(absent\)")},
    ),
)
