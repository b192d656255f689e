"""Who vouches for a caller before anything is signed.

request.py     what every validator asks of a request
insecure.py    vouches for whoever asks; the default of standalone mode
kubernetes.py  vouches for pods by the tokens of their service accounts; the default of Kubernetes mode
jwks/          vouches for callers by tokens that a key of a configured set has signed
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from sentry_trio.ca.images import ContainerImage
from sentry_trio.errors import ValidatorNotEnabledError, ValidatorRequiredError
from sentry_trio.proto.sentry_pb2 import SignCertificateRequest

Kind = SignCertificateRequest.TokenValidator


@dataclass(frozen=True, slots=True)
class Vouched:
    """What a validator found out about a caller whose app ID and namespace are as the request says.

    Attributes:
        trust_domain: the one that the SPIFFE ID is made with.
        images: the containers of the caller's pod, where known.
        pod_uid: of that pod, where known.
    """

    trust_domain: str
    images: tuple[ContainerImage, ...] = ()
    pod_uid: str | None = None


class Validator(Protocol):
    """Checks that a caller may have the identity that it asks for."""

    async def validate(self, request: SignCertificateRequest) -> Vouched:
        """Vouches for the caller.

        Raises:
            NotPermittedError: this caller may not have this identity; its text is told to the caller.
            ApiUnavailableError: whether it may cannot be found out now.
            ValidatorNotReadyError: likewise.
        """


@dataclass(frozen=True, slots=True)
class Validators:
    """The validators of a run, by kind.

    Attributes:
        present: those that a request may name.
        default: the one for requests that name none; None where they must.
    """

    present: Mapping[Kind, Validator]
    default: Kind | None

    @property
    def names(self) -> list[str]:
        """The names of those present, sorted."""
        return sorted(Kind.Name(kind).lower() for kind in self.present)

    def choose(self, kind: Kind) -> Validator:
        """The validator for the kind that a request names.

        Raises:
            ValidatorRequiredError: none is named and there is no default.
            ValidatorNotEnabledError: the one named is not present; unknown numbers are never present.
        """
        chosen = self.kind_for(kind)
        if chosen is None:
            raise ValidatorRequiredError
        validator = self.present.get(chosen)
        if validator is None:
            raise ValidatorNotEnabledError
        return validator

    def kind_for(self, kind: Kind) -> Kind | None:
        """The kind that decides on a request which names this one; None where it names none and there is no default."""
        return self.default if kind == Kind.UNKNOWN else kind
