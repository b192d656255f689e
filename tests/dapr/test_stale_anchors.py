"""Webhooks of Dapr's operator and injector during a renewal, and pods that an injector makes with old trust anchors."""

import base64
import signal
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Final

import pytest
from cryptography import x509

from sentry_trio.ca.generate import generate
from sentry_trio.ca.keys import KeyType
from sentry_trio.ca.renewal import Phase, RenewalPolicy, Request, Situation, plan
from sentry_trio.errors import Part
from sentry_trio.stores.parts import RENEWAL, bundle_parts
from testkit.authorities import SKEW, wall_clock
from testkit.ca.making import DAY
from testkit.ca.renewing import Stored, after
from testkit.cluster import manifests
from testkit.cluster.cluster import Cluster
from testkit.stores import NAMES
from testkit.subject import Subject

from . import injection
from .ca_process import OURS
from .injection import Application
from .installed import TRUST_DOMAIN, Program, install
from .renewing import wait_until
from .sidecars import Address, serving_certificate

_PUBLISHED: Final = wall_clock() - timedelta(minutes=20)
_GRACE: Final = timedelta(minutes=5)


def renewal(namespace: str, phase: Phase) -> tuple[Stored, Stored]:
    """Returns an authority, and what it is in a phase of a renewal whose root has been published for 20 minutes."""
    policy = RenewalPolicy(
        trust_domain=TRUST_DOMAIN,
        namespace=namespace,
        key_type=KeyType.P256,
        workload_ttl=DAY,
        allowed_clock_skew=SKEW,
        grace=_GRACE,
    )
    begin = Situation(now=_PUBLISHED)
    made = generate(TRUST_DOMAIN, namespace, KeyType.P256, now=_PUBLISHED - DAY, allowed_clock_skew=SKEW)
    former = bundle_parts(made)
    stored = after(former, plan(former, policy, begin, Request.START))
    stored = after(stored, plan(stored, policy, begin))  # notes the publication
    if phase is Phase.SIGNING:
        stored = after(stored, plan(stored, policy, replace(begin, now=_PUBLISHED + _GRACE)))
    return former, stored


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
    former, present = renewal(mesh.namespace, phase)
    names = {**NAMES, **RENEWAL}
    await mesh.plane.installation.write({names[part]: content for part, content in present.items()})
    issuer = x509.load_pem_x509_certificate(present[Part.CHAIN])
    anchors = (former if is_stale else present)[Part.ANCHORS]
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
