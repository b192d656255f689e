"""The flags of the program by topic: those of Dapr Sentry 1.18 with their names, kinds and defaults, and our own."""

import posixpath
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Final

from sentry_trio.settings.flags import Flag, FlagSet, Kind, Value
from sentry_trio.settings.option_rules import CA_KEY_TYPES, JWT_ALGORITHMS, LOG_LEVELS, Mode, TokenVerification

_STRING, _BOOL, _INT, _DURATION, _STRINGS = Kind.STRING, Kind.BOOL, Kind.INT, Kind.DURATION, Kind.STRINGS
_ON, _OFF = True, False
_JWT, _OIDC, _METRICS, _KUBERNETES = "jwt-enabled", "oidc-enabled", "enable-metrics", "kubernetes mode"
_MODES: Final = tuple(mode.value for mode in Mode)
_VERIFICATIONS: Final = tuple(each.value for each in TokenVerification)


def _group(title: str, *flags: Flag) -> tuple[Flag, ...]:
    return tuple(replace(flag, group=title) for flag in flags)


def _own(name: str, kind: Kind, default: Value, usage: str, choices: tuple[str, ...] = (), needs: str = "") -> Flag:
    """A flag that Dapr Sentry does not have."""
    return Flag(name, kind, default, usage, choices, needs, is_own=True)


