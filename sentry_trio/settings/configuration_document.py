"""Parser of the configuration document, with the checks of the parts that matter to a certificate authority."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Final

from msgspec.structs import replace

from sentry_trio.errors import InvalidConfigurationError, InvalidValidatorError
from sentry_trio.go_text import format_duration, quote
from sentry_trio.settings import token_validators
from sentry_trio.settings.configuration import Configuration
from sentry_trio.settings.documents import read_document
from sentry_trio.settings.sections import Section, make_section
from sentry_trio.settings.substitution import substitute
from sentry_trio.settings.token_validators import read_jwks_options, read_token_validators
from sentry_trio.settings.values import InvalidValueError, parse_duration

MOST_BYTES: Final = 1 << 20
_MOST_WARNINGS: Final = 10
_MTLS_FIELDS: Final = (
    *("enabled", "workloadCertTTL", "allowedClockSkew", "controlPlaneTrustDomain", "sentryAddress", "tokenValidators"),
)
# Dates have to stay dates: a certificate's end is now plus lifetime plus skew.
MOST_DURATION: Final = timedelta(days=36_500)


def parse_configuration(text: bytes, environ: Mapping[str, str], *, name: str) -> Configuration:
    """Parses a configuration file's content.

    Environment variables are substituted first. Only `spec.mtls` matters; `spec.secrets` is checked as Dapr does.
    Unknown fields below `spec.mtls` are warnings; other sections are Dapr's. An empty file is valid.

    Args:
        text: the file, at most `MOST_BYTES`, before and after the environment variables are substituted.
        environ: the variables.
        name: the value of `--config`, for the errors.

    Raises:
        InvalidConfigurationError: `cannot parse configuration "<name>": ` and the reason. Dapr Sentry reports such a
            file as not found. Errors in a validator's options have no prefix, as in Dapr.
    """
    try:
        configuration, jwks = _read(text, environ)
    except InvalidConfigurationError as error:
        raise type(error)(f"cannot parse configuration {quote(name)}: {error}") from error
    try:
        return configuration if jwks is None else replace(configuration, jwks=read_jwks_options(jwks))
    except InvalidConfigurationError as error:
        raise InvalidValidatorError(f"{error} (token validator 'jwks' in {name})") from error


def _read(text: bytes, environ: Mapping[str, str]) -> tuple[Configuration, dict[str, str] | None]:
    if len(text) > MOST_BYTES:
        raise InvalidConfigurationError(f"more than {MOST_BYTES} bytes")
    spec = make_section("", read_document(substitute(text, environ, most=MOST_BYTES))).section("spec")
    _check_secrets(spec.section("secrets"))
    mtls = spec.section("mtls")
    # Dapr Sentry ignores the values of these, too, but not a wrong type.
    mtls.switch("enabled")
    mtls.text("sentryAddress")
    trust_domain = mtls.text("controlPlaneTrustDomain") or None
    defaults = Configuration()
    lifetime = _duration(mtls, "workloadCertTTL", defaults.workload_cert_ttl)
    if lifetime <= timedelta():
        raise InvalidConfigurationError(
            f"{mtls.path}.workloadCertTTL must be positive, got {format_duration(lifetime)}"
        )
    skew = _duration(mtls, "allowedClockSkew", defaults.allowed_clock_skew)
    if skew < timedelta():
        raise InvalidConfigurationError(
            f"{mtls.path}.allowedClockSkew must not be negative, got {format_duration(skew)}"
        )
    jwks = read_token_validators(mtls)
    warnings = _warnings(mtls)
    return Configuration(lifetime, skew, control_plane_trust_domain=trust_domain, warnings=warnings), jwks


def _warnings(mtls: Section) -> tuple[str, ...]:
    found = mtls.unknown(_MTLS_FIELDS)
    for entry in mtls.sections("tokenValidators"):
        found += entry.unknown(token_validators.FIELDS)
        found += entry.section("options").unknown(token_validators.JWKS_OPTIONS, ignore_case=True)
    if len(found) > _MOST_WARNINGS:
        found[_MOST_WARNINGS:] = [f"{len(found) - _MOST_WARNINGS} more unknown fields have no effect"]
    return tuple(found)


def _duration(mtls: Section, name: str, default: timedelta) -> timedelta:
    text = mtls.text(name)
    if not text:
        return default
    try:
        duration = parse_duration(text)
    except InvalidValueError as error:
        raise InvalidConfigurationError(f"error parsing {name[0].upper()}{name[1:]} duration: {error}") from error
    if duration > MOST_DURATION:
        most = format_duration(MOST_DURATION)
        raise InvalidConfigurationError(f"{mtls.path}.{name} must be at most {most}, got {format_duration(duration)}")
    return duration


def _check_secrets(secrets: Section) -> None:
    """Checks a section that has no effect here, because Dapr Sentry does not start if it is invalid."""
    stores: set[str] = set()
    for scope in secrets.sections("scopes"):
        store = scope.text("storeName")
        access = scope.text("defaultAccess")
        scope.texts("allowedSecrets")
        scope.texts("deniedSecrets")
        if store in stores:
            raise InvalidConfigurationError(f"{quote(store)} storeName is repeated in secrets configuration")
        if access and access.lower() not in {"allow", "deny"}:
            raise InvalidConfigurationError(f"defaultAccess {quote(access)} can be either allow or deny")
        stores.add(store)
