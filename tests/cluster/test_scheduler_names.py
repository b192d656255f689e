"""The scheduler's certificate on a cluster whose DNS domain is not the trust domain."""

from pathlib import Path

import pytest
import trio
from cryptography import x509

from sentry_trio.client import Workload, obtain
from sentry_trio.component_settings import environment_settings, grpc_limits
from sentry_trio.conditions import Conditions
from sentry_trio.environments.kubernetes import open_kubernetes
from sentry_trio.kube import cluster_domain
from sentry_trio.listener import open_listener
from sentry_trio.run import RunContext, prepare_run
from sentry_trio.settings.command_line import parse_options
from sentry_trio.telemetry.metrics import Metrics
from testkit.authorities import wall_clock
from testkit.cluster import manifests
from testkit.cluster.cluster import Cluster
from testkit.cluster.control_plane import TRUST_DOMAIN, install


async def test_the_names_end_in_the_dns_domain(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def canonical_name(host: str, **_options: object) -> str:
        return f"{host}.cluster.example"

    async def unchanged(*_causes: object) -> None:
        pytest.fail("nothing has changed")

    monkeypatch.setattr(cluster_domain, "_canonical_name", canonical_name)
    plane = await install(cluster, tmp_path)
    await cluster.create_service_account(plane.namespace, "dapr-scheduler")
    annotations = {"dapr.io/control-plane": "scheduler"}
    manifest = manifests.pod("dapr-scheduler-server-0", service_account="dapr-scheduler", annotations=annotations)
    pod = await cluster.create_pod(plane.namespace, manifest)
    token = await cluster.create_token(
        plane.namespace, "dapr-scheduler", audiences=["dapr.io/sentry"], seconds=600, pod=pod
    )
    flags = ["--mode=kubernetes", f"--kubeconfig={plane.kubeconfig}", f"--trust-domain={TRUST_DOMAIN}"]
    environ = {"NAMESPACE": plane.namespace, "DAPR_UNSAFE_SKIP_CONTAINER_UID_GID_CHECK": "true"}
    options, metrics = parse_options(flags, environ), Metrics()
    settings = environment_settings(options)
    async with open_kubernetes(
        settings, environ, metrics=metrics, now=wall_clock, conditions=Conditions()
    ) as environment:
        with await open_listener("127.0.0.1", 0) as listener:
            around = RunContext(
                identity=settings.identity,
                limits=grpc_limits(options),
                environment=environment,
                listeners=[listener],
                metrics=metrics,
                now=wall_clock,
                authority_serves=lambda: True,
            )
            run = await prepare_run(around, unchanged, may_generate=True)
            async with trio.open_nursery() as nursery:
                await nursery.start(run.serve)
                authority = plane.authority(listener.getsockname()[1], await plane.anchors())
                workload = Workload(app_id="dapr-scheduler", namespace=plane.namespace, token=token)
                obtained = await trio.to_thread.run_sync(obtain, authority, workload)
                nursery.cancel_scope.cancel()
    names = obtained.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == [
        f"dapr-scheduler-server-{replica}.dapr-scheduler-server.{plane.namespace}.svc.cluster.example"
        for replica in range(3)
    ]
    assert obtained.spiffe_id == f"spiffe://{TRUST_DOMAIN}/ns/{plane.namespace}/dapr-scheduler"
