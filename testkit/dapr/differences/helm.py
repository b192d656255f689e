"""Differences of the chart."""

from typing import Final

from .entry import Difference

ENTRIES: Final = (
    Difference(
        id="chart-oidc-tls",
        dapr="`oidc.tls.enabled=false` is not passed on, and the process does not start",
        ours="passed on",
        reason="the value has its documented effect",
        shown="tests/helm/test_chart.py::test_oidc_without_tls",
    ),
    Difference(
        id="chart-oidc-port",
        dapr="`oidc.server.port` changes the Service alone",
        ours="one value everywhere",
        reason="the Service reaches the server",
        shown="tests/helm/test_chart.py::test_the_process_takes_the_arguments",
    ),
    Difference(
        id="chart-namespaced-rbac",
        dapr="`global.rbac.namespaced` leaves the validator without permissions",
        ours="rejected, unless they are granted by name",
        reason="no CA that rejects every request",
        shown="tests/helm/test_chart.py::test_invalid_values_are_rejected_with_a_reason",
    ),
    Difference(
        id="chart-ignored-values",
        dapr="`podAntiAffinityPolicy` and `dnsSuffix` are ignored",
        ours="honoured",
        reason="the values have their documented effect",
        shown="tests/helm/test_chart.py::test_replicas_are_spread_by_anti_affinity",
    ),
    Difference(
        id="chart-file-names",
        dapr="`issuerFilenames` names no keys of the Secret",
        ours="it does",
        reason="the process finds its files",
        shown="tests/helm/test_chart.py::test_file_names_are_the_secrets_keys",
    ),
    Difference(
        id="chart-probes",
        dapr="the liveness probe starts after 180 s",
        ours="a startup probe",
        reason="a dead process is restarted soon",
        shown="tests/helm/test_chart.py::test_all_objects_are_valid",
    ),
    Difference(
        id="chart-uninstall",
        dapr="uninstalling deletes the CA",
        ours="it stays",
        reason="no mesh loses its CA by mistake",
        shown="tests/cluster/test_chart.py::test_a_release_from_install_to_uninstall",
    ),
    Difference(
        id="chart-config-map",
        dapr="the chart puts `ca.crt` into the ConfigMap",
        ours="the process does",
        reason="an upgrade never publishes old anchors",
        shown="tests/helm/test_chart.py::test_the_secret_has_no_content_to_overwrite_with",
    ),
)
