"""The validators of caller's tokens that a configuration asks for beside the built-in ones."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from types import MappingProxyType
from typing import Final

from sentry_trio.errors import InvalidValidatorError
from sentry_trio.settings.documents import Scalar
from sentry_trio.settings.sections import Section
from sentry_trio.settings.values import InvalidValueError, parse_int

FIELDS: Final = ("name", "options")
"""The fields of an entry."""

_BUILT_IN = frozenset(("kubernetes", "insecure"))
_CONFIGURABLE = frozenset(("jwks",))
_BOOLEANS = frozenset(("true", "True", "TRUE", "false", "False", "FALSE"))
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")


@dataclass(frozen=True)
class TokenValidator:
    """A validator and how it is set up.

    Attributes:
        name: in lower case.
        options: numbers and booleans as text, maps and lists as empty text, as in Dapr Sentry.
    """

    name: str
    options: Mapping[str, str]


def read_token_validators(mtls: Section) -> tuple[TokenValidator, ...]:
    """The validators of `spec.mtls.tokenValidators`; of several with one name the last is meant, as in Dapr Sentry.

    Raises:
        InvalidValidatorError: a name that cannot be configured.
    """
    found: dict[str, TokenValidator] = {}
    for section in mtls.sections("tokenValidators"):
        name = _checked_name(section.text("name"))
        options = {key: _flat(node) for key, node in section.section("options").scalars().items()}
        found[name] = TokenValidator(name, MappingProxyType(options))
    return tuple(found.values())


def _checked_name(text: str) -> str:
    name = text.lower()
    if name in _BUILT_IN:
        raise InvalidValidatorError(
            "invalid token validator: the built-in 'kubernetes' and 'insecure' validators cannot be configured manually"
        )
    if name not in _CONFIGURABLE:
        raise InvalidValidatorError(f"invalid token validator name: '{text}'; supported values: 'jwks'")
    return name


def _flat(node: Scalar | None) -> str:
    """An option's value as text: a plain number or boolean in its one standard form, anything else as written."""
    if node is None:
        return ""
    if not node.plain or node.tag:
        return node.text
    return node.text.lower() if node.text in _BOOLEANS else _standard_number(node.text)


def _standard_number(text: str) -> str:
    digits = text.replace("_", "")
    try:
        return str(parse_int(digits))
    except InvalidValueError:
        number = float(digits) if _FLOAT.fullmatch(digits) else math.nan
        # All digits and no exponent, as few as tell the number apart.
        return f"{Decimal(repr(number)):f}".removesuffix(".0") if math.isfinite(number) else text
