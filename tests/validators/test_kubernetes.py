"""The Kubernetes validator: each check, in its order and words, and what may pass apart from what will not."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
import trio
from msgspec.structs import replace
from trio.testing import MockClock

from sentry_trio.ca.issue import ContainerImage
from sentry_trio.errors import ApiUnavailableError, NotPermittedError
from sentry_trio.grpc.admission import Network
from sentry_trio.kube.index import Index
from sentry_trio.kube.pods import Container, Pod
from sentry_trio.kube.tokens import Caller
from sentry_trio.proto.sentry_pb2 import SignCertificateRequest
from sentry_trio.validators import AuthenticatedCaller
from sentry_trio.validators.kubernetes import KubernetesValidator
from testkit.authorities import NETWORK
from testkit.log_capture import capture_logs

CALLER = Caller("shop", "cart", "cart-0", "uid-1", None)
POD = Pod("shop", "cart-0", "uid-1", "cart", {"dapr.io/app-id": "cart"}, ())
SYSTEM = Caller("dapr-system", "dapr-operator", "operator-7", "uid-2", None)
OPERATOR = Pod("dapr-system", "operator-7", "uid-2", "dapr-operator", {"dapr.io/control-plane": "operator"}, ())


class Checker:
    """Authenticates every token as this caller's, or fails."""

    def __init__(self, verdict: Caller | Exception) -> None:
        self._verdict = verdict
        self.checked: list[tuple[str, Network]] = []

    async def check(self, token: str, network: Network) -> Caller:
        self.checked.append((token, network))
        if isinstance(self._verdict, Exception):
            raise self._verdict
        return self._verdict


@dataclass
class Known(Index):
    """An index that is written by hand; what is an exception in it is raised."""

    pods: tuple[Pod, ...] = (POD, OPERATOR)
    configurations: dict[tuple[str, str], Mapping[str, Any] | Exception] = field(default_factory=dict)
    failure: Exception | None = None
    synced: trio.Event | None = None
    asked: list[tuple[str, str, str | None]] = field(default_factory=list)

    @property
    def ready(self) -> bool:
        return self.synced is None or self.synced.is_set()

    async def wait_ready(self) -> None:
        assert self.synced is not None
        await self.synced.wait()

    async def pod(self, namespace: str, name: str, *, uid: str | None = None) -> Pod | None:
        self.asked.append((namespace, name, uid))
        if self.failure is not None:
            raise self.failure
        return next((pod for pod in self.pods if (pod.namespace, pod.name) == (namespace, name)), None)

    async def configuration(self, namespace: str, name: str) -> Mapping[str, Any] | None:
        assert "/" not in name
        found = self.configurations.get((namespace, name))
        if isinstance(found, Exception):
            raise found
        return found


def validator(verdict: Caller | Exception = CALLER, index: Known | None = None) -> KubernetesValidator:
    return KubernetesValidator(Checker(verdict), index or Known(), trust_domain="example.org", namespace="dapr-system")


def request(**changes: Any) -> SignCertificateRequest:
    fields = {"id": "cart", "namespace": "shop", "token": "t", "certificate_signing_request": b"csr"}
    return SignCertificateRequest(**fields | changes)


def operator(**changes: Any) -> SignCertificateRequest:
    return request(**{"id": "dapr-operator", "namespace": "dapr-system"} | changes)


async def refusal(checked: KubernetesValidator, asked: SignCertificateRequest) -> str:
    with pytest.raises(NotPermittedError) as caught:
        await checked.validate(asked, NETWORK)
    return str(caught.value)


def annotated(pod: Pod = POD, **annotations: str) -> Pod:
    """The pod with `dapr.io/` annotations instead of its own; underscores are dashes."""
    return replace(pod, annotations={f"dapr.io/{name.replace('_', '-')}": it for name, it in annotations.items()})


# --- authenticated pods


async def test_a_pod_is_given_the_app_id_of_its_annotation() -> None:
    index = Known()
    assert await validator(index=index).validate(request(), NETWORK) == AuthenticatedCaller(
        trust_domain="public", pod_uid="uid-1"
    )
    assert index.asked == [("shop", "cart-0", "uid-1")]


async def test_a_refusal_names_the_pod_that_was_found_out() -> None:
    """For the audit record only; the caller does not get it."""
    for caller, pods, uid in [
        (CALLER, (), "uid-1"),  # by its token, which was good
        (replace(CALLER, pod_uid=None), (POD,), "uid-1"),  # by what is there
        (replace(CALLER, pod_uid="uid-0"), (POD,), "uid-0"),
        (replace(CALLER, pod_uid=None), (), None),
    ]:
        with pytest.raises(NotPermittedError) as caught:
            await validator(caller, Known(pods=pods)).validate(request(id="other"), NETWORK)
        assert caught.value.pod_uid == uid
        assert "uid" not in str(caught.value)
    with pytest.raises(NotPermittedError) as caught:
        await validator(NotPermittedError("authentication failed")).validate(request(), NETWORK)
    assert caught.value.pod_uid is None


