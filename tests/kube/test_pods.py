"""Parsing of pods."""

import json
from typing import Any

import msgspec
import pytest

from sentry_trio.kube.pods import Container, PodReader, digest_of

DIGEST = "sha256:" + "0" * 64


def document(**parts: Any) -> dict[str, Any]:
    metadata = {"namespace": "default", "name": "cart-0", "uid": "u"}
    return {"kind": "Pod", "metadata": metadata, "spec": {"serviceAccountName": "cart"}, "status": {}} | parts


def read(**parts: Any) -> Any:
    return PodReader(containers=True).read(json.dumps(document(**parts)).encode())


def test_only_the_needed_fields_of_a_pod_are_kept() -> None:
    annotations = {"dapr.io/app-id": "cart", "dapr.io/config": "tracing", "prometheus.io/scrape": "true"}
    pod = read(metadata={"namespace": "n", "name": "cart-0", "uid": "u", "annotations": annotations, "labels": {}})
    assert (pod.namespace, pod.name, pod.uid, pod.service_account) == ("n", "cart-0", "u", "cart")
    assert pod.annotations == {"dapr.io/app-id": "cart", "dapr.io/config": "tracing"}
    assert pod.containers == ()


def test_containers_that_last_are_listed_in_order() -> None:
    spec = {
        "containers": [{"name": "app", "image": "app:1"}, {"name": "daprd", "image": "daprd:1"}],
        "initContainers": [
            {"name": "once", "image": "once:1"},
            {"name": "sidecar", "image": "sidecar:1", "restartPolicy": "Always"},
        ],
        "ephemeralContainers": [{"name": "debug", "image": "debug:1"}],
    }
    status = {
        "containerStatuses": [
            {"name": "daprd", "imageID": f"registry.example/daprd@{DIGEST}"},
            {"name": "sidecar", "imageID": "not this one's"},
        ],
        "initContainerStatuses": [{"name": "sidecar", "imageID": DIGEST}, {"name": "once", "imageID": DIGEST}],
    }
    assert read(spec=spec, status=status).containers == (
        Container("sidecar", "sidecar:1", DIGEST, "init"),
        Container("app", "app:1", "", "container"),
        Container("daprd", "daprd:1", DIGEST, "container"),
    )


@pytest.mark.parametrize(
    "parts",
    [
        {"spec": {}},
        {"spec": {"containers": None, "initContainers": None}, "status": {"containerStatuses": None}},
        {"metadata": {"namespace": "n", "name": "a", "uid": "u", "annotations": None}},
    ],
)
def test_optional_fields_of_a_pod_may_be_missing(parts: dict[str, Any]) -> None:
    pod = read(**parts)
    assert pod.containers == ()
    assert pod.annotations == {}


@pytest.mark.parametrize(
    "parts",
    [
        {"metadata": {"name": "a", "namespace": "n"}},
        {"metadata": {"name": "a", "namespace": 7, "uid": "u"}},
        {"spec": {"containers": [{"image": "a"}]}},
        {"spec": []},
    ],
)
def test_invalid_pods(parts: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        read(**parts)


@pytest.mark.parametrize(
    ("image_id", "digest"),
    [
        ("", ""),
        ("registry.example/app:1", ""),
        (DIGEST, DIGEST),
        (f"registry.example/app@{DIGEST}", DIGEST),
        (f"docker-pullable://user@registry.example/app@{DIGEST}", DIGEST),
        ("registry.example/app@", ""),
        ("sha512:00", ""),
    ],
)
def test_digests(image_id: str, digest: str) -> None:
    assert digest_of(image_id) == digest


def test_containers_are_read_only_if_asked_for() -> None:
    spec = {"serviceAccountName": "cart", "containers": [{"name": "app", "image": "app:1"}]}
    # Not parsed, so malformed containers cannot make the pod unreadable.
    spec["initContainers"] = 1  # type: ignore[assignment]
    pod = PodReader().read(json.dumps(document(spec=spec, status=[])).encode())
    assert (pod.service_account, pod.containers) == ("cart", ())


def test_equal_parts_are_the_same_objects() -> None:
    reader = PodReader(containers=True)
    spec = {"serviceAccountName": "cart", "containers": [{"name": "app", "image": "app:1"}]}
    pods = [
        reader.read(
            json.dumps(
                document(
                    metadata={
                        "namespace": "default",
                        "name": f"cart-{number}",
                        "uid": str(number),
                        "annotations": {"dapr.io/app-id": "cart", "other": str(number)},
                    },
                    spec=spec,
                )
            ).encode()
        )
        for number in range(2)
    ]
    first, second = pods
    assert first.namespace is second.namespace
    assert first.service_account is second.service_account
    assert first.annotations is second.annotations
    assert first.containers is second.containers


def test_shared_values_are_immutable() -> None:
    pod = read(metadata={"namespace": "n", "name": "a", "uid": "u", "annotations": {"dapr.io/app-id": "cart"}})
    with pytest.raises(TypeError):
        pod.annotations["dapr.io/app-id"] = "other"
