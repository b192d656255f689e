"""The public keys that a cluster signs its service account tokens with, as its API server publishes them."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from sentry_trio.errors import SentryError
from sentry_trio.tokens import keys
from sentry_trio.tokens.keys import ECDSA, PKCS1, VerificationKey

ALGORITHMS: Final = PKCS1 | ECDSA
"""The signature algorithms that API servers sign with and accept; all are asymmetric."""

# Enough for any rotation; a document is not trusted to be small.
_MOST_KEYS: Final = 64


class InvalidKeysError(SentryError):
    """A document is no set of keys, or no description of an issuer."""


class _Discovery(msgspec.Struct):
    issuer: str


def read_issuer(document: Mapping[str, Any]) -> str:
    """The issuer that a discovery document (OpenID Connect Discovery 1.0, section 3) tells of.

    Raises:
        InvalidKeysError: there is none in it.
    """
    try:
        issuer = msgspec.convert(document, _Discovery).issuer
    except msgspec.ValidationError as error:
        raise InvalidKeysError(f"no issuer in the API server's discovery document: {error}") from error
    if not issuer:
        raise InvalidKeysError("the issuer in the API server's discovery document is empty")
    return issuer


def read_keys(document: Mapping[str, Any]) -> Mapping[str, VerificationKey]:
    """The usable keys of a JWK set, by key ID; others are left out, as RFC 7517, section 5, has it.

    Raises:
        InvalidKeysError: there is no usable key in it.
    """
    members = document.get("keys")
    found = keys.read_keys(members[:_MOST_KEYS] if isinstance(members, list) else [], ALGORITHMS).usable
    if not found:
        raise InvalidKeysError("no key to check tokens with in the API server's JWK set")
    return found
