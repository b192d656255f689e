"""Preflight of trust bundles. Go's crypto/x509 decides what the expected findings about paths are."""

import datetime as dt
import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from msgspec.structs import replace

from sentry_trio.ca.bundle import StoredBundle, verify
from sentry_trio.ca.certificates import Certificate, fingerprint, read_certificates, shown, write_certificates
from sentry_trio.ca.general_names import AlternativeNames
from sentry_trio.ca.generate import Signer, certify, generate
from sentry_trio.ca.generation import next_bundle
from sentry_trio.ca.keys import KeyType, PrivateKey, read_private_key, write_private_key
from sentry_trio.ca.parts import bundle_of, merged
from sentry_trio.ca.preflight import preflight
from sentry_trio.ca.renewal import Situation, plan
from sentry_trio.ca.renewal_policy import RenewalPolicy
from sentry_trio.ca.renewal_record import AnchorsPublished, Generation, RenewalRecord, read_record
from sentry_trio.ca.strictness import Finding, Severity
from sentry_trio.ca.trust import AnchorSet, Trust, trust_in_use
from sentry_trio.errors import Fault, InvalidBundleError, Part
from sentry_trio.renewal_status import Step
from sentry_trio.telemetry.renewal_metrics import REFUSALS
from testkit.ca.making import (
    CLIENT_AUTH,
    DAY,
    HOUR,
    NOW,
    SERVER_AUTH,
    SKEW,
    certificate,
    key_identifiers,
    new_key,
    parsed,
    small_rsa,
    stored,
)
from testkit.go_x509 import GoX509

YEAR = 365 * DAY
LEAF_LIFETIME = DAY + SKEW
NAMES = AlternativeNames(("app.default.svc",), ("spiffe://cluster.local/ns/default/app",))
FAULTS_OF_PATHS = {"no-path", "expired", "not-yet-valid", "path-length", "eku", "name-constraints", "not-ca"}


def renewed(current: StoredBundle, now: dt.datetime = NOW) -> StoredBundle:
    return next_bundle(
        current,
        generate("cluster.local", "dapr-system", KeyType.P256, now=now, allowed_clock_skew=SKEW, lifetime=YEAR),
        now=now,
        allowed_clock_skew=SKEW,
        former_roots=(),
        anchors_kept=2,
    )


def generated(now: dt.datetime) -> StoredBundle:
    return generate("cluster.local", "dapr-system", KeyType.P256, now=now, allowed_clock_skew=SKEW, lifetime=YEAR)


BEGIN = NOW - YEAR / 2
FIRST = generated(BEGIN)
SECOND = renewed(FIRST)
THIRD = renewed(SECOND)
R1, I1 = read_certificates(FIRST.anchors)[0], read_certificates(FIRST.chain)[0]
R2 = read_certificates(SECOND.anchors)[0]
I2, R2X = read_certificates(SECOND.chain)[:2]
SIGNERS = {
    each: read_private_key(bundle.key)
    for bundle in (FIRST, SECOND, THIRD)
    for each in read_certificates(bundle.chain)[:1]
}

ROOT_KEY, KEY, OTHER_KEY = new_key(), new_key(), new_key()
WINDOW = {"not_before": NOW - 30 * DAY, "not_after": NOW + 60 * DAY}


def root(subject: str = "root", key: PrivateKey = ROOT_KEY, **differences: Any) -> Certificate:
    return certificate(subject, key, **{"more": key_identifiers(key, key), **WINDOW, **differences})


def issuer(subject: str = "issuer", key: PrivateKey = KEY, above: str = "root", **differences: Any) -> Certificate:
    signer = differences.pop("signer", ROOT_KEY)
    usual = {"more": key_identifiers(key, signer), **WINDOW}
    made = certificate(subject, key, above, signer, **{**usual, **differences})
    SIGNERS[made] = key
    return made


FOREIGN = root("foreign", OTHER_KEY)
ROOT, ISSUER = root(), issuer()
OWN = stored([ROOT], [ISSUER], KEY)


def anchors(*certificates: Certificate) -> bytes:
    return write_certificates(certificates)


