"""The chart on a real API server: a real helm installs it, and what it installed runs, as far as there is no kubelet.

The cluster-wide roles have one name, so that there is one installation at a time.
"""

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
import trio

from sentry_trio.ca.bundle import StoredBundle
from sentry_trio.ca.generate import generate
from sentry_trio.ca.keys import KeyType
from sentry_trio.client import Obtained, Workload, obtain
from testkit.authorities import LOOPBACK, SKEW, wall_clock
from testkit.cluster import manifests
from testkit.cluster.admin import Manifest, RefusedError
from testkit.cluster.cluster import _ADMIN_TOKEN, CRDS, Cluster
from testkit.cluster.control_plane import ACCOUNT, TRUST_DOMAIN, ControlPlane
from testkit.cluster.installing import NAME, Installation, eventually
from testkit.go_modules import UnavailableError
from testkit.helm import chart, values
from testkit.helm.chart import CHART, Helm, HelmError, Values
from testkit.processes import Process

_SECRET = f"/api/v1/namespaces/{{}}/secrets/{NAME}"
DEPLOYMENT = "/apis/apps/v1/namespaces/{}/deployments/dapr-sentry"


class Release:
    """A namespace, and what helm does in it."""

    def __init__(self, helm: Helm, installation: Installation) -> None:
        self.helm = helm
        self.installation = installation
        self.cluster = installation.cluster
        self.namespace = installation.namespace

    async def run(self, command: str, *flags: str, values: Values | None = None, name: str = "sentry") -> str:
        """A command of helm's on the release; `install` and `upgrade` are given the chart."""
        given = (str(CHART), "--skip-crds") if command in {"install", "upgrade"} else ()
        arguments = (command, name, *given, "--namespace", self.namespace, *flags)
        return await trio.to_thread.run_sync(partial(self.helm.run, *arguments, values=values))

    async def parts(self) -> dict[str, bytes]:
        return await self.installation.parts()

    async def container(self) -> Manifest:
        deployment = await self.cluster.ask("GET", DEPLOYMENT.format(self.namespace))
        found: Manifest = deployment["spec"]["template"]["spec"]["containers"][0]
        return found

    @contextmanager
    def process(self, container: Manifest, kubeconfig: Path) -> Iterator[Process]:
        """The command that the kubelet would start, with ports of this machine and the address of the API server."""
        flags = [*container["args"], "--log-as-json", f"--kubeconfig={kubeconfig}", *LOOPBACK]
        environ = {
            "PATH": os.environ["PATH"],
            "NAMESPACE": self.namespace,
            "DAPR_UNSAFE_SKIP_CONTAINER_UID_GID_CHECK": "true",  # these tests may be root
        }
        popen = subprocess.Popen(
            [sys.executable, "-m", "sentry_trio", *flags],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environ,
            cwd=Path(__file__).parents[2],
        )
        process = Process(popen)
        try:
            yield process
        finally:
            process.close()

    async def account(self) -> Path:
        """A kubeconfig with the permissions of the chart's own service account."""
        token = await self.cluster.create_token(self.namespace, ACCOUNT)
        return self.cluster.write_kubeconfig(self.installation.directory / "account", {"token": token})

    async def sign_for_a_pod(self, kubeconfig: Path) -> Obtained:
        """Starts the process with the installed arguments and permissions, and asks it as a pod would."""
        with self.process(await self.container(), kubeconfig) as process:
            port = int(await trio.to_thread.run_sync(process.log_until, "Running gRPC server on port "))
            plane = ControlPlane(self.installation, kubeconfig)
            shop = await self.cluster.create_namespace()
            await self.cluster.create_service_account(shop, "shop")
            manifest = manifests.pod("shop-1", service_account="shop", annotations={"dapr.io/app-id": "shop"})
            pod = await self.cluster.create_pod(shop, manifest)
            workload = Workload(app_id="shop", namespace=shop, token=await plane.token(shop, pod))
            authority = plane.authority(port, await plane.anchors())
            obtained = await trio.to_thread.run_sync(partial(obtain, authority, workload))
            process.send(signal.SIGTERM)
            assert await trio.to_thread.run_sync(process.exit_code) == 0
            bad = [each["msg"] for each in process.records if each["level"] in {"warning", "error", "fatal"}]
            # Nothing resolves the cluster's names here.
            assert [each for each in bad if not str(each).startswith("Error getting Kubernetes cluster domain")] == []
        return obtained


