"""Differences in flags, configuration and start."""

from typing import Final

from .entry import REFUSED, TOLERATED, Difference

ENTRIES: Final = (
    Difference(
        id="mode-auto",
        dapr="`--mode` is `standalone` unless it is given",
        ours="`auto`: kubernetes if KUBERNETES_SERVICE_HOST is set, else standalone",
        reason="a pod needs no flag",
        shown="tests/settings/test_options.py::test_mode",
    ),
    Difference(
        id="configuration-optional",
        dapr="does not start without a configuration file, even if none is named",
        ours="starts with defaults and logs so, unless `--config` names a file",
        reason="a first start needs no file",
        seen=TOLERATED,
    ),
    Difference(
        id="configuration-values",
        dapr="any lifetime and skew, also zero and negative",
        ours="`workloadCertTTL` must be positive, `allowedClockSkew` not negative",
        reason="such certificates are never valid",
        seen=REFUSED,
    ),
    Difference(
        id="configuration-other-sections",
        dapr="a value of a wrong type in a section that the CA never reads prevents the start",
        ours="such sections are ignored, except `spec.secrets`",
        reason="a typo for sidecars does not stop the CA",
        seen=TOLERATED,
    ),
    Difference(
        id="start-error-texts",
        dapr="errors at start name the failed step",
        ours="they also name the file or flag, and the remedy",
        reason="found without reading source code",
        seen={"text": (".+", ".+"), "error": (".+", ".+")},
    ),
    Difference(
        id="jwt-paths",
        dapr="relative `--jwt-key-filename` and `--jwks-filename` are ignored",
        ours="resolved below `--issuer-credentials`, like the other files",
        reason="the flag has its documented effect",
        shown="tests/test_component_settings.py::test_files_are_in_the_directory_unless_absolute",
    ),
    Difference(
        id="metrics-listen-address",
        dapr="`--metrics-listen-address` is ignored",
        ours="honoured",
        reason="metrics can be kept to one interface",
        shown="tests/settings/test_options.py::test_every_listen_address_is_checked",
    ),
    Difference(
        id="mistyped-command",
        dapr="a mistyped first argument is ignored, and a CA starts",
        ours="`unknown command`, exit code 2; later arguments that are not flags are ignored with a warning",
        reason="a typo must not start a CA",
        seen={
            "status": ("exit code 1", "exit code 2"),
            "text": (".+", ""),
            "error": (r"|\(absent\)", "(?s).*unknown command.*"),
        },
    ),
    Difference(
        id="invalid-values",
        dapr="impossible values (`--mode foo`, a port out of range, flags that exclude each other) are exit code 1",
        ours="exit code 2, with the choices or the range",
        reason="one exit code for all mistakes on the command line",
        seen={
            "status": ("exit code 1", "exit code 2"),
            "text": (".+", "Invalid options: .+"),
            "error": (".*", ".+"),
        },
    ),
    Difference(
        id="help",
        dapr="`--help` is a usage text on standard error, exit code 2",
        ours="commands, examples and flags by group on standard output, exit code 0",
        reason="a request for help is not an error",
        seen={"status": ("exit code 2", "exit code 0")},
    ),
    Difference(
        id="later-flags",
        dapr="`--ca-ttl`, `--ca-renewal-enabled` and other flags of a later release are unknown",
        ours="accepted; they steer the [renewal of the certificate authority](ca-renewal.md)",
        reason="no sidecar has to restart when the certificate authority expires",
        seen={"status": ("exit code 2", "exit code 1"), "text": ("", ".+")},
    ),
    Difference(
        id="flags-without-effect",
        dapr="flags of features that are off are ignored silently",
        ours="ignored with a warning",
        reason="a forgotten switch is visible",
        shown="tests/settings/test_options.py::test_flags_of_features_that_are_off_are_accepted_with_a_warning",
    ),
    Difference(
        id="directories-at-start",
        dapr="the directories of the JWT files (with JWTs off) and of the OIDC server's files have to exist at start",
        ours="only those of files that are read at start; OIDC files are waited for",
        reason="features that are off need no directories",
        shown="tests/test_app.py::test_directories_of_files_that_are_not_read_at_start_need_not_exist",
    ),
    Difference(
        id="empty-namespace",
        dapr="an empty NAMESPACE is taken literally and fails later",
        ours="rejected at once",
        reason="the error names the cause",
        shown="tests/settings/test_options.py::test_namespace",
    ),
    Difference(
        id="health-from-the-start",
        dapr="health answers only once the CA is loaded",
        ours="health answers from the start, with 503 until it serves",
        reason="probes distinguish a slow start from a dead process",
        shown="tests/cluster/test_process.py::test_not_ready_before_the_first_listing_of_pods",
    ),
    Difference(
        id="health-endpoints",
        dapr="`/healthz` is the only health path",
        ours="`/readyz` and `/livez` as well, with details on `?verbose`",
        reason="separate readiness and liveness probes",
        seen={"status": ("404", "200")},
    ),
    Difference(
        id="health-unclean-paths",
        dapr="an unclean path such as `//healthz` is redirected",
        ours="404",
        reason="no probe is redirected",
        seen={"status": ("307", "404")},
    ),
    Difference(
        id="health-headers",
        dapr="404 answers carry `X-Content-Type-Options`, answers to HEAD no length",
        ours="the other way round",
        reason="the text of a 404 is constant",
        seen={
            "header x-content-type-options": ("nosniff", r"\(absent\)"),
            "header content-length": (r"\(absent\)", "0"),
        },
    ),
)
