"""What a token has to say, with the words of the library that Dapr Sentry 1.18 checks it by."""

from collections.abc import Mapping
from typing import Any, Final

from sentry_trio.tokens.compact import InvalidTokenError

LEEWAY: Final = 300
"""Seconds that this clock and the issuer's may be apart."""

# The end of the year 9999. What is beyond is no time in seconds, but milliseconds for one; a token must not be good
# for ever by mistake.
_FARTHEST: Final = 253_402_300_799


def check_claims(
    claims: Mapping[str, Any], *, now: float, audience: str, subject: str, expiry_required: bool = True
) -> None:
    """Checks times, audience and subject, in Dapr's order.

    Args:
        claims: of a token whose signature is good.
        now: Unix time in seconds.
        audience: one that the token has to be for.
        subject: who the token has to be of.
        expiry_required: whether a token has to say until when it is good; Dapr Sentry 1.18 does not ask for it.

    Raises:
        InvalidTokenError: the first claim that is not as it has to be.
    """
    if "iat" in claims and not _number(claims, "iat") <= now + LEEWAY:
        raise InvalidTokenError('"iat" not satisfied')
    if "exp" in claims:
        if not now < _number(claims, "exp") + LEEWAY:
            raise InvalidTokenError('"exp" not satisfied')
    elif expiry_required:
        raise InvalidTokenError('"exp" not satisfied: required claim not found')
    if "nbf" in claims and not _number(claims, "nbf") <= now + LEEWAY:
        raise InvalidTokenError('"nbf" not satisfied')
    if "aud" not in claims:
        raise InvalidTokenError('claim "aud" not found')
    audiences = claims["aud"] if isinstance(claims["aud"], list) else [claims["aud"]]
    if audience not in audiences or not all(isinstance(each, str) for each in audiences):
        raise InvalidTokenError('"aud" not satisfied')
    if claims.get("sub") != subject:
        raise InvalidTokenError('"sub" not satisfied: values do not match')


def _number(claims: Mapping[str, Any], name: str) -> float:
    """A NumericDate (RFC 7519, section 2)."""
    value = claims[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not -_FARTHEST <= value <= _FARTHEST:
        raise InvalidTokenError(f'"{name}" not satisfied')
    return value