@pytest.fixture
async def release(cluster: Cluster, tmp_path: Path) -> AsyncIterator[Release]:
    """Removes the installed objects in the end."""
    await cluster.define_configurations()
    namespace = await cluster.create_namespace()
    try:
        binary = await trio.to_thread.run_sync(chart.build)
    except UnavailableError as error:
        pytest.skip(str(error))
    kubeconfig = cluster.write_kubeconfig(tmp_path / "admin", {"token": _ADMIN_TOKEN})
    helm = Helm(binary, tmp_path, kubeconfig)
    yield Release(helm, Installation(cluster, namespace, tmp_path))
    for name in helm.run("list", "--all", "--short", "--namespace", namespace).split():
        helm.run("uninstall", name, "--namespace", namespace)


def _made(namespace: str) -> StoredBundle:
    return generate(TRUST_DOMAIN, namespace, KeyType.P256, now=wall_clock(), allowed_clock_skew=SKEW)


def _pems(bundle: StoredBundle) -> Values:
    issuer = {"certPEM": bundle.chain.decode(), "keyPEM": bundle.key.decode()}
    return {"tls": {"root": {"certPEM": bundle.anchors.decode()}, "issuer": issuer}}


async def test_a_release_from_install_to_uninstall(release: Release) -> None:
    """Values as for Dapr's chart; the certificate authority that was generated outlives it all."""
    notes = await release.run("install", values=values.DAPR)
    assert f"kubectl --namespace {release.namespace} rollout status deployment/dapr-sentry" in notes
    obtained = await release.sign_for_a_pod(await release.account())
    generated = await release.parts()
    assert obtained.anchors == generated["ca.crt"]

    await release.run("upgrade", values={"logLevel": "debug", "global": {"ha": {"enabled": True}}})
    assert "debug" in (await release.container())["args"]
    assert await release.parts() == generated
    await release.run("rollback", "1")
    assert "debug" not in (await release.container())["args"]
    assert await release.parts() == generated
    assert await release.installation.published() == obtained.anchors.decode()
    assert (await release.sign_for_a_pod(await release.account())).anchors == obtained.anchors

    await release.run("uninstall")
    with pytest.raises(RefusedError, match="404"):
        await release.cluster.ask("GET", DEPLOYMENT.format(release.namespace))
    assert await release.parts() == generated
    # Installed again, under another name even, it goes on with what was kept.
    await release.run("install", name="another")
    assert (await release.sign_for_a_pod(await release.account())).anchors == obtained.anchors
    assert await release.parts() == generated


async def test_an_installation_without_daprs_kinds_fails_with_the_reason(release: Release) -> None:
    definition = f"{CRDS}/configurations.dapr.io"
    await release.cluster.ask("DELETE", definition)

    async def is_gone() -> bool:
        try:
            await release.cluster.ask("GET", definition)
        except RefusedError:
            return True
        return False

    try:
        await eventually(is_gone)
        with pytest.raises(
            HelmError, match=r'no matches for kind "Configuration".*\s.*ensure CRDs are installed first'
        ):
            await release.run("install")
    finally:
        await release.cluster.define_configurations()


async def test_the_api_server_refuses_to_lose_the_authority(release: Release) -> None:
    await release.run("install")
    await release.sign_for_a_pod(await release.account())
    generated = await release.parts()

    async def is_protected() -> bool:
        try:
            await release.installation.edit("secrets", data={"issuer.key": None})
        except RefusedError as error:
            return "annotate it with sentry-trio/give-up=true" in str(error)
        await release.installation.write(generated)
        return False

    await eventually(is_protected)  # the API server takes a moment to know a policy
    with pytest.raises(RefusedError, match="to delete it, annotate it"):
        await release.installation.delete("secrets")
    with pytest.raises(HelmError, match="would remove"):
        await release.run("upgrade", "--force")
    assert await release.parts() == generated
    await release.installation.edit("secrets", metadata={"annotations": {"sentry-trio/give-up": "true"}})
    await release.installation.delete("secrets")


async def test_a_namespace_that_ends_takes_the_authority_with_it(release: Release) -> None:
    await release.run("install")
    await release.installation.write(dict.fromkeys(("ca.crt", "issuer.crt", "issuer.key"), b"something"))

    async def is_protected() -> bool:
        try:
            await release.cluster.ask("DELETE", f"{_SECRET.format(release.namespace)}?dryRun=All")
        except RefusedError:
            return True
        return False

    await eventually(is_protected)
    await release.cluster.ask("DELETE", f"/api/v1/namespaces/{release.namespace}")

    async def is_given_up() -> bool:
        return not await is_protected()

    await eventually(is_given_up)  # as soon as admission knows that the namespace ends


