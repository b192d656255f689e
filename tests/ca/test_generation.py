"""Next generations of a certificate authority: their certificates, and who verifies what they sign."""

import datetime as dt
from typing import Any

import pytest
from cryptography import x509
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import NameOID

from sentry_trio.ca.bundle import StoredBundle, TrustBundle, verify
from sentry_trio.ca.certificates import fingerprint, read_certificates, write_certificates
from sentry_trio.ca.generate import generate
from sentry_trio.ca.generation import MAX_CHAIN, bridge_end, bridge_impossible, is_own, next_bundle, unexpired
from sentry_trio.ca.keys import KeyType, PublicKey, key_identifier, public_key_info, read_private_key
from sentry_trio.errors import InvalidBundleError
from testkit.ca.making import (
    DAY,
    HOUR,
    NOW,
    SERVER_AUTH,
    SKEW,
    certificate,
    extension,
    key_usage,
    new_key,
    parsed,
    stored,
)

YEAR = 365 * DAY
IDENTITY = {"trust_domain": "td", "namespace": "ns"}


def first(key_type: KeyType = KeyType.P256, now: dt.datetime = NOW) -> StoredBundle:
    return generate("td", "ns", key_type, now=now, allowed_clock_skew=SKEW, lifetime=YEAR)


def following(current: StoredBundle, now: dt.datetime, **differences: Any) -> StoredBundle:
    made: dict[str, Any] = {"key_type": KeyType.P256, "lifetime": YEAR, "root_lifetime": None, **IDENTITY}
    made |= {name: differences.pop(name) for name in made.keys() & differences.keys()}
    new = generate(now=now, allowed_clock_skew=SKEW, **made)
    return next_bundle(
        current, new, **{"now": now, "allowed_clock_skew": SKEW, "former_roots": (), "anchors_kept": 2, **differences}
    )


def identifier(key: PublicKey) -> bytes:
    return key_identifier(public_key_info(key))


def fingerprints(pem: bytes) -> list[str]:
    return [fingerprint(each) for each in read_certificates(pem)]


@pytest.mark.parametrize("key_type", KeyType)
def test_profile(key_type: KeyType) -> None:
    later = NOW + 182 * DAY
    old = first(key_type)
    current = verify(old, NOW)
    new = following(old, later, key_type=key_type)
    bundle = verify(new, later)

    assert bundle.anchors[1:] == current.anchors
    assert new.anchors.endswith(old.anchors)
    issuer, cross, former = bundle.chain
    root = bundle.anchors[0]
    assert former == current.issuer
    assert (cross.subject, cross.public_key_info) == (root.subject, root.public_key_info)
    assert cross.issuer == former.subject
    assert issuer.issuer == root.subject
    assert len({each.subject for each in (*bundle.anchors, issuer, former)}) == 4
    made = parsed(cross)
    assert extension(made, x509.BasicConstraints) == x509.BasicConstraints(ca=True, path_length=None)
    assert extension(made, x509.KeyUsage) == key_usage("digital_signature", "key_cert_sign")
    assert cross.extensions.subject_key_identifier == root.extensions.subject_key_identifier
    assert cross.extensions.authority_key_identifier == former.extensions.subject_key_identifier
    assert issuer.extensions.authority_key_identifier == root.extensions.subject_key_identifier
    assert (cross.not_before, cross.not_after) == (later - SKEW, NOW + YEAR)
    assert (issuer.not_before, issuer.not_after) == (root.not_before, root.not_after) == (later - SKEW, later + YEAR)
    assert bundle.not_after == later + YEAR
    key = read_private_key(new.key)
    assert identifier(key.public_key()) == issuer.extensions.subject_key_identifier
    assert read_private_key(old.key).public_key() != key.public_key()


def test_a_cross_certificate_under_an_issuer_without_key_identifier_has_none_either() -> None:
    keys = new_key(), new_key()
    current = stored([certificate("r", keys[0])], [certificate("i", keys[1], "r", keys[0])], keys[1])
    cross = verify(following(current, NOW), NOW).chain[1]
    assert cross.extensions.authority_key_identifier is None
    assert cross.not_after == NOW + 30 * DAY


def test_text_around_the_anchors_stays() -> None:
    old = first()
    commented = StoredBundle(b"\xef\xbb\xbf# ours\r\n" + old.anchors.rstrip() + b"\n# the end", old.chain, old.key)
    new = following(commented, NOW)
    assert new.anchors.endswith(commented.anchors)
    indented = StoredBundle(b"\xef\xbb\xbf  " + old.anchors, old.chain, old.key)
    assert following(indented, NOW).anchors.endswith(b"-----\n" + old.anchors)


def generations(count: int) -> list[StoredBundle]:
    """Bundles, each made in the middle of the life of the one before."""
    made = [first()]
    for number in range(1, count):
        made.append(following(made[-1], NOW + number * YEAR / 2 - number * HOUR))
    return made


def test_a_tail_lives_as_long_as_it_is_of_use() -> None:
    one, two, three, four = (read_certificates(each.chain) for each in generations(4))
    assert two[1:] == [two[1], *one]
    assert three[2:] == two
    # The first issuer has expired when the fourth generation is made, and so has the certificate that it signed.
    assert four[2:] == three[:3]
    assert unexpired(three, NOW + YEAR) == tuple(three)
    assert unexpired(three, NOW + YEAR + HOUR) == tuple(three[:3])


def test_a_chain_is_bounded() -> None:
    bundle = first()
    for _ in range(4):
        before, bundle = bundle, following(bundle, NOW)
    chain = read_certificates(bundle.chain)
    assert len(chain) == MAX_CHAIN
    assert chain[2:] == read_certificates(before.chain)[:-2]


