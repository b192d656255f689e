"""The validators that a configuration asks for."""

import pytest

from sentry_trio.errors import InvalidConfigurationError
from sentry_trio.settings.documents import read_document
from sentry_trio.settings.sections import make_section
from sentry_trio.settings.token_validators import TokenValidator, read_token_validators


def read(text: str) -> tuple[TokenValidator, ...]:
    return read_token_validators(make_section("", read_document(f"tokenValidators: {text}".encode())))


@pytest.mark.parametrize("text", ["", "~", "[]", "[~]"])
def test_none(text: str) -> None:
    assert read(text) == ()


@pytest.mark.parametrize("name", ["jwks", "JWKS", "Jwks"])
def test_names_have_no_case(name: str) -> None:
    assert read(f"[{{name: {name}}}]") == (TokenValidator("jwks", {}),)


def test_the_last_of_one_name_is_meant() -> None:
    assert read("[{name: jwks, options: {a: 1}}, {name: JWKS, options: {b: 2}}]") == (
        TokenValidator("jwks", {"b": "2"}),
    )


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
    assert read(f"[{{name: jwks, options: {{o: {value}}}}}]")[0].options == {"o": text}


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
