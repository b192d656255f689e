"""Renewals of the certificate authority on a real API server: two replicas, and clients of all generations."""

import itertools
import ssl
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import msgspec
import pytest
import trio
from cryptography import x509

from sentry_trio.ca.certificates import has_signed, read_certificates
from sentry_trio.ca.keys import KeyType
from sentry_trio.ca.renewal_policy import RenewalPolicy
from sentry_trio.ca.renewal_root import new_parts
from sentry_trio.ca.root_key import read_root_key
from sentry_trio.client import Obtained, obtain
from sentry_trio.errors import Part
from sentry_trio.kube.session import open_session
from sentry_trio.stores.part_store import RENEWAL_NAMES
from sentry_trio.stores.secret_object import NAME
from testkit.authorities import wall_clock
from testkit.ca.making import handshake
from testkit.cluster.cluster import Cluster
from testkit.cluster.control_plane import TRUST_DOMAIN, ControlPlane, install, state
from testkit.cluster.faults import SILENCE, Fault, Faults, faulty
from testkit.cluster.installing import eventually
from testkit.processes import Process
from testkit.stores import NAMES

SERVING = "Running gRPC server on port "
FLAGS = ("--ca-ttl=60s", "--ca-renewal-threshold=0.25", "--trust-anchor-propagation-grace=2s")
LIFETIMES = {"mtls": {"enabled": True, "workloadCertTTL": "4s", "allowedClockSkew": "1s"}}

MARGIN = timedelta(seconds=1)
"""Time before its end from which a certificate is not used: a handshake takes a moment on a busy machine."""


@dataclass
class Mesh:
    """Clients with certificates and trust anchors of all generations."""

    directory: Path
    leaves: list[Obtained] = field(default_factory=list)
    anchor_sets: dict[bytes, datetime] = field(default_factory=dict)
    handshakes: int = 0
    failures: list[str] = field(default_factory=list)

    def learn(self, anchors: bytes) -> None:
        """Keeps trust anchors as a client does that never gets others; it works until its newest root ends."""
        self.anchor_sets.setdefault(anchors, x509.load_pem_x509_certificates(anchors)[0].not_valid_after_utc)

    @property
    def held(self) -> list[bytes]:
        """The sets of trust anchors whose holders have to work now."""
        now = datetime.now(UTC)
        return [anchors for anchors, end in self.anchor_sets.items() if now + MARGIN < end]

    def call_each_other(self) -> None:
        """Handshakes between clients with each trust anchors, over the oldest and the newest certificates."""
        now = datetime.now(UTC)
        self.leaves = [leaf for leaf in self.leaves if now + MARGIN < leaf.valid_until]
        for anchors, leaf in itertools.product(self.held, self.leaves[:1] + self.leaves[-1:]):
            # Asked again for each: many handshakes take seconds on a busy machine.
            for other in self.held:
                ends = (leaf.valid_until, self.anchor_sets[anchors], self.anchor_sets[other])
                if datetime.now(UTC) + MARGIN >= min(ends):
                    continue
                self.handshakes += 1
                try:
                    handshake(self._context(leaf, anchors, server=True), self._context(self.leaves[-1], other))
                except ssl.SSLError as error:
                    self.failures.append(str(error))

    def _context(self, leaf: Obtained, anchors: bytes, *, server: bool = False) -> ssl.SSLContext:
        path = self.directory / "identity.pem"
        path.write_bytes(leaf.key + leaf.chain)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_cert_chain(path)
        context.load_verify_locations(cadata=anchors.decode())
        return context


@pytest.fixture
async def plane(cluster: Cluster, tmp_path: Path) -> ControlPlane:
    return await install(cluster, tmp_path, configuration=LIFETIMES)


def generation(process: Process) -> int:
    renewal = state(process)["renewal"]
    return 0 if renewal is None else int(renewal["generation"])


async def keep_publications(plane: ControlPlane, texts: list[str], *, task_status: trio.TaskStatus[None]) -> None:
    """Keeps what the ConfigMap has published, an entry per write; until cancelled."""
    query = {"fieldSelector": f"metadata.name={NAME}"}
    async with (
        open_session(kubeconfig=plane.kubeconfig, environ={}) as session,
        session.watch(f"/api/v1/namespaces/{plane.namespace}/configmaps", query) as events,
    ):
        task_status.started()
        async for event in events:
            config_map = msgspec.json.decode(event.object)
            texts.append(config_map["data"]["ca.crt"])


@pytest.mark.parametrize("renewals", [1, pytest.param(3, marks=pytest.mark.soak)])
async def test_clients_of_all_generations_work_through_renewals(
    plane: ControlPlane, tmp_path: Path, nursery: trio.Nursery, renewals: int
) -> None:
    """Each renewal writes the ConfigMap once."""
    mesh = Mesh(tmp_path)
    published: list[str] = []
    with plane.process(*FLAGS) as first, plane.process(*FLAGS) as second:
        ports = [int(await trio.to_thread.run_sync(each.log_until, SERVING)) for each in (first, second)]
        await nursery.start(keep_publications, plane, published)
        asking = await plane.shop()
        turns: Iterator[int] = itertools.cycle(ports)
        with trio.fail_after(300):
            while await trio.to_thread.run_sync(generation, first) <= renewals:
                mesh.learn(await plane.anchors())
                for anchors in mesh.held:
                    authority = plane.authority(next(turns), anchors)
                    mesh.leaves.append(await trio.to_thread.run_sync(partial(obtain, authority, asking)))
                await trio.to_thread.run_sync(mesh.call_each_other)
        assert await trio.to_thread.run_sync(generation, second) >= renewals
    assert mesh.failures == []
    assert mesh.handshakes >= 20 * renewals
    assert len(mesh.anchor_sets) >= renewals + 1
    assert len(published) == len(set(published)) >= renewals + 1


