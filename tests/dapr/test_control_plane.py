"""Dapr's operator, injector, placement and sidecars on a real API server, with identities of either CA.

The trust domain of the control plane is not the cluster's DNS domain, and its namespace is not dapr-system.
"""

import json
import signal
import subprocess
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import pytest
import trio

from sentry_trio.client import Authority, Workload, obtain
from sentry_trio.environments.cluster_resources import root_fingerprints
from sentry_trio.kube.sidecar_anchors import SidecarReader
from testkit.cluster.admin import Manifest
from testkit.cluster.cluster import Cluster
from testkit.credentials import contents, two_issuers
from testkit.dapr.binaries import Program
from testkit.subject import Subject

from . import injection
from .ca_process import OURS
from .injection import Application
from .installed import TRUST_DOMAIN, Mesh, install
from .sidecars import Address, Sidecar, dns_names, failed_renewals, identity, name_resolution, serving_certificate
from .traffic import MTLS, Traffic, assert_renewed, renewed, restarts

SERVICES: Final[tuple[Program, ...]] = ("operator", "injector", "placement")


@pytest.fixture
async def shops(dapr_cluster: Cluster) -> list[Address]:
    """Two applications in namespaces and trust domains of their own; each admits only the other."""
    cart, stock = shops = [Address(name, await dapr_cluster.create_namespace()) for name in ("cart", "stock")]
    for each, other in ((cart, stock), (stock, cart)):
        allowed = {
            "appId": other.app_id,
            "namespace": other.namespace,
            "trustDomain": f"{other.app_id}.example",
            "defaultAction": "allow",
        }
        access = {"trustDomain": f"{each.app_id}.example", "defaultAction": "deny", "policies": [allowed]}
        spec = {"nameResolution": name_resolution(shops), "accessControl": access}
        await dapr_cluster.create_configuration(each.namespace, "settings", spec)
    return shops


def spiffe_id(address: Address) -> str:
    return f"spiffe://{address.app_id}.example/ns/{address.namespace}/{address.app_id}"


async def deployed(stack: ExitStack, mesh: Mesh, addresses: Iterable[Address]) -> list[Sidecar]:
    """Starts operator, injector and placement, and the sidecar that the injector gives to each application."""
    operator_port = stack.enter_context((await mesh.program("operator")).operator())
    injector_port = stack.enter_context((await mesh.program("injector")).injector())
    placement_port = stack.enter_context((await mesh.program("placement")).placement())
    authority = await injection.webhook_authority(mesh.plane.cluster)
    sidecars = []
    for each in addresses:
        application = await Application.create(mesh, each, "settings")
        container = injection.injected(injector_port, mesh, application.pod, authority)
        assert held_roots(application.pod, container) == root_fingerprints(authority.decode())
        sidecars.append(stack.enter_context(application.sidecar(mesh, container, operator_port, placement_port)))
    return sidecars


def held_roots(pod: Manifest, container: Manifest) -> frozenset[str]:
    """Reads a pod with the injector's container as the index does."""
    spec = {**pod["spec"], "containers": [*pod["spec"]["containers"], container]}
    found = SidecarReader(root_fingerprints).read(json.dumps({**pod, "spec": spec}).encode())
    assert found is not None
    return found.anchors.fingerprints


async def test_the_control_plane_serves_with_identities_of_the_ca(
    ca_command: tuple[str, ...], dapr_cluster: Cluster, tmp_path: Path
) -> None:
    await injection.define_webhook(dapr_cluster)
    mesh = await install(dapr_cluster, tmp_path, ca_command)
    with mesh.ca(ca_command), ExitStack() as stack:
        operator, injector, placement = [await mesh.program(name) for name in SERVICES]
        ports = {
            "dapr-operator": stack.enter_context(operator.operator()),
            "dapr-injector": stack.enter_context(injector.injector()),
            "dapr-placement": stack.enter_context(placement.placement()),
        }
        hosts = {
            "dapr-operator": [f"dapr-webhook.{mesh.namespace}.svc"],
            "dapr-injector": [f"dapr-sidecar-injector.{mesh.namespace}.svc"],
            "dapr-placement": [],
        }
        for name, port in ports.items():
            certificate = serving_certificate(port)
            assert identity(certificate) == f"spiffe://{TRUST_DOMAIN}/ns/{mesh.namespace}/{name}"
            assert dns_names(certificate) == hosts[name]
        anchors = (await mesh.anchors()).read_bytes()
        assert await injection.webhook_authority(dapr_cluster) == anchors
        assert (await injection.conversion(dapr_cluster))["service"]["namespace"] == mesh.namespace