FLAGS: Final = (
    *_group(
        "General",
        Flag("mode", _STRING, "auto", "Environment (auto: kubernetes if KUBERNETES_SERVICE_HOST is set)", _MODES),
        Flag("config", _STRING, "daprsystem", "Path of the configuration file, or name of the Configuration object"),
        Flag("trust-domain", _STRING, "localhost", "Trust domain of the certificate authority"),
        Flag("kubeconfig", _STRING, "", "Path of the kubeconfig file, for use outside a cluster", (), _KUBERNETES),
    ),
    *_group(
        "Trust bundle",
        Flag(
            "issuer-credentials", _STRING, "/var/run/secrets/dapr.io/credentials", "Directory of the credential files"
        ),
        Flag("issuer-ca-filename", _STRING, "ca.crt", "File of the trust anchors; relative to the directory"),
        Flag(
            "issuer-certificate-filename", _STRING, "issuer.crt", "File of the issuer chain; relative to the directory"
        ),
        Flag("issuer-key-filename", _STRING, "issuer.key", "File of the issuer key; relative to the directory"),
        _own("ca-key-type", _STRING, "p256", "Keys of a generated certificate authority", CA_KEY_TYPES),
    ),
    *_group(
        "gRPC server",
        Flag("port", _INT, 50001, "Port of the gRPC server"),
        Flag("listen-address", _STRING, "", "Address of the gRPC server; empty for all interfaces"),
        _own("drain-timeout", _DURATION, timedelta(seconds=10), "Time for open calls to end at a restart or shutdown"),
        _own("max-connections", _INT, 2000, "gRPC connections at once; one more takes the place of the longest idle"),
        _own(
            "max-connections-per-peer", _INT, 500, "gRPC connections at once from one address (IPv6: one /64 network)"
        ),
        _own(
            "max-calls",
            _INT,
            500,
            "Calls answered at once; more wait, or are rejected if they would miss their deadline",
        ),
        _own(
            "connection-idle-timeout",
            _DURATION,
            timedelta(minutes=5),
            "Time after which gRPC connections without calls are closed",
        ),
        _own(
            "connection-age",
            _DURATION,
            timedelta(minutes=30),
            "Time after which gRPC connections are closed, once their calls end",
        ),
    ),
    *_group(
        "Token checks",
        _own(
            "token-verification",
            _STRING,
            "review",
            "Service account tokens are checked by the API server (review) or here (local)",
            _VERIFICATIONS,
            _KUBERNETES,
        ),
        _own(
            "token-keys-refresh",
            _DURATION,
            timedelta(minutes=5),
            "With local, interval at which the cluster's keys are read: a withdrawn key is accepted that long",
            needs=_KUBERNETES,
        ),
        _own(
            "image-extension",
            _BOOL,
            _OFF,
            "Name a pod's container images in its certificate, where all its peers can read them",
            needs=_KUBERNETES,
        ),
    ),
    *_group(
        "JWT",
        Flag("jwt-enabled", _BOOL, _OFF, "Issue JWTs beside certificates"),
        Flag(
            "jwt-key-filename", _STRING, "jwt.key", "File of the JWT signing key; relative to the directory", (), _JWT
        ),
        Flag(
            "jwks-filename", _STRING, "jwks.json", "File of the JSON Web Key Set; relative to the directory", (), _JWT
        ),
        Flag("jwt-issuer", _STRING, None, "Issuer named in JWTs", (), _JWT),
        Flag("jwt-signing-algorithm", _STRING, "RS256", "Algorithm by which JWTs are signed", JWT_ALGORITHMS, _JWT),
        Flag("jwt-key-id", _STRING, None, "Key ID named in JWTs; derived from the key if not given", (), _JWT),
        Flag("jwt-ttl", _DURATION, timedelta(hours=24), "Lifetime of JWTs", (), _JWT),
        _own(
            "jwt-key-rotation",
            _DURATION,
            timedelta(),
            "Time after which the JWT signing key is rotated; 0: never",
            (),
            _JWT,
        ),
    ),
    *_group(
        "OIDC server",
        Flag("oidc-enabled", _BOOL, _OFF, "Serve OIDC discovery and the key set over HTTP"),
        Flag("oidc-server-listen-port", _INT, 9080, "Port of the OIDC server", (), _OIDC),
        Flag("oidc-server-listen-address", _STRING, "localhost", "Address of the OIDC server", (), _OIDC),
        Flag("oidc-server-tls-enabled", _BOOL, _ON, "Serve OIDC with TLS", (), _OIDC),
        Flag("oidc-server-tls-cert-file", _STRING, None, "File of the OIDC server's certificate", (), _OIDC),
        Flag("oidc-server-tls-key-file", _STRING, None, "File of the OIDC server's key", (), _OIDC),
        Flag("oidc-jwks-uri", _STRING, None, "URI of the key set that OIDC discovery names", (), _OIDC),
        Flag("oidc-path-prefix", _STRING, None, "Prefix of the OIDC server's paths", (), _OIDC),
        Flag("oidc-allowed-hosts", _STRINGS, (), "Hosts that the OIDC server answers for; all if not given", (), _OIDC),
        _own(
            "oidc-trusted-proxies",
            _STRINGS,
            (),
            "Networks (CIDR) from which alone X-Forwarded-Host is used",
            (),
            _OIDC,
        ),
    ),
    *_group(
        "Health, metrics, logs",
        Flag("healthz-port", _INT, 8080, "Port of the health server"),
        Flag("healthz-listen-address", _STRING, "", "Address of the health server; empty for all interfaces"),
        Flag("enable-metrics", _BOOL, _ON, "Serve Prometheus metrics"),
        Flag("metrics-port", _STRING, "9090", "Port of the metrics server", (), _METRICS),
        Flag("metrics-listen-address", _STRING, "0.0.0.0", "Address of the metrics server", (), _METRICS),  # noqa: S104 - Dapr's default
        Flag("log-level", _STRING, "info", "Lowest level that is logged", LOG_LEVELS),
        Flag("log-file", _STRING, "", "File to append logs to; empty for standard output"),
        Flag("log-as-json", _BOOL, _OFF, "Log JSON objects instead of text"),
        _own("audit-log", _STRING, "", "File to which decisions on requests are recorded, or stdout; empty for none"),
        _own("audit-required", _BOOL, _OFF, "Issue nothing that cannot be recorded in the audit log"),
    ),
    # Newer versions of Dapr's chart set these.
    *(
        replace(flag, group="Accepted for compatibility, without effect yet", is_inert=True)
        for flag in (
            Flag("ca-ttl", _DURATION, timedelta(hours=8760), "Lifetime of a generated certificate authority"),
            Flag("ca-renewal-enabled", _BOOL, _ON, "Renew the certificate authority before it expires"),
            Flag("ca-renewal-threshold", Kind.FLOAT, 0.5, "Share of the issuer's lifetime after which renewal begins"),
            Flag(
                "trust-anchor-propagation-grace",
                _DURATION,
                timedelta(hours=24),
                "Time for which a new trust anchor is published before it is used",
            ),
        )
    ),
)


def flag_set(environ: Mapping[str, str]) -> FlagSet:
    """The flags with the one default that depends on the environment: `kubeconfig` lies below `HOME`."""
    home = environ.get("HOME", "")
    kubeconfig = posixpath.normpath(posixpath.join(home, ".kube", "config")) if home else ""
    return FlagSet(
        "sentry", [replace(flag, default=kubeconfig) if flag.name == "kubeconfig" else flag for flag in FLAGS]
    )
