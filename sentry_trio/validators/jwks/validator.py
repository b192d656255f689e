"""Vouches for callers that show a token of their own, signed by a key of the set."""

from collections.abc import Callable
from datetime import datetime
from typing import Any, Final, Protocol

from sentry_trio.ca.spiffe import SpiffeId
from sentry_trio.errors import InvalidIdentityError, MalformedRequestError, NotPermittedError, ValidatorNotReadyError
from sentry_trio.proto.sentry_pb2 import SignCertificateRequest
from sentry_trio.settings.values import quote
from sentry_trio.tokens.compact import InvalidTokenError, encode_token, read_object, split_token
from sentry_trio.tokens.keys import VerificationKey
from sentry_trio.validators import Vouched
from sentry_trio.validators.jwks.claims import check_claims
from sentry_trio.validators.request import check_request

# Characters of a key ID that a caller is told; it is the caller's own.
_SHOWN: Final = 128
_NOT_VERIFIED: Final = "could not verify message using any of the signatures or keys"


class Keys(Protocol):
    """The keys that tokens are signed by."""

    @property
    def ready(self) -> bool:
        """Whether any set was read."""

    async def find(self, kid: str) -> VerificationKey | None:
        """The key with that ID, None where there is none. Raises ValidatorNotReadyError where that is not known."""

    def why_dropped(self, kid: str) -> str | None:
        """Returns why a key of the set is not used, or None if the set has none with that ID."""


class JwksValidator:
    """Vouches for who shows a token that is for this authority and whose subject is the SPIFFE ID asked for.

    The checks, their order and their texts are Dapr Sentry 1.18's, with these differences: what may pass by itself is
    ValidatorNotReadyError and not a refusal for good; a token has to say until when it is good, unless that is
    allowed; the algorithm of a token has to be that of its key, where the key has one; a token beyond 16 KiB, with
    `crit` in its header, with a name that stands twice, or whose base64url is not canonical is refused.

    Args:
        keys: of the set.
        audience: what a token has to be for: the SPIFFE ID of this authority.
        expiry_required: whether a token without `exp` is refused.
        now: the wall clock, aware.
    """

    def __init__(self, keys: Keys, *, audience: str, expiry_required: bool, now: Callable[[], datetime]) -> None:
        self._keys = keys
        self._audience = audience
        self._expiry_required = expiry_required
        self._now = now

    async def validate(self, request: SignCertificateRequest) -> Vouched:
        """Vouches for the caller.

        Raises:
            NotPermittedError: it may not have this identity.
            ValidatorNotReadyError: whether it may cannot be found out now.

        Cancellation: at once, nothing is left behind.
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
        return Vouched(trust_domain=trust_domain)

    async def _signed_claims(self, text: str) -> dict[str, Any]:
        """The claims of a token, once it is known that a key of the set has signed them.

        Raises:
            InvalidTokenError: none has, or it is no token.
            ValidatorNotReadyError: whether one has cannot be found out now.
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
        # What `crit` names has to be understood (RFC 7515, section 4.1.11), and nothing is; a payload that is not in
        # base64url has no place in a JWT (RFC 7797, section 7).
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
