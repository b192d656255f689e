"""The options of a process: its command line and environment, read and checked once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from sentry_trio.settings import option_rules as rules
from sentry_trio.settings.addresses import listen_host, listen_port
from sentry_trio.settings.flag_table import flag_set
from sentry_trio.settings.flags import ParsedFlags
from sentry_trio.settings.option_rules import Mode, TokenVerification

__all__ = ["Mode", "Options", "TokenVerification", "parse_options"]


@dataclass(frozen=True, slots=True)
class Options:
    """What the flags say; a field is named as its flag, with `_` for `-`.

    Listen addresses are bare hosts (no brackets), empty for all interfaces. Ports are 0 to 65535, 0 for any free one.
    `None` means "not given" where Dapr Sentry tells that from "given empty".

    Attributes:
        config: path of the configuration file, or name of the Configuration object.
        config_given: whether `--config` was on the command line.
        mode: standalone or kubernetes; `auto` is resolved.
        log_level: one of debug, info, warn, error, fatal.
        log_file: where to append logs; `None` for standard output.
        oidc_trusted_proxies: whose X-Forwarded-Host the OIDC server believes.
        metrics_port: 0 where metrics are off, whatever was given.
        ca_key_type: keys of a generated certificate authority: p256, p384, ed25519, rsa2048.
        drain_timeout: time for open calls to end at a restart or shutdown; not negative.
        token_verification: who decides, in kubernetes mode, whether a service account's token is good.
        token_keys_refresh: interval at which the cluster's keys are read for local verification; positive.
        image_extension: whether a pod's container images are named in its certificate.
        max_connections: gRPC connections at once; this and the following are positive.
        max_connections_per_peer: the same, from one address.
        max_calls: calls answered at once.
        connection_idle_timeout: gRPC connections without calls are closed then.
        connection_age: gRPC connections are closed then, once their calls have ended.
        audit_log: path of the audit log, or `stdout`; `None` where none is kept.
        audit_required: whether nothing is issued that cannot be recorded there.
        namespace: the process's own namespace, from NAMESPACE; not empty.
        warnings: sentences on arguments that have no effect.
    """

    config: str
    config_given: bool
    issuer_credentials: Path
    issuer_ca_filename: str
    issuer_certificate_filename: str
    issuer_key_filename: str
    trust_domain: str
    port: int
    listen_address: str
    healthz_port: int
    healthz_listen_address: str
    mode: Mode
    jwt_enabled: bool
    jwt_key_filename: str
    jwks_filename: str
    jwt_issuer: str | None
    jwt_signing_algorithm: str
    jwt_key_id: str | None
    jwt_ttl: timedelta
    jwt_key_rotation: timedelta
    oidc_enabled: bool
    oidc_server_listen_port: int
    oidc_server_listen_address: str
    oidc_server_tls_enabled: bool
    oidc_server_tls_cert_file: Path | None
    oidc_server_tls_key_file: Path | None
    oidc_jwks_uri: str | None
    oidc_path_prefix: str | None
    oidc_allowed_hosts: tuple[str, ...]
    oidc_trusted_proxies: tuple[rules.Network, ...]
    kubeconfig: str
    log_level: str
    log_file: Path | None
    log_as_json: bool
    enable_metrics: bool
    metrics_port: int
    metrics_listen_address: str
    ca_key_type: str
    drain_timeout: timedelta
    token_verification: TokenVerification
    token_keys_refresh: timedelta
    image_extension: bool
    max_connections: int
    max_connections_per_peer: int
    max_calls: int
    connection_idle_timeout: timedelta
    connection_age: timedelta
    audit_log: str | None
    audit_required: bool
    namespace: str
    warnings: tuple[str, ...]

    @property
    def issuer_ca_path(self) -> Path:
        """The trust anchors: an absolute name as it is, any other below the credentials' directory."""
        return self.issuer_credentials / self.issuer_ca_filename

    @property
    def issuer_certificate_path(self) -> Path:
        """The issuer chain; same rule."""
        return self.issuer_credentials / self.issuer_certificate_filename

    @property
    def issuer_key_path(self) -> Path:
        """The issuer key; same rule."""
        return self.issuer_credentials / self.issuer_key_filename

    @property
    def jwt_key_path(self) -> Path:
        """The JWT signing key; same rule (Dapr Sentry replaces a relative name by `jwt.key`)."""
        return self.issuer_credentials / self.jwt_key_filename

    @property
    def jwks_path(self) -> Path:
        """The JSON Web Key Set; same rule (Dapr Sentry replaces a relative name by `jwks.json`)."""
        return self.issuer_credentials / self.jwks_filename

    @property
    def required_directories(self) -> tuple[Path, ...]:
        """The directories that have to exist at start, each once: those of the files that are read or generated then.

        Dapr Sentry requires those of the JWT files with JWT off, and those of the OIDC server's files, too.
        """
        bundle = (self.issuer_certificate_path, self.issuer_key_path, self.issuer_ca_path)
        jwt = (self.jwt_key_path, self.jwks_path) if self.jwt_enabled else ()
        return tuple(dict.fromkeys(file.parent for file in (*bundle, *jwt)))


