"""The options of the jwks validator."""

from datetime import timedelta

import pytest

from sentry_trio.errors import InvalidConfigurationError
from sentry_trio.settings.jwks import JwksOptions, read_jwks_options


def test_defaults() -> None:
    assert read_jwks_options({}) == JwksOptions("", "", timedelta(minutes=10), timedelta(seconds=30), False)


def test_names_have_no_case_and_unknown_ones_are_ignored() -> None:
    found = read_jwks_options(
        {"SOURCE": "s", "CaCertificate": "c", "minrefreshinterval": "1h", "allowTokensWithoutExpiry": "true", "x": "y"}
    )
    assert found == JwksOptions("s", "c", timedelta(hours=1), timedelta(seconds=30), True)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1m", 60), ("90", 90), ("1s", 600), ("1001ms", 1.001), ("0", 600), ("-5m", 600), ("", 600), ("1", 600)],
)
def test_intervals(text: str, seconds: float) -> None:
    assert read_jwks_options({"minRefreshInterval": text}).min_refresh_interval.total_seconds() == seconds


@pytest.mark.parametrize(("text", "seconds"), [("2ms", 0.002), ("1ms", 30), ("5", 5), ("9000000h", 3153600000)])
def test_timeouts(text: str, seconds: float) -> None:
    if text == "9000000h":
        with pytest.raises(InvalidConfigurationError):
            read_jwks_options({"requestTimeout": text})
        text = "1000000h"
    assert read_jwks_options({"requestTimeout": text}).request_timeout.total_seconds() == seconds


@pytest.mark.parametrize(
    ("name", "text", "error"),
    [
        ("minRefreshInterval", "1d", 'expected a duration such as 1h30m, got "1d"'),
        ("requestTimeout", "x", 'expected a duration such as 1h30m, got "x"'),
        ("requestTimeout", "9" * 18, f'expected a duration such as 1h30m, got "{"9" * 18}"'),
        ("allowTokensWithoutExpiry", "yes", 'expected true or false, got "yes"'),
    ],
)
def test_mistakes(name: str, text: str, error: str) -> None:
    with pytest.raises(InvalidConfigurationError) as caught:
        read_jwks_options({name: text})
    assert str(caught.value) == f"failed to decode validator options: {name}: {error}"


def test_white_space_around_a_source_is_no_part_of_it() -> None:
    options = read_jwks_options({"source": " https://keys.example/jwks \n", "caCertificate": "/etc/ca.crt\n"})
    assert (options.source, options.ca_certificate) == ("https://keys.example/jwks", "/etc/ca.crt")
