"""Hostile tokens at the two doors of `tokens`: taken apart or refused, verified by their own key or by none."""

import json
from collections.abc import Callable

import pytest
from hypothesis import given

from sentry_trio.tokens.compact import LONGEST, InvalidTokenError, encode_token, read_object, split_token
from sentry_trio.tokens.keys import read_keys
from testkit.hostile_tokens import PATIENT, Forger
from tests.tokens.test_keys import ALL, SIGNED, jwk, private

KINDS = {algorithm: kind for kind, algorithm in SIGNED}
KEYS = read_keys([jwk(kind, kid=algorithm) for algorithm, kind in KINDS.items()], ALL).usable
FORGER = Forger({algorithm: private(kind) for algorithm, kind in KINDS.items()}, {"aud": "a", "exp": 1, "sub": "s"})
MEMBERS = 10_000


def believed(text: str) -> bool:
    """Returns True if the key that a token names has signed it, and the token can be read."""
    token = encode_token(text)
    compact = split_token(token)
    header = read_object(compact.header)
    read_object(compact.payload)
    key, algorithm = KEYS.get(str(header.get("kid"))), header.get("alg")
    return key is not None and isinstance(algorithm, str) and key.verifies(token, algorithm)


def is_refused(text: str) -> bool:
    try:
        return not believed(text)
    except InvalidTokenError:
        return True


@PATIENT
@given(FORGER.good())
def test_a_valid_token_is_accepted(text: str) -> None:
    assert believed(text)


@PATIENT
@given(
    FORGER.truncated()
    | FORGER.altered()
    | FORGER.unsigned()
    | FORGER.swapped()
    | FORGER.public_as_secret()
    | FORGER.embedded_key()
    | FORGER.key_ids()
    | FORGER.other_shapes()
)
def test_tokens_not_signed_by_the_named_key_are_rejected(text: str) -> None:
    assert is_refused(text)


@PATIENT
@given(FORGER.duplicates() | FORGER.documents() | FORGER.spellings() | FORGER.huge(LONGEST))
def test_invalid_tokens_by_any_signer(text: str) -> None:
    with pytest.raises(InvalidTokenError):
        believed(text)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: "[" * MEMBERS,
        lambda: '{"a":' * MEMBERS,
        lambda: json.dumps({str(n): n for n in range(9)})[:-1] + ',"8":0}',
    ],
    ids=["lists", "objects", "the last name twice"],
)
def test_depth_and_number_are_no_way_around(wrong: Callable[[], str]) -> None:
    with pytest.raises(InvalidTokenError, match=r"^invalid JWT$"):
        read_object(wrong().encode())