def parse_options(arguments: Sequence[str], environ: Mapping[str, str]) -> Options:
    """Read and check a command line.

    The rules that Dapr Sentry has come first and in its order: mode, flags that need each other, log level, OIDC
    files. Then ours.

    Args:
        arguments: the command line without the program's name.
        environ: the environment; HOME, KUBERNETES_SERVICE_HOST and NAMESPACE are looked at.

    Raises:
        UsageError: the command line cannot be read.
        HelpRequested: help was asked for.
        InvalidOptionsError: the first rule that is broken.
    """
    table = flag_set(environ)
    flags = table.parse(arguments)
    mode = rules.mode_named(flags.get("mode", str)).resolve(environ)
    rules.check_together(flags)
    level = rules.log_level(flags.get("log-level", str))
    rules.check_oidc_files(flags)
    rules.check_inert(flags)
    return Options(
        config=flags.get("config", str),
        config_given="config" in flags.given,
        issuer_credentials=Path(flags.get("issuer-credentials", str)),
        issuer_ca_filename=flags.get("issuer-ca-filename", str),
        issuer_certificate_filename=flags.get("issuer-certificate-filename", str),
        issuer_key_filename=flags.get("issuer-key-filename", str),
        trust_domain=flags.get("trust-domain", str),
        port=_port(flags, "port"),
        listen_address=_host(flags, "listen-address"),
        healthz_port=_port(flags, "healthz-port"),
        healthz_listen_address=_host(flags, "healthz-listen-address"),
        mode=mode,
        jwt_enabled=flags.get("jwt-enabled", bool),
        jwt_key_filename=flags.get("jwt-key-filename", str),
        jwks_filename=flags.get("jwks-filename", str),
        jwt_issuer=flags.text_if_given("jwt-issuer"),
        jwt_signing_algorithm=rules.jwt_signing_algorithm(flags),
        jwt_key_id=flags.text_if_given("jwt-key-id"),
        jwt_ttl=rules.jwt_ttl(flags),
        jwt_key_rotation=rules.jwt_key_rotation(flags),
        oidc_enabled=flags.get("oidc-enabled", bool),
        oidc_server_listen_port=_port(flags, "oidc-server-listen-port"),
        oidc_server_listen_address=_host(flags, "oidc-server-listen-address"),
        oidc_server_tls_enabled=flags.get("oidc-server-tls-enabled", bool),
        oidc_server_tls_cert_file=_file(flags, "oidc-server-tls-cert-file"),
        oidc_server_tls_key_file=_file(flags, "oidc-server-tls-key-file"),
        oidc_jwks_uri=flags.text_if_given("oidc-jwks-uri"),
        oidc_path_prefix=flags.text_if_given("oidc-path-prefix"),
        oidc_allowed_hosts=flags.texts("oidc-allowed-hosts"),
        oidc_trusted_proxies=rules.networks("oidc-trusted-proxies", flags.texts("oidc-trusted-proxies")),
        kubeconfig=flags.get("kubeconfig", str),
        log_level=level,
        log_file=Path(text) if (text := flags.get("log-file", str)) else None,
        log_as_json=flags.get("log-as-json", bool),
        enable_metrics=flags.get("enable-metrics", bool),
        metrics_port=rules.metrics_port(flags),
        metrics_listen_address=_host(flags, "metrics-listen-address"),
        ca_key_type=rules.one_of("ca-key-type", flags.get("ca-key-type", str), rules.CA_KEY_TYPES),
        drain_timeout=rules.not_negative("drain-timeout", flags.get("drain-timeout", timedelta)),
        token_verification=rules.token_verification(flags.get("token-verification", str)),
        token_keys_refresh=_positive_duration(flags, "token-keys-refresh"),
        image_extension=flags.get("image-extension", bool),
        max_connections=_positive(flags, "max-connections"),
        max_connections_per_peer=_positive(flags, "max-connections-per-peer"),
        max_calls=_positive(flags, "max-calls"),
        connection_idle_timeout=_positive_duration(flags, "connection-idle-timeout"),
        connection_age=_positive_duration(flags, "connection-age"),
        audit_log=flags.get("audit-log", str) or None,
        audit_required=rules.audit_required(flags),
        namespace=rules.own_namespace(environ),
        warnings=rules.warnings(flags, table, mode),
    )


def _port(flags: ParsedFlags, name: str) -> int:
    return listen_port(name, flags.get(name, int))


def _host(flags: ParsedFlags, name: str) -> str:
    return listen_host(name, flags.get(name, str))


def _positive(flags: ParsedFlags, name: str) -> int:
    return rules.positive(name, flags.get(name, int))


def _positive_duration(flags: ParsedFlags, name: str) -> timedelta:
    return rules.positive_duration(name, flags.get(name, timedelta))


def _file(flags: ParsedFlags, name: str) -> Path | None:
    text = flags.text_if_given(name)
    return None if text is None else Path(text)
