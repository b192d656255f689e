"""The token validators that a configuration adds to the built-in ones: `jwks` and its options."""

import math
import re
from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal
from typing import Final

import yaml

from sentry_trio.errors import InvalidValidatorError
from sentry_trio.settings.configuration import JwksOptions
from sentry_trio.settings.documents import is_null, is_untagged
from sentry_trio.settings.sections import Section
from sentry_trio.settings.values import InvalidValueError, parse_bool, parse_decimal, parse_duration, parse_int

FIELDS: Final = ("name", "options")
"""The fields of an entry."""
JWKS_OPTIONS: Final = ("source", "caCertificate", "minRefreshInterval", "requestTimeout", "allowTokensWithoutExpiry")
"""The options of `jwks`."""

_BUILT_IN: Final = frozenset(("kubernetes", "insecure"))
_BOOLEANS: Final = frozenset(("true", "True", "TRUE", "false", "False", "FALSE"))
_FLOAT: Final = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
# Dapr Sentry 1.18 uses the default unless a value is above these.
_LEAST_INTERVAL: Final = timedelta(seconds=1)
_LEAST_TIMEOUT: Final = timedelta(milliseconds=1)
_MOST: Final = timedelta(days=36_500)


def read_token_validators(mtls: Section) -> dict[str, str] | None:
    """Reads `spec.mtls.tokenValidators`.

    Returns:
        The options of `jwks` as texts, as Dapr Sentry passes them on; of several entries those of the last. None if
        there is no entry.

    Raises:
        InvalidValidatorError: a name that cannot be configured.
    """
    options = None
    for section in mtls.sections("tokenValidators"):
        _check_name(section.text("name"))
        options = {name: _flat(node) for name, node in section.section("options").entries.items()}
    return options


def _check_name(text: str) -> None:
    name = text.lower()
    if name in _BUILT_IN:
        raise InvalidValidatorError(
            "invalid token validator: the built-in 'kubernetes' and 'insecure' validators cannot be configured manually"
        )
    if name != "jwks":
        raise InvalidValidatorError(f"invalid token validator name: '{text}'; supported values: 'jwks'")


def _flat(node: yaml.Node) -> str:
    """Returns an option as text: a number or boolean in standard form, another scalar as written, else nothing."""
    if not isinstance(node, yaml.ScalarNode) or is_null(node):
        return ""
    if not is_untagged(node):
        return str(node.value)
    return node.value.lower() if node.value in _BOOLEANS else _standard_number(node.value)


def _standard_number(text: str) -> str:
    digits = text.replace("_", "")
    try:
        return str(parse_int(digits))
    except InvalidValueError:
        number = float(digits) if _FLOAT.fullmatch(digits) else math.nan
        # All digits and no exponent, as few as distinguish the number.
        return f"{Decimal(repr(number)):f}".removesuffix(".0") if math.isfinite(number) else text


def read_jwks_options(options: Mapping[str, str]) -> JwksOptions:
    """Parses the options of `jwks`. Names are case-insensitive, and unknown ones are ignored.

    Raises:
        InvalidValidatorError: `failed to decode validator options: `, the option and the reason.
    """
    texts = {name.lower(): text for name, text in options.items()}
    defaults = JwksOptions()
    return JwksOptions(
        # Values come from YAML and Helm templates, which leave line breaks behind.
        source=texts.get("source", "").strip(),
        ca_certificate=texts.get("cacertificate", "").strip(),
        min_refresh_interval=_duration(texts, "minRefreshInterval", _LEAST_INTERVAL, defaults.min_refresh_interval),
        request_timeout=_duration(texts, "requestTimeout", _LEAST_TIMEOUT, defaults.request_timeout),
        allow_tokens_without_expiry=_switch(texts, "allowTokensWithoutExpiry"),
    )


def _duration(texts: Mapping[str, str], name: str, least: timedelta, default: timedelta) -> timedelta:
    text = texts.get(name.lower(), "")
    if not text:
        return default
    try:
        duration = parse_duration(text)
    except InvalidValueError as error:
        duration = _seconds(name, text, error)
    return min(duration, _MOST) if duration > least else default


def _seconds(name: str, text: str, fault: InvalidValueError) -> timedelta:
    try:
        return timedelta(seconds=parse_decimal(text))
    except (InvalidValueError, OverflowError):
        raise _unfit(name, fault) from fault


def _switch(texts: Mapping[str, str], name: str) -> bool:
    text = texts.get(name.lower(), "")
    try:
        return parse_bool(text) if text else False
    except InvalidValueError as error:
        raise _unfit(name, error) from error


def _unfit(name: str, error: InvalidValueError) -> InvalidValidatorError:
    return InvalidValidatorError(f"failed to decode validator options: {name}: {error}")
