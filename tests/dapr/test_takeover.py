"""Dapr Sentry takes over from sentry-trio and hands back while sidecars call each other and the CA is renewed."""

from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from sentry_trio.ca.certificates import fingerprint, read_certificates
from sentry_trio.ca.keys import KeyType
from sentry_trio.ca.renewal_policy import RenewalPolicy
from sentry_trio.ca.renewal_root import new_parts
from sentry_trio.ca.root_key import named_root
from sentry_trio.errors import Part
from sentry_trio.stores.part_store import RENEWAL_NAMES
from testkit.authorities import wall_clock
from testkit.ports import free_port
from testkit.stores import NAMES

from .ca_process import OURS, running_ca
from .renewing import LIFETIME, Store, wait_until
from .service import service
from .sidecars import Address, Sidecar, failed_renewals, name_resolution, sidecar
from .traffic import Traffic

_WORKLOAD: Final = "12s"  # renewed after half of it
_GRACE: Final = "--trust-anchor-propagation-grace=7s"
_RENEWING: Final = (LIFETIME, _GRACE, "--ca-renewal-enabled=false")
_LIFE: Final = timedelta(minutes=30)
_PASSPHRASE: Final = "correct horse"


@dataclass(frozen=True, kw_only=True)
class Turn:
    """A takeover by Dapr Sentry.

    Attributes:
        phase: the phase that it finds.
        following: the phase that follows when sentry-trio serves again.
        app: the sidecar that is started meanwhile.
        held: numbers of the trust anchors that this sidecar gets.
    """

    phase: str
    following: str
    app: str
    held: tuple[int, ...]


NEW_ROOT: Final = (
    Turn(phase="distributing", following="signing", app="both", held=(0, 1)),
    Turn(phase="signing", following="retiring", app="late", held=(1,)),
    Turn(phase="retiring", following="retiring", app="new", held=(0,)),
)
SAME_ROOT: Final = (
    Turn(phase="signing", following="steady", app="late", held=(0,)),
    Turn(phase="steady", following="steady", app="new", held=(0,)),
)


def write_authority(credentials: Path) -> None:
    """Writes an authority with the key of its root, which is in the second half of its life."""
    policy = RenewalPolicy(
        trust_domain="localhost",
        namespace="default",
        key_type=KeyType.P256,
        workload_ttl=timedelta(seconds=12),
        allowed_clock_skew=timedelta(),
        lifetime=_LIFE,
        keeps_root_key=True,
        root_lifetime=_LIFE,
    )
    names = {**NAMES, **RENEWAL_NAMES, Part.RECORD: f".{RENEWAL_NAMES[Part.RECORD]}"}
    for part, content in new_parts(policy, wall_clock() - 0.6 * _LIFE, _PASSPHRASE.encode()).items():
        (credentials / names[part]).write_bytes(content)


def root_keys(store: Store) -> dict[str, str | None]:
    """Returns the fingerprints of the roots whose keys are stored, by file name."""
    return {name: named_root(content) for name, content in store.files().items() if "root" in name}


def wait_for_renewals(sidecars: Iterable[Sidecar]) -> None:
    """Waits until each sidecar has another certificate."""
    former = [(each, each.serving_certificate()) for each in sidecars]
    wait_until(lambda: all(each.serving_certificate() != certificate for each, certificate in former))


@pytest.mark.parametrize(
    ("turns", "keeps_root_key", "chain"),
    [
        pytest.param(NEW_ROOT, False, 3, id="new root"),
        pytest.param(NEW_ROOT, True, 2, id="new root, keys are kept"),
        pytest.param(SAME_ROOT, True, 1, id="same root, its key is kept"),
    ],
)
def test_dapr_sentry_takes_over_and_hands_back_in_each_phase_of_a_renewal(
    dapr_sentry: Path, daprd: Path, tmp_path: Path, turns: tuple[Turn, ...], chain: int, *, keeps_root_key: bool
) -> None:
    credentials, passphrase = tmp_path / "credentials", tmp_path / "passphrase"
    credentials.mkdir()
    passphrase.write_text(_PASSPHRASE)
    passphrase.chmod(0o600)
    if keeps_root_key and turns is NEW_ROOT:
        write_authority(credentials)
    kept = ("--ca-root-key=keep", "--ca-root-ttl=30m", f"--ca-root-key-passphrase-file={passphrase}")
    root_key = kept if keeps_root_key else ()
    store = Store(credentials)
    addresses = {name: Address(name) for name in ("old", *(turn.app for turn in turns))}
    mtls = {"workloadCertTTL": _WORKLOAD, "allowedClockSkew": "0s"}
    spec: dict[str, Any] = {"mtls": mtls, "nameResolution": name_resolution(list(addresses.values()))}
    config = tmp_path / "configuration.yaml"
    config.write_text(yaml.safe_dump({"kind": "Configuration", "spec": spec}))
    flags = ("--mode=standalone", f"--issuer-credentials={credentials}", f"--config={config}")
    serving = partial(running_ca, directory=tmp_path, namespace="default", port=free_port())
    ours, dapr = (*OURS, *flags, *_RENEWING, *root_key), (str(dapr_sentry), *flags)
    with ExitStack() as stack:
        port = stack.enter_context(service(serving.keywords["port"]))

        def start(name: str, anchors: str) -> Sidecar:
            options = [f"--config={config}", f"--sentry-address=127.0.0.1:{port}"]
            environ = {"DAPR_TRUST_ANCHORS": anchors}
            return stack.enter_context(sidecar(daprd, addresses[name], tmp_path, options, environ))

        with serving(ours):
            sidecars = [start("old", store.anchors[0])]
            store.start_renewal(f"--workload-cert-ttl={_WORKLOAD}", "--allowed-clock-skew=0s", _GRACE, *root_key)
            store.wait_for_phase(turns[0].phase)
        anchors = store.anchors
        traffic: list[Traffic] = []
        failures: list[str] = []
        for turn in turns:
            files = store.files()
            assert store.phase == turn.phase
            with serving(dapr):
                # Sidecars keep their connections: only a new one shows handshakes with all.
                newcomer = start(turn.app, "".join(anchors[number] for number in turn.held))
                failures += [failure for each in sidecars if (failure := newcomer.call(each.address))]
                failures += [failure for each in sidecars if (failure := each.call(newcomer.address))]
                sidecars.append(newcomer)
                traffic = traffic or [stack.enter_context(Traffic(*sidecars))]
                wait_for_renewals(sidecars)
                assert {each.serving_certificate().issuer for each in sidecars} == {store.issuer.subject}
            assert store.files() == files
            with serving(ours):
                store.wait_for_phase(turn.following)
                if turn.phase == turn.following:
                    wait_for_renewals(sidecars)
        assert store.anchors == anchors
        assert len(read_certificates(store.files()["issuer.crt"])) == chain
        newest = fingerprint(read_certificates(anchors[0].encode())[0])
        assert root_keys(store) == ({"root.key": newest} if keeps_root_key else {})
        failures += [failure for each in traffic for failure in each.failures]
        # A CA that is killed may interrupt a renewal, so one that failed is only a hint.
        assert failures == [], failed_renewals(*sidecars)
        assert all(each.calls for each in traffic)