def with_anchors(bundle: StoredBundle, *certificates: Certificate) -> StoredBundle:
    return replace(bundle, anchors=anchors(*certificates))


def with_chain(bundle: StoredBundle, *certificates: Certificate) -> StoredBundle:
    return replace(bundle, chain=anchors(*certificates))


def generation(number: int, bundle: StoredBundle, **differences: Any) -> Generation:
    return Generation(
        **{
            "number": number,
            "issuer": fingerprint(read_certificates(bundle.chain)[0]),
            "anchors": bundle.anchors.decode(),
            "chain": bundle.chain.decode(),
            "since": BEGIN,
            **differences,
        }
    )


def record(current: Generation, *former: Generation, **differences: Any) -> RenewalRecord:
    own = tuple(map(fingerprint, (R1, R2)))
    return RenewalRecord(**{"digest": "", "present": current, "former": former, "own_roots": own, **differences})


def trust(
    current: StoredBundle, known: RenewalRecord | None = None, held: Iterable[Iterable[Certificate]] | None = None
) -> Trust:
    """Trust in use, with pods that hold sets of trust anchors; None if they cannot be measured."""
    sets = None if held is None else [tuple(each) for each in held]
    pods = None if sets is None else {frozenset(map(fingerprint, each)): ("shop/cart",) for each in sets}
    return trust_in_use(
        read_certificates(current.anchors),
        read_certificates(current.chain),
        known,
        now=NOW,
        leaf_lifetime=LEAF_LIFETIME,
        grace=DAY,
        held=pods,
        roots=itertools.chain.from_iterable(sets or ()),
        names=NAMES,
    )


@dataclass(frozen=True)
class Case:
    """A candidate for the place of a trust bundle in use.

    Attributes:
        candidate: the new bundle.
        findings: the expected codes and severities; a code alone refuses.
        trust: trust in use.
        strict: as for `preflight`.
    """

    candidate: StoredBundle
    findings: str = ""
    trust: Trust = field(default_factory=lambda: trust(OWN))
    strict: bool = False

    def expected(self) -> list[tuple[str, str]]:
        return sorted(
            (each.removesuffix("?"), "warning" if each.endswith("?") else "error") for each in self.findings.split()
        )


SWITCHED = generation(2, SECOND), generation(1, FIRST, until=NOW, leaves_until=NOW + LEAF_LIFETIME)
SETTLED = generation(2, SECOND), generation(1, FIRST, until=NOW - 9 * DAY, leaves_until=NOW - DAY)
TAIL_CUT = with_chain(SECOND, I2)
TO_ONE = with_anchors(SECOND, R2)
FOREIGN_BESIDE = trust(with_anchors(OWN, ROOT, FOREIGN))
RENEWED_ROOT = root(not_after=NOW + 400 * DAY)
SHORT_R2X = certify(
    R2.subject,
    R2.public_key_info,
    Signer(I1.subject, SIGNERS[I1], I1.extensions.subject_key_identifier),
    (NOW - SKEW, NOW + DAY + HOUR),
    crl_sign=False,
    identifier=R2.extensions.subject_key_identifier,
)
SHORT_BRIDGE = with_chain(SECOND, I2, SHORT_R2X, I1)
EXPIRED = stored([ROOT], [issuer("expired", OTHER_KEY, not_after=NOW - DAY)], OTHER_KEY)
ENDING_ROOT = root(not_after=NOW + 2 * HOUR)

