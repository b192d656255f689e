"""The token validators of a configuration."""

from datetime import timedelta

import pytest

from sentry_trio.errors import InvalidConfigurationError
from sentry_trio.settings.configuration import JwksOptions
from sentry_trio.settings.documents import read_document
from sentry_trio.settings.sections import make_section
from sentry_trio.settings.token_validators import read_jwks_options, read_token_validators


def read(text: str) -> dict[str, str] | None:
    return read_token_validators(make_section("", read_document(f"tokenValidators: {text}".encode())))


@pytest.mark.parametrize("text", ["", "~", "[]", "[~]"])
def test_none(text: str) -> None:
    assert read(text) is None


@pytest.mark.parametrize("name", ["jwks", "JWKS", "Jwks"])
def test_names_have_no_case(name: str) -> None:
    assert read(f"[{{name: {name}}}]") == {}


def test_the_last_of_one_name_is_meant() -> None:
    assert read("[{name: jwks, options: {a: 1}}, {name: JWKS, options: {b: 2}}]") == {"b": "2"}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("https://x/keys", "https://x/keys"),
        ("'010'", "010"),
        ("!!str 010", "010"),
        ("010", "8"),
        ("0x1F", "31"),
        ("1_000", "1000"),
        ("1.50", "1.5"),
        ("1.0", "1"),
        ("0.1", "0.1"),
        ("1e3", "1000"),
        ("1e21", "1000000000000000000000"),
        ("-.5", "-0.5"),
        ("1e999", "1e999"),
        ("True", "true"),
        ("FALSE", "false"),
        ("yes", "yes"),
        ("24h", "24h"),
        ("~", ""),
        ("{a: b}", ""),
        ("[a]", ""),
    ],
)
def test_options_become_texts(value: str, text: str) -> None:
    assert read(f"[{{name: jwks, options: {{o: {value}}}}}]") == {"o": text}


@pytest.mark.parametrize("name", ["kubernetes", "insecure", "Insecure"])
def test_built_in_validators_cannot_be_configured(name: str) -> None:
    with pytest.raises(InvalidConfigurationError) as caught:
        read(f"[{{name: {name}}}]")
    assert (
        str(caught.value)
        == "invalid token validator: the built-in 'kubernetes' and 'insecure' validators cannot be configured manually"
    )


@pytest.mark.parametrize("name", ["unknown", "Other", "''"])
def test_other_names_are_invalid(name: str) -> None:
    with pytest.raises(InvalidConfigurationError) as caught:
        read(f"[{{name: jwks}}, {{name: {name}}}]")
    shown = name.strip("'")
    assert str(caught.value) == f"invalid token validator name: '{shown}'; supported values: 'jwks'"


def test_defaults_of_jwks() -> None:
    assert read_jwks_options({}) == JwksOptions("", "", timedelta(minutes=10), timedelta(seconds=30), False)


def test_names_of_options_have_no_case_and_unknown_ones_are_ignored() -> None:
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
def test_mistakes_in_options(name: str, text: str, error: str) -> None:
    with pytest.raises(InvalidConfigurationError) as caught:
        read_jwks_options({name: text})
    assert str(caught.value) == f"failed to decode validator options: {name}: {error}"


def test_white_space_around_a_source_is_no_part_of_it() -> None:
    options = read_jwks_options({"source": " https://keys.example/jwks \n", "caCertificate": "/etc/ca.crt\n"})
    assert (options.source, options.ca_certificate) == ("https://keys.example/jwks", "/etc/ca.crt")
