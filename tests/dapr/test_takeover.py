"""Dapr Sentry takes over from sentry-trio and hands back while sidecars call each other and the CA is renewed."""

from collections.abc import Iterable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, Final

import yaml

from testkit.ports import free_port

from .ca_process import OURS, running_ca
from .renewing import LIFETIME, Store, wait_until
from .service import service
from .sidecars import Address, Sidecar, name_resolution, sidecar
from .traffic import Traffic

_WORKLOAD: Final = "12s"  # renewed after half of it
_GRACE: Final = "--trust-anchor-propagation-grace=7s"
_RENEWING: Final = (LIFETIME, _GRACE, "--ca-renewal-enabled=false")


def wait_for_renewals(sidecars: Iterable[Sidecar]) -> None:
    """Waits until each sidecar has another certificate."""
    former = [(each, each.serving_certificate()) for each in sidecars]
    wait_until(lambda: all(each.serving_certificate() != certificate for each, certificate in former))


def test_dapr_sentry_takes_over_and_hands_back_in_each_phase_of_a_renewal(
    dapr_sentry: Path, daprd: Path, tmp_path: Path
) -> None:
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    store = Store(credentials)
    old, both, late, new = addresses = [Address("old"), Address("both"), Address("late"), Address("new")]
    mtls = {"workloadCertTTL": _WORKLOAD, "allowedClockSkew": "0s"}
    spec: dict[str, Any] = {"mtls": mtls, "nameResolution": name_resolution(addresses)}
    config = tmp_path / "configuration.yaml"
    config.write_text(yaml.safe_dump({"kind": "Configuration", "spec": spec}))
    flags = ("--mode=standalone", f"--issuer-credentials={credentials}", f"--config={config}")
    serving = partial(running_ca, directory=tmp_path, namespace="default", port=free_port())
    ours, dapr = (*OURS, *flags, *_RENEWING), (str(dapr_sentry), *flags)
    with ExitStack() as stack:
        port = stack.enter_context(service(serving.keywords["port"]))

        def start(address: Address, anchors: str) -> Sidecar:
            options = [f"--config={config}", f"--sentry-address=127.0.0.1:{port}"]
            return stack.enter_context(sidecar(daprd, address, tmp_path, options, {"DAPR_TRUST_ANCHORS": anchors}))

        with serving(ours):
            sidecars = [start(old, store.anchors[0])]
            store.start_renewal(f"--workload-cert-ttl={_WORKLOAD}", "--allowed-clock-skew=0s", _GRACE)
            store.wait_for_phase("distributing")
        anchors = store.anchors
        turns = (
            ("distributing", "signing", both, "".join(anchors)),
            ("signing", "retiring", late, anchors[1]),
            ("retiring", "retiring", new, anchors[0]),
        )
        traffic: list[Traffic] = []
        failures: list[str] = []
        for phase, following, address, held in turns:
            files = store.files()
            assert store.phase == phase
            with serving(dapr):
                # Sidecars keep their connections: only a new one shows handshakes with all.
                newcomer = start(address, held)
                failures += [failure for each in sidecars if (failure := newcomer.call(each.address))]
                failures += [failure for each in sidecars if (failure := each.call(address))]
                sidecars.append(newcomer)
                traffic = traffic or [stack.enter_context(Traffic(*sidecars))]
                wait_for_renewals(sidecars)
                assert {each.serving_certificate().issuer for each in sidecars} == {store.issuer.subject}
            assert store.files() == files
            with serving(ours):
                store.wait_for_phase(following)
                if phase == following:
                    wait_for_renewals(sidecars)
        assert store.anchors == anchors
        assert [*failures, *(failure for each in traffic for failure in each.failures)] == []
        assert all(each.calls for each in traffic)
