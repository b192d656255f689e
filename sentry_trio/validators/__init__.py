"""Validators, which authenticate callers before anything is signed, and the form of requests.

insecure.py    authenticates every caller; the default of standalone mode
kubernetes.py  authenticates pods by the tokens of their service accounts; the default of Kubernetes mode
jwks/          authenticates callers by tokens that a key of a configured set has signed
"""

from collections.abc import Mapping
from typing import Final, Protocol

import msgspec

from sentry_trio.ca.issue import ContainerImage
from sentry_trio.ca.spiffe import parse_trust_domain
from sentry_trio.errors import (
    InvalidIdentityError,
    MalformedRequestError,
    ValidatorNotEnabledError,
    ValidatorRequiredError,
)
from sentry_trio.grpc.admission import Network
from sentry_trio.proto.sentry_pb2 import SignCertificateRequest

Kind = SignCertificateRequest.TokenValidator

PUBLIC: Final = "public"
"""Trust domain of requests and Configurations that name none."""

# A DNS label with one to spare, as Dapr has it: an app ID becomes part of service names.
_LONGEST_ID: Final = 64


class AuthenticatedCaller(msgspec.Struct, frozen=True):
    """Caller that may have the app ID and namespace of its request.

    Attributes:
        trust_domain: trust domain of its SPIFFE ID.
        images: the containers of the caller's pod, if known.
        pod_uid: UID of that pod, if known.
    """

    trust_domain: str
    images: tuple[ContainerImage, ...] = ()
    pod_uid: str | None = None


class Validator(Protocol):
    """Checks that a caller may have the identity that it requests."""

    async def validate(self, request: SignCertificateRequest, network: Network) -> AuthenticatedCaller:
        """Authenticates the caller.

        Args:
            request: the request.
            network: identifies the peer that has sent it, for fair shares.

        Raises:
            NotPermittedError: this caller may not have this identity; the text is returned to the caller.
            ApiUnavailableError: that cannot be decided now.
            ValidatorNotReadyError: likewise.
        """


class Validators(msgspec.Struct, frozen=True):
    """Validators of a run, by kind.

    Attributes:
        present: those that a request may name.
        default: used for requests that name none; None if they must name one.
    """

    present: Mapping[Kind, Validator]
    default: Kind | None

    @property
    def names(self) -> list[str]:
        """Sorted names of those present."""
        return sorted(Kind.Name(kind).lower() for kind in self.present)

    def choose(self, kind: Kind) -> tuple[Kind, Validator]:
        """Returns the validator for the kind that a request names, and that kind or the default.

        Raises:
            ValidatorRequiredError: the request names none and there is no default.
            ValidatorNotEnabledError: the named one is not present; unknown numbers are never present.
        """
        chosen = self.default if kind == Kind.UNKNOWN else kind
        if chosen is None:
            raise ValidatorRequiredError
        validator = self.present.get(chosen)
        if validator is None:
            raise ValidatorNotEnabledError
        return chosen, validator


def check_request(request: SignCertificateRequest) -> str:
    """Checks the form of a request; returns the requested trust domain, `public` by default.

    Dapr Sentry 1.18 reports all broken rules at once, one a line, and then checks the trust domain.

    Raises:
        MalformedRequestError: `invalid request: ` and the broken rules, or the fault of the trust domain.
    """
    broken = []
    if not request.id:
        broken.append("parameter app-id cannot be empty")
    elif "." in request.id:
        broken.append("parameter app-id cannot contain dots")
    if len(request.id.encode()) > _LONGEST_ID:
        broken.append(f"app ID must be {_LONGEST_ID} characters or less")
    if not request.certificate_signing_request:
        broken.append("CSR is required")
    if not request.namespace:
        broken.append("namespace is required")
    if broken:
        raise MalformedRequestError("invalid request: " + "\n".join(broken))
    if not request.trust_domain:
        return PUBLIC
    try:
        return parse_trust_domain(request.trust_domain)
    except InvalidIdentityError as error:
        raise MalformedRequestError(str(error)) from error
