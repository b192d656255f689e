"""Replicas that start on an empty Secret at once, again and again: one certificate authority each time."""

from datetime import timedelta
from pathlib import Path

import pytest
import trio
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from sentry_trio.ca.bundle import TrustBundle
from sentry_trio.ca.issue import Issuer, WorkloadIdentity
from sentry_trio.ca.keys import public_key_info
from sentry_trio.ca.spiffe import SpiffeId
from sentry_trio.component_settings import environment_settings
from sentry_trio.conditions import Conditions
from sentry_trio.environments.kubernetes import open_kubernetes
from sentry_trio.settings.command_line import parse_options
from sentry_trio.telemetry.metrics import Metrics
from testkit.authorities import SKEW, wall_clock
from testkit.ca.making import parsed
from testkit.cluster.cluster import Cluster
from testkit.cluster.control_plane import TRUST_DOMAIN, ControlPlane, install

REPLICAS = 3
KEY = public_key_info(ec.generate_private_key(ec.SECP256R1()).public_key())


async def _start(plane: ControlPlane, bundles: list[TrustBundle]) -> None:
    """Prepares a replica as before it serves."""
    flags = ["--mode=kubernetes", f"--kubeconfig={plane.kubeconfig}", f"--trust-domain={TRUST_DOMAIN}"]
    environ = {"NAMESPACE": plane.namespace, "DAPR_UNSAFE_SKIP_CONTAINER_UID_GID_CHECK": "true"}
    options = parse_options(flags, environ)
    settings = environment_settings(options)
    async with open_kubernetes(
        settings, environ, metrics=Metrics(), now=wall_clock, conditions=Conditions()
    ) as environment:
        bundles.append((await environment.run_inputs(may_generate=True)).bundle)


def _leaf(bundle: TrustBundle) -> x509.Certificate:
    identity = WorkloadIdentity(SpiffeId.make("public", "default", "app"))
    issuer = Issuer(bundle)
    return parsed(issuer.issue(KEY, identity, lifetime=timedelta(hours=1), allowed_clock_skew=SKEW, now=wall_clock()))


@pytest.mark.parametrize("times", [5, pytest.param(50, marks=pytest.mark.soak)])
async def test_one_authority_each_time(cluster: Cluster, tmp_path: Path, times: int) -> None:
    plane = await install(cluster, tmp_path)
    for _ in range(times):
        await plane.installation.edit("secrets", data=None)
        await plane.installation.edit("configmaps", data=None)
        bundles: list[TrustBundle] = []
        async with trio.open_nursery() as replicas:
            for _ in range(REPLICAS):
                replicas.start_soon(_start, plane, bundles)
        assert len(bundles) == REPLICAS
        assert len({bundle.fingerprint for bundle in bundles}) == 1
        published = x509.load_pem_x509_certificates(await plane.anchors())
        for bundle in bundles:
            _leaf(bundle).verify_directly_issued_by(parsed(bundles[0].issuer))
            parsed(bundle.issuer).verify_directly_issued_by(published[0])
