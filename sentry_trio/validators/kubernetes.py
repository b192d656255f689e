"""Vouches for pods: a service account token says which pod asks, and the pod's annotations say which app it is."""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, Protocol

import trio

from sentry_trio.ca.images import ContainerImage
from sentry_trio.ca.spiffe import parse_trust_domain
from sentry_trio.errors import ApiUnavailableError, InvalidIdentityError, NotPermittedError
from sentry_trio.kube.claims import is_name
from sentry_trio.kube.pods import Pod
from sentry_trio.kube.tokens import Caller, TokenChecker
from sentry_trio.proto.sentry_pb2 import SignCertificateRequest
from sentry_trio.settings.values import quote
from sentry_trio.telemetry.logs import get_logger
from sentry_trio.validators import Vouched
from sentry_trio.validators.refusals import RefusalLog
from sentry_trio.validators.request import PUBLIC, check_request

CONTROL_PLANE: Final = "dapr.io/control-plane"
APP_ID: Final = "dapr.io/app-id"
CONFIG: Final = "dapr.io/config"

_SERVICES: Final = frozenset({"operator", "placement", "injector", "sentry", "scheduler"})

PATIENCE: Final = 10.0
"""Seconds that a caller without a deadline is kept waiting for the index."""

# Seconds before its deadline that a caller is told to ask again; at the deadline nobody would be listening.
_AHEAD: Final = 0.1

_log: Final = get_logger("dapr.sentry.identity.kubernetes")


class Index(Protocol):
    """What is known of pods and configurations."""

    @property
    def ready(self) -> bool:
        """Whether everything there is has been seen once."""

    async def wait_ready(self) -> None:
        """Returns as soon as it is ready."""

    async def pod(self, namespace: str, name: str, *, uid: str | None = None) -> Pod | None:
        """The pod of that name; None where there is none. Raises ApiUnavailableError where that is not known.

        Where what was last seen does not have this UID it is looked for anew: pods of a StatefulSet are made again
        under their names, and may ask before they were seen.
        """

    async def configuration(self, namespace: str, name: str) -> Mapping[str, Any] | None:
        """The `spec` of the Configuration of that name; None where there is none."""


