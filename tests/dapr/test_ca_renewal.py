"""Real sidecars while sentry-trio renews itself: those started before, during and after call each other throughout."""

from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from msgspec.structs import replace

from sentry_trio.ca.certificates import read_certificates, write_certificates
from sentry_trio.ca.generate import generate
from sentry_trio.ca.generation import next_bundle
from sentry_trio.ca.keys import KeyType
from testkit.authorities import SKEW, wall_clock
from testkit.ca.making import DAY
from testkit.credentials import contents
from testkit.subject import subject

from .renewing import LIFETIME, Store
from .sidecars import HEALTH, Address, Sidecar, failed_renewals, identity, is_healthy, name_resolution, sidecar
from .traffic import Traffic

_WORKLOAD: Final = "12s"  # renewed after half of it
_GRACE: Final = "--trust-anchor-propagation-grace=6s"
_BEGIN: Final = (f"--workload-cert-ttl={_WORKLOAD}", "--allowed-clock-skew=0s", _GRACE)


def test_sidecars_of_all_generations_call_each_other_through_two_renewals(daprd: Path, tmp_path: Path) -> None:
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    old, both, new, newest = addresses = [Address("old"), Address("both"), Address("new"), Address("newest")]
    mtls = {"workloadCertTTL": _WORKLOAD, "allowedClockSkew": "0s"}
    spec: dict[str, Any] = {"mtls": mtls, "nameResolution": name_resolution(addresses)}
    config = tmp_path / "configuration.yaml"
    config.write_text(yaml.safe_dump({"kind": "Configuration", "spec": spec}))
    store = Store(credentials)
    renewing = (LIFETIME, _GRACE, "--ca-renewal-enabled=false")
    with subject(credentials, f"--config={config}", *renewing) as ca, ExitStack() as stack:
        flags = [f"--config={config}", f"--sentry-address=127.0.0.1:{ca.grpc_port}"]

        def start(address: Address, anchors: str) -> Sidecar:
            environ = {"DAPR_TRUST_ANCHORS": anchors}
            return stack.enter_context(sidecar(daprd, address, tmp_path, flags, environ))

        sidecars = [start(old, store.anchors[0])]
        store.start_renewal(*_BEGIN)
        sidecars.append(start(both, "".join(store.wait_for_anchors(2))))
        traffic = [stack.enter_context(Traffic(*sidecars))]
        store.wait_for_phase("retiring")
        sidecars.append(start(new, store.anchors[0]))
        traffic += [stack.enter_context(Traffic(each, sidecars[-1])) for each in sidecars[:-1]]
        store.start_renewal(*_BEGIN)
        store.wait_for_anchors(3)
        store.wait_for_phase("retiring")
        sidecars.append(start(newest, store.anchors[0]))
        # Connections are kept: only a new sidecar shows handshakes with everyone.
        pairs = [(each, newest) for each in sidecars[:-1]] + [(sidecars[-1], each.address) for each in sidecars[:-1]]
        failures = [failure for caller, target in pairs if (failure := caller.call(target))]
        assert datetime.now(UTC) < datetime.fromisoformat(ca.state()["renewal"]["bridge_end"])
        failures += [failure for each in traffic for failure in each.failures]
        assert [*failures, *failed_renewals(*sidecars)] == []
        assert all(each.calls for each in traffic)


@pytest.mark.parametrize("bridged", [True, False])
def test_a_sidecar_with_the_former_root_needs_the_bridge_to_start(daprd: Path, tmp_path: Path, bridged: bool) -> None:
    credentials, old = tmp_path / "credentials", Address("old")
    credentials.mkdir()
    authority = partial(generate, "localhost", "default", KeyType.P256, allowed_clock_skew=SKEW)
    now = wall_clock()
    former = authority(now=now - DAY)
    renewed = next_bundle(former, authority(now=now), now=now, allowed_clock_skew=SKEW, former_roots=(), anchors_kept=2)
    chain = read_certificates(renewed.chain) if bridged else read_certificates(renewed.chain)[:1]
    for name, content in contents(replace(renewed, chain=write_certificates(chain))).items():
        (credentials / name).write_bytes(content)
    config = tmp_path / "configuration.yaml"
    config.write_text(yaml.safe_dump({"kind": "Configuration", "spec": {"nameResolution": name_resolution([old])}}))
    with subject(credentials, f"--config={config}") as ca:
        flags = [f"--config={config}", f"--sentry-address=127.0.0.1:{ca.grpc_port}"]
        environ = {"DAPR_TRUST_ANCHORS": former.anchors.decode()}
        if bridged:
            with sidecar(daprd, old, tmp_path, flags, environ) as started:
                assert identity(started.serving_certificate()) == "spiffe://public/ns/default/old"
            return

        def has_rejected_twice() -> bool:
            return ca.metric("sentry_grpc_handshakes_failed_total") >= 2

        with sidecar(daprd, old, tmp_path, flags, environ, until=has_rejected_twice) as waiting:  # it retries forever
            assert not is_healthy(old.http, HEALTH)
            assert "authentication handshake failed" not in waiting.log.read_text()  # logged only when it is stopped
