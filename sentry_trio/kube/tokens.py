"""Who a service account token speaks for, and what is asked of those who find that out."""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from sentry_trio.errors import NotPermittedError
from sentry_trio.kube.claims import Claims, is_name


@dataclass(frozen=True, slots=True)
class Caller:
    """Who a token speaks for: a pod, running under a service account.

    Attributes:
        namespace: of the pod and its service account.
        service_account: its name.
        pod_name: the pod's name, which a later pod may have as well.
        pod_uid: the pod's unique ID; None where the token does not say.
        expires_at: when the token does; None where it does not say.
    """

    namespace: str
    service_account: str
    pod_name: str
    pod_uid: str | None
    expires_at: datetime | None


class TokenChecker(Protocol):
    """Finds out who a token speaks for."""

    async def check(self, token: str) -> Caller:
        """Who the token speaks for.

        Raises:
            NotPermittedError: it speaks for no pod here, and will not by asking again; its text is told to the caller.
            ApiUnavailableError: that cannot be found out now.
        """


def audiences(trust_domain: str, namespace: str) -> tuple[str, str]:
    """The audiences that a token for this authority has one of, in the order that Dapr Sentry 1.18 asks for them."""
    return "dapr.io/sentry", f"spiffe://{trust_domain}/ns/{namespace}/dapr-sentry"


def caller_of(claims: Claims, namespace: str, service_account: str) -> Caller:
    """The caller that claims, believed by now, speak for; namespace and service account as they were found out.

    Raises:
        NotPermittedError: the claims name no pod, or speak of another service account.
    """
    if not claims.pod_name:
        raise NotPermittedError("kubernetes.io/pod/name claim is missing from Kubernetes token")
    agrees = claims.namespace in {"", namespace} and claims.service_account in {"", service_account}
    if not agrees or not all(map(is_name, (namespace, service_account, claims.pod_name))):
        raise unstructured()
    return Caller(namespace, service_account, claims.pod_name, claims.pod_uid or None, claims.expires_at)


def read_subject(subject: str) -> tuple[str, str]:
    """Namespace and name of a service account from the user name `system:serviceaccount:<namespace>:<name>`.

    Dapr Sentry 1.18 takes any second part.

    Raises:
        NotPermittedError: it is not the user name of a service account.
    """
    parts = subject.split(":")
    if len(parts) != 4 or parts[:2] != ["system", "serviceaccount"]:
        raise unstructured()
    return parts[2], parts[3]


def unstructured() -> NotPermittedError:
    """What is told of tokens that are none of a service account's."""
    return NotPermittedError("provided token is not a properly structured service account token")


def wrong_audience(wanted: tuple[str, ...]) -> NotPermittedError:
    """What is told of tokens that are good, but for somebody else."""
    return NotPermittedError(f"invalid token: none of its audiences is {' or '.join(wanted)}")
