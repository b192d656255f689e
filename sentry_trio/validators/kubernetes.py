"""Validator for pods: a service account token names the pod, and the pod's annotations name its app."""

import math
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import trio

from sentry_trio.ca.issue import ContainerImage
from sentry_trio.ca.spiffe import parse_trust_domain
from sentry_trio.errors import ApiUnavailableError, InvalidIdentityError, NotPermittedError
from sentry_trio.go_text import quote
from sentry_trio.grpc.admission import Network
from sentry_trio.kube.index import Index
from sentry_trio.kube.pods import Pod
from sentry_trio.kube.resources import is_name
from sentry_trio.kube.tokens import Caller, TokenChecker
from sentry_trio.proto.sentry_pb2 import SignCertificateRequest
from sentry_trio.telemetry.logs import Logger, get_logger
from sentry_trio.telemetry.throttle import ThrottledLog
from sentry_trio.validators import PUBLIC, AuthenticatedCaller, check_request

CONTROL_PLANE: Final = "dapr.io/control-plane"
APP_ID: Final = "dapr.io/app-id"
CONFIG: Final = "dapr.io/config"

_SERVICES: Final = frozenset({"operator", "placement", "injector", "sentry", "scheduler"})

PATIENCE: Final = 10.0
"""Seconds that a caller without a deadline waits for the index."""

MOST_REFUSALS: Final = 1000
"""Pairs of cause and pod that RejectionLog remembers; of more, the one logged longest ago is forgotten."""

# Seconds before its deadline that a caller gets Unavailable; at the deadline it would not receive the answer.
_AHEAD: Final = 0.1

_log: Final = get_logger("dapr.sentry.identity.kubernetes")


class KubernetesValidator:
    """Authenticates a pod that sends a token of its own and requests the app ID that its annotations name.

    The checks, their order and their texts are Dapr Sentry 1.18's, with these differences: temporary failures are
    ApiUnavailableError and not final; the token's pod must be the current one, not a former one of the same name; a
    mismatch does not reveal the app ID that the pod may request.

    Args:
        checker: finds the pod of a token.
        index: the pods and configurations of the cluster.
        trust_domain: trust domain of the control plane.
        namespace: namespace of the control plane.
    """

    def __init__(self, checker: TokenChecker, index: Index, *, trust_domain: str, namespace: str) -> None:
        self._checker = checker
        self._index = index
        self._trust_domain = trust_domain
        self._namespace = namespace
        self._rejections = RejectionLog(_log)

    async def validate(self, request: SignCertificateRequest, network: Network) -> AuthenticatedCaller:
        """Authenticates the caller.

        Raises:
            NotPermittedError: it may not have this identity.
            ApiUnavailableError: that cannot be decided now: `validator not ready`, or the API server is away.

        Cancellation: at once.
        """
        await self._wait_ready()
        check_request(request)
        caller = await self._checker.check(request.token, network)
        with _about(caller.pod_uid):
            pod = await self._pod(caller)
        with _about(pod.uid):
            return await self._authenticated(request, caller, pod)

    async def _authenticated(self, request: SignCertificateRequest, caller: Caller, pod: Pod) -> AuthenticatedCaller:
        if caller.namespace != request.namespace:
            raise NotPermittedError(f"namespace mismatch; received namespace: {request.namespace}")
        shown = f"{pod.namespace}/{pod.name}"
        if pod.service_account != caller.service_account:
            self._rejections.warning("service account", shown, f"Service account on pod {shown} does not match token")
            raise NotPermittedError("pod service account mismatch")
        try:
            expected = self._expected_id(pod)
        except NotPermittedError as error:
            self._rejections.warning("expected ID", shown, f"Failed to get expected ID for pod {shown}: {error}")
            raise
        if expected != request.id:
            self._rejections.warning(
                "app ID", shown, f"app-id mismatch on pod {shown}. expected: {expected}, received: {request.id}"
            )
            raise NotPermittedError(f"app-id mismatch. received: {request.id}")
        trust_domain = await self._trust_domain_of(pod)
        return AuthenticatedCaller(trust_domain, images=_images(pod), pod_uid=pod.uid)

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
            why = "the pod does not exist" if pod is None else "the token belongs to a former pod of the same name"
            self._rejections.warning("pod", shown, f"Failed to get pod {shown} for requested identity: {why}")
            raise NotPermittedError("failed to get pod of identity")
        return pod

    def _expected_id(self, pod: Pod) -> str:
        """Returns the app ID of a pod by its annotations.

        Raises:
            NotPermittedError: it claims to be of the control plane, and is not.
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
        """Returns the trust domain of a pod: its Configuration's, if it has one; the request's is ignored.

        Raises:
            NotPermittedError: its Configuration does not exist, or has an invalid trust domain.
            ApiUnavailableError: it is not known if its Configuration exists.
        """
        if CONTROL_PLANE in pod.annotations:
            return self._trust_domain
        name = pod.annotations.get(CONFIG)
        if name is None:
            return PUBLIC
        # Authors of annotations must not choose the path of a request to the API server.
        spec = await self._index.configuration(pod.namespace, name) if is_name(name) else None
        declared = None if spec is None else _declared_trust_domain(spec)
        if declared is None:
            shown = f"{pod.namespace}/{pod.name}"
            why = "it does not exist or cannot be read"
            self._rejections.warning(
                "configuration", shown, f"Failed to get configuration {quote(name)} of pod {shown}: {why}"
            )
            raise NotPermittedError("failed to get configuration")
        if not declared:
            return PUBLIC
        try:
            return parse_trust_domain(declared)
        except InvalidIdentityError as error:
            raise NotPermittedError(f'failed to parse trust domain "{declared}": {error}') from error


class RejectionLog:
    """Logs rejections at warning: once a minute for each cause and pod, with the number of those left out since.

    Args:
        log: the logger.
    """

    def __init__(self, log: Logger) -> None:
        self._log = log
        self._seen: OrderedDict[tuple[str, str], ThrottledLog] = OrderedDict()

    def warning(self, cause: str, pod: str, text: str) -> None:
        """Logs one rejection, unless the same cause was logged for the same pod within the last minute.

        Args:
            cause: name of this kind of rejection.
            pod: `namespace/name`, from a token that was verified.
            text: the line.
        """
        throttled = self._seen.setdefault((cause, pod), ThrottledLog(self._log))
        if not throttled.warning(text):
            return
        self._seen.move_to_end((cause, pod))
        if len(self._seen) > MOST_REFUSALS:
            self._seen.popitem(last=False)


@contextmanager
def _about(pod_uid: str | None) -> Iterator[None]:
    """Adds the pod to a rejection, for the audit log."""
    try:
        yield
    except NotPermittedError as error:
        error.pod_uid = pod_uid
        raise


def _declared_trust_domain(spec: Mapping[str, Any]) -> str | None:
    """Returns `accessControl.trustDomain`, empty if there is none; None if the spec is not a Configuration's."""
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