async def test_the_token_of_the_request_is_checked_for_its_peer() -> None:
    checker = Checker(CALLER)
    kubernetes = KubernetesValidator(checker, Known(), trust_domain="a", namespace="b")
    await kubernetes.validate(request(token="mine"), NETWORK)
    assert checker.checked == [("mine", NETWORK)]


async def test_without_the_annotation_a_pod_s_name_is_its_app_id() -> None:
    index = Known(pods=(replace(POD, annotations={}),))
    await validator(index=index).validate(request(id="cart-0"), NETWORK)
    assert await refusal(validator(index=index), request()) == "app-id mismatch. received: cart"


@pytest.mark.parametrize("service", ["operator", "placement", "injector", "sentry", "scheduler"])
async def test_control_plane_services_are_of_the_control_plane_s_trust_domain(service: str) -> None:
    index = Known(pods=(annotated(OPERATOR, control_plane=service, config="unheard-of"),))
    caller = await validator(SYSTEM, index).validate(operator(id=f"dapr-{service}", trust_domain="asked.for"), NETWORK)
    assert caller.trust_domain == "example.org"


async def test_the_images_of_the_pod_are_named() -> None:
    containers = (
        Container("daprd", "daprio/daprd:1.18", "sha256:aa", "init"),
        Container("app", "registry.example/app:1", "", "container"),
    )
    caller = await validator(index=Known(pods=(replace(POD, containers=containers),))).validate(request(), NETWORK)
    assert caller.images == (
        ContainerImage("daprd", "daprd", "daprio/daprd:1.18", "sha256:aa"),
        ContainerImage("app", "app", "registry.example/app:1", ""),
    )


@pytest.mark.parametrize(
    ("spec", "trust_domain"),
    [
        ({"accessControl": {"trustDomain": "shop.example"}}, "shop.example"),
        ({"accessControl": {"trustDomain": "spiffe://shop.example/any"}}, "shop.example"),
        ({"accessControl": {"trustDomain": ""}}, "public"),
        ({"accessControl": {"trustDomain": None}}, "public"),
        ({"accessControl": {}}, "public"),
        ({"accessControl": None}, "public"),
        ({}, "public"),
    ],
    ids=str,
)
async def test_the_trust_domain_is_the_configuration_s(spec: dict[str, Any], trust_domain: str) -> None:
    index = Known(
        pods=(annotated(app_id="cart", config="tracing"),),
        configurations={("shop", "tracing"): spec, ("dapr-system", "tracing"): {"accessControl": 1}},
    )
    caller = await validator(index=index).validate(request(trust_domain="asked.for"), NETWORK)
    assert caller.trust_domain == trust_domain


async def test_a_token_without_the_uid_of_its_pod() -> None:
    caller = await validator(replace(CALLER, pod_uid=None)).validate(request(), NETWORK)
    assert caller.trust_domain == "public"


# --- who is not

TRACING = {"accessControl": {"trustDomain": "Shop"}}
CHARACTERS = "trust domain characters are limited to lowercase letters, numbers, dots, dashes, and underscores"
# Each row fails at its own step and, as far as there can be such a case, at all later ones, so that the order shows.
STRANGE = annotated(control_plane="mesh", app_id="x", config="none")


@pytest.mark.parametrize(
    ("verdict", "pod", "asked", "text"),
    [
        (
            NotPermittedError("authentication failed"),
            POD,
            request(id=""),
            "invalid request: parameter app-id cannot be empty",
        ),
        (CALLER, POD, request(trust_domain="Example"), CHARACTERS),
        (NotPermittedError("authentication failed"), POD, request(namespace="x"), "authentication failed"),
        (replace(CALLER, pod_name="cart-1"), STRANGE, request(namespace="x"), "failed to get pod of identity"),
        (replace(CALLER, namespace="bank"), STRANGE, request(namespace="x"), "failed to get pod of identity"),
        # deleted and made again under the same name
        (replace(CALLER, pod_uid="uid-0"), STRANGE, request(namespace="x"), "failed to get pod of identity"),
        (
            replace(CALLER, service_account="x"),
            STRANGE,
            request(namespace="bank"),
            "namespace mismatch; received namespace: bank",
        ),
        (replace(CALLER, service_account="x"), STRANGE, request(id="x"), "pod service account mismatch"),
        (CALLER, STRANGE, request(id="x"), "control plane service in namespace 'shop' is not allowed"),
        (
            SYSTEM,
            annotated(OPERATOR, control_plane="mesh", app_id="x"),
            operator(id="x"),
            "unknown control plane service 'operator-7'",
        ),
        (
            SYSTEM,
            annotated(OPERATOR, control_plane="operator", app_id="x"),
            operator(id="x"),
            "control plane service 'operator-7' cannot have annotation 'dapr.io/app-id'",
        ),
        (SYSTEM, OPERATOR, operator(id="dapr-sentry"), "app-id mismatch. received: dapr-sentry"),
        (SYSTEM, OPERATOR, operator(id="operator-7"), "app-id mismatch. received: operator-7"),
        (CALLER, annotated(app_id="cart", config="none"), request(id="bank"), "app-id mismatch. received: bank"),
        (CALLER, annotated(app_id=""), request(id="cart-0"), "app-id mismatch. received: cart-0"),
        (CALLER, annotated(app_id="cart", config="none"), request(), "failed to get configuration"),
        (CALLER, annotated(app_id="cart", config=""), request(), "failed to get configuration"),
        (CALLER, annotated(app_id="cart", config="../pods"), request(), "failed to get configuration"),
        (
            CALLER,
            annotated(app_id="cart", config="tracing"),
            request(),
            f'failed to parse trust domain "Shop": {CHARACTERS}',
        ),
    ],
    ids=lambda value: str(value)[:30].replace("\n", " "),
)
async def test_refusals_in_their_order(
    verdict: Caller | Exception, pod: Pod, asked: SignCertificateRequest, text: str
) -> None:
    index = Known(pods=(pod,), configurations={("shop", "tracing"): TRACING})
    assert await refusal(validator(verdict, index), asked) == text


