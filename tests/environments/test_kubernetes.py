"""Kubernetes mode: its checks before the first request, and what it knows of sidecars."""

import json
from datetime import UTC, datetime

import pytest
import trio
from cryptography import x509
from trio.testing import MockClock

from sentry_trio.ca.certificates import fingerprint
from sentry_trio.ca.jwt_key import generate_jwt_key
from sentry_trio.ca.parts import bundle_parts
from sentry_trio.ca.strictness import Severity
from sentry_trio.cli.ca.checks import findings_alone
from sentry_trio.cli.ca.flags import parse
from sentry_trio.component_settings import environment_settings
from sentry_trio.conditions import Conditions
from sentry_trio.environments import cluster_resources
from sentry_trio.environments.cluster_resources import (
    ClusterResources,
    PodWorkloads,
    refuse_root,
    root_fingerprints,
    roots_held,
)
from sentry_trio.environments.kubernetes import Kubernetes
from sentry_trio.errors import InvalidBundleError, InvalidOptionsError, Part, StoreError
from sentry_trio.kube.cluster_domain import ClusterDomain
from sentry_trio.kube.events import EventRecorder
from sentry_trio.kube.index import Index
from sentry_trio.kube.pods import PodReader
from sentry_trio.kube.token_review import TokenReviewer
from sentry_trio.settings.command_line import parse_options
from sentry_trio.telemetry.metrics import Metrics
from testkit.ca.making import DAY, HOUR, certificate, generated, new_key, stored
from testkit.kube.fakes import CONFIG_MAP, NAMESPACE, FakeApi, Fault, installed, refused
from testkit.kube.objects import Objects, sidecar_pod
from testkit.log_capture import capture_logs

ROTATED_AND_SERVED = (
    "--jwt-enabled",
    "--jwt-signing-algorithm=ES256",
    "--jwt-key-rotation=720h",
    "--oidc-enabled",
    "--oidc-server-tls-enabled=false",
)
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


def kubernetes(
    *flags: str, api: FakeApi | None = None, index: Index | None = None, conditions: Conditions | None = None
) -> Kubernetes:
    api = api or FakeApi()
    cluster = ClusterResources(
        api,
        index or Index(Objects()),
        TokenReviewer(api.create, (), now=now),
        EventRecorder(api, NAMESPACE, "dapr-trust-bundle", instance="sentry"),
        conditions or Conditions(),
        ClusterDomain("td"),
        lambda: None,
    )
    options = parse_options(["--mode=kubernetes", "--trust-domain=td", *flags], {"NAMESPACE": NAMESPACE})
    return Kubernetes(environment_settings(options), cluster, metrics=Metrics(), now=now)


async def test_anchors_of_sidecars_are_unknown_until_all_pods_are_listed_and_while_degraded(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    objects = Objects()
    root = generated()
    objects.put(sidecar_pod("cart", root.anchors_pem.decode()), quietly=True)
    index = Index(objects, fingerprints=root_fingerprints)
    conditions = Conditions()
    workloads = PodWorkloads(index, conditions, now)
    assert workloads.anchor_sets() is None
    nursery.start_soon(index.keep)
    await index.wait_ready()
    assert workloads.anchor_sets() == {frozenset(map(fingerprint, root.anchors)): ("default/cart",)}
    assert workloads.held_roots() == root.anchors
    roots = dict.fromkeys(map(fingerprint, root.anchors), now())
    known = []
    for message in (None, "pods cannot be followed", None):
        conditions.update("pods", message)
        uptake = workloads.uptake(roots, None)
        known.append(uptake and uptake.held_by_all)
    assert known == [*roots, None, *roots]


@pytest.mark.parametrize(("flags", "is_needed"), [((), False), (("--jwks-in-config-map",), True)])
async def test_a_config_map_that_keeps_a_withdrawn_key_set_is_no_reason_not_to_serve(
    flags: tuple[str, ...], is_needed: bool, autojump_clock: MockClock
) -> None:
    api = installed()
    api.edit(CONFIG_MAP, data={"jwks.json": "an earlier one"})
    environment = kubernetes(*ROTATED_AND_SERVED, *flags, api=api)
    keys = generate_jwt_key("ES256", None)
    stored = {Part.JWT_KEY: keys.key, Part.JWKS: keys.jwks}
    assert await environment._store.replace(stored, expected={})
    error = refused(422, "Invalid: data: Forbidden: field is immutable when `immutable` is set")
    api.faults.append(Fault("replace", "configmaps", error))
    with capture_logs() as lines:
        if is_needed:
            with pytest.raises(StoreError, match="is immutable"):
                await environment._accepted(stored, generated=False)
        else:
            await environment._accepted(stored, generated=False)
            assert lines[-1]["event"].startswith("cannot remove the public keys of JWTs from ConfigMap")


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


@pytest.mark.parametrize(
    ("constraints", "is_rejected"),
    [
        (x509.NameConstraints([x509.DNSName("svc")], None), False),
        (x509.NameConstraints([x509.DNSName("cluster.local")], None), True),
        (x509.NameConstraints(None, [x509.DNSName(f"dapr-webhook.{NAMESPACE}.svc")]), True),
        (x509.NameConstraints([x509.UniformResourceIdentifier("td")], None), False),
        (x509.NameConstraints([x509.UniformResourceIdentifier("other")], None), True),
    ],
)
async def test_a_command_rejects_the_names_that_the_server_rejects(
    constraints: x509.NameConstraints, is_rejected: bool, autojump_clock: MockClock
) -> None:
    more = [x509.Extension(constraints.oid, True, constraints)]
    dates = {"not_before": now() - HOUR, "not_after": now() + DAY}
    root_key, key = new_key(), new_key()
    chain = [certificate("issuer", key, "root", root_key, more=more, **dates)]
    bundle = stored([certificate("root", root_key, **dates)], chain, key)
    api = installed()
    api.put(f"/apis/dapr.io/v1alpha1/namespaces/{NAMESPACE}/configurations/daprsystem", {"spec": {}})
    environment = kubernetes(api=api)
    assert await environment._store.replace(bundle_parts(bundle), expected={})
    reasons = []
    # An accepted trust bundle waits for the cluster's domain, which nobody looks up here.
    with trio.move_on_after(1):
        try:
            await environment.run_inputs(may_generate=False)
        except InvalidBundleError as error:
            reasons = [str(error).removesuffix(f" ({environment._store.locate(*error.parts)})")]
    assert bool(reasons) == is_rejected
    options = parse(["validate", "--kubernetes", f"--namespace={NAMESPACE}", "--trust-domain=td"], {})
    findings = findings_alone(bundle, options, now())
    assert [each.text for each in findings if each.severity is Severity.ERROR] == reasons
    assert {each.code for each in findings} >= {"name-constraints"}