GOOD: Mapping[str, Case] = {
    "the same": Case(OWN),
    "the same, held by sidecars": Case(FIRST, trust=trust(FIRST, held=[[R1], [R1, FOREIGN]])),
    "a new issuer of the same root": Case(stored([ROOT], [issuer(key=OTHER_KEY)], OTHER_KEY)),
    "a root beside it": Case(with_anchors(OWN, ROOT, FOREIGN)),
    "a root before it": Case(with_anchors(OWN, FOREIGN, ROOT)),
    "comments and CRLF": Case(replace(OWN, anchors=b"# ours\r\n" + OWN.anchors.replace(b"\n", b"\r\n"))),
    "the root behind the chain": Case(with_chain(OWN, ISSUER, ROOT)),
    "publication": Case(replace(FIRST, anchors=SECOND.anchors), trust=trust(FIRST, held=[[R1]])),
    "switch": Case(SECOND, trust=trust(replace(FIRST, anchors=SECOND.anchors), held=[[R1], [R2, R1], [R2]])),
    "publication and switch": Case(SECOND, trust=trust(FIRST, held=[[R1]])),
    "two renewals": Case(THIRD, trust=trust(SECOND, record(*SWITCHED), held=[[R1], [R2], [R2, R1]])),
    "the renewed root of the same key": Case(with_anchors(OWN, RENEWED_ROOT)),
    "the tail cut, held by nobody": Case(TAIL_CUT, trust=trust(SECOND, record(*SETTLED), held=[[R2, R1]])),
    "the former root removed in the end": Case(TO_ONE, trust=trust(SECOND, record(*SETTLED), held=[[R1]])),
    "clients that are cut off already": Case(TAIL_CUT, trust=trust(TAIL_CUT, held=[[R1], [FOREIGN]])),
    "unknown anchors": Case(OWN, trust=trust(OWN, held=[[FOREIGN], []])),
    "an expired root of others removed": Case(
        OWN, trust=trust(with_anchors(OWN, ROOT, root("old", OTHER_KEY, not_after=NOW - DAY)))
    ),
    "a record that cannot be read": Case(
        FIRST,
        trust=trust(
            FIRST,
            record(generation(1, FIRST), generation(1, OWN, anchors="x", chain="x", leaves_until=NOW + DAY)),
            held=[[R1]],
        ),
    ),
    "certificates that are cut off already": Case(TO_ONE, trust=trust(TO_ONE, record(*SWITCHED), held=[])),
    "a former generation in place of an expired one": Case(
        OWN, trust=trust(EXPIRED, record(generation(2, EXPIRED), generation(1, OWN)), held=[[ROOT]])
    ),
    "clients that started long ago": Case(
        TAIL_CUT,
        trust=trust(
            SECOND,
            record(
                *SETTLED,
                published=(
                    AnchorsPublished(anchors=FIRST.anchors.decode(), since=NOW - 3 * YEAR),
                    AnchorsPublished(anchors=SECOND.anchors.decode(), since=NOW - 2 * YEAR),
                ),
            ),
        ),
    ),
}

