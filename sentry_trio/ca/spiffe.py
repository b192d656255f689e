"""Identities in certificates: SPIFFE IDs and trust domains, by the rules and in the words of go-spiffe, and DNS names.

The rules are those of the SPIFFE ID specification, section 2, without its limits of length, which Dapr does not check
either.
"""

import re
from typing import Self

import msgspec

from sentry_trio.ca.general_names import AlternativeNames
from sentry_trio.errors import InvalidIdentityError

SENTRY_APP_ID = "dapr-sentry"
"""App ID of a CA itself."""

_SCHEME = "spiffe://"
_TRUST_DOMAIN = re.compile(r"[a-z0-9._-]*")
_SEGMENT = re.compile(r"[A-Za-z0-9._-]*")


class SpiffeId(msgspec.Struct, frozen=True):
    """Identity of a workload: `spiffe://<trust domain>/ns/<namespace>/<app id>`.

    Use `make`; the constructor checks nothing.
    """

    trust_domain: str
    namespace: str
    app_id: str

    @classmethod
    def make(cls, trust_domain: str, namespace: str, app_id: str) -> Self:
        """Makes a SPIFFE ID from its parts.

        Trust domains with an empty DNS label (`a..b`, `.a`, `a.`) are rejected as well: Dapr Sentry accepts them here
        and then fails to read the certificate, because no URI may have such a host.

        Raises:
            InvalidIdentityError: a part is empty or has characters that SPIFFE does not allow.
        """
        _check_trust_domain(trust_domain)
        if not all(trust_domain.split(".")):
            raise InvalidIdentityError(f'trust domain "{trust_domain}" has an empty DNS label')
        for part, segment in (("namespace", namespace), ("app ID", app_id)):
            try:
                _check_segment(segment)
            except InvalidIdentityError as error:
                raise InvalidIdentityError(f"{part}: {error}") from error
        return cls(trust_domain, namespace, app_id)

    def __str__(self) -> str:
        return f"{_SCHEME}{self.trust_domain}/ns/{self.namespace}/{self.app_id}"


def sentry_id(trust_domain: str, namespace: str) -> str:
    """Returns the SPIFFE ID of a CA itself; the parts are not checked."""
    return str(SpiffeId(trust_domain, namespace, SENTRY_APP_ID))


def parse_trust_domain(text: str) -> str:
    """Reads a trust domain: its name, or any SPIFFE ID within it.

    As in go-spiffe and Dapr Sentry 1.18, every text with `:/` is a SPIFFE ID, so the error about `spiffe:/a` names its
    scheme and not its characters.

    Raises:
        InvalidIdentityError: with go-spiffe's text for the first rule that is broken.
    """
    if not text:
        raise InvalidIdentityError("trust domain is missing")
    if ":/" not in text:
        _check_trust_domain(text)
        return text
    if not text.startswith(_SCHEME):
        raise InvalidIdentityError("scheme is missing or invalid")
    trust_domain, slash, path = text.removeprefix(_SCHEME).partition("/")
    _check_trust_domain(trust_domain)
    if slash:
        _check_path(path)
    return trust_domain


def _check_trust_domain(name: str) -> None:
    if not name:
        raise InvalidIdentityError("trust domain is missing")
    if not _TRUST_DOMAIN.fullmatch(name):
        raise InvalidIdentityError(
            "trust domain characters are limited to lowercase letters, numbers, dots, dashes, and underscores"
        )


def _check_path(path: str) -> None:
    """Checks the path segment by segment; the first fault is reported."""
    segments = path.split("/")
    for segment in segments[:-1]:
        _check_segment(segment)
    if not segments[-1]:
        raise InvalidIdentityError("path cannot have a trailing slash")
    _check_segment(segments[-1])


def _check_segment(segment: str) -> None:
    if not segment:
        raise InvalidIdentityError("path cannot contain empty segments")
    if segment in {".", ".."}:
        raise InvalidIdentityError("path cannot contain dot segments")
    if not _SEGMENT.fullmatch(segment):
        raise InvalidIdentityError(
            "path segment characters are limited to letters, numbers, dots, dashes, and underscores"
        )


_SCHEDULER_REPLICAS = 3
_CALLED_BY_FIXED_NAMES = ("dapr-injector", "dapr-operator")  # without the cluster's domain, which may change


def dns_names(app_id: str, request_namespace: str, own_namespace: str, cluster_domain: str) -> tuple[str, ...]:
    """Returns the DNS names of an app ID: of three services in this authority's own namespace, else none.

    The Kubernetes API server calls the injector and the operator by these names, and sidecars the scheduler's replicas.
    Dapr Sentry 1.18 always names three replicas.

    Args:
        app_id: the requested app ID.
        request_namespace: the requested namespace.
        own_namespace: namespace of this authority, and so of the control plane.
        cluster_domain: domain of the cluster's services, e.g. `cluster.local`.
    """
    if request_namespace != own_namespace:
        return ()
    match app_id:
        case "dapr-injector":
            return (f"dapr-sidecar-injector.{own_namespace}.svc",)
        case "dapr-operator":
            return (f"dapr-webhook.{own_namespace}.svc",)
        case "dapr-scheduler":
            service = f"dapr-scheduler-server.{own_namespace}.svc.{cluster_domain}"
            return tuple(f"dapr-scheduler-server-{replica}.{service}" for replica in range(_SCHEDULER_REPLICAS))
        case _:
            return ()


def names_to_sign(identity: SpiffeId, *, in_cluster: bool) -> AlternativeNames:
    """Returns the names that certificates of a CA will have, to check the name constraints of its trust bundle.

    Args:
        identity: identity of the CA itself; constraints see only the trust domain of a SPIFFE ID.
        in_cluster: true if the Kubernetes API server calls control-plane services by DNS names.
    """
    namespace, called = identity.namespace, _CALLED_BY_FIXED_NAMES if in_cluster else ()
    names = tuple(name for app_id in called for name in dns_names(app_id, namespace, namespace, ""))
    return AlternativeNames(names, (str(identity),))