async def test_the_values_may_switch_mtls_off(release: Release) -> None:
    """The policy is only against switching mTLS off by accident."""
    await release.run("install")
    path = f"/apis/dapr.io/v1alpha1/namespaces/{release.namespace}/configurations/daprsystem"
    off = {"spec": {"mtls": {"enabled": False}}}

    async def is_protected() -> bool:
        try:
            await release.cluster.ask("PATCH", f"{path}?dryRun=All", off, kind="merge-patch+json")
        except RefusedError as error:
            return "this would switch mTLS off" in str(error)
        return False

    await eventually(is_protected)
    await release.run("upgrade", values={"global": {"mtls": {"enabled": False}}})
    assert (await release.cluster.ask("GET", path))["spec"]["mtls"]["enabled"] is False
    await release.run("upgrade", values={"global": {"mtls": {"enabled": True}}})
    await eventually(is_protected)


async def test_own_certificates_are_written_once(release: Release) -> None:
    """Not again after a rotation, and they stay when the values go; other values are written again."""
    first, rotated, second = (_made(release.namespace) for _ in range(3))
    await release.run("install", values=_pems(first))
    assert (await release.parts())["issuer.key"] == first.key
    assert (await release.sign_for_a_pod(await release.account())).anchors == first.anchors
    await release.installation.write(
        {"ca.crt": rotated.anchors, "issuer.crt": rotated.chain, "issuer.key": rotated.key}
    )
    await release.run("upgrade", values=_pems(first) | {"logLevel": "debug"})
    assert (await release.parts())["issuer.key"] == rotated.key
    await release.run("upgrade", values={})
    assert (await release.parts())["issuer.key"] == rotated.key
    await release.run("upgrade", values=_pems(second))
    assert (await release.parts())["issuer.key"] == second.key


async def test_tokens_come_with_certificates(release: Release) -> None:
    await release.run("install", values={"jwt": {"enabled": True, "signingAlgorithm": "ES256", "keyRotation": "720h"}})
    obtained = await release.sign_for_a_pod(await release.account())
    assert obtained.jwt is not None
    assert (await release.parts()).keys() == {"ca.crt", "issuer.crt", "issuer.key", "jwt.key", "jwks.json"}


async def test_foreign_content_is_used_and_left_unchanged(release: Release) -> None:
    """As Dapr's chart leaves it: its Secret, its ConfigMap, its Configuration, and its Deployment."""
    theirs = _made(release.namespace)
    owner = {"meta.helm.sh/release-name": "dapr", "meta.helm.sh/release-namespace": release.namespace}
    metadata = {"annotations": owner, "labels": {"app.kubernetes.io/managed-by": "Helm"}}
    for kind in ("secrets", "configmaps"):
        path = f"/api/v1/namespaces/{release.namespace}/{kind}"
        await release.cluster.ask("POST", path, {"metadata": {"name": NAME, **metadata}})
    await release.installation.write({"ca.crt": theirs.anchors, "issuer.crt": theirs.chain, "issuer.key": theirs.key})
    account = {"metadata": {"name": ACCOUNT, **metadata}}
    await release.cluster.ask("POST", f"/api/v1/namespaces/{release.namespace}/serviceaccounts", account)
    await release.cluster.create_configuration(release.namespace, "daprsystem", {"mtls": {"workloadCertTTL": "1h"}})
    with pytest.raises(HelmError, match="does not belong to this release and is not changed"):
        await release.run("install", values=_pems(theirs))
    with pytest.raises(HelmError, match="cannot be imported into the current release"):
        await release.run("install")
    notes = await release.run("install", "--take-ownership")
    assert "Secret dapr-trust-bundle exists already and is used" in notes
    assert (await release.sign_for_a_pod(await release.account())).anchors == theirs.anchors
    await release.run("uninstall")
    secret = await release.installation.get("secrets")
    assert secret["metadata"]["annotations"] == owner
    assert (await release.parts())["issuer.key"] == theirs.key


async def test_the_api_server_takes_all_objects(release: Release) -> None:
    """Objects of kinds that this API server has; it accepts all their members."""
    asked: list[Manifest] = []
    for given in values.ALL.values():
        for manifest in release.helm.rendered(given).objects:
            if manifest["apiVersion"].startswith(("monitoring.coreos.com", "cert-manager.io")) or manifest in asked:
                continue
            asked.append(manifest)
            await release.cluster.ask(
                "POST",
                _collection(manifest, release.namespace),
                manifest | {"metadata": manifest["metadata"] | {"namespace": release.namespace}}
                if "namespace" in manifest["metadata"]
                else manifest,
            )


def _collection(manifest: Manifest, namespace: str) -> str:
    plurals = {"NetworkPolicy": "networkpolicies", "ValidatingAdmissionPolicy": "validatingadmissionpolicies"}
    plural = plurals.get(manifest["kind"], manifest["kind"].lower() + "s")
    version = manifest["apiVersion"]
    room = f"/apis/{version}" if "/" in version else f"/api/{version}"
    place = f"/namespaces/{namespace}" if "namespace" in manifest["metadata"] else ""
    return f"{room}{place}/{plural}?dryRun=All&fieldValidation=Strict"
