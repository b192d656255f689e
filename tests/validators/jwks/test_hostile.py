"""Whatever the token: refused, in words that can be sent, and after no more work than a good one is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentry_trio.errors import NotPermittedError
from sentry_trio.tokens.compact import LONGEST
from sentry_trio.tokens.keys import VerificationKey
from testkit.hostile_tokens import PATIENT, Forger
from tests.validators.jwks.test_validator import AUDIENCE, FAILED, KEYS, PRIVATE, Keys, claims, validate

pytestmark = pytest.mark.uncovered

FORGER = Forger(PRIVATE, claims(aud=AUDIENCE))
# Bytes of a text that a caller gets: its request is repeated in parts only.
LONGEST_TEXT = 1024


class Counted(VerificationKey, frozen=True):
    """Counts the signatures that it is asked of."""

    asked: list[str]

    def verifies(self, token: bytes, algorithm: str) -> bool:
        assert len(token) <= LONGEST
        self.asked.append(algorithm)
        return super().verifies(token, algorithm)


class CountedKeys(Keys):
    """Counts the work that a token causes."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.verified: list[str] = []

    async def find(self, kid: str) -> VerificationKey | None:
        self.found.append(kid)
        key = await KEYS.find(kid)
        return key and Counted(key.key, key.algorithms, self.verified)


async def refusal(text: str) -> tuple[str, CountedKeys]:
    keys = CountedKeys()
    try:
        await validate(text, keys=keys)
    except NotPermittedError as error:
        reported = str(error)
    else:
        raise AssertionError(f"it passed: {text}")
    assert reported.startswith(FAILED)
    assert len(reported.encode()) <= LONGEST_TEXT
    assert len(keys.verified) <= len(keys.found) <= 1
    return reported.removeprefix(FAILED), keys


@PATIENT
@given(FORGER.good())
async def test_a_sound_token_passes_by_the_same_harness(text: str) -> None:
    keys = CountedKeys()
    assert await validate(text, keys=keys) == "public"
    assert len(keys.verified) == 1


@PATIENT
@given(FORGER.truncated() | FORGER.altered() | FORGER.unsigned() | FORGER.other_shapes())
async def test_unsigned_tokens(text: str) -> None:
    await refusal(text)


@PATIENT
@given(FORGER.swapped() | FORGER.public_as_secret() | FORGER.embedded_key())
async def test_signatures_that_are_not_by_the_key_that_is_named(text: str) -> None:
    reported, _ = await refusal(text)
    assert reported == "could not verify message using any of the signatures or keys"


@PATIENT
@given(FORGER.key_ids())
async def test_key_ids(text: str) -> None:
    reported, keys = await refusal(text)
    assert reported.startswith("key provider 0 failed: failed to find ")
    assert not keys.verified


@PATIENT
@given(FORGER.critical())
async def test_extensions(text: str) -> None:
    reported, keys = await refusal(text)
    assert reported == "could not verify message using any of the signatures or keys"
    assert not keys.found


@PATIENT
@given(FORGER.duplicates() | FORGER.documents())
async def test_ambiguous_tokens_are_rejected(text: str) -> None:
    reported, _ = await refusal(text)
    assert reported == "invalid JWT"


@PATIENT
@given(FORGER.spellings())
async def test_other_spellings_of_a_good_token(text: str) -> None:
    reported, keys = await refusal(text)
    assert reported == "invalid JWT"
    assert not keys.found


@PATIENT
@given(FORGER.claims_amiss())
async def test_claims(text: str) -> None:
    reported, keys = await refusal(text)
    assert reported.startswith(
        ('"exp" not', '"nbf" not', '"iat" not', '"aud" not', 'claim "aud" not found', '"sub" not')
    )
    assert len(keys.verified) == 1


@PATIENT
@given(FORGER.huge(LONGEST))
async def test_tokens_over_the_limit_are_not_parsed(text: str) -> None:
    reported, keys = await refusal(text)
    assert reported == f"longer than {LONGEST} bytes"
    assert not keys.found


@PATIENT
@given(st.integers(0, 2))
async def test_a_token_of_the_greatest_length_passes(spare: int) -> None:
    """Tokens above are rejected only for their length."""
    rest = len(FORGER.made("ES256", None, b"{}")) - 3
    payload = str(claims(aud=AUDIENCE)).replace("'", '"').encode()
    text = FORGER.made("ES256", None, payload.ljust((LONGEST - rest) * 3 // 4 - spare))
    assert LONGEST - 4 * (spare + 1) <= len(text) <= LONGEST
    assert await validate(text) == "public"
