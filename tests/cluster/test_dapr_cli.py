"""The dapr CLI on a cluster with Dapr's chart and this one, as docs/dapr-cli.md describes it.

No controller runs here, so nothing becomes ready: a command that waits for that is killed once it has done its work.
"""

import os
import subprocess
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest
import trio
from cryptography import x509

from sentry_trio.ca.bundle import StoredBundle
from sentry_trio.ca.generate import generate
from sentry_trio.ca.keys import KeyType
from testkit.authorities import SKEW, wall_clock
from testkit.cluster import manifests
from testkit.cluster.admin import RefusedError
from testkit.cluster.cluster import Cluster
from testkit.cluster.installing import NAME, eventually
from testkit.dapr_cli import binary
from testkit.go_modules import UnavailableError
from testkit.helm.chart import HelmError
from testkit.helm.dapr_chart import VERSION, find_chart, served_chart
from testkit.processes import killed_at_end

from .test_chart import Release, release

__all__ = ["release"]  # the fixture

_NAMES = ("dapr-operator", "dapr-sentry", "dapr-placement-server", "dapr-sidecar-injector")
_CONFIGURATION = "/apis/dapr.io/v1alpha1/namespaces/{}/configurations/daprsystem"
# Sentry and the Configuration are what these tests are about.
_OTHER_NAMES: Final = {"global": {"issuerFilenames": {"ca": "ca.crt", "cert": "tls.crt", "key": "tls.key"}}}
_FEW = (
    "global.scheduler.enabled=false",
    "dapr_placement.replicaCount=0",
)