def test_former_roots_are_left_out_but_for_the_newest() -> None:
    made = generations(4)
    foreign = write_certificates([certificate("foreign", new_key())])
    text = made[-1].anchors + b"# west\n" + foreign
    current = StoredBundle(text, made[-1].chain, made[-1].key)
    own = fingerprints(made[-1].anchors)
    now = NOW + 2 * YEAR - 4 * HOUR
    for kept, expected in ((0, own[:1]), (1, own[:2]), (2, own[:3]), (3, own), (8, own)):
        anchors = following(current, now, former_roots=own, anchors_kept=kept).anchors
        assert fingerprints(anchors)[1:] == [*expected, *fingerprints(foreign)]
        assert anchors.endswith(b"# west\n" + foreign)
    # A root that is not named as a former one of this authority belongs to another program.
    assert fingerprints(following(current, now, anchors_kept=0).anchors)[1:] == fingerprints(text)


def made_by_others(root: int | None, middle: int | None, issuer: int | None, **differences: Any) -> TrustBundle:
    keys = [new_key() for _ in range(3)]
    chain = [
        certificate("issuer", keys[0], "middle", keys[1], path_length=issuer, **differences),
        certificate("middle", keys[1], "root", keys[2], path_length=middle),
    ]
    return verify(stored([certificate("root", keys[2], path_length=root)], chain, keys[0]), NOW)


@pytest.mark.parametrize(
    ("lengths", "possible"),
    [
        ((None, None, None), True),
        ((4, 3, 2), True),
        ((3, None, None), False),
        ((None, 2, None), False),
        ((None, None, 1), False),
        ((None, None, 0), False),
    ],
)
def test_a_bridge_needs_room_below_the_issuer(lengths: tuple[int | None, ...], *, possible: bool) -> None:
    current = made_by_others(*lengths)
    if possible:
        assert bridge_impossible(current, NOW) is None
        assert bridge_end(current, NOW) == NOW + 30 * DAY
        return
    assert bridge_impossible(current, NOW) == "x509: too many intermediates for path length constraint"
    with pytest.raises(InvalidBundleError, match="path length"):
        bridge_end(current, NOW)


def test_a_bridge_needs_an_issuer_that_is_valid() -> None:
    current = made_by_others(None, None, None)
    assert "expired" in (bridge_impossible(current, NOW + 31 * DAY) or "")


def test_a_bridge_needs_a_chain_that_leaves_room() -> None:
    keys = [new_key() for _ in range(7)]
    chain = [certificate(f"c{n}", keys[n], f"c{n + 1}", keys[n + 1]) for n in range(6)]
    long = verify(stored([certificate("c6", keys[6])], chain, keys[0]), NOW)
    assert "unknown authority" in (bridge_impossible(long, NOW) or "")
    shorter = verify(stored([certificate("c6", keys[6])], chain[1:], keys[1]), NOW)
    assert bridge_impossible(shorter, NOW) is None


def test_own_authorities_are_recognized() -> None:
    for number, made in enumerate(generations(3)):
        bundle = verify(made, NOW + number * YEAR / 2)
        assert is_own(bundle, (), "td", "ns")
        assert not is_own(bundle, (), "td2", "ns")
        assert not is_own(bundle, (), "td", "ns2")
        assert is_own(bundle, [fingerprint(bundle.anchors[0])], "td", "ns2")


def test_authorities_of_others_are_not_own() -> None:
    assert not is_own(made_by_others(None, None, None), (), "td", "ns")


def organization(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, text, _ASN1Type.PrintableString)])


ROOT_NAME, ISSUER_NAME = organization("td"), organization("spiffe://td/ns/ns/dapr-sentry")


def dapr_like(of_root: dict[str, Any], of_issuer: dict[str, Any]) -> TrustBundle:
    """A root and an issuer with the profile of Dapr Sentry, but for some differences."""
    keys = new_key(), new_key()
    identifiers = [x509.SubjectKeyIdentifier.from_public_key(key.public_key()) for key in keys]
    more = [[x509.Extension[Any](each.oid, False, each)] for each in identifiers]
    if name := of_issuer.pop("dns_name", None):
        names = x509.SubjectAlternativeName([x509.DNSName(name)])
        more[1].append(x509.Extension(names.oid, False, names))
    root = certificate(ROOT_NAME, keys[0], **({"more": more[0]} | of_root))
    subject = of_issuer.pop("subject", ISSUER_NAME)
    issuer = certificate(subject, keys[1], ROOT_NAME, keys[0], **({"more": more[1]} | of_issuer))
    return verify(stored([root], [issuer], keys[1]), NOW)


@pytest.mark.parametrize(
    ("of_root", "of_issuer", "own"),
    [
        ({}, {}, True),
        ({}, {"not_after": NOW + 30 * DAY - HOUR}, True),
        ({}, {"not_after": NOW + 30 * DAY - 2 * HOUR}, False),
        ({}, {"not_before": NOW - 3 * HOUR}, False),
        ({}, {"subject": "issuer"}, False),
        ({}, {"subject": organization("spiffe://td/ns/other/dapr-sentry")}, False),
        ({}, {"path_length": 0}, False),
        ({"path_length": 1}, {}, False),
        ({}, {"extended": [SERVER_AUTH]}, False),
        ({}, {"more": []}, False),
        ({}, {"usage": None}, False),
        ({}, {"dns_name": "cluster.local"}, True),
        ({}, {"dns_name": "td"}, False),
    ],
)
def test_the_profile_of_dapr_sentry_is_own(of_root: dict[str, Any], of_issuer: dict[str, Any], *, own: bool) -> None:
    assert is_own(dapr_like(dict(of_root), dict(of_issuer)), (), "td", "ns") == own
