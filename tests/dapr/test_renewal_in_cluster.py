"""Dapr's control plane and Sentry in phases of a renewal: webhooks, pods with old trust anchors, and a takeover."""

import base64
import signal
from datetime import timedelta
from pathlib import Path
from typing import Final

import jwt
import pytest
import trio
from cryptography import x509
from msgspec.structs import replace

from sentry_trio.ca import jwt_rotation
from sentry_trio.ca.generate import generate
from sentry_trio.ca.jwt_key import StoredJwtKey, generate_jwt_key
from sentry_trio.ca.jwt_rotation import Rotation
from sentry_trio.ca.keys import KeyType
from sentry_trio.ca.parts import bundle_parts
from sentry_trio.ca.renewal import RenewalRequest, Situation, plan
from sentry_trio.ca.renewal_policy import RenewalPolicy
from sentry_trio.client import Authority, Workload, obtain
from sentry_trio.errors import Part
from sentry_trio.renewal_status import Phase
from sentry_trio.stores.part_store import RENEWAL_NAMES
from testkit.authorities import SKEW, wall_clock
from testkit.ca.making import DAY
from testkit.ca.renewing import Stored, after
from testkit.cluster import manifests
from testkit.cluster.cluster import Cluster
from testkit.cluster.control_plane import ACCOUNT
from testkit.cluster.installing import DAPR_ROLE
from testkit.stores import NAMES
from testkit.subject import Subject

from . import injection
from .ca_process import OURS
from .injection import Application
from .installed import TRUST_DOMAIN, Mesh, Program, install
from .renewing import wait_until
from .sidecars import Address, serving_certificate

_PUBLISHED: Final = wall_clock() - timedelta(minutes=20)
_GRACE: Final = timedelta(minutes=5)
_WORKLOAD: Final = timedelta(minutes=5)
_REACHED: Final = {
    Phase.DISTRIBUTING: _PUBLISHED,
    Phase.SIGNING: _PUBLISHED + _GRACE,
    Phase.RETIRING: _PUBLISHED + _GRACE + _WORKLOAD,
}


def renewal(namespace: str, phase: Phase) -> tuple[Stored, Stored]:
    """Returns an authority, and what it is in a phase of a renewal whose root has been published for 20 minutes."""
    policy = RenewalPolicy(
        trust_domain=TRUST_DOMAIN,
        namespace=namespace,
        key_type=KeyType.P256,
        workload_ttl=_WORKLOAD,
        allowed_clock_skew=timedelta(),
        grace=_GRACE,
    )
    made = generate(TRUST_DOMAIN, namespace, KeyType.P256, now=_PUBLISHED - DAY, allowed_clock_skew=SKEW)
    former = bundle_parts(made)
    stored = after(former, plan(former, policy, Situation(now=_PUBLISHED), RenewalRequest.START))
    for moment in _REACHED.values():
        if moment <= _REACHED[phase]:
            stored = after(stored, plan(stored, policy, Situation(now=moment)))  # the first notes the publication
    return former, stored


def secret(stored: Stored) -> dict[str, bytes]:
    names = {**NAMES, **RENEWAL_NAMES}
    return {names[part]: content for part, content in stored.items()}


@pytest.mark.parametrize(
    ("phase", "is_stale", "held"), [(Phase.SIGNING, True, "former"), (Phase.DISTRIBUTING, False, "current")]
)
@pytest.mark.usefixtures("dapr_operator", "dapr_injector")
async def test_webhooks_work_with_old_anchors_and_new_certificates_and_the_reverse(
    dapr_cluster: Cluster, tmp_path: Path, phase: Phase, is_stale: bool, held: str
) -> None:
    """With old anchors a pod gets these, too, which the authority reports."""
    await injection.define_webhook(dapr_cluster)
    mesh = await install(dapr_cluster, tmp_path, OURS)
    former, current = renewal(mesh.namespace, phase)
    await mesh.plane.installation.write(secret(current))
    issuer = x509.load_pem_x509_certificate(current[Part.CHAIN])
    anchors = (former if is_stale else current)[Part.ANCHORS]
    mounted = tmp_path / "mounted.pem"
    mounted.write_bytes(anchors)
    with mesh.plane.process(f"--trust-domain={TRUST_DOMAIN}", f"--port={mesh.ca_port}") as process:
        ca = Subject(process)
        operator = Program(mesh, "operator", mounted, await mesh.service_token("operator"))
        with operator.operator() as port:
            webhook = await injection.conversion(dapr_cluster)
            assert base64.b64decode(webhook["caBundle"]) == anchors
            assert serving_certificate(port).issuer == issuer.subject
            injection.connect(port, f"dapr-webhook.{mesh.namespace}.svc", anchors).close()
        address = Address("cart", await dapr_cluster.create_namespace())
        await dapr_cluster.create_configuration(address.namespace, "settings", {})
        application = await Application.create(mesh, address, "settings")
        injector = Program(mesh, "injector", mounted, await mesh.service_token("injector"))
        with injector.injector() as port:
            authority = await injection.webhook_authority(dapr_cluster)
            assert authority == anchors
            assert serving_certificate(port).issuer == issuer.subject
            container = injection.injected(port, mesh, application.pod, authority)
        pod = manifests.pod("stock-0", containers=[{**container, "volumeMounts": []}])
        await dapr_cluster.create_pod(address.namespace, pod)
        process.send(signal.SIGHUP)
        wait_until(lambda: ca.state()["renewal"]["sidecars"][held] == 1)
        found = ca.state()["renewal"]
        assert (found["phase"], found["injector_stale"]) == (phase.value, is_stale)