class Cli:
    """The CLI beside a release of Dapr's chart and one of this project's, in one namespace."""

    def __init__(self, program: Path, repository: str, ours: Release, dapr_chart: Path) -> None:
        self._program = program
        self.ours = ours
        self.cluster: Cluster = ours.cluster
        self._chart = dapr_chart
        self._environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(ours.helm.home),
            "KUBECONFIG": str(ours.helm.kubeconfig),
            "DAPR_HELM_REPO_URL": repository,
            "HTTPS_PROXY": "http://127.0.0.1:1",  # Dapr's CRDs are elsewhere; the CLI goes on without
        }

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        command = [str(self._program), *arguments]
        return subprocess.Popen(command, env=self._environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    async def run(self, *arguments: str) -> tuple[int, str]:
        """Runs a command to its end; its exit code and what it printed."""
        with killed_at_end(self.start(*arguments)) as process, trio.fail_after(60):
            output, _ = await trio.to_thread.run_sync(process.communicate)
        return process.returncode, output

    async def until(self, holds: Callable[[], Any], *arguments: str) -> None:
        """Starts a command and kills it when a condition is met: it would wait for pods that no controller starts."""
        process = self.start(*arguments)
        try:
            with trio.fail_after(60):
                while not await holds():
                    assert process.poll() is None, process.communicate()[0]
                    await trio.sleep(0.1)  # between two looks
        finally:
            process.kill()
            await trio.to_thread.run_sync(process.communicate)

    async def helm(self, command: str, *flags: str) -> None:
        """A command of helm's on the release of Dapr's chart."""
        given = (str(self._chart), "--skip-crds", "--set", ",".join(_FEW)) if command != "uninstall" else ()
        where = ("--namespace", self.ours.namespace)
        await trio.to_thread.run_sync(partial(self.ours.helm.run, command, "dapr", *given, *where, *flags))

    async def image(self) -> str:
        return str((await self.ours.container())["image"])

    async def has_mtls(self) -> bool:
        found = await self.cluster.ask("GET", _CONFIGURATION.format(self.ours.namespace))
        return bool(found["spec"]["mtls"]["enabled"])

    async def stored(self, cert: str = "issuer.crt", key: str = "issuer.key") -> tuple[bytes, ...]:
        """The certificate authority in the Secret."""
        parts = await self.ours.parts()
        return parts["ca.crt"], parts[cert], parts[key]

    async def is_protected(self) -> bool:
        """The API server takes a moment to know a policy."""
        try:
            path = f"/api/v1/namespaces/{self.ours.namespace}/secrets/{NAME}?dryRun=All"
            await self.cluster.ask("DELETE", path)
        except RefusedError:
            return True
        return False

    async def give_up(self) -> None:
        """Lets the Secret be deleted."""
        await self.ours.installation.edit("secrets", metadata={"annotations": {"sentry-trio/give-up": "true"}})

    async def fill(self, cert: str = "issuer.crt", key: str = "issuer.key") -> StoredBundle:
        """Puts a certificate authority into the Secret."""
        made = generate("cluster.local", self.ours.namespace, KeyType.P256, now=wall_clock(), allowed_clock_skew=SKEW)
        await self.ours.installation.write({"ca.crt": made.anchors, cert: made.chain, key: made.key})
        return made


@pytest.fixture(scope="module")
def program() -> Path:
    try:
        return binary.build()
    except UnavailableError as error:
        pytest.skip(str(error))


@pytest.fixture
async def cli(program: Path, release: Release, tmp_path: Path) -> AsyncIterator[Cli]:
    """Installs Dapr's chart, and creates its pods with the fields that the CLI reads."""
    dapr_chart = find_chart()
    if dapr_chart is None:
        pytest.skip("Dapr's chart cannot be had")
    await _delete_configurations(release.cluster)
    with served_chart(release.helm, dapr_chart, tmp_path / "charts") as url:
        made = Cli(program, url, release, tmp_path / "charts" / f"dapr-{VERSION}.tgz")
        await made.helm("install", "--set", f"global.tag={VERSION}")
        for name in _NAMES:
            manifest = manifests.pod(name, containers=[{"name": name, "image": f"registry.example/{name}:{VERSION}"}])
            manifest["metadata"]["labels"] = {"app": name}
            container = {"name": name, "image": "", "imageID": "", "restartCount": 0, "ready": True}
            status = {"containerStatuses": [container | {"state": {"running": {}}}]}
            await release.cluster.create_pod(release.namespace, manifest, status=status)
        yield made
        for name in _NAMES:
            await release.cluster.delete_pod(release.namespace, name)
        await made.give_up()
        await made.helm("uninstall")


async def _delete_configurations(cluster: Cluster) -> None:
    """Deletes those that other tests have left: the CLI takes the first namespace that has one for Dapr's."""
    for left in (await cluster.ask("GET", "/apis/dapr.io/v1alpha1/configurations"))["items"]:
        metadata = left["metadata"]
        path = f"/apis/dapr.io/v1alpha1/namespaces/{metadata['namespace']}/configurations/{metadata['name']}"
        await cluster.ask("DELETE", path)


async def test_commands_that_only_read(cli: Cli, tmp_path: Path) -> None:
    await cli.ours.run("install", "--take-ownership")
    assert await cli.run("expiry") == (1, "root certificate not loaded yet, please try again in few minutes\n")
    made = await cli.fill()
    assert await cli.run("mtls") == (0, "true\n")
    (root,) = x509.load_pem_x509_certificates(made.anchors)
    assert await cli.run("expiry") == (0, f"{root.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}\n")
    assert await cli.run("warn") == (0, "")
    code, text = await cli.run("status")
    assert code == 0
    assert f"dapr-sentry True Running 1 {VERSION}" in text
    assert await cli.run("export", str(tmp_path / "out")) == (0, "")
    for name, part in (("ca.crt", made.anchors), ("issuer.crt", made.chain), ("issuer.key", made.key)):
        assert (tmp_path / "out" / name).read_bytes() == part


async def test_an_upgrade_brings_daprs_sentry_back_with_the_same_authority(cli: Cli) -> None:
    await cli.ours.run("install", "--take-ownership")
    made = await cli.fill()
    assert await cli.image() == "sentry-trio:0.1.0"

    async def is_replaced() -> bool:
        return await cli.image() == f"ghcr.io/dapr/sentry:{VERSION}"

    await cli.until(is_replaced, "upgrade", VERSION, *_FEW)
    assert await cli.stored() == (made.anchors, made.chain, made.key)
    assert await cli.has_mtls()
    await cli.ours.run("upgrade", "--take-ownership")
    assert await cli.image() == "sentry-trio:0.1.0"
    assert await cli.stored() == (made.anchors, made.chain, made.key)


async def test_a_renewal_replaces_the_authority_and_brings_daprs_sentry_back(cli: Cli) -> None:
    await cli.ours.run("install", "--take-ownership")
    made = await cli.fill()

    async def is_replaced() -> bool:
        return await cli.image() == f"ghcr.io/dapr/sentry:{VERSION}"

    await cli.until(is_replaced, "renew-certificate")
    anchors, chain, key = await cli.stored()
    assert anchors != made.anchors
    assert chain != made.chain
    assert key != made.key


@pytest.mark.soak  # `dapr upgrade` tries five times; tests/cluster/test_chart.py shows what the API server refuses
async def test_with_cert_manager_the_harmful_commands_fail(cli: Cli) -> None:
    """They know `issuer.crt` and `issuer.key` alone: without these they switch mTLS off, or make another authority."""
    await cli.ours.run("install", "--take-ownership", values={"tls": {"existingSecret": True}, **_OTHER_NAMES})
    made = await cli.fill("tls.crt", "tls.key")
    await eventually(cli.is_protected)
    for command in (("upgrade", VERSION, *_FEW), ("renew-certificate",)):
        code, text = await cli.run(*command)
        assert code == 1
        assert "denied request" in text
        assert await cli.image() == "sentry-trio:0.1.0"
        assert await cli.has_mtls()
        assert await cli.stored("tls.crt", "tls.key") == (made.anchors, made.chain, made.key)
        assert "issuer.key" not in await cli.ours.parts()
    # This chart itself may go back to Dapr's names.
    await cli.ours.run("upgrade", "--take-ownership", "--reset-values")
    assert "tls.key" not in (await cli.ours.container())["args"]


async def test_mtls_is_not_switched_off(cli: Cli) -> None:
    """Unless the Configuration or the values of this chart request it."""
    await cli.ours.run("install", "--take-ownership")
    await cli.fill()
    await eventually(cli.is_protected)
    with pytest.raises(HelmError, match="this would switch mTLS off in the whole mesh"):
        await cli.helm("upgrade", "--set", "global.mtls.enabled=false")
    assert await cli.has_mtls()
    annotated = {"metadata": {"annotations": {"sentry-trio/give-up": "true"}}, "spec": {"mtls": {"enabled": False}}}
    path = _CONFIGURATION.format(cli.ours.namespace)
    await cli.cluster.ask("PATCH", path, annotated, kind="merge-patch+json")
    assert not await cli.has_mtls()


async def test_an_uninstall_leaves_the_authority(cli: Cli) -> None:
    """The Secret that Dapr's chart has made: with this chart's policy the API server refuses to delete it."""
    await cli.ours.run("install", "--take-ownership")
    made = await cli.fill()
    await eventually(cli.is_protected)
    assert await cli.run("uninstall", cli.ours.namespace) == (1, "failed to delete release: dapr\n")
    assert await cli.stored() == (made.anchors, made.chain, made.key)
    with pytest.raises(RefusedError, match="404"):
        await cli.image()
    await cli.ours.run("upgrade", "--take-ownership")
    assert await cli.image() == "sentry-trio:0.1.0"
