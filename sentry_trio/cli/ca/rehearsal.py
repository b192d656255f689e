"""`sentry-trio ca rehearse`: a renewal of a throw-away certificate authority, with TLS handshakes in each phase."""

import itertools
import ssl
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Final

import msgspec

from sentry_trio.ca.bundle import StoredBundle, verify
from sentry_trio.ca.certificates import write_certificates
from sentry_trio.ca.issue import Issuer, WorkloadIdentity
from sentry_trio.ca.keys import KeyType, generate_key, public_key_info, write_private_key
from sentry_trio.ca.parts import Parts, bundle_of, merged
from sentry_trio.ca.renewal import RenewalRequest, Situation, plan
from sentry_trio.ca.renewal_policy import RenewalPolicy
from sentry_trio.ca.renewal_root import new_parts
from sentry_trio.ca.spiffe import SpiffeId
from sentry_trio.discreet import Discreet
from sentry_trio.errors import Part
from sentry_trio.renewal_status import Step

REHEARSAL_DOMAIN: Final = "rehearsal.invalid"
REHEARSAL_NAMESPACE: Final = "default"
_IDENTITY: Final = WorkloadIdentity(spiffe_id=SpiffeId.make(REHEARSAL_DOMAIN, REHEARSAL_NAMESPACE, "app"))
_LIFETIME: Final = timedelta(hours=1)
_LEAF: Final = timedelta(minutes=1)
_ROUNDS: Final = 8  # of messages; a handshake takes three


class Leaf(Discreet, frozen=True):
    """A workload certificate as it was issued in one phase, with the chain that is served with it.

    Attributes:
        name: name for people.
        pem: certificate and chain.
        key: its private key; not shown by `repr`.
    """

    UNSHOWN = frozenset({"key"})

    name: str
    pem: bytes
    key: bytes


class PhaseResult(msgspec.Struct, frozen=True, kw_only=True):
    """Result of one phase.

    Attributes:
        name: name for people.
        handshakes: number of handshakes that were done.
        failures: those that failed, for people.
        milliseconds: time that the phase took, keys and handshakes included.
    """

    name: str
    handshakes: int
    failures: tuple[str, ...]
    milliseconds: float


def rehearse(key_type: KeyType, now: datetime) -> Iterator[PhaseResult]:
    """Renews a certificate authority in memory, and lets each leaf connect to each other under each anchor set.

    Leaves are those of the former and of the new issuer; anchor sets are the former root alone, both, and the new root
    alone. A last phase leaves out the bridge: its handshakes have to fail, which shows that the others could.

    Args:
        key_type: kind of all keys.
        now: the current time, aware: OpenSSL verifies by the wall clock.

    Yields:
        The result of each phase.
    """
    policy = RenewalPolicy(
        trust_domain=REHEARSAL_DOMAIN,
        namespace=REHEARSAL_NAMESPACE,
        key_type=key_type,
        workload_ttl=_LEAF,
        allowed_clock_skew=_LEAF,
        lifetime=_LIFETIME,
        grace=timedelta(),
    )
    clock = _Clock()
    stored = new_parts(policy, now, None)
    former = bundle_of(stored)
    leaves = [_leaf("former issuer", former, now)]
    sets = {"former root": former.anchors}
    yield clock.phase("steady", leaves, sets)
    stored = merged(stored, plan(stored, policy, Situation(now=now), RenewalRequest.START).changes)
    both = bundle_of(stored).anchors
    sets = {"former root": former.anchors, "both roots": both, "new root": _first(stored, now)}
    yield clock.phase("distributing", leaves, {name: sets[name] for name in ("former root", "both roots")})
    planned = plan(stored, policy, Situation(now=now))
    assert planned.step is Step.SWITCH  # noqa: S101  # the grace is zero
    stored = merged(stored, planned.changes)
    leaves.append(_leaf("new issuer", bundle_of(stored), now))
    followed = {name: sets[name] for name in ("former root", "both roots")}
    yield clock.phase("signing", leaves, followed)
    yield clock.phase("retiring", leaves[1:], sets)
    yield _control(clock, stored, former, now)