CUT: Mapping[str, Case] = {
    "another authority": Case(SECOND, "cut-leaves cut-consumers"),
    "a new root as cert-manager makes it": Case(
        stored([RENEWED := root("renewed", OTHER_KEY)], [issuer("i", above="renewed", signer=OTHER_KEY)], KEY),
        "cut-leaves cut-consumers",
    ),
    "a new root beside the old one, without bridge": Case(
        stored([RENEWED, ROOT], [issuer("i", above="renewed", signer=OTHER_KEY)], KEY), "cut-consumers"
    ),
    "the old root removed at the switch": Case(TO_ONE, "cut-leaves", trust(FIRST, held=[[R1]])),
    "the old root removed before the last certificate has ended": Case(
        TO_ONE, "cut-leaves", trust(SECOND, record(*SWITCHED), held=[])
    ),
    "the old root removed by a bundle without a tail": Case(
        with_anchors(TAIL_CUT, R2), "cut-leaves cut-consumers", trust(SECOND, record(*SWITCHED), held=[[R1]])
    ),
    "the tail cut, held by a sidecar": Case(
        TAIL_CUT, "cut-consumers", trust(SECOND, record(*SETTLED), held=[[R1], [R2]])
    ),
    "the tail cut, held by a sidecar whose root is published no longer": Case(
        replace(TAIL_CUT, anchors=TO_ONE.anchors), "cut-consumers", trust(TO_ONE, held=[[R1]])
    ),
    "another authority, beside sidecars with the former certificate of a renewed root": Case(
        stored([RENEWED, RENEWED_ROOT], [issuer("i", above="renewed", signer=OTHER_KEY)], KEY),
        "cut-consumers",
        trust(with_anchors(OWN, RENEWED_ROOT, RENEWED), held=[[ROOT]]),
    ),
    "a tail without bridge": Case(
        replace(SECOND, chain=anchors(I2, R2X)), "cut-consumers", trust(SECOND, record(*SETTLED), held=[[R1]])
    ),
    "the tail cut, published lately": Case(
        TAIL_CUT,
        "cut-consumers",
        trust(
            SECOND,
            record(
                *SETTLED,
                published=(
                    AnchorsPublished(anchors=FIRST.anchors.decode(), since=NOW - 3 * YEAR),
                    AnchorsPublished(anchors=SECOND.anchors.decode(), since=NOW - YEAR / 3),
                ),
            ),
        ),
    ),
    "a root that ends before its certificates": Case(
        with_anchors(OWN, ENDING_ROOT, FOREIGN), "cut-leaves short-life? outlives-parent?"
    ),
    "a bridge that ends too early": Case(
        stored(
            [RENEWED, ROOT],
            [
                issuer("i", above="renewed", signer=OTHER_KEY),
                issuer("renewed", OTHER_KEY, "root", not_after=NOW + 2 * HOUR),
            ],
            KEY,
        ),
        "cut-consumers",
    ),
    "a former generation": Case(FIRST, "regression", trust(SECOND, record(*SWITCHED), held=[])),
    "a former issuer with all anchors": Case(
        replace(FIRST, anchors=SECOND.anchors), "regression", trust(SECOND, record(*SWITCHED), held=[[R1]])
    ),
    "another issuer than that of the record": Case(
        with_anchors(OWN, ROOT), "cut-leaves", trust(OWN, record(generation(2, SECOND)), held=[])
    ),
    "a root of others removed": Case(OWN, "anchor-lost?", FOREIGN_BESIDE),
    "a root of others removed, strictly": Case(OWN, "anchor-lost", FOREIGN_BESIDE, strict=True),
}


def key_on_p256() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.BestAvailableEncryption(b"secret"),
    )


def constrained(kind: str, *names: x509.GeneralName) -> list[Any]:
    constraints = x509.NameConstraints(**{"permitted_subtrees": None, "excluded_subtrees": None, kind: names})
    return [*key_identifiers(KEY, ROOT_KEY), x509.Extension(constraints.oid, True, constraints)]


UNKNOWN_CRITICAL = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"")
MIDDLE_KEY = new_key()


def with_middle(**differences: Any) -> StoredBundle:
    middle = issuer("middle", MIDDLE_KEY, **differences)
    return stored([ROOT], [issuer(above="middle", signer=MIDDLE_KEY), middle], KEY)


def with_issuer(**differences: Any) -> StoredBundle:
    return stored([ROOT], [issuer(**differences)], KEY)


def with_root(**differences: Any) -> StoredBundle:
    return stored([root(**differences)], [ISSUER], KEY)


