"""What the options of the token validator `jwks` say."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from sentry_trio.errors import InvalidValidatorError
from sentry_trio.settings.values import InvalidValueError, parse_bool, parse_decimal, parse_duration

# What is not above these is as good as not said, in Dapr Sentry 1.18.
_LEAST_INTERVAL: Final = timedelta(seconds=1)
_LEAST_TIMEOUT: Final = timedelta(milliseconds=1)
_MOST: Final = timedelta(days=36_500)


@dataclass(frozen=True, slots=True)
class JwksOptions:
    """Where a key set is from, and how it is used.

    Attributes:
        source: a URL, the path of a file, or the set itself, as JSON or base64 of that.
        ca_certificate: PEM, or the path of a file with it, in place of the system's roots; empty for those.
        min_refresh_interval: between two fetches that nobody asked for.
        request_timeout: for one fetch from first to last.
        allow_tokens_without_expiry: whether a token without `exp` is good for ever, as in Dapr Sentry 1.18.
    """

    source: str = ""
    ca_certificate: str = ""
    min_refresh_interval: timedelta = timedelta(minutes=10)
    request_timeout: timedelta = timedelta(seconds=30)
    allow_tokens_without_expiry: bool = False


OPTIONS: Final = ("source", "caCertificate", "minRefreshInterval", "requestTimeout", "allowTokensWithoutExpiry")
"""The names that `read_jwks_options` knows."""


def read_jwks_options(options: Mapping[str, str]) -> JwksOptions:
    """Reads options by names without case; unknown ones are not looked at.

    Raises:
        InvalidValidatorError: `failed to decode validator options: `, the option and what is wrong with it.
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