def _control(clock: "_Clock", stored: Parts, former: StoredBundle, now: datetime) -> PhaseResult:
    """Serves the new issuer's certificate without the bridge; the phase fails if that is accepted."""
    bundle = verify(bundle_of(stored), now)
    bare = StoredBundle(bundle.anchors_pem, write_certificates(bundle.chain[:1]), stored[Part.KEY])
    found = clock.phase("without the bridge", [_leaf("new issuer", bare, now)], {"former root": former.anchors})
    failures = () if found.failures else ("a sidecar with the former root accepted a certificate without the bridge",)
    return PhaseResult(name=found.name, handshakes=found.handshakes, failures=failures, milliseconds=found.milliseconds)


class _Clock:
    """Measures phases."""

    def __init__(self) -> None:
        self._began = time.perf_counter()

    def phase(self, name: str, leaves: list[Leaf], sets: Mapping[str, bytes]) -> PhaseResult:
        """Does the handshakes of a phase: every pair of leaves, under every pair of anchor sets."""
        failures = []
        pairs = list(itertools.product(leaves, sets.items(), leaves, sets.items()))
        for client, (client_set, client_anchors), server, (server_set, server_anchors) in pairs:
            if why := _handshake_failure(client, client_anchors, server, server_anchors):
                failures.append(f"{client.name} with {client_set} to {server.name} with {server_set}: {why}")
        began, self._began = self._began, time.perf_counter()
        return PhaseResult(
            name=name,
            handshakes=len(pairs),
            failures=tuple(failures),
            milliseconds=(self._began - began) * 1000,
        )


def _handshake_failure(client: Leaf, client_anchors: bytes, server: Leaf, server_anchors: bytes) -> str | None:
    """Connects two leaves in memory with mutual TLS; returns the reason of a failure, or None."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    connecting = tls_context(ssl.PROTOCOL_TLS_CLIENT, client, client_anchors)
    accepting = tls_context(ssl.PROTOCOL_TLS_SERVER, server, server_anchors)
    ends = (
        connecting.wrap_bio(to_client, to_server),
        accepting.wrap_bio(to_server, to_client, server_side=True),
    )
    try:
        for _ in range(_ROUNDS):
            for end in ends:
                with suppress(ssl.SSLWantReadError):
                    end.do_handshake()
        for end in ends:  # TLS 1.3: a client learns of a rejected certificate when it reads
            with suppress(ssl.SSLWantReadError):
                end.read(1)
            end.do_handshake()
    except ssl.SSLError as error:
        return error.reason or str(error)
    return None


def tls_context(side: int, leaf: Leaf, anchors: bytes) -> ssl.SSLContext:
    """Returns a context that shows a leaf and verifies peers against trust anchors."""
    context = ssl.SSLContext(side)
    context.check_hostname = False  # Dapr verifies SPIFFE IDs in place of host names
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=anchors.decode())
    with tempfile.NamedTemporaryFile() as file:  # mode 0600, and the key is worth nothing
        file.write(leaf.key + leaf.pem)
        file.flush()
        context.load_cert_chain(file.name)
    return context


def _leaf(name: str, bundle: StoredBundle, now: datetime) -> Leaf:
    key = generate_key(KeyType.P256)
    issued = Issuer(verify(bundle, now)).issue(
        public_key_info(key.public_key()), _IDENTITY, lifetime=_LEAF, allowed_clock_skew=_LEAF, now=now
    )
    return Leaf(name, issued.pem, write_private_key(key))


def _first(stored: Parts, now: datetime) -> bytes:
    """Returns the newest root alone."""
    return write_certificates(verify(bundle_of(stored), now).anchors[:1])