REFUSED: Mapping[str, Case] = {
    "a key of another": Case(replace(OWN, key=write_private_key(OTHER_KEY)), "key-mismatch"),
    "an issuer that is no CA": Case(with_issuer(ca=False, usage=None), "not-ca"),
    "an issuer without constraints": Case(with_issuer(ca=None), "not-ca"),
    "an issuer that may not sign": Case(with_issuer(usage=["digital_signature"]), "not-ca"),
    "an issuer of another root": Case(with_anchors(OWN, FOREIGN), "no-path"),
    "an issuer of a root with the same name": Case(with_anchors(OWN, root(key=OTHER_KEY)), "no-path"),
    "an unknown critical extension": Case(
        with_issuer(more=[x509.Extension(UNKNOWN_CRITICAL.oid, True, UNKNOWN_CRITICAL)]), "no-path"
    ),
    "an expired issuer": Case(with_issuer(not_after=NOW - HOUR), "expired"),
    "an expired middle": Case(with_middle(not_after=NOW - HOUR), "expired"),
    "an expired root": Case(with_root(not_after=NOW - HOUR), "expired"),
    "an issuer of the future": Case(with_issuer(not_before=NOW + HOUR), "not-yet-valid"),
    "a root of the future": Case(with_root(not_before=NOW + HOUR), "not-yet-valid"),
    "a root with path length 0": Case(with_root(path_length=0), "path-length"),
    "a middle with path length 0": Case(with_middle(path_length=0), "path-length"),
    "an issuer for clients": Case(with_issuer(extended=[CLIENT_AUTH]), "eku"),
    "a root for clients": Case(with_root(extended=[CLIENT_AUTH]), "eku"),
    "names that are not permitted": Case(
        with_issuer(more=constrained("permitted_subtrees", x509.UniformResourceIdentifier("other"))), "name-constraints"
    ),
    "names that are excluded": Case(
        with_issuer(more=constrained("excluded_subtrees", x509.UniformResourceIdentifier("cluster.local"))),
        "name-constraints",
    ),
    "a chain in the wrong order": Case(
        with_chain(with_middle(), *read_certificates(with_middle().chain)[::-1]), "chain-order"
    ),
    "a self-signed issuer": Case(stored([ROOT], [ROOT], ROOT_KEY), "chain-order"),
    "a stranger in the chain": Case(with_chain(OWN, ISSUER, FOREIGN), "chain-order"),
    "an issuer among the anchors": Case(with_anchors(OWN, ROOT, ISSUER), "not-self-signed"),
    "a key among the anchors": Case(replace(OWN, anchors=OWN.anchors + OWN.key), "foreign-block"),
    "a key in the chain": Case(replace(OWN, chain=OWN.chain + OWN.key), "foreign-block"),
    "anchors in DER": Case(replace(OWN, anchors=ROOT.der), "unreadable"),
    "a chain cut short": Case(replace(OWN, chain=OWN.chain + OWN.chain[:200]), "unreadable"),
    "no anchors": Case(replace(OWN, anchors=b""), "unreadable"),
    "an encrypted key": Case(replace(OWN, key=key_on_p256()), "unreadable"),
    "a certificate as key": Case(replace(OWN, key=OWN.chain), "unreadable"),
}

SMALL = small_rsa()


def short_of_identifiers(*, subject: bool, authority: bool) -> StoredBundle:
    both = key_identifiers(KEY, ROOT_KEY)
    return with_issuer(more=[each for each, kept in zip(both, (subject, authority), strict=True) if kept])


