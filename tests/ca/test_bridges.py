"""Verifiers that hold the old root, the new one or both: our paths, Go's crypto/x509 and OpenSSL.

R1 and I1 are root and issuer of the first generation, R2x is the cross-certificate of the second root, and so on.
"""

import datetime as dt
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from sentry_trio.ca.bundle import StoredBundle, verify
from sentry_trio.ca.certificates import Certificate, read_certificates, write_certificates
from sentry_trio.ca.generate import NewBundle, generate
from sentry_trio.ca.generation import next_bundle
from sentry_trio.ca.issue import Issuer, WorkloadIdentity
from sentry_trio.ca.keys import KeyType, PrivateKey, public_key_info, read_private_key
from sentry_trio.ca.parts import bundle_of, merged
from sentry_trio.ca.paths import find_paths
from sentry_trio.ca.pem import write_block
from sentry_trio.ca.renewal import RenewalRequest, Situation, plan
from sentry_trio.ca.renewal_policy import RenewalPolicy
from sentry_trio.ca.renewal_root import new_parts
from sentry_trio.ca.spiffe import SpiffeId
from sentry_trio.errors import InvalidBundleError
from testkit.ca.making import CA_USAGE, DAY, NOW, SKEW, certificate, key_identifiers, new_key, stored
from testkit.go_x509 import GoX509

pytestmark = pytest.mark.uncovered

YEAR = 365 * DAY
LATER = NOW + YEAR / 2 - DAY
LATEST = NOW + YEAR - 2 * DAY
IDENTITY = WorkloadIdentity(SpiffeId.make("cluster.local", "default", "app"), ("app.default.svc",))
LEAF_KEY = public_key_info(new_key().public_key())

KINDS = [KeyType.P256, KeyType.ED25519]


@dataclass(frozen=True)
class Mesh:
    """Certificates of a renewal by their names, and a certificate of the newest issuer.

    Attributes:
        chain: the chain that is served.
        roots: the roots, the oldest first.
        leaf: DER.
        now: when it was signed.
    """

    chain: tuple[Certificate, ...]
    roots: tuple[Certificate, ...]
    leaf: bytes
    now: dt.datetime

    def anchors(self, names: str) -> list[Certificate]:
        return [self.roots[int(each) - 1] for each in names]


def mesh(chain: Sequence[Certificate], roots: Sequence[Certificate], key: PrivateKey, now: dt.datetime) -> Mesh:
    bundle = verify(stored([roots[-1]], chain[:1], key), now)
    issued = Issuer(bundle).issue(LEAF_KEY, IDENTITY, lifetime=DAY, allowed_clock_skew=SKEW, now=now)
    return Mesh(tuple(chain), tuple(roots), issued.der, now)


def made(key_type: KeyType, now: dt.datetime, root_lifetime: dt.timedelta = YEAR) -> NewBundle:
    return generate(
        "cluster.local",
        "dapr-system",
        key_type,
        now=now,
        allowed_clock_skew=SKEW,
        lifetime=YEAR,
        root_lifetime=root_lifetime,
    )


def renewed(bundle: StoredBundle, key_type: KeyType, now: dt.datetime) -> StoredBundle:
    return next_bundle(
        bundle,
        made(key_type, now),
        now=now,
        allowed_clock_skew=SKEW,
        former_roots=(),
        anchors_kept=2,
    )


def generations(key_type: KeyType, renewals: Iterable[dt.datetime]) -> Mesh:
    bundle: StoredBundle = made(key_type, NOW)
    now = NOW
    for now in renewals:
        bundle = renewed(bundle, key_type, now)
    roots = read_certificates(bundle.anchors)
    return mesh(read_certificates(bundle.chain), roots[::-1], read_private_key(bundle.key), now)


def signed_by_the_root(key_type: KeyType) -> Mesh:
    """A renewal of a root whose key was kept: `[I2, R2x]`."""
    old = made(key_type, NOW, root_lifetime=2 * YEAR)
    new = next_bundle(
        old,
        made(key_type, LATER, root_lifetime=2 * YEAR),
        now=LATER,
        allowed_clock_skew=SKEW,
        root_key=old.root_key,
        former_roots=(),
        anchors_kept=2,
    )
    roots = read_certificates(new.anchors)[::-1]
    return mesh(read_certificates(new.chain), roots, read_private_key(new.key), LATER)


def below_one_root(key_type: KeyType) -> Mesh:
    """A renewal of an issuer whose root's key was kept: `[I2]`; the second root has signed nothing."""
    policy = RenewalPolicy(
        trust_domain="cluster.local",
        namespace="dapr-system",
        key_type=key_type,
        workload_ttl=DAY,
        allowed_clock_skew=SKEW,
        keeps_root_key=True,
    )
    stored = new_parts(policy, NOW, None)
    planned = plan(stored, policy, Situation(now=LATER), RenewalRequest.START)
    bundle = bundle_of(merged(stored, planned.changes))
    other = made(key_type, NOW)
    roots = [*read_certificates(bundle.anchors), *read_certificates(other.anchors)]
    issuer = verify(bundle, LATER)
    issued = Issuer(issuer).issue(LEAF_KEY, IDENTITY, lifetime=DAY, allowed_clock_skew=SKEW, now=LATER)
    return Mesh(issuer.chain, tuple(roots), issued.der, LATER)