class KubernetesValidator:
    """Vouches for a pod that shows a token of its own and asks for the app ID that its annotations give it.

    The checks, their order and their texts are Dapr Sentry 1.18's, with these differences: what may pass by itself is
    ApiUnavailableError and not a refusal for good; the token's pod must be the very one that is there now, not one
    of the same name; a mismatch does not tell the caller which app ID it would have been given.

    Args:
        checker: finds out which pod a token speaks for.
        index: the pods and configurations of the cluster.
        trust_domain: of the control plane.
        namespace: of the control plane.
    """

    def __init__(self, checker: TokenChecker, index: Index, *, trust_domain: str, namespace: str) -> None:
        self._checker = checker
        self._index = index
        self._trust_domain = trust_domain
        self._namespace = namespace
        self._refusals = RefusalLog(_log)

    async def validate(self, request: SignCertificateRequest) -> Vouched:
        """Vouches for the caller.

        Raises:
            NotPermittedError: it may not have this identity.
            ApiUnavailableError: whether it may cannot be found out now: `validator not ready`, or the API server is
                away.

        Cancellation: at once, nothing is left behind.
        """
        await self._wait_ready()
        check_request(request)
        caller = await self._checker.check(request.token)
        with _about(caller.pod_uid):
            pod = await self._pod(caller)
        with _about(pod.uid):
            return await self._vouched(request, caller, pod)

    async def _vouched(self, request: SignCertificateRequest, caller: Caller, pod: Pod) -> Vouched:
        if caller.namespace != request.namespace:
            raise NotPermittedError(f"namespace mismatch; received namespace: {request.namespace}")
        shown = f"{pod.namespace}/{pod.name}"
        if pod.service_account != caller.service_account:
            self._refusals.warning("service account", shown, f"Service account on pod {shown} does not match token")
            raise NotPermittedError("pod service account mismatch")
        try:
            expected = self._expected_id(pod)
        except NotPermittedError as error:
            self._refusals.warning("expected ID", shown, f"Failed to get expected ID for pod {shown}: {error}")
            raise
        if expected != request.id:
            self._refusals.warning(
                "app ID", shown, f"app-id mismatch on pod {shown}. expected: {expected}, received: {request.id}"
            )
            raise NotPermittedError(f"app-id mismatch. received: {request.id}")
        return Vouched(trust_domain=await self._trust_domain_of(pod), images=_images(pod), pod_uid=pod.uid)

    async def _wait_ready(self) -> None:
        if self._index.ready:
            return
        now = trio.current_time()
        deadline = trio.current_effective_deadline()
        with trio.move_on_at(now + PATIENCE if deadline == math.inf else deadline - _AHEAD):
            await self._index.wait_ready()
            return
        raise ApiUnavailableError("validator not ready")

    async def _pod(self, caller: Caller) -> Pod:
        pod = await self._index.pod(caller.namespace, caller.pod_name, uid=caller.pod_uid)
        if pod is None or caller.pod_uid not in {None, pod.uid}:
            shown = f"{caller.namespace}/{caller.pod_name}"
            why = "there is no such pod" if pod is None else "the token is that of a former pod of this name"
            self._refusals.warning("pod", shown, f"Failed to get pod {shown} for requested identity: {why}")
            raise NotPermittedError("failed to get pod of identity")
        return pod

    def _expected_id(self, pod: Pod) -> str:
        """The app ID that a pod has by its annotations.

        Raises:
            NotPermittedError: it says that it is of the control plane, and it is not.
        """
        service = pod.annotations.get(CONTROL_PLANE)
        if service is None:
            return pod.annotations.get(APP_ID, pod.name)
        if pod.namespace != self._namespace:
            raise NotPermittedError(f"control plane service in namespace '{pod.namespace}' is not allowed")
        if service not in _SERVICES:
            raise NotPermittedError(f"unknown control plane service '{pod.name}'")
        if APP_ID in pod.annotations:
            raise NotPermittedError(f"control plane service '{pod.name}' cannot have annotation '{APP_ID}'")
        return f"dapr-{service}"

    async def _trust_domain_of(self, pod: Pod) -> str:
        """The trust domain of a pod: its Configuration's, where it has one; the request's is not asked.

        Raises:
            NotPermittedError: its Configuration is not there, or its trust domain is none.
            ApiUnavailableError: whether its Configuration is there is not known.
        """
        if CONTROL_PLANE in pod.annotations:
            return self._trust_domain
        name = pod.annotations.get(CONFIG)
        if name is None:
            return PUBLIC
        # Whoever writes annotations must not choose which path of the API server is asked for.
        spec = await self._index.configuration(pod.namespace, name) if is_name(name) else None
        declared = None if spec is None else _declared_trust_domain(spec)
        if declared is None:
            shown = f"{pod.namespace}/{pod.name}"
            why = "it does not exist or cannot be read"
            self._refusals.warning(
                "configuration", shown, f"Failed to get configuration {quote(name)} of pod {shown}: {why}"
            )
            raise NotPermittedError("failed to get configuration")
        if not declared:
            return PUBLIC
        try:
            return parse_trust_domain(declared)
        except InvalidIdentityError as error:
            raise NotPermittedError(f'failed to parse trust domain "{declared}": {error}') from error


@contextmanager
def _about(pod_uid: str | None) -> Iterator[None]:
    """Names the pod that is refused, for the record."""
    try:
        yield
    except NotPermittedError as error:
        error.pod_uid = pod_uid
        raise


def _declared_trust_domain(spec: Mapping[str, Any]) -> str | None:
    """`accessControl.trustDomain`, empty where there is none; None where the spec is not as a Configuration's is."""
    access = spec.get("accessControl") or {}
    trust_domain = access.get("trustDomain") or "" if isinstance(access, Mapping) else None
    return trust_domain if isinstance(trust_domain, str) else None


def _images(pod: Pod) -> tuple[ContainerImage, ...]:
    return tuple(
        ContainerImage(
            role="daprd" if container.name == "daprd" else "app",
            container_name=container.name,
            image=container.image,
            digest=container.digest,
        )
        for container in pod.containers
    )
