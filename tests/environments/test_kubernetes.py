"""Kubernetes mode: its checks before the first request, and what it knows of sidecars."""

import json
from datetime import UTC, datetime

import pytest
import trio
from trio.testing import MockClock

from sentry_trio.ca.certificates import fingerprint
from sentry_trio.conditions import Conditions
from sentry_trio.environments import cluster_resources
from sentry_trio.environments.cluster_resources import (
    ClusterResources,
    refuse_root,
    root_fingerprints,
    roots_held,
)
from sentry_trio.environments.kubernetes import Kubernetes
from sentry_trio.environments.token_validators import TokenValidators
from sentry_trio.errors import InvalidOptionsError
from sentry_trio.kube.cluster_domain import ClusterDomain
from sentry_trio.kube.events import EventRecorder
from sentry_trio.kube.index import Index
from sentry_trio.kube.pods import PodReader
from sentry_trio.kube.token_review import TokenReviewer
from sentry_trio.settings.command_line import parse_options
from sentry_trio.telemetry.metrics import Metrics
from testkit.ca.making import generated
from testkit.kube.fakes import NAMESPACE, FakeApi
from testkit.kube.objects import Objects, sidecar_pod

SKIP = "DAPR_UNSAFE_SKIP_CONTAINER_UID_GID_CHECK"


@pytest.mark.parametrize(
    ("environ", "uid", "text"),
    [
        ({}, 65532, None),
        ({SKIP: "false"}, 65532, None),
        ({SKIP: "true"}, 0, None),
        ({}, 0, "current user UID(0) is root"),
        *(({SKIP: value}, 0, f"set the environment variable '{SKIP}=true'") for value in ("", "1", "True", "false")),
    ],
)
def test_root_is_refused_unless_the_check_is_skipped(environ: dict[str, str], uid: int, text: str | None) -> None:
    refusal = ""
    try:
        refuse_root(environ, uid)
    except InvalidOptionsError as error:
        refusal = str(error)
    assert text in refusal if text else refusal == ""


def now() -> datetime:
    return datetime(2026, 3, 1, 12, tzinfo=UTC)


async def test_anchors_of_sidecars_are_unknown_until_all_pods_are_listed_and_while_degraded(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    objects = Objects()
    root = generated()
    objects.put(sidecar_pod("cart", root.anchors_pem.decode()), quietly=True)
    index = Index(objects, fingerprints=root_fingerprints)
    api = FakeApi()
    cluster = ClusterResources(
        api,
        index,
        TokenReviewer(api.create, (), now=now),
        EventRecorder(api, NAMESPACE, "dapr-trust-bundle", instance="sentry"),
        conditions := Conditions(),
        ClusterDomain("td"),
        lambda: None,
    )
    validators = TokenValidators("spiffe://td/ns/x", "none", metrics=Metrics(), now=now)
    options = parse_options(["--mode=kubernetes", "--trust-domain=td"], {"NAMESPACE": NAMESPACE})
    environment = Kubernetes(options, cluster, validators, metrics=Metrics(), now=now)
    assert environment.anchor_sets() is None
    await nursery.start(index.keep)
    await index.wait_ready()
    assert environment.anchor_sets() == {frozenset(map(fingerprint, root.anchors)): ("default/cart",)}
    assert environment.held_roots() == root.anchors
    roots = dict.fromkeys(map(fingerprint, root.anchors), now())
    known = []
    for message in (None, "pods cannot be followed", None):
        conditions.update("pods", message)
        uptake = environment.uptake(roots, None)
        known.append(uptake and uptake.held_by_all)
    assert known == [*roots, None, *roots]


def test_roots_of_many_sets_are_not_all_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sets that the most sidecars hold are read first."""
    monkeypatch.setattr(cluster_resources, "MAX_ROOTS", 2)
    reader, rare, common = PodReader(fingerprints=root_fingerprints), generated(), generated()
    texts = (rare.anchors_pem, common.anchors_pem + generated().anchors_pem, common.anchors_pem)
    pods = [
        reader.read(json.dumps(sidecar_pod(f"{number}-{copy}", text.decode())).encode())
        for number, text in enumerate(texts)
        for copy in range(number + 1)
    ]
    roots = roots_held(pods)
    assert set(common.anchors) < set(roots)
    assert not set(rare.anchors) & set(roots)