def ours(chain: Sequence[Certificate], anchors: Sequence[Certificate], now: dt.datetime) -> bool:
    try:
        return bool(find_paths(chain[0], tuple(chain[1:]), tuple(anchors), now))
    except InvalidBundleError:
        return False


def openssl(
    directory: Path, made: Mesh, anchors: Sequence[Certificate], now: dt.datetime, *flags: str
) -> tuple[bool, str]:
    files = {
        "anchors": write_certificates(anchors),
        "chain": write_certificates(made.chain),
        "leaf": write_block("CERTIFICATE", made.leaf),
    }
    for file, content in files.items():
        (directory / file).write_bytes(content)
    command = ["openssl", "verify", *flags, "-purpose", "sslserver", "-attime", str(int(now.timestamp()))]
    command += ["-no-CApath", "-no-CAstore", "-CAfile", "anchors", "-untrusted", "chain", "leaf"]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
    return done.returncode == 0, done.stdout + done.stderr


@dataclass
class Verifiers:
    go: GoX509
    directory: Path

    def verdicts(self, made: Mesh, anchors: Sequence[Certificate], now: dt.datetime) -> dict[str, bool]:
        intermediates = [each.der for each in made.chain]
        return {
            "ours": ours(made.chain, anchors, now),
            "Go": not self.go.verify(made.leaf, intermediates, [each.der for each in anchors], now),
            "OpenSSL": openssl(self.directory, made, anchors, now)[0],
            "strict OpenSSL": openssl(self.directory, made, anchors, now, "-x509_strict")[0],
        }


@pytest.fixture
def verifiers(go: GoX509, tmp_path: Path) -> Verifiers:
    return Verifiers(go, tmp_path)


def agreed(*, verdict: bool) -> dict[str, bool]:
    return dict.fromkeys(("ours", "Go", "OpenSSL", "strict OpenSSL"), verdict)


@pytest.mark.parametrize("anchors", ["1", "2", "12", "21"])
@pytest.mark.parametrize("key_type", KINDS)
def test_one_renewal(verifiers: Verifiers, key_type: KeyType, anchors: str) -> None:
    made = generations(key_type, [LATER])
    assert len(made.chain) == 3
    assert verifiers.verdicts(made, made.anchors(anchors), LATER) == agreed(verdict=True)


@pytest.mark.parametrize("anchors", ["1", "2", "3", "12", "21", "321", "123", "31", "13"])
@pytest.mark.parametrize("key_type", KINDS)
def test_two_renewals(verifiers: Verifiers, key_type: KeyType, anchors: str) -> None:
    made = generations(key_type, [LATER, LATEST])
    assert len(made.chain) == 5
    assert verifiers.verdicts(made, made.anchors(anchors), LATEST) == agreed(verdict=True)


@pytest.mark.parametrize("anchors", ["1", "2", "12", "21"])
@pytest.mark.parametrize("key_type", KINDS)
def test_a_root_that_was_kept(verifiers: Verifiers, key_type: KeyType, anchors: str) -> None:
    made = signed_by_the_root(key_type)
    assert len(made.chain) == 2
    assert verifiers.verdicts(made, made.anchors(anchors), LATER) == agreed(verdict=True)


@pytest.mark.parametrize(("anchors", "verdict"), [("1", True), ("2", False), ("12", True), ("21", True)])
@pytest.mark.parametrize("key_type", KINDS)
def test_an_issuer_below_a_root_that_was_kept(
    verifiers: Verifiers, key_type: KeyType, anchors: str, verdict: bool
) -> None:
    made = below_one_root(key_type)
    assert len(made.chain) == 1
    assert verifiers.verdicts(made, made.anchors(anchors), LATER) == agreed(verdict=verdict)


def test_kinds_of_keys_may_change(verifiers: Verifiers) -> None:
    first = generate("td", "ns", KeyType.RSA2048, now=NOW, allowed_clock_skew=SKEW, lifetime=YEAR)
    bundle = renewed(renewed(first, KeyType.P384, LATER), KeyType.ED25519, LATEST)
    roots = read_certificates(bundle.anchors)[::-1]
    made = mesh(read_certificates(bundle.chain), roots, read_private_key(bundle.key), LATEST)
    for anchors in "123":
        assert verifiers.verdicts(made, made.anchors(anchors), LATEST) == agreed(verdict=True)


