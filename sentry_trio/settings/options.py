"""Options of the certificate authority: one table of its flags."""

import enum
from collections.abc import Mapping
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Final, Literal, get_args

import msgspec

from sentry_trio.errors import InvalidOptionsError
from sentry_trio.renewal_status import RenewalScope
from sentry_trio.settings import checks
from sentry_trio.settings.flags import Kind, choice_of, declare, expected, flags_of

LOG_LEVELS: Final = ("debug", "info", "warn", "error", "fatal")
DEFAULT_TRUST_DOMAIN: Final = "localhost"
DEFAULT_NAMESPACE: Final = "default"
ROOT_KEYS: Final = ("discard", "keep")
CA_KEY_TYPES: Final = ("p256", "p384", "ed25519", "rsa2048")
JWT_ALGORITHMS: Final = (
    *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    *("ES256", "ES384", "ES512", "EdDSA"),
)
KUBERNETES: Final = "kubernetes mode"
"""Condition of the flags that have no effect in standalone mode; see `Flag.needs`."""


class Mode(enum.Enum):
    """Environment of the process: the source of credentials and identities."""

    AUTO = "auto"
    STANDALONE = "standalone"
    KUBERNETES = "kubernetes"

    def resolve(self, environ: Mapping[str, str]) -> "Mode":
        """Returns the mode itself; for `AUTO`, `KUBERNETES` if KUBERNETES_SERVICE_HOST is not empty."""
        if self is not Mode.AUTO:
            return self
        return Mode.KUBERNETES if environ.get("KUBERNETES_SERVICE_HOST") else Mode.STANDALONE


class TokenVerification(enum.Enum):
    """Method by which service account tokens are verified."""

    REVIEW = "review"
    """The API server reviews each."""
    LOCAL = "local"
    """By the cluster's public keys, or by the API server if they cannot decide."""


def _mode(_flag: str, text: str) -> Mode:
    try:
        return Mode(text)
    except ValueError as error:
        raise InvalidOptionsError(f"invalid mode: {text}: {expected(mode.value for mode in Mode)}") from error


def _log_level(_flag: str, text: str) -> str:
    level = text.lower()
    if level not in LOG_LEVELS:
        raise InvalidOptionsError(f"invalid value for --log-level: {text}: {expected(LOG_LEVELS)}")
    return level