@pytest.mark.parametrize("access", [5, "a", {"trustDomain": 5}, {"trustDomain": {"a": 1}}], ids=str)
async def test_invalid_configurations(access: object) -> None:
    index = Known(
        pods=(annotated(app_id="cart", config="tracing"),),
        configurations={("shop", "tracing"): {"accessControl": access}},
    )
    assert await refusal(validator(index=index), request()) == "failed to get configuration"


@pytest.mark.parametrize(
    ("caller", "pods", "asked", "text"),
    [
        (CALLER, (), {}, "Failed to get pod shop/cart-0 for requested identity: the pod does not exist"),
        (
            replace(CALLER, pod_uid="uid-0"),
            (POD,),
            {},
            "Failed to get pod shop/cart-0 for requested identity: the token belongs to a former pod of the same name",
        ),
        (
            CALLER,
            (replace(POD, service_account="other"),),
            {},
            "Service account on pod shop/cart-0 does not match token",
        ),
        (
            CALLER,
            (annotated(control_plane="operator"),),
            {},
            "Failed to get expected ID for pod shop/cart-0: control plane service in namespace 'shop' is not allowed",
        ),
        (CALLER, (POD,), {"id": "bank"}, "app-id mismatch on pod shop/cart-0. expected: cart, received: bank"),
        (
            CALLER,
            (annotated(app_id="cart", config="tracing"),),
            {},
            'Failed to get configuration "tracing" of pod shop/cart-0: it does not exist or cannot be read',
        ),
    ],
    ids=["no pod", "former pod", "service account", "expected ID", "app ID", "configuration"],
)
async def test_refusals_that_people_search_for_are_logged(
    caller: Caller, pods: tuple[Pod, ...], asked: dict[str, Any], text: str
) -> None:
    """With Dapr's texts; the expected app ID is only in the log."""
    checked = validator(caller, Known(pods=pods))
    with capture_logs() as logs:
        for _ in range(3):
            assert "expected: " not in await refusal(checked, request(**asked))
    assert logs == [{"event": text, "log_level": "warning", "scope": "dapr.sentry.identity.kubernetes"}]


# --- what may pass


@pytest.mark.parametrize(
    ("verdict", "index"),
    [
        (ApiUnavailableError("away"), Known()),
        (CALLER, Known(failure=ApiUnavailableError("away"))),
        (
            CALLER,
            Known(
                pods=(annotated(app_id="cart", config="tracing"),),
                configurations={("shop", "tracing"): ApiUnavailableError("away")},
            ),
        ),
    ],
    ids=["token", "pod", "configuration"],
)
async def test_an_unreachable_api_server_is_not_a_rejection(verdict: Caller | Exception, index: Known) -> None:
    with pytest.raises(ApiUnavailableError, match="away"):
        await validator(verdict, index).validate(request(), NETWORK)


# --- not ready


async def test_it_waits_for_the_index(autojump_clock: MockClock) -> None:
    index = Known(synced=trio.Event())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(validator(index=index).validate, request(), NETWORK)
        await trio.sleep(2)
        assert index.synced is not None
        index.synced.set()
    assert trio.current_time() == pytest.approx(2)


@pytest.mark.parametrize("seconds", [0.05, 3, 60])
async def test_it_waits_until_just_before_the_caller_s_deadline(autojump_clock: MockClock, seconds: float) -> None:
    with (
        trio.fail_after(seconds) as scope,
        pytest.raises(ApiUnavailableError, match=r"^validator not ready$"),
    ):
        # Before anything else is looked at.
        await validator(index=Known(synced=trio.Event())).validate(request(id=""), NETWORK)
    assert not scope.cancelled_caught
    assert trio.current_time() == pytest.approx(max(0, seconds - 0.1))


async def test_without_a_deadline_it_waits_10_s(autojump_clock: MockClock) -> None:
    with pytest.raises(ApiUnavailableError, match="validator not ready"):
        await validator(index=Known(synced=trio.Event())).validate(request(), NETWORK)
    assert trio.current_time() == pytest.approx(10)


async def test_waiting_can_be_cancelled(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(validator(index=Known(synced=trio.Event())).validate, request(), NETWORK)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert trio.current_time() == 0
