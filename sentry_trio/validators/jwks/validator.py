"""Validator for callers with a token that a key of a configured set has signed."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final, Protocol

from sentry_trio.ca.spiffe import SpiffeId
from sentry_trio.errors import InvalidIdentityError, MalformedRequestError, NotPermittedError, ValidatorNotReadyError
from sentry_trio.go_text import quote
from sentry_trio.grpc.admission import Network
from sentry_trio.proto.sentry_pb2 import SignCertificateRequest
from sentry_trio.tokens.compact import LAST_SECOND, InvalidTokenError, encode_token, read_object, split_token
from sentry_trio.tokens.keys import VerificationKey
from sentry_trio.validators import AuthenticatedCaller, check_request

LEEWAY: Final = 300
"""Seconds that this clock and the issuer's may differ."""

# Characters of a key ID in an answer; it is the caller's own.
_SHOWN: Final = 128
_NOT_VERIFIED: Final = "could not verify message using any of the signatures or keys"


class Keys(Protocol):
    """Keys that tokens are signed by."""

    @property
    def ready(self) -> bool:
        """True once a set was read."""

    async def find(self, kid: str) -> VerificationKey | None:
        """Returns the key with that ID, None if there is none. Raises ValidatorNotReadyError if that is not known."""

    def why_dropped(self, kid: str) -> str | None:
        """Returns why a key of the set is not used, or None if the set has none with that ID."""


class JwksValidator:
    """Authenticates callers by a token for this authority whose subject is the requested SPIFFE ID.

    The checks, their order and their texts are Dapr Sentry 1.18's, with these differences: temporary failures are
    ValidatorNotReadyError and not final; a token must have `exp`, unless its absence is allowed; its algorithm must be
    that of its key, if the key has one; a token is rejected if it is longer than 16 KiB, has `crit` in its header, a
    repeated member, or base64url that is not canonical.

    Args:
        keys: keys of the set.
        audience: required in tokens: the SPIFFE ID of this authority.
        expiry_required: True if a token without `exp` is rejected.
        now: the wall clock, aware.
    """

    def __init__(self, keys: Keys, *, audience: str, expiry_required: bool, now: Callable[[], datetime]) -> None:
        self._keys = keys
        self._audience = audience
        self._expiry_required = expiry_required
        self._now = now

    async def validate(self, request: SignCertificateRequest, _network: Network) -> AuthenticatedCaller:
        """Authenticates the caller.

        Raises:
            NotPermittedError: it may not have this identity.
            ValidatorNotReadyError: that cannot be decided now.

        Cancellation: at once.
        """
        if not request.token:
            raise NotPermittedError("the request does not contain a token")
        if not self._keys.ready:
            raise ValidatorNotReadyError("jwks validator not ready")
        trust_domain = check_request(request)
        try:
            subject = SpiffeId.make(trust_domain, request.namespace, request.id)
        except InvalidIdentityError as error:
            raise MalformedRequestError(f"failed to construct SPIFFE ID for requestor: {error}") from error
        try:
            claims = await self._signed_claims(request.token)
            check_claims(
                claims,
                now=self._now().timestamp(),
                audience=self._audience,
                subject=str(subject),
                expiry_required=self._expiry_required,
            )
        except InvalidTokenError as error:
            raise NotPermittedError(f"token validation failed: {error}") from error
        return AuthenticatedCaller(trust_domain=trust_domain)

    async def _signed_claims(self, text: str) -> dict[str, Any]:
        """Returns the claims of a token that a key of the set has signed.

        Raises:
            InvalidTokenError: no key has signed it, or it is not a token.
            ValidatorNotReadyError: that cannot be decided now.
        """
        # A file with a token in it often ends with a newline.
        token = encode_token(text).strip()
        compact = split_token(token)
        header = read_object(compact.header)
        kid = header.get("kid")
        if not isinstance(kid, str) or not kid:
            raise InvalidTokenError(
                'key provider 0 failed: failed to find matching key: no key ID ("kid") specified in token'
            )
        algorithm = header.get("alg")
        # Extensions that `crit` names must be understood (RFC 7515, 4.1.11), and none is. The payload of a JWT is
        # always in base64url (RFC 7797, 7).
        if not isinstance(algorithm, str) or "crit" in header or header.get("b64", True) is not True:
            raise InvalidTokenError(_NOT_VERIFIED)
        key = await self._keys.find(kid)
        if key is None:
            shown = quote(kid if len(kid) <= _SHOWN else f"{kid[:_SHOWN]}...")
            reason = self._keys.why_dropped(kid)
            hint = f" (the set has it, but it is not used: {reason})" if reason else ""
            raise InvalidTokenError(f"key provider 0 failed: failed to find key with key ID {shown} in key set{hint}")
        if not key.verifies(token, algorithm):
            raise InvalidTokenError(_NOT_VERIFIED)
        return read_object(compact.payload)


def check_claims(claims: Mapping[str, Any], *, now: float, audience: str, subject: str, expiry_required: bool) -> None:
    """Checks times, audience and subject, in the order and with the texts of the library that Dapr Sentry 1.18 uses.

    Args:
        claims: claims of a token with a valid signature.
        now: Unix time in seconds.
        audience: required in `aud`.
        subject: required as `sub`.
        expiry_required: true if `exp` is required; Dapr Sentry 1.18 does not require it.

    Raises:
        InvalidTokenError: names the first invalid claim.
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
    """Returns a NumericDate (RFC 7519, section 2)."""
    value = claims[name]
    # Later times are probably milliseconds: a token must not last without limit by mistake.
    if isinstance(value, bool) or not isinstance(value, int | float) or not -LAST_SECOND <= value <= LAST_SECOND:
        raise InvalidTokenError(f'"{name}" not satisfied')
    return value