async def test_injected_sidecars_call_each_other(
    ca_command: tuple[str, ...], dapr_cluster: Cluster, shops: list[Address], tmp_path: Path
) -> None:
    await injection.define_webhook(dapr_cluster)
    mesh = await install(dapr_cluster, tmp_path, ca_command)
    with mesh.ca(ca_command), ExitStack() as stack:
        first, second = sidecars = await deployed(stack, mesh, shops)
        assert [first.call(second.address), second.call(first.address)] == ["", ""]
        assert [identity(each.serving_certificate()) for each in sidecars] == [spiffe_id(each) for each in shops]
        for each in sidecars:
            assert each.jwt_audiences() == ["bank", f"{each.address.app_id}.example"]
            each.process.wait_until(lambda log: "Connected to placement service" in log)


async def test_calls_go_on_while_certificates_are_renewed_and_the_ca_restarts(
    dapr_cluster: Cluster, shops: list[Address], tmp_path: Path
) -> None:
    await injection.define_webhook(dapr_cluster)
    mesh = await install(dapr_cluster, tmp_path, OURS, **MTLS)
    bundles = two_issuers()
    await mesh.plane.installation.write(contents(bundles[0]))
    audit_log = tmp_path / "audit.log"
    flags = (f"--trust-domain={TRUST_DOMAIN}", f"--port={mesh.ca_port}", f"--audit-log={audit_log}")
    with mesh.plane.process(*flags) as process, ExitStack() as stack:
        ca = Subject(process)
        first, second = sidecars = await deployed(stack, mesh, shops)
        identities = [spiffe_id(each) for each in shops]
        services = [f"spiffe://{TRUST_DOMAIN}/ns/{mesh.namespace}/dapr-{name}" for name in SERVICES]
        current = 0
        with Traffic(first, second) as traffic:
            for run in restarts(lambda: renewed(audit_log, *identities, *services)):
                if run % 2:
                    process.send(signal.SIGHUP)
                else:
                    current = 1 - current
                    await mesh.plane.installation.write(contents(bundles[current]))
                ca.wait_for_run(run, bundles[current])
        assert_renewed(audit_log, *zip(identities, sidecars, strict=True))
        ca.stop()
    assert [*traffic.failures, *failed_renewals(*sidecars)] == []
    assert traffic.calls > run
    # There is no cluster DNS here.
    assert [each for each in ca.complaints() if not each.startswith("Error getting Kubernetes cluster domain")] == []


async def test_the_schedulers_names_end_in_the_dns_domain(
    ca_command: tuple[str, ...], dapr_cluster: Cluster, tmp_path: Path
) -> None:
    mesh = await install(dapr_cluster, tmp_path, ca_command)
    token = await mesh.service_token("scheduler")
    hosts = tmp_path / "hosts"
    hosts.write_text("127.0.0.1 kubernetes.default.svc.cluster.example kubernetes.default.svc\n")
    with mesh.ca(with_hosts(hosts, ca_command)):
        authority = Authority(
            host="127.0.0.1", port=mesh.ca_port, trust_anchors=await mesh.plane.anchors(), spiffe_id=mesh.sentry_id
        )
        workload = Workload(app_id="dapr-scheduler", namespace=mesh.namespace, token=token.read_text())
        obtained = await trio.to_thread.run_sync(obtain, authority, workload)
    assert dns_names(obtained.certificate) == [
        f"dapr-scheduler-server-{replica}.dapr-scheduler-server.{mesh.namespace}.svc.cluster.example"
        for replica in range(3)
    ]


def with_hosts(hosts: Path, command: tuple[str, ...]) -> tuple[str, ...]:
    """Replaces /etc/hosts for one program, as a substitute for the cluster's DNS."""
    namespace = ("unshare", "--map-root-user", "--mount", "sh", "-c", 'mount --bind "$0" /etc/hosts && exec "$@"')
    if subprocess.run([*namespace, hosts, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("a mount namespace cannot be made here")
    return (*namespace, str(hosts), *command)
