"""Service account tokens: claims, read within bounds and not verified here, and the callers that they name."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, Protocol

import msgspec

from sentry_trio.errors import NotPermittedError
from sentry_trio.grpc.admission import Network
from sentry_trio.kube.resources import is_name
from sentry_trio.tokens import compact
from sentry_trio.tokens.compact import LAST_SECOND, InvalidTokenError, decode_segment

# The compact serialization (RFC 7515, section 7.1) and nothing around it.
_COMPACT: Final = re.compile(rb"([\w-]+)\.[\w-]+\.[\w-]*")


class Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Header of a token as the API server writes it. A header with other members, such as `crit`, is not read."""

    alg: str
    kid: str
    typ: str = "JWT"


class Claims(msgspec.Struct, frozen=True):
    """Relevant claims. A claim that is missing or of another type is None, an empty text or no audience.

    Attributes:
        issuer: `iss`.
        subject: `sub`.
        audiences: `aud`, which may be one text or a list of them.
        expires_at: `exp`.
        not_before: `nbf`.
        namespace: `kubernetes.io/namespace`.
        service_account: `kubernetes.io/serviceaccount/name`.
        pod_name: `kubernetes.io/pod/name`.
        pod_uid: `kubernetes.io/pod/uid`.
    """

    issuer: str
    subject: str
    audiences: tuple[str, ...]
    expires_at: datetime | None
    not_before: datetime | None
    namespace: str
    service_account: str
    pod_name: str
    pod_uid: str


class Caller(msgspec.Struct, frozen=True):
    """Caller authenticated by a token: a pod that runs under a service account.

    Attributes:
        namespace: namespace of the pod and its service account.
        service_account: its name.
        pod_name: the pod's name, which a later pod may have as well.
        pod_uid: the pod's unique ID; None if the token has none.
        expires_at: expiry of the token; None if it has none.
    """

    namespace: str
    service_account: str
    pod_name: str
    pod_uid: str | None
    expires_at: datetime | None


class TokenChecker(Protocol):
    """Authenticates the caller of a token."""

    async def check(self, token: str, network: Network) -> Caller:
        """Returns the caller that the token authenticates.

        Args:
            token: of the request.
            network: identifies the peer that has sent it.

        Raises:
            NotPermittedError: it authenticates no pod of this cluster, and never will; the caller gets the text.
            ApiUnavailableError: it cannot be checked now.
        """


def encode_token(token: str) -> bytes:
    """Returns the bytes of a token.

    Raises:
        NotPermittedError: it is empty, longer than `LONGEST` of `tokens.compact`, or no text that UTF-8 can carry.
    """
    if not token:
        raise NotPermittedError("invalid token: the request does not contain a token")
    try:
        return compact.encode_token(token)
    except InvalidTokenError as error:
        raise NotPermittedError(f"invalid token: {error}") from error


def read_header(token: bytes) -> Header | None:
    """Returns the header of a compact JWT; None if the token is not one, or the API server writes no such header."""
    parts = _COMPACT.fullmatch(token)
    if parts is None:
        return None
    try:
        return msgspec.json.decode(decode_segment(parts[1]), type=Header)
    except (ValueError, RecursionError):
        return None


def read_claims(token: bytes) -> Claims:
    """Returns the claims of a compact JWT, without verifying its signature.

    Dapr Sentry 1.18 also accepts a bare JSON object of claims, which no API server issues; its tests do.

    Raises:
        NotPermittedError: `failed to parse Kubernetes token: ` and the reason.
    """
    try:
        claims = msgspec.json.decode(token if token.startswith(b"{") else _payload(token))
    except (ValueError, RecursionError) as error:
        raise NotPermittedError(
            "failed to parse Kubernetes token: neither a compact JWT nor a JSON object of claims"
        ) from error
    if not isinstance(claims, dict):
        raise NotPermittedError("failed to parse Kubernetes token: its claims are not a JSON object")
    return _claims(claims)


def audiences(trust_domain: str, namespace: str) -> tuple[str, str]:
    """Returns the accepted audiences of a token, in the order in which Dapr Sentry 1.18 requests them."""
    return "dapr.io/sentry", f"spiffe://{trust_domain}/ns/{namespace}/dapr-sentry"


def caller_of(claims: Claims, namespace: str, service_account: str) -> Caller:
    """Returns the caller that verified claims name; namespace and service account were determined before.

    Raises:
        NotPermittedError: the claims name no pod, or another service account.
    """
    if not claims.pod_name:
        raise NotPermittedError("kubernetes.io/pod/name claim is missing from Kubernetes token")
    agrees = claims.namespace in {"", namespace} and claims.service_account in {"", service_account}
    if not agrees or not all(map(is_name, (namespace, service_account, claims.pod_name))):
        raise unstructured()
    return Caller(namespace, service_account, claims.pod_name, claims.pod_uid or None, claims.expires_at)


def read_subject(subject: str) -> tuple[str, str]:
    """Returns namespace and name of a service account from the user name `system:serviceaccount:<namespace>:<name>`.

    Dapr Sentry 1.18 accepts any second part.

    Raises:
        NotPermittedError: it is not the user name of a service account.
    """
    parts = subject.split(":")
    if len(parts) != 4 or parts[:2] != ["system", "serviceaccount"]:
        raise unstructured()
    return parts[2], parts[3]


def unstructured() -> NotPermittedError:
    """Returns the error for tokens that are not of a service account."""
    return NotPermittedError("provided token is not a properly structured service account token")


def wrong_audience(wanted: tuple[str, ...]) -> NotPermittedError:
    """Returns the error for valid tokens for other audiences."""
    return NotPermittedError(f"invalid token: none of its audiences is {' or '.join(wanted)}")


def _payload(token: bytes) -> bytes:
    parts = token.split(b".")
    if len(parts) != 3:
        raise ValueError("a compact JWT has three parts")
    return decode_segment(parts[1])


def _claims(claims: Mapping[str, Any]) -> Claims:
    audience = claims.get("aud")
    audiences = audience if isinstance(audience, list) else [audience]
    return Claims(
        issuer=_text(claims, "iss"),
        subject=_text(claims, "sub"),
        audiences=tuple(each for each in audiences if isinstance(each, str)),
        expires_at=_moment(claims.get("exp")),
        not_before=_moment(claims.get("nbf")),
        namespace=_text(claims, "kubernetes.io", "namespace"),
        service_account=_text(claims, "kubernetes.io", "serviceaccount", "name"),
        pod_name=_text(claims, "kubernetes.io", "pod", "name"),
        pod_uid=_text(claims, "kubernetes.io", "pod", "uid"),
    )


def _text(claims: object, *path: str) -> str:
    for key in path:
        if not isinstance(claims, dict):
            return ""
        claims = claims.get(key)
    return claims if isinstance(claims, str) else ""


def _moment(date: object) -> datetime | None:
    if isinstance(date, bool) or not isinstance(date, int | float) or not 0 <= date <= LAST_SECOND:
        return None
    return datetime.fromtimestamp(date, UTC)