@pytest.mark.parametrize(("anchors", "verdict"), [("1", False), ("2", True), ("12", True), ("21", True)])
def test_without_the_bridge_the_old_root_alone_fails(verifiers: Verifiers, anchors: str, *, verdict: bool) -> None:
    made = generations(KeyType.P256, [LATER])
    cut = Mesh(made.chain[:1], made.roots, made.leaf, made.now)
    assert verifiers.verdicts(cut, cut.anchors(anchors), LATER) == agreed(verdict=verdict)


@pytest.mark.parametrize(("anchors", "verdict"), [("1", False), ("2", True), ("3", True), ("12", True), ("321", True)])
def test_an_expired_tail_serves_the_newer_roots(verifiers: Verifiers, anchors: str, *, verdict: bool) -> None:
    """I1, and so R2x, expire in the life of the certificate of I3."""
    made = generations(KeyType.P256, [LATER, NOW + YEAR - DAY / 2])
    second = dt.timedelta(seconds=1)
    after, before = NOW + YEAR + second, NOW + YEAR - second
    assert verifiers.verdicts(made, made.anchors(anchors), after) == agreed(verdict=verdict)
    # In the last second itself a certificate is valid to Go and expired to OpenSSL.
    assert verifiers.verdicts(made, made.anchors(anchors), before) == agreed(verdict=True)


def by_hand(
    of_root: Mapping[str, Any] | None = None, of_issuer: Mapping[str, Any] | None = None, subject: str = ""
) -> Mesh:
    """One renewal of an authority that others made.

    Args:
        of_root: differences of R1.
        of_issuer: differences of I1.
        subject: of both roots if not empty.
    """
    first_root, first, second_root, second = (new_key() for _ in range(4))
    names = (subject or "R1", subject or "R2")
    usual = {"usage": CA_USAGE}
    root = {"more": key_identifiers(first_root, first_root), **usual, **(of_root or {})}
    issuer = {"more": key_identifiers(first, first_root), **usual, **(of_issuer or {})}
    bare: dict[str, Any] = {"more": []} if issuer["more"] == [] else {}
    roots = [
        certificate(names[0], first_root, **root),
        certificate(names[1], second_root, **usual, **{"more": key_identifiers(second_root, second_root), **bare}),
    ]
    chain = [
        certificate("I2", second, names[1], second_root, **{"more": key_identifiers(second, second_root), **bare}),
        certificate(names[1], second_root, "I1", first, **{"more": key_identifiers(second_root, first), **bare}),
        certificate("I1", first, names[0], first_root, **issuer),
    ]
    return mesh(chain, roots, second, NOW)


@pytest.mark.parametrize(("anchors", "verdict"), [("1", False), ("2", True), ("12", True), ("21", True)])
@pytest.mark.parametrize(
    ("of_root", "of_issuer"),
    [
        ({}, {"path_length": 0}),
        ({}, {"path_length": 1}),
        ({"path_length": 1}, {}),
        ({"path_length": 2}, {}),
        ({}, {"not_after": NOW - SKEW}),
        ({"not_after": NOW - SKEW}, {}),
        ({}, {"ca": False, "usage": None}),
    ],
)
def test_no_bridge_over_a_certificate_that_forbids_it(
    verifiers: Verifiers, of_root: dict[str, Any], of_issuer: dict[str, Any], anchors: str, *, verdict: bool
) -> None:
    made = by_hand(of_root, of_issuer)
    assert verifiers.verdicts(made, made.anchors(anchors), NOW) == agreed(verdict=verdict)


@pytest.mark.parametrize("anchors", ["1", "2", "12", "21"])
def test_path_lengths_with_room(verifiers: Verifiers, anchors: str) -> None:
    made = by_hand({"path_length": 3}, {"path_length": 2})
    assert verifiers.verdicts(made, made.anchors(anchors), NOW) == agreed(verdict=True)


@pytest.mark.parametrize("anchors", ["1", "2", "12", "21"])
def test_without_key_identifiers_only_strict_verifiers_fail(verifiers: Verifiers, anchors: str) -> None:
    made = by_hand({"more": []}, {"more": []})
    expected = {**agreed(verdict=True), "strict OpenSSL": False}
    assert verifiers.verdicts(made, made.anchors(anchors), NOW) == expected


def test_roots_of_one_subject_fail_in_one_order(verifiers: Verifiers) -> None:
    """The reason for subjects of their own: without key identifiers OpenSSL takes the first root of a name."""
    made = by_hand({"more": []}, {"more": []}, subject="root")
    found = {anchors: verifiers.verdicts(made, made.anchors(anchors), NOW) for anchors in ("1", "2", "12", "21")}
    assert all(verdicts["ours"] and verdicts["Go"] for verdicts in found.values())
    assert [found[anchors]["OpenSSL"] for anchors in ("12", "21")].count(False) == 1
    named = by_hand({"more": []}, {"more": []})
    for anchors in ("12", "21"):
        assert openssl(verifiers.directory, named, named.anchors(anchors), NOW)[0]