async def install_for_both(cluster: Cluster, directory: Path) -> Mesh:
    """Installs a mesh in which Dapr Sentry has its permissions, too."""
    mesh = await install(cluster, directory, OURS)
    await cluster.grant(mesh.namespace, ACCOUNT, DAPR_ROLE)
    return mesh


async def placement(mesh: Mesh, anchors: bytes, *, audiences: tuple[str, ...] = ()) -> tuple[Authority, Workload]:
    """Returns the certificate authority as seen by the placement service with these trust anchors, and that service."""
    token = (await mesh.service_token("placement")).read_text()
    authority = replace(mesh.plane.authority(mesh.ca_port, anchors), spiffe_id=mesh.sentry_id)
    return authority, Workload(app_id="dapr-placement", namespace=mesh.namespace, token=token, audiences=audiences)


_ROTATION: Final = Rotation(interval=timedelta(days=30), lifetime=timedelta(hours=24), algorithm="RS256")
_ROTATING: Final = (
    *OURS,
    f"--jwt-key-rotation={_ROTATION.interval.days * 24}h",
    *("--oidc-enabled", "--oidc-server-tls-enabled=false", "--oidc-server-listen-port=0"),
)


def rotated_keys() -> tuple[StoredJwtKey, StoredJwtKey]:
    """Returns signing keys of JWTs, the next of which is published, and what they were before."""
    former = jwt_rotation.plan(generate_jwt_key("RS256", None), _ROTATION, wall_clock() - _ROTATION.interval).stored
    assert former is not None
    current = jwt_rotation.plan(former, _ROTATION, wall_clock() - timedelta(hours=1)).stored
    assert current is not None
    return former, current


@pytest.mark.parametrize("ours_first", [True, False])
async def test_dapr_sentry_takes_over_rotated_keys_with_any_config_map(
    dapr_sentry: Path, dapr_cluster: Cluster, tmp_path: Path, ours_first: bool
) -> None:
    """An outdated key set there is left alone by Dapr Sentry, and removed by us; our OIDC server has the other."""
    mesh = await install_for_both(dapr_cluster, tmp_path)
    installation = mesh.plane.installation
    former, current = rotated_keys()
    bundle = generate(TRUST_DOMAIN, mesh.namespace, KeyType.P256, now=wall_clock(), allowed_clock_skew=SKEW)
    stored = {**secret(bundle_parts(bundle)), "jwt.key": current.key, "jwks.json": current.jwks}
    await installation.write(stored)
    outdated = {"ca.crt": bundle.anchors.decode(), "jwks.json": former.jwks.decode()}
    await installation.edit("configmaps", data=outdated)
    published = outdated
    authority, workload = await placement(mesh, bundle.anchors, audiences=("mesh",))
    for is_ours in (ours_first, not ours_first, ours_first):
        with mesh.ca(_ROTATING if is_ours else (str(dapr_sentry),)):
            obtained = await trio.to_thread.run_sync(obtain, authority, workload)
        key = jwt.PyJWKSet.from_json(current.jwks.decode())[jwt.get_unverified_header(obtained.jwt or "")["kid"]]
        assert jwt.decode(obtained.jwt or "", key, algorithms=["RS256"], audience="mesh")["exp"]
        published = {"ca.crt": outdated["ca.crt"]} if is_ours else published
        assert await installation.parts() == stored
        assert (await installation.get("configmaps"))["data"] == published


@pytest.mark.parametrize("phase", _REACHED)
async def test_dapr_sentry_takes_over_a_secret_and_hands_back(
    dapr_sentry: Path, dapr_cluster: Cluster, tmp_path: Path, phase: Phase
) -> None:
    """A client with the old root gets certificates; Secret and ConfigMap stay as they are."""
    mesh = await install_for_both(dapr_cluster, tmp_path)
    installation = mesh.plane.installation
    former, current = renewal(mesh.namespace, phase)
    await installation.write(secret(current))
    issuer = x509.load_pem_x509_certificate(current[Part.CHAIN])
    authority, workload = await placement(mesh, former[Part.ANCHORS])
    contents = []
    for command in (OURS, (str(dapr_sentry),), OURS):
        with mesh.ca(command):
            obtained = await trio.to_thread.run_sync(obtain, authority, workload)
        assert obtained.certificate.issuer == issuer.subject
        contents.append((await installation.parts(), await installation.published()))
    assert contents[0][0].items() >= secret(current).items()
    assert contents == [contents[0]] * 3