_STRING, _BOOL, _INT, _DURATION, _STRINGS = Kind.STRING, Kind.BOOL, Kind.INT, Kind.DURATION, Kind.STRINGS
_ON, _OFF = True, False
_general = partial(declare, group="General")
_bundle = partial(declare, group="Trust bundle")
_grpc = partial(declare, group="gRPC server")
_limit = partial(_grpc, is_own=True, check=checks.positive)
_tokens = partial(declare, group="Token checks", is_own=True, needs=KUBERNETES)
_jwt_switch = partial(declare, group="JWT")
_jwt = partial(_jwt_switch, needs="jwt-enabled")
_oidc_switch = partial(declare, group="OIDC server")
_oidc = partial(_oidc_switch, needs="oidc-enabled")
_server = partial(declare, group="Health, metrics, logs")
_metrics = partial(_server, needs="enable-metrics")
_audit = partial(_server, is_own=True)
_renewal = partial(declare, group="CA renewal", is_own=True)


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """Values of the flags; a field has the name of its flag, with `_` for `-`.

    Listen addresses are bare hosts (no brackets), empty for all interfaces. Ports are 0 to 65535, 0 for any free one.
    `None` means "not given" if Dapr Sentry distinguishes that from "given empty".

    Attributes:
        mode: standalone or kubernetes; `auto` is resolved.
        log_file: None for standard output.
        metrics_port: 0 if metrics are off.
        audit_log: path, or `stdout`; None if no audit log is kept.
        config_given: True if `--config` was on the command line.
        namespace: the process's own namespace, from NAMESPACE; not empty.
        warnings: sentences on arguments that have no effect.
    """

    mode: Mode = _general(
        _STRING,
        "auto",
        "Environment (auto: kubernetes if KUBERNETES_SERVICE_HOST is set)",
        choices=tuple(mode.value for mode in Mode),
        check=_mode,
    )
    config: str = _general(_STRING, "daprsystem", "Path of the configuration file, or name of the Configuration object")
    trust_domain: str = _general(_STRING, DEFAULT_TRUST_DOMAIN, "Trust domain of the certificate authority")
    kubeconfig: str = _general(
        _STRING, "~/.kube/config", "Path of the kubeconfig file, for use outside a cluster", needs=KUBERNETES
    )

    issuer_credentials: Path = _bundle(
        _STRING, "/var/run/secrets/dapr.io/credentials", "Directory of the credential files", check=checks.path
    )
    issuer_ca_filename: str = _bundle(_STRING, "ca.crt", "File of the trust anchors; relative to the directory")
    issuer_certificate_filename: str = _bundle(
        _STRING, "issuer.crt", "File of the issuer chain; relative to the directory"
    )
    issuer_key_filename: str = _bundle(_STRING, "issuer.key", "File of the issuer key; relative to the directory")
    ca_key_type: str = _bundle(
        _STRING, "p256", "Keys of a generated certificate authority", choices=CA_KEY_TYPES, is_own=True
    )

    ca_ttl: timedelta = _renewal(
        _DURATION, timedelta(hours=8760), "Lifetime of a generated certificate authority", check=checks.positive
    )
    ca_renewal_enabled: bool = _renewal(_BOOL, _ON, "Renew the certificate authority before it expires")
    ca_renewal_threshold: float = _renewal(
        Kind.FLOAT, 0.5, "Share of the issuer's lifetime after which renewal begins", check=checks.share
    )
    trust_anchor_propagation_grace: timedelta | Literal["auto"] = _renewal(
        _DURATION,
        timedelta(hours=24),
        "Time for which a new trust anchor is published before its issuer signs; auto: in Kubernetes mode until all "
        "sidecars have it, but 24h at most, else 24h",
        words=("auto",),
        check=checks.not_negative,
    )
    ca_renewal_scope: RenewalScope = _renewal(
        _STRING,
        "own",
        "Certificate authorities that are renewed: those generated here, or also those that others made",
        choices=get_args(RenewalScope),
    )
    ca_anchors_kept: int = _renewal(
        _INT, 2, f"Former trust anchors that stay published, 0 to {checks.MOST_ANCHORS_KEPT}", check=checks.anchors_kept
    )
    ca_root_key: str = _renewal(
        _STRING,
        "discard",
        "Private key of a generated root: discard it, or keep it to renew issuers",
        choices=ROOT_KEYS,
    )
    ca_root_ttl: timedelta = _renewal(
        _DURATION, timedelta(hours=87600), "Lifetime of a generated root whose key is kept", check=checks.positive
    )
    ca_root_key_passphrase_file: Path | None = _renewal(
        _STRING,
        "",
        "File whose first line encrypts a root key that is kept; required in kubernetes mode",
        check=checks.path_or_none,
    )
    allow_trust_cut: str = _renewal(
        _STRING,
        "",
        "Fingerprint of a trust bundle that is used although certificates or sidecars do not verify with it",
        check=checks.fingerprint,
    )

    port: int = _grpc(_INT, 50001, "Port of the gRPC server", check=checks.port)
    listen_address: str = _grpc(_STRING, "", "Address of the gRPC server; empty for all interfaces", check=checks.host)
    drain_timeout: timedelta = _grpc(
        _DURATION,
        timedelta(seconds=10),
        "Time for open calls to end at a restart or shutdown",
        check=checks.not_negative,
        is_own=True,
    )
    max_connections: int = _limit(_INT, 2000, "gRPC connections at once; one more takes the place of the longest idle")
    max_connections_per_peer: int = _limit(
        _INT, 500, "gRPC connections at once from one address (IPv6: one /64 network)"
    )
    max_calls: int = _limit(
        _INT, 500, "Calls answered at once; more wait, or are rejected if they would miss their deadline"
    )
    connection_idle_timeout: timedelta = _limit(
        _DURATION, timedelta(minutes=5), "Time after which gRPC connections without calls are closed"
    )
    connection_age: timedelta = _limit(
        _DURATION, timedelta(minutes=30), "Time after which gRPC connections are closed, once their calls end"
    )

    token_verification: TokenVerification = _tokens(
        _STRING,
        "review",
        "Service account tokens are checked by the API server (review) or here (local)",
        **choice_of(TokenVerification),
    )
    token_keys_refresh: timedelta = _tokens(
        _DURATION,
        timedelta(minutes=5),
        "With local, interval at which the cluster's keys are read: a withdrawn key is accepted that long",
        check=checks.positive,
    )
    image_extension: bool = _tokens(
        _BOOL, _OFF, "Name a pod's container images in its certificate, where all its peers can read them"
    )

    jwt_enabled: bool = _jwt_switch(_BOOL, _OFF, "Issue JWTs beside certificates")
    jwt_key_filename: str = _jwt(_STRING, "jwt.key", "File of the JWT signing key; relative to the directory")
    jwks_filename: str = _jwt(_STRING, "jwks.json", "File of the JSON Web Key Set; relative to the directory")
    jwt_issuer: str | None = _jwt(_STRING, None, "Issuer named in JWTs")
    jwt_signing_algorithm: str = _jwt(_STRING, "RS256", "Algorithm by which JWTs are signed", choices=JWT_ALGORITHMS)
    jwt_key_id: str | None = _jwt(_STRING, None, "Key ID named in JWTs; derived from the key if not given")
    jwt_ttl: timedelta = _jwt(_DURATION, timedelta(hours=24), "Lifetime of JWTs", check=checks.positive)
    jwt_key_rotation: timedelta = _jwt(
        _DURATION, timedelta(), "Time after which the JWT signing key is rotated; 0: never", is_own=True
    )
    jwks_in_config_map: bool = _jwt(
        _BOOL, _OFF, "Keep rotated keys in the ConfigMap, too, if the OIDC server serves them", is_own=True
    )

    oidc_enabled: bool = _oidc_switch(_BOOL, _OFF, "Serve OIDC discovery and the key set over HTTP")
    oidc_server_listen_port: int = _oidc(_INT, 9080, "Port of the OIDC server", check=checks.port)
    oidc_server_listen_address: str = _oidc(_STRING, "localhost", "Address of the OIDC server", check=checks.host)
    oidc_server_tls_enabled: bool = _oidc(_BOOL, _ON, "Serve OIDC with TLS")
    oidc_server_tls_cert_file: Path | None = _oidc(
        _STRING, None, "File of the OIDC server's certificate", check=checks.path
    )
    oidc_server_tls_key_file: Path | None = _oidc(_STRING, None, "File of the OIDC server's key", check=checks.path)
    oidc_jwks_uri: str | None = _oidc(_STRING, None, "URI of the key set that OIDC discovery names")
    oidc_path_prefix: str | None = _oidc(_STRING, None, "Prefix of the OIDC server's paths")
    oidc_allowed_hosts: tuple[str, ...] = _oidc(
        _STRINGS, (), "Hosts that the OIDC server answers for; all if not given"
    )
    oidc_trusted_proxies: tuple[checks.Network, ...] = _oidc(
        _STRINGS, (), "Networks (CIDR) from which alone X-Forwarded-Host is used", check=checks.networks, is_own=True
    )

    healthz_port: int = _server(_INT, 8080, "Port of the health server", check=checks.port)
    healthz_listen_address: str = _server(
        _STRING, "", "Address of the health server; empty for all interfaces", check=checks.host
    )
    enable_metrics: bool = _server(_BOOL, _ON, "Serve Prometheus metrics")
    metrics_port: int = _metrics(_STRING, "9090", "Port of the metrics server", check=checks.metrics_port)
    metrics_listen_address: str = _metrics(
        _STRING,
        "0.0.0.0",  # noqa: S104 - Dapr's default
        "Address of the metrics server",
        check=checks.host,
    )
    log_level: str = _server(_STRING, "info", "Lowest level that is logged", choices=LOG_LEVELS, check=_log_level)
    log_file: Path | None = _server(
        _STRING, "", "File to append logs to; empty for standard output", check=checks.path_or_none
    )
    log_as_json: bool = _server(_BOOL, _OFF, "Log JSON objects instead of text")
    audit_log: str | None = _audit(
        _STRING,
        "",
        "File to which decisions on requests are recorded, or stdout; empty for none",
        check=lambda _flag, text: text or None,
    )
    audit_required: bool = _audit(_BOOL, _OFF, "Issue nothing that cannot be recorded in the audit log")

    config_given: bool
    namespace: str
    warnings: tuple[str, ...]


FLAGS: Final = flags_of(Options)