WARNED: Mapping[str, Case] = {
    "a bridge that ends early": Case(SHORT_BRIDGE, "short-bridge?", trust(FIRST, held=[[R1], [R2], [R1, R2]])),
    "roots of one subject": Case(with_anchors(OWN, ROOT, root(key=OTHER_KEY)), "same-subject?"),
    "no subject key identifier": Case(short_of_identifiers(subject=False, authority=True), "no-ski?"),
    "no authority key identifier": Case(short_of_identifiers(subject=True, authority=False), "no-aki?"),
    "an authority key identifier of another": Case(with_issuer(more=key_identifiers(KEY, OTHER_KEY)), "no-aki?"),
    "a root with a small key": Case(with_anchors(OWN, ROOT, root("small", SMALL)), "weak-key?"),
    "an issuer with a small key": Case(stored([ROOT], [issuer("small", SMALL)], SMALL), "weak-key"),
    "an issuer that ends soon": Case(with_issuer(not_after=NOW + DAY), "short-life?"),
    "an issuer that outlives its root": Case(with_issuer(not_after=NOW + 90 * DAY), "outlives-parent?"),
    "an issuer for servers": Case(with_issuer(extended=[SERVER_AUTH]), "eku?"),
    "an issuer for both": Case(with_issuer(extended=[SERVER_AUTH, CLIENT_AUTH])),
    "permitted names": Case(
        with_issuer(more=constrained("permitted_subtrees", x509.UniformResourceIdentifier("cluster.local"))),
        "name-constraints?",
    ),
    "two roots in one line": Case(replace(OWN, anchors=anchors(ROOT).rstrip() + anchors(FOREIGN)), "dapr-differs?"),
    "a chain behind a byte order mark": Case(replace(OWN, chain=b"\xef\xbb\xbf" + OWN.chain), "dapr-differs?"),
    "a key behind its parameters": Case(
        replace(OWN, key=b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n" + OWN.key),
        "dapr-differs?",
    ),
}

ENDINGS = ("a bridge that ends too early", "a root that ends before its certificates")
CASES = {**GOOD, **CUT, **REFUSED, **WARNED}


def found(case: Case) -> tuple[Finding, ...]:
    return preflight(case.candidate, case.trust, NOW, strict=case.strict)


@pytest.mark.parametrize("name", CASES)
def test_findings(name: str) -> None:
    case = CASES[name]
    findings = found(case)
    assert sorted({(each.code, str(each.severity)) for each in findings}) == case.expected()
    severities = [each.severity for each in findings]
    assert severities == sorted(severities, key=list(Severity).index)
    assert all("\n" not in each.text for each in findings)


def test_each_code_has_a_case() -> None:
    refusing = {each.code for case in CASES.values() for each in found(case) if each.severity is Severity.ERROR}
    assert refusing == set(REFUSALS)
    assert set(Fault) < refusing


def leaf(signer: Certificate) -> bytes:
    name = x509.SubjectAlternativeName(
        [x509.UniformResourceIdentifier(NAMES.uris[0]), x509.DNSName(NAMES.dns_names[0])]
    )
    return certificate(
        "leaf",
        new_key(),
        parsed(signer).subject,
        SIGNERS[signer],
        ca=None,
        usage=["digital_signature"],
        more=[x509.Extension(name.oid, False, name)],
        not_after=NOW + YEAR,
    ).der


def ders(certificates: Iterable[Certificate]) -> list[bytes]:
    return [each.der for each in certificates]


def readable(bundle: StoredBundle) -> tuple[list[Certificate], list[Certificate]] | None:
    try:
        return read_certificates(bundle.anchors), read_certificates(bundle.chain)
    except InvalidBundleError:
        return None


@pytest.mark.uncovered
@pytest.mark.parametrize("name", [name for name, each in CASES.items() if readable(each.candidate)])
def test_go_decides_alike(go: GoX509, name: str) -> None:
    case = CASES[name]
    codes = {each.code for each in found(case) if each.severity is Severity.ERROR}
    roots, chain = readable(case.candidate) or ([], [])
    if codes & {"chain-order", "key-mismatch", "not-self-signed", "unreadable"}:
        return  # rules of Dapr Sentry beyond Go's verification
    error = go.verify(leaf(chain[0]), ders(chain), ders(roots), NOW)
    assert bool(error) == bool(codes & FAULTS_OF_PATHS), error
    if error:
        return

    def is_cut(signer: Certificate, above: Iterable[Certificate], held: Iterable[Certificate], at: dt.datetime) -> bool:
        return bool(go.verify(leaf(signer), ders(above), ders(held), at))

    trust = case.trust
    cut_leaves = [
        is_cut(each.chain[0], each.chain, roots, each.until)
        for each in trust.issuers
        if not is_cut(each.chain[0], each.chain, each.anchors, each.until)
    ]
    assert any(cut_leaves) == ("cut-leaves" in codes)
    soon = min(NOW + LEAF_LIFETIME, verify(case.candidate, NOW).not_after)
    cut_clients = [
        is_cut(chain[0], chain, each.anchors, soon)
        for each in trust.anchor_sets
        if each.anchors and not is_cut(trust.chain[0], trust.chain, each.anchors, soon)
    ]
    assert any(cut_clients) == ("cut-consumers" in codes)


def test_the_texts_name_people_and_times() -> None:
    holders = tuple(f"shop/{number}" for number in range(12))
    known = trust(SECOND, record(*SETTLED), held=[])
    held = AnchorSet((R1, FOREIGN), holders)
    (finding,) = preflight(TAIL_CUT, replace(known, anchor_sets=(held,)), NOW)
    assert finding.text.startswith("shop/0, shop/1, ")
    assert "shop/9 and 2 more would reject the new issuer's certificates: " in finding.text
    assert f'their only trust anchors are "{shown(R1)}", "foreign", and' in finding.text

    bridge_ends, root_ends = (found(CUT[name])[0].text for name in ENDINGS)
    assert "certificates from 2026-11-22T21:41:15Z on: " in bridge_ends
    assert 'certificates of issuer "issuer" are valid until 2026-11-23T19:56:15Z, ' in root_ends
    assert "but the new trust anchors verify them until 2026-11-22T21:41:15Z only: " in root_ends

    (short,) = found(WARNED["an issuer that ends soon"])
    assert "certificates may be valid for 24h15m0s, and new trust anchors are published for 24h0m0s" in short.text
    early = found(WARNED["a bridge that ends early"])[-1].text
    assert early.startswith("shop/cart would reject the new issuer's certificates from 2026-11-23T20:41:15Z on, ")

    (regression,) = found(CUT["a former generation"])
    assert f'issuer "{shown(I1)}" is that of generation 1, which has been replaced' in regression.text
    assert "; put the current trust bundle back, and remove the former one from the Helm values" in regression.text
    (lost,) = found(CUT["a root of others removed"])
    assert lost.text.startswith(f'trust anchor "foreign" (SHA-256 {fingerprint(FOREIGN)}) ')


def test_a_serial_number_of_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sentry_trio.ca.generate.new_serial_number", lambda: 0)
    findings = preflight(generated(NOW), trust(OWN, held=[]), NOW)
    assert [each.code for each in findings if each.severity is Severity.WARNING] == ["serial-zero", "serial-zero"]


def test_the_longest_lifetime_of_the_record_counts() -> None:
    known = record(generation(1, OWN), workload_ttl=9 * DAY, allowed_clock_skew=HOUR)
    assert trust(OWN, known).leaf_lifetime == 9 * DAY + HOUR
    assert trust(OWN, msgspec.structs.replace(known, workload_ttl=DAY / 2)).leaf_lifetime == LEAF_LIFETIME


def test_every_step_of_a_renewal_passes() -> None:
    """Three renewals as they are planned, with clients that hold each set of trust anchors ever published."""
    policy = RenewalPolicy(
        trust_domain="cluster.local",
        namespace="dapr-system",
        key_type=KeyType.P256,
        workload_ttl=DAY,
        allowed_clock_skew=SKEW,
    )
    first = generated(NOW)
    parts = {Part.ANCHORS: first.anchors, Part.CHAIN: first.chain, Part.KEY: first.key}
    steps: list[Step] = []
    now, held = NOW, {frozenset(map(fingerprint, read_certificates(first.anchors)))}
    while len(steps) < 16:
        planned = plan(parts, policy, Situation(now=now))
        before = bundle_of(parts)
        parts = merged(parts, planned.changes)
        in_use = trust_in_use(
            read_certificates(before.anchors),
            read_certificates(before.chain),
            read_record(parts.get(Part.RECORD)),
            now=now,
            leaf_lifetime=LEAF_LIFETIME,
            grace=DAY,
            held=dict.fromkeys(held, ("shop/cart",)),
        )
        findings = preflight(bundle_of(parts), in_use, now)
        assert [each for each in findings if each.severity is Severity.ERROR] == [], planned.step
        held.add(frozenset(map(fingerprint, read_certificates(parts[Part.ANCHORS]))))
        if planned.step is not None:
            steps.append(planned.step)
        elif planned.due is not None:
            now = max(planned.due, now + SKEW / 900)
    assert {Step.PUBLISH, Step.SWITCH, Step.ERASE} <= set(steps)
    assert len(held) > 3


@pytest.mark.parametrize(
    ("lasted", "period"), [(2 * DAY, "from 2026-11-17 to 2026-11-19"), (HOUR, "on 2026-11-17")], ids=["days", "a day"]
)
def test_clients_are_described_by_their_days_of_start(lasted: dt.timedelta, period: str) -> None:
    since = NOW - 5 * DAY
    published = (
        AnchorsPublished(anchors=FIRST.anchors.decode(), since=since),
        AnchorsPublished(anchors=SECOND.anchors.decode(), since=since + lasted),
    )

    found = trust(SECOND, record(*SETTLED, published=published)).anchor_sets

    assert found[-1].holders == (f"clients that started {period}",)
