"""Dapr's placement service with a mounted ConfigMap: it watches the file's inode, so it sees only the first change."""

from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from sentry_trio.ca.bundle import StoredBundle
from testkit.credentials import KubeletVolume
from testkit.subject import subject

from .installed import placement_flags, running_program
from .renewing import LIFETIME, Store
from .sidecars import Address, Sidecar, name_resolution, sidecar

_WORKLOAD: Final = "10s"
_GRACE: Final = "--trust-anchor-propagation-grace=2s"
_RELOADED: Final = "Trust anchors file changed, reloading trust anchors"
_CONNECTED: Final = "Connected to placement service"
_LOST: Final = ("Closing connection to placement", "Failed to connect to placement service")


def mounted(anchors: list[str]) -> StoredBundle:
    """A ConfigMap's trust anchors, without an issuer."""
    return StoredBundle("".join(anchors).encode(), b"", b"")


def wait_for_stream(each: Sidecar) -> None:
    each.process.wait_until(lambda log: _CONNECTED in log)


@pytest.mark.usefixtures("dapr_placement")
def test_sidecars_of_all_generations_keep_their_streams_to_a_placement_that_misses_the_second_root(
    daprd: Path, tmp_path: Path
) -> None:
    credentials, volume = tmp_path / "credentials", tmp_path / "volume"
    credentials.mkdir()
    volume.mkdir()
    store = Store(credentials)
    spec: dict[str, Any] = {
        "mtls": {"workloadCertTTL": _WORKLOAD, "allowedClockSkew": "0s"},
        "nameResolution": name_resolution([]),
    }
    config = tmp_path / "configuration.yaml"
    config.write_text(yaml.safe_dump({"kind": "Configuration", "spec": spec}))
    renewing = (LIFETIME, _GRACE, "--ca-renewal-enabled=false")
    with subject(credentials, f"--config={config}", *renewing) as ca, ExitStack() as stack:
        mount = KubeletVolume(volume, mounted(store.anchors))
        flags = placement_flags(volume / "ca.crt", ca.grpc_port)
        port, placement = stack.enter_context(running_program("placement", tmp_path, *flags, NAMESPACE="default"))
        sidecars: list[Sidecar] = []

        def start(app_id: str, *anchors: str) -> None:
            options = [f"--config={config}", f"--sentry-address=127.0.0.1:{ca.grpc_port}"]
            options.append(f"--placement-host-address=127.0.0.1:{port}")
            environ = {"DAPR_TRUST_ANCHORS": "".join(anchors)}
            started = stack.enter_context(sidecar(daprd, Address(app_id), tmp_path, options, environ))
            wait_for_stream(started)
            sidecars.append(started)

        def publish_next() -> list[str]:
            store.start_renewal(f"--workload-cert-ttl={_WORKLOAD}", "--allowed-clock-skew=0s", _GRACE)
            mount(mounted(store.anchors))
            return store.anchors

        start("old", *store.anchors)
        both = publish_next()
        placement.wait_until(lambda log: _RELOADED in log)
        start("both", *both)
        store.wait_for_phase("retiring")
        start("new", both[0])
        newest = publish_next()
        store.wait_for_phase("retiring")
        start("newest", newest[0])
        # Streams are kept: only new sidecars show handshakes with placement's newest certificate.
        start("old-again", both[1])
        start("both-again", *both)
        start("new-again", both[0])
        assert len(newest) == 3
        assert (tmp_path / "placement.log").read_text().count(_RELOADED) == 1
        logs = [each.log.read_text() for each in sidecars]
        assert [log.count(_CONNECTED) for log in logs] == [1] * len(logs)
        assert [each for log in logs for each in _LOST if each in log] == []
