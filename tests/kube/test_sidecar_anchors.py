"""Trust anchors that are read from pods."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from sentry_trio.kube.sidecar_anchors import MAX_KEPT, MAX_KNOWN, MAX_TEXT, Sidecar, SidecarAnchors, SidecarReader
from testkit.kube.objects import sidecar_pod

FILE = "/var/run/secrets/dapr.io/tls/ca.crt"


class Fingerprints:
    """Reads words as fingerprints, and counts the texts."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def __call__(self, text: str) -> frozenset[str]:
        self.texts.append(text)
        return frozenset(text.split())


def read(pod: Mapping[str, Any]) -> Sidecar | None:
    return SidecarReader(Fingerprints()).read(json.dumps(pod).encode())


def with_env(**variables: str) -> dict[str, Any]:
    pod = sidecar_pod("a", "")
    pod["spec"]["containers"][1]["env"] = [
        {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        *({"name": name, "value": value} for name, value in variables.items()),
    ]
    return pod


def test_roots_are_those_of_the_environment() -> None:
    sidecar = read(sidecar_pod("a", "r1 r2", created="2026-03-01T12:00:00Z"))
    assert sidecar == Sidecar(SidecarAnchors(frozenset({"r1", "r2"})), 1772366400)


def test_a_native_sidecar_is_one() -> None:
    pod = sidecar_pod("a", "r1")
    sidecar = pod["spec"]["containers"].pop()
    pod["spec"]["initContainers"] = [{"name": "once"}, {**sidecar, "restartPolicy": "Always"}]
    found = read(pod)
    assert found is not None
    assert found.anchors.fingerprints == {"r1"}


def test_an_init_container_of_that_name_that_ends_is_none() -> None:
    pod = sidecar_pod("a", "r1")
    pod["spec"]["initContainers"] = [pod["spec"]["containers"].pop()]
    assert read(pod) is None


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
def test_a_pod_that_has_ended_has_none(phase: str) -> None:
    assert read({**sidecar_pod("a", "r1"), "status": {"phase": phase}}) is None


@pytest.mark.parametrize("phase", ["Pending", "Running", "Unknown"])
def test_any_other_pod_has_one(phase: str) -> None:
    assert read({**sidecar_pod("a", "r1"), "status": {"phase": phase}}) is not None


def test_without_the_variable_it_holds_none() -> None:
    found = read(with_env())
    assert found is not None
    assert found.anchors == SidecarAnchors(frozenset())


def test_a_mounted_file_is_followed() -> None:
    pod = with_env(DAPR_TRUST_ANCHORS="r1", DAPR_TRUST_ANCHORS_FILE=FILE)
    pod["spec"]["containers"][1]["volumeMounts"] = [{"name": "tls", "mountPath": "/var/run/secrets/dapr.io/tls/"}]
    found = read(pod)
    assert found is not None
    assert found.anchors == SidecarAnchors(frozenset(), follows_file=True)


@pytest.mark.parametrize("mounts", [[], [{"mountPath": "/var/run/secrets/dapr.io/tl"}], [{"mountPath": ""}], [{}]])
def test_a_file_that_is_not_mounted_is_not(mounts: list[dict[str, str]]) -> None:
    pod = with_env(DAPR_TRUST_ANCHORS="r1", DAPR_TRUST_ANCHORS_FILE=FILE)
    pod["spec"]["containers"][1]["volumeMounts"] = mounts
    found = read(pod)
    assert found is not None
    assert found.anchors == SidecarAnchors(frozenset({"r1"}))


@pytest.mark.parametrize(
    "pod",
    [
        {"metadata": {}, "spec": {"containers": [{"name": "daprd"}]}},
        {"metadata": {"creationTimestamp": "yesterday"}, "spec": {"containers": [{"name": "daprd"}]}},
        {"metadata": {"creationTimestamp": "2026-03-01T12:00:00Z"}, "spec": {"containers": ["daprd"]}},
        {"metadata": {"creationTimestamp": "2026-03-01T12:00:00Z", "name": "daprd"}, "spec": {}},
        ["daprd"],
    ],
)
def test_pods_without_a_sidecar_have_none(pod: Any) -> None:
    assert SidecarReader(Fingerprints()).read(json.dumps(pod).encode()) is None


def test_a_text_is_read_once_and_equal_sets_are_one_object() -> None:
    fingerprints = Fingerprints()
    reader = SidecarReader(fingerprints)
    pods = [sidecar_pod(str(number), text) for number, text in enumerate(["r1 r2", "r1 r2", "r2 r1"])]
    first, second, other = (reader.read(json.dumps(pod).encode()) for pod in pods)
    assert first is not None
    assert second is not None
    assert other is not None
    assert first.anchors is second.anchors
    assert first.anchors is other.anchors
    assert fingerprints.texts == ["r1 r2", "r2 r1"]


def test_a_text_of_any_length_costs_nothing() -> None:
    fingerprints = Fingerprints()
    found = SidecarReader(fingerprints).read(json.dumps(sidecar_pod("a", "r" * (MAX_TEXT + 1))).encode())
    assert found is not None
    assert found.anchors.fingerprints == frozenset()
    assert fingerprints.texts == []


def test_the_text_of_equal_sets_is_kept_once_while_a_pod_has_it() -> None:
    reader = SidecarReader(Fingerprints())
    pods = [reader.read(json.dumps(sidecar_pod("a", text)).encode()) for text in ("r1 r2", "r2 r1")]
    assert [each.anchors.text for each in pods if each] == ["r1 r2", "r1 r2"]
    pods.pop()
    assert len(reader._kept) == 1
    pods.clear()
    assert len(reader._kept) == 0


def test_a_text_without_roots_is_not_kept() -> None:
    found = read(sidecar_pod("a", "  "))
    assert found is not None
    assert found.anchors.text == ""


def test_remembered_texts_are_bounded() -> None:
    reader = SidecarReader(Fingerprints())
    for number in range(2 * MAX_KNOWN + 1):
        reader.read(json.dumps(sidecar_pod("a", f"r{number}")).encode())
    assert (len(reader._known), len(reader._kept)) == (1, 0)


def test_the_texts_that_are_kept_are_bounded() -> None:
    reader = SidecarReader(Fingerprints())
    pods = [reader.read(json.dumps(sidecar_pod("a", f"r{number}")).encode()) for number in range(MAX_KEPT + 1)]
    kept = [each.anchors for each in pods if each and each.anchors.text]
    assert len(kept) == MAX_KEPT
    last = pods[-1]
    assert last is not None
    assert (last.anchors.text, last.anchors.fingerprints) == ("", frozenset({f"r{MAX_KEPT}"}))