async def test_renewals_below_one_root_write_no_config_map(
    plane: ControlPlane, tmp_path: Path, nursery: trio.Nursery
) -> None:
    """Another trust anchor is never needed, and the key that makes the issuers is encrypted in the Secret."""
    mesh = Mesh(tmp_path)
    published: list[str] = []
    (tmp_path / "passphrase").write_text("correct horse\n")
    kept = ("--ca-root-key=keep", "--ca-root-ttl=1h", f"--ca-root-key-passphrase-file={tmp_path / 'passphrase'}")
    with plane.process(*FLAGS, *kept) as first, plane.process(*FLAGS, *kept) as second:
        ports = [int(await trio.to_thread.run_sync(each.log_until, SERVING)) for each in (first, second)]
        await nursery.start(keep_publications, plane, published)
        asking = await plane.shop()
        turns: Iterator[int] = itertools.cycle(ports)
        with trio.fail_after(200):
            while await trio.to_thread.run_sync(generation, first) < 3:
                mesh.learn(await plane.anchors())
                authority = plane.authority(next(turns), mesh.held[0])
                mesh.leaves.append(await trio.to_thread.run_sync(partial(obtain, authority, asking)))
                await trio.to_thread.run_sync(mesh.call_each_other)
        assert state(first)["renewal"]["has_root_key"] is True
    assert mesh.failures == []
    assert mesh.handshakes >= 2
    assert len(mesh.anchor_sets) == 1
    assert len(published) == 1


async def killed_before_write(
    plane: ControlPlane, faults: Faults, flags: Sequence[str], kind: str, *, passing: int = 0
) -> set[str]:
    """Kills a replica before its write of a Secret or ConfigMap arrives; returns the names of the root keys then.

    Args:
        plane: the control plane.
        faults: the proxy before its API server.
        flags: of the replica.
        kind: `secrets` or `configmaps`.
        passing: number of its writes that arrive before.
    """
    pattern = f"PUT .*/{kind}/"
    due = faults.count(pattern) + passing + 1
    faults.set(SILENCE, pattern)
    faults.set(Fault(), pattern, times=passing)

    async def is_due() -> bool:
        return faults.count(pattern) >= due

    with plane.process(*flags):
        await eventually(is_due, seconds=60)
    faults.clear()
    return {name for name in await plane.installation.parts() if "root" in name}


async def test_a_renewal_of_a_root_whose_key_is_kept_survives_kills_between_its_writes(
    plane: ControlPlane, tmp_path: Path
) -> None:
    passphrase = tmp_path / "passphrase"
    passphrase.write_text("correct horse\n")
    life = timedelta(minutes=10)
    policy = RenewalPolicy(
        trust_domain=TRUST_DOMAIN,
        namespace=plane.namespace,
        key_type=KeyType.P256,
        workload_ttl=timedelta(seconds=4),
        allowed_clock_skew=timedelta(seconds=1),
        lifetime=life,
        keeps_root_key=True,
        root_lifetime=life,
    )
    names = {**NAMES, **RENEWAL_NAMES}
    made = new_parts(policy, wall_clock() - 0.6 * life, passphrase.read_bytes().strip())
    await plane.installation.write({names[part]: content for part, content in made.items()})
    kept = ("--ca-root-key=keep", "--ca-root-ttl=1h", f"--ca-root-key-passphrase-file={passphrase}")
    mesh, old = Mesh(tmp_path), made[Part.ANCHORS]
    mesh.learn(old)
    async with faulty(plane.cluster) as faults:
        kubeconfig = f"--kubeconfig={await plane.kubeconfig_through(faults.url)}"
        flags = (*FLAGS, "--ca-ttl=5m", *kept, kubeconfig)
        kill = partial(killed_before_write, plane, faults, flags)
        assert await kill("secrets") == {"root.key"}
        for _ in range(2):  # the second is the repair at a start
            assert await kill("configmaps") == {"root.key", "root.next.key"}
            assert await plane.anchors() == old
        assert await kill("secrets") == {"root.key", "root.next.key"}
        new = await plane.anchors()
        assert new.endswith(old)
        assert new != old
        assert await kill("secrets", passing=1) == {"root.key", "root.next.key"}
        assert await kill("secrets", passing=1) == {"root.key", "previous-root.key"}
        assert await kill("secrets") == {"root.key", "previous-root.key"}

    async def is_settled() -> bool:
        return "previous-root.key" not in await plane.installation.parts()

    with plane.process(*flags[:-1]) as process:
        port = int(await trio.to_thread.run_sync(process.log_until, SERVING))
        await eventually(is_settled, seconds=60)
        mesh.learn(new)
        asking = await plane.shop()
        for anchors in mesh.held:
            authority = plane.authority(port, anchors)
            mesh.leaves.append(await trio.to_thread.run_sync(partial(obtain, authority, asking)))
        await trio.to_thread.run_sync(mesh.call_each_other)
    stored = await plane.installation.parts()
    (issuer, bridge), root = read_certificates(stored["issuer.crt"]), read_certificates(new)[0]
    assert (has_signed(root, issuer), bridge.subject) == (True, root.subject)
    read_root_key(stored["root.key"], root, passphrase.read_bytes().strip())
    assert await plane.anchors() == stored["ca.crt"] == new
    assert (mesh.failures, mesh.handshakes > 0) == ([], True)
