"""The flags of the program: those of Dapr Sentry 1.18 with their names, kinds and defaults, and our own at the end."""

import posixpath
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Final

from sentry_trio.settings.flags import Flag, FlagSet, Kind

_STRING, _BOOL, _INT, _DURATION, _STRINGS = Kind.STRING, Kind.BOOL, Kind.INT, Kind.DURATION, Kind.STRINGS
_ON, _OFF = True, False

FLAGS: Final = (
    Flag("config", _STRING, "daprsystem", "Path of the configuration file, or name of the Configuration object"),
    # credentials
    Flag("issuer-credentials", _STRING, "/var/run/secrets/dapr.io/credentials", "Directory of the credential files"),
    Flag("issuer-ca-filename", _STRING, "ca.crt", "File of the trust anchors; relative to the directory"),
    Flag("issuer-certificate-filename", _STRING, "issuer.crt", "File of the issuer chain; relative to the directory"),
    Flag("issuer-key-filename", _STRING, "issuer.key", "File of the issuer key; relative to the directory"),
    Flag("trust-domain", _STRING, "localhost", "Trust domain of the certificate authority"),
    # listeners
    Flag("port", _INT, 50001, "Port of the gRPC server"),
    Flag("listen-address", _STRING, "", "Address of the gRPC server; empty for all interfaces"),
    Flag("healthz-port", _INT, 8080, "Port of the health server"),
    Flag("healthz-listen-address", _STRING, "", "Address of the health server; empty for all interfaces"),
    # JWT
    Flag("jwt-enabled", _BOOL, _OFF, "Issue JWTs beside certificates"),
    Flag("jwt-key-filename", _STRING, "jwt.key", "File of the JWT signing key; relative to the directory"),
    Flag("jwks-filename", _STRING, "jwks.json", "File of the JSON Web Key Set; relative to the directory"),
    Flag("jwt-issuer", _STRING, None, "Issuer named in JWTs"),
    Flag("jwt-signing-algorithm", _STRING, "RS256", "Algorithm by which JWTs are signed"),
    Flag("jwt-key-id", _STRING, None, "Key ID named in JWTs; derived from the key if not given"),
    Flag("jwt-ttl", _DURATION, timedelta(hours=24), "Lifetime of JWTs"),
    # OIDC
    Flag("oidc-enabled", _BOOL, _OFF, "Serve OIDC discovery and the key set over HTTP"),
    Flag("oidc-server-listen-port", _INT, 9080, "Port of the OIDC server"),
    Flag("oidc-server-listen-address", _STRING, "localhost", "Address of the OIDC server"),
    Flag("oidc-server-tls-enabled", _BOOL, _ON, "Serve OIDC with TLS"),
    Flag("oidc-server-tls-cert-file", _STRING, None, "File of the OIDC server's certificate"),
    Flag("oidc-server-tls-key-file", _STRING, None, "File of the OIDC server's key"),
    Flag("oidc-jwks-uri", _STRING, None, "URI of the key set that OIDC discovery names"),
    Flag("oidc-path-prefix", _STRING, None, "Prefix of the OIDC server's paths"),
    Flag("oidc-allowed-hosts", _STRINGS, (), "Hosts that the OIDC server answers for; all if not given"),
    # surroundings
    Flag("mode", _STRING, "auto", "standalone, kubernetes, or auto: kubernetes where KUBERNETES_SERVICE_HOST is set"),
    Flag("kubeconfig", _STRING, "", "Path of the kubeconfig file, for use outside a cluster"),
    Flag("log-level", _STRING, "info", "debug, info, warn, error or fatal"),
    Flag("log-file", _STRING, "", "File to append logs to; empty for standard output"),
    Flag("log-as-json", _BOOL, _OFF, "Log JSON objects instead of text"),
    Flag("enable-metrics", _BOOL, _ON, "Serve Prometheus metrics"),
    Flag("metrics-port", _STRING, "9090", "Port of the metrics server"),
    Flag("metrics-listen-address", _STRING, "0.0.0.0", "Address of the metrics server"),  # noqa: S104 - Dapr's default
    # not in Dapr Sentry
    Flag("oidc-trusted-proxies", _STRINGS, (), "Networks (CIDR) whose X-Forwarded-Host the OIDC server believes"),
    Flag(
        "jwt-key-rotation",
        _DURATION,
        timedelta(),
        "How long a JWT signing key signs until the next takes over; 0 for ever",
    ),
    Flag("ca-key-type", _STRING, "p256", "Keys of a generated certificate authority: p256, p384, ed25519 or rsa2048"),
    Flag("drain-timeout", _DURATION, timedelta(seconds=10), "Time for open calls to end at a restart or shutdown"),
    Flag(
        "token-verification",
        _STRING,
        "review",
        "Service account tokens are checked by the API server (review) or here (local)",
    ),
    Flag("max-connections", _INT, 2000, "gRPC connections at once; one more takes the place of the longest idle"),
    Flag("max-connections-per-peer", _INT, 500, "gRPC connections at once from one address (IPv6: one /64 network)"),
    Flag("max-calls", _INT, 500, "Calls answered at once; more wait, or are refused where that would be in vain"),
    Flag("connection-idle-timeout", _DURATION, timedelta(minutes=5), "gRPC connections without calls are closed then"),
    Flag("connection-age", _DURATION, timedelta(minutes=30), "gRPC connections are closed then, once their calls end"),
    Flag("audit-log", _STRING, "", "File to which decisions on requests are recorded, or stdout; empty for none"),
    Flag("audit-required", _BOOL, _OFF, "Issue nothing that cannot be recorded in the audit log"),
)


def flag_set(environ: Mapping[str, str]) -> FlagSet:
    """The flags with the one default that depends on the environment: `kubeconfig` lies below `HOME`."""
    home = environ.get("HOME", "")
    kubeconfig = posixpath.normpath(posixpath.join(home, ".kube", "config")) if home else ""
    return FlagSet(
        "sentry", [replace(flag, default=kubeconfig) if flag.name == "kubeconfig" else flag for flag in FLAGS]
    )
