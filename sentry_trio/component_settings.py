"""Settings of each component, derived from the command line."""

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sentry_trio.ca.keys import KeyType
from sentry_trio.ca.renewal_policy import DEFAULT_GRACE, RenewalPolicy
from sentry_trio.ca.spiffe import SENTRY_APP_ID, SpiffeId, parse_trust_domain
from sentry_trio.environments.settings import ClusterSettings, EnvironmentSettings
from sentry_trio.errors import InvalidIdentityError, InvalidOptionsError, Part
from sentry_trio.grpc import Limits
from sentry_trio.listener import Address
from sentry_trio.open_files import grpc_share, open_file_limit
from sentry_trio.settings.options import Mode, Options, TokenVerification
from sentry_trio.stores.part_store import bundle_paths
from sentry_trio.telemetry.logs import get_logger
from sentry_trio.telemetry.metrics import Metrics
from sentry_trio.web.health import Target

if TYPE_CHECKING:
    from sentry_trio.environments.jwt import JwtSettings
    from sentry_trio.oidc.server import OidcServer

_log: Final = get_logger("dapr.sentry")


def own_identity(options: Options) -> SpiffeId:
    """Returns the identity of the authority; `--trust-domain` may be any SPIFFE ID within it, as in Dapr Sentry.

    Raises:
        InvalidOptionsError: trust domain and namespace form no SPIFFE ID.
    """
    try:
        trust_domain = parse_trust_domain(options.trust_domain)
    except InvalidIdentityError as error:
        raise InvalidOptionsError(f"invalid --trust-domain {options.trust_domain!r}: {error}") from error
    try:
        return SpiffeId.make(trust_domain, options.namespace, SENTRY_APP_ID)
    except InvalidIdentityError as error:
        raise InvalidOptionsError(
            f"--trust-domain {trust_domain!r} and NAMESPACE {options.namespace!r} do not form a SPIFFE ID: {error}"
        ) from error


def grpc_limits(options: Options) -> Limits:
    """Returns the limits of the gRPC server; warns if that of open files allows fewer connections."""
    share = grpc_share()
    if options.max_connections > share:
        _log.warning(
            f"--max-connections {options.max_connections}: the limit of {open_file_limit()} open files allows only "
            f"{share} gRPC connections; raise the limit of open files"
        )
    return Limits(
        connections=min(options.max_connections, share),
        connections_per_peer=options.max_connections_per_peer,
        calls=options.max_calls,
        idle_timeout=options.connection_idle_timeout.total_seconds(),
        age=options.connection_age.total_seconds(),
        drain_timeout=options.drain_timeout.total_seconds(),
    )


def environment_settings(options: Options) -> EnvironmentSettings:
    """Returns the settings of the environment.

    Raises:
        InvalidOptionsError: see `own_identity`.
    """
    identity = own_identity(options)
    return EnvironmentSettings(
        identity=identity,
        configuration=options.config,
        needs_configuration=options.config_given,
        paths=_part_paths(options),
        renewal=_renewal_policy(options, identity),
        passphrase_file=options.ca_root_key_passphrase_file,
        allowed_cut=options.allow_trust_cut,
        jwt=_jwt_settings(options) if options.jwt_enabled else None,
        cluster=_cluster_settings(options) if options.mode is Mode.KUBERNETES else None,
    )


def _renewal_policy(options: Options, identity: SpiffeId) -> RenewalPolicy:
    """Returns the parameters of renewal, except those of the configuration."""
    grace = options.trust_anchor_propagation_grace
    return RenewalPolicy(
        trust_domain=identity.trust_domain,
        namespace=identity.namespace,
        key_type=KeyType(options.ca_key_type),
        workload_ttl=timedelta(),
        allowed_clock_skew=timedelta(),
        enabled=options.ca_renewal_enabled,
        threshold=options.ca_renewal_threshold,
        lifetime=options.ca_ttl,
        grace=DEFAULT_GRACE if grace == "auto" else grace,
        grace_may_end_early=grace == "auto",
        scope=options.ca_renewal_scope,
        anchors_kept=options.ca_anchors_kept,
        keeps_root_key=options.ca_root_key == "keep",
        root_lifetime=options.ca_root_ttl,
    )


def _part_paths(options: Options) -> dict[Part, Path]:
    """Returns the path of each part: an absolute name is as it is, any other is below the credentials' directory."""
    directory = options.issuer_credentials
    paths = bundle_paths(
        directory,
        anchors=options.issuer_ca_filename,
        chain=options.issuer_certificate_filename,
        key=options.issuer_key_filename,
    )
    # Dapr Sentry replaces a relative name by `jwt.key` or `jwks.json`.
    return {**paths, Part.JWT_KEY: directory / options.jwt_key_filename, Part.JWKS: directory / options.jwks_filename}


def _jwt_settings(options: Options) -> "JwtSettings":
    from sentry_trio.ca.jwt_rotation import Rotation
    from sentry_trio.environments.jwt import JwtSettings

    rotation = Rotation(
        interval=options.jwt_key_rotation, lifetime=options.jwt_ttl, algorithm=options.jwt_signing_algorithm
    )
    # Rotated keys that the OIDC server serves are not published in the ConfigMap: a control plane of Dapr 1.16 to 1.18
    # notices one change of it only, which has to be that of the trust anchors.
    is_served = bool(options.jwt_key_rotation) and options.oidc_enabled
    return JwtSettings(
        rotation=rotation,
        issuer=options.jwt_issuer,
        key_id=options.jwt_key_id,
        publishes_jwks=options.jwks_in_config_map or not is_served,
    )


def _cluster_settings(options: Options) -> ClusterSettings:
    is_local = options.token_verification is TokenVerification.LOCAL
    return ClusterSettings(
        kubeconfig=Path(options.kubeconfig) if options.kubeconfig else None,
        keys_refresh=options.token_keys_refresh.total_seconds() if is_local else None,
        names_images=options.image_extension,
    )


def make_oidc_server(options: Options, *, metrics: Metrics, ready: Target) -> "OidcServer":
    """Makes the server of a command line with `--oidc-enabled`; see `OidcServer`.

    Raises:
        InvalidOptionsError: `--jwt-issuer` or `--oidc-jwks-uri` is not a URL, or a TLS file is missing.
    """
    from sentry_trio.oidc.hosts import Hosts
    from sentry_trio.oidc.server import OidcServer, make_rules
    from sentry_trio.oidc.tls_files import TLSFiles

    rules = make_rules(
        options.jwt_issuer,
        options.oidc_jwks_uri,
        options.oidc_path_prefix,
        Hosts(options.oidc_allowed_hosts, options.oidc_trusted_proxies),
    )
    files = None
    if options.oidc_server_tls_enabled:
        certificate, key = options.oidc_server_tls_cert_file, options.oidc_server_tls_key_file
        if certificate is None or key is None:  # rejected by the command line, but not for embedding programs
            raise InvalidOptionsError("the OIDC server needs certificate and key, or --oidc-server-tls-enabled=false")
        files = TLSFiles(certificate, key)
    address = Address(options.oidc_server_listen_address, options.oidc_server_listen_port)
    return OidcServer(rules, files, address, metrics=metrics, ready=ready)
