"""Workload certificates: the profile, the window, and what is refused."""

import datetime as dt

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtensionOID
from hypothesis import given, settings
from hypothesis import strategies as st

from sentry_trio.ca.bundle import TrustBundle, verify
from sentry_trio.ca.certificates import read_certificates
from sentry_trio.ca.csr import read_csr
from sentry_trio.ca.issue import (
    IMAGES_OID,
    ContainerImage,
    IssuedCertificate,
    Issuer,
    WorkloadIdentity,
    images_extension,
)
from sentry_trio.ca.keys import KeyType, generate_key, public_key_info
from sentry_trio.ca.spiffe import SpiffeId
from sentry_trio.errors import IssuerNotValidError, SigningError
from testkit.ca.making import (
    CLIENT_AUTH,
    DAY,
    HOUR,
    NOW,
    SERVER_AUTH,
    SKEW,
    certificate,
    csr_pem,
    extension,
    generated,
    key_usage,
    new_key,
    parsed,
    small_rsa,
    stored,
)

SPIFFE_ID = SpiffeId.make("cluster.local", "default", "app")
IDENTITY = WorkloadIdentity(SPIFFE_ID)
PUBLIC_KEY = ec.generate_private_key(ec.SECP256R1()).public_key()
KEY = public_key_info(PUBLIC_KEY)
BUNDLE = generated()


def issue(
    bundle: TrustBundle = BUNDLE,
    *,
    key: bytes = KEY,
    identity: WorkloadIdentity = IDENTITY,
    lifetime: dt.timedelta = DAY,
    skew: dt.timedelta = SKEW,
    now: dt.datetime = NOW,
) -> IssuedCertificate:
    return Issuer(bundle).issue(key, identity, lifetime=lifetime, allowed_clock_skew=skew, now=now)


@pytest.mark.parametrize("key_type", KeyType)
def test_profile(key_type: KeyType) -> None:
    bundle = generated(key_type)
    image = ContainerImage("app", "app", "registry/app:1")
    issued = issue(bundle, identity=WorkloadIdentity(SPIFFE_ID, ("b.svc", "a.svc"), (image,)))
    leaf, issuer = parsed(issued), parsed(bundle.issuer)

    assert leaf.version is x509.Version.v3
    assert leaf.issuer.public_bytes() == bundle.issuer.subject
    assert leaf.subject.public_bytes() == b"\x30\x00"
    assert leaf.public_key() == PUBLIC_KEY
    assert leaf.signature_algorithm_oid == issuer.signature_algorithm_oid
    assert [(each.oid, each.critical) for each in leaf.extensions] == [
        (ExtensionOID.KEY_USAGE, True),
        (ExtensionOID.EXTENDED_KEY_USAGE, False),
        (ExtensionOID.AUTHORITY_KEY_IDENTIFIER, False),
        (ExtensionOID.SUBJECT_ALTERNATIVE_NAME, True),
        (x509.ObjectIdentifier(IMAGES_OID), False),
    ]
    assert extension(leaf, x509.KeyUsage) == key_usage("digital_signature")
    assert extension(leaf, x509.ExtendedKeyUsage) == x509.ExtendedKeyUsage([SERVER_AUTH, CLIENT_AUTH])
    identifier = extension(issuer, x509.SubjectKeyIdentifier)
    assert identifier
    assert extension(leaf, x509.AuthorityKeyIdentifier) == x509.AuthorityKeyIdentifier(identifier.digest, None, None)
    assert list(extension(leaf, x509.SubjectAlternativeName) or ()) == [
        x509.DNSName("b.svc"),
        x509.DNSName("a.svc"),
        x509.UniformResourceIdentifier("spiffe://cluster.local/ns/default/app"),
    ]
    assert issued.der.count(images_extension((image,))) == 1
    leaf.verify_directly_issued_by(issuer)


def test_without_names_and_images_there_is_the_uri_alone() -> None:
    leaf = parsed(issue())
    assert list(extension(leaf, x509.SubjectAlternativeName) or ()) == [x509.UniformResourceIdentifier(str(SPIFFE_ID))]
    assert len(leaf.extensions) == 4


def test_an_issuer_has_its_bundle() -> None:
    assert Issuer(BUNDLE).bundle is BUNDLE


def test_an_issuer_without_key_identifier_gives_none() -> None:
    root_key, key = new_key(), new_key()
    bundle = verify(stored([certificate("r", root_key)], [certificate("i", key, "r", root_key)], key), NOW)
    assert [each.oid for each in parsed(issue(bundle)).extensions] == [
        ExtensionOID.KEY_USAGE,
        ExtensionOID.EXTENDED_KEY_USAGE,
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
    ]


def test_the_text_is_the_leaf_then_the_chain_without_anchors() -> None:
    keys = [new_key() for _ in range(3)]
    root = certificate("r", keys[0])
    chain = [certificate("i", keys[2], "m", keys[1]), certificate("m", keys[1], "r", keys[0])]
    issued = issue(verify(stored([root], [*chain, root], keys[2]), NOW))
    assert [each.der for each in read_certificates(issued.pem)] == [issued.der, *(each.der for each in chain)]


@pytest.mark.parametrize(
    "curve", [ec.SECP224R1(), ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()], ids=lambda c: c.name
)
def test_keys_on_curves_are_copied(curve: ec.EllipticCurve) -> None:
    key = ec.generate_private_key(curve)
    assert parsed(issue(key=read_csr(csr_pem(key)))).public_key() == key.public_key()


@pytest.mark.parametrize("key", [ed25519.Ed25519PrivateKey.generate(), small_rsa()], ids=["ed25519", "rsa"])
def test_other_keys_are_copied(key: ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey) -> None:
    assert parsed(issue(key=read_csr(csr_pem(key)))).public_key() == key.public_key()


@pytest.mark.parametrize(
    "key", [ec.generate_private_key(ec.SECP224R1()), ec.generate_private_key(ec.SECP521R1()), small_rsa()]
)
def test_other_issuers_sign(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> None:
    root_key = new_key()
    bundle = verify(stored([certificate("r", root_key)], [certificate("i", key, "r", root_key)], key), NOW)
    parsed(issue(bundle)).verify_directly_issued_by(parsed(bundle.issuer))


@pytest.mark.parametrize(("bits", "seconds"), [(2048, 0.0004), (4096, 0.0032)])
def test_large_rsa_keys_take_long(bits: int, seconds: float) -> None:
    root_key, key = new_key(), rsa.generate_private_key(65537, bits)
    bundle = verify(stored([certificate("r", root_key)], [certificate("i", key, "r", root_key)], key), NOW)
    assert Issuer(bundle).signing_seconds == seconds
    assert Issuer(BUNDLE).signing_seconds < Issuer(bundle).signing_seconds


# --- the window


def test_the_window_is_cut_to_whole_seconds() -> None:
    issued = issue(now=NOW + dt.timedelta(microseconds=999_999), skew=dt.timedelta(seconds=1.5))
    assert (issued.not_before, issued.not_after) == (NOW - dt.timedelta(seconds=1), NOW + DAY)
    assert parsed(issued).not_valid_before_utc == issued.not_before
    assert parsed(issued).not_valid_after_utc == issued.not_after


@pytest.mark.parametrize(
    ("lifetime", "end"),
    [
        (DAY, NOW + DAY),
        (365 * DAY, NOW + 365 * DAY),
        (366 * DAY, NOW + 365 * DAY),
        (dt.timedelta(seconds=1), NOW + dt.timedelta(seconds=1)),
    ],
)
def test_no_certificate_outlives_its_issuer(lifetime: dt.timedelta, end: dt.datetime) -> None:
    assert issue(lifetime=lifetime).not_after == end


def test_dates_of_the_next_half_century_are_written_in_full() -> None:
    later = dt.datetime(2049, 12, 31, 12, tzinfo=dt.UTC)
    der = issue(generated(now=later), now=later).der
    assert b"\x17\x0d491231114500Z\x18\x0f20500101120000Z" in der


@pytest.mark.parametrize(
    ("now", "message"),
    [
        (NOW - SKEW - dt.timedelta(microseconds=1), "is not valid before 2026-11-22T19:26:15Z; check the clock"),
        (NOW + 365 * DAY + dt.timedelta(microseconds=1), "has expired at 2027-11-22T19:41:15Z; install credentials"),
    ],
)
def test_an_issuer_that_is_not_valid_signs_nothing(now: dt.datetime, message: str) -> None:
    with pytest.raises(IssuerNotValidError) as refused:
        issue(now=now)
    assert str(refused.value).startswith(f"the issuer certificate chain {message}")


def test_an_issuer_signs_from_its_first_second() -> None:
    assert issue(now=NOW - SKEW).not_after == NOW - SKEW + DAY


@pytest.mark.parametrize(
    ("lifetime", "skew", "now", "message"),
    [
        (dt.timedelta(0), SKEW, NOW, "a certificate with a lifetime of 0:00:00 would have expired when it is signed"),
        (-HOUR, SKEW, NOW, "a certificate with a lifetime of -1 day, 23:00:00 would have expired"),
        (HOUR, SKEW, NOW + 365 * DAY, "would have expired when it is signed"),
        (DAY, -2 * DAY, NOW, "the certificate cannot be made: "),
        (DAY, dt.timedelta.max, NOW, "the certificate cannot be made: date value out of range"),
        (DAY, 90 * 365 * DAY, NOW, "the certificate cannot be made: "),
        (dt.timedelta.max, SKEW, NOW, "the certificate cannot be made: date value out of range"),
    ],
)
def test_clock_values_that_make_no_sense_are_refused(
    lifetime: dt.timedelta, skew: dt.timedelta, now: dt.datetime, message: str
) -> None:
    with pytest.raises(SigningError) as refused:
        issue(lifetime=lifetime, skew=skew, now=now)
    assert message in str(refused.value)


# --- what cannot be made


@pytest.mark.parametrize(
    "identity",
    [
        msgspec.structs.replace(IDENTITY, dns_names=("ä.svc",)),
        msgspec.structs.replace(IDENTITY, images=(ContainerImage("app", "a", "\ud800"),)),
        msgspec.structs.replace(IDENTITY, spiffe_id=SpiffeId("cluster.local", "ä", "app")),
    ],
)
def test_names_that_a_certificate_cannot_carry(identity: WorkloadIdentity) -> None:
    with pytest.raises(SigningError, match="the certificate cannot be made: ") as refused:
        issue(identity=identity)
    assert refused.value.__cause__


@pytest.mark.parametrize("kind", [KeyType.P256, KeyType.ED25519, KeyType.RSA2048])
def test_a_key_that_is_not_the_issuers_is_noticed(kind: KeyType) -> None:
    bundle = msgspec.structs.replace(BUNDLE, key=generate_key(kind))
    with pytest.raises(SigningError, match="the signed certificate does not verify: "):
        issue(bundle)


def test_serial_numbers_are_fresh() -> None:
    issuer = Issuer(BUNDLE)
    signed = {
        issuer.issue(KEY, IDENTITY, lifetime=DAY, allowed_clock_skew=SKEW, now=NOW).serial_number for _ in range(20)
    }
    assert len(signed) == 20
    assert all(0 < each < 2**128 for each in signed)


allowed = st.text(alphabet="abcXYZ019._-", min_size=1, max_size=40).filter(lambda text: text not in {".", ".."})


@given(allowed, allowed, st.lists(st.text(max_size=20), max_size=3))
@settings(max_examples=60, deadline=None)
def test_any_identity_is_certified_as_it_is(namespace: str, app_id: str, images: list[str]) -> None:
    spiffe_id = SpiffeId.make("td", namespace, app_id)
    listed = tuple(ContainerImage("app", text, text) for text in images)
    leaf = issue(identity=WorkloadIdentity(spiffe_id, (), listed))
    again = parsed(leaf)
    assert list(extension(again, x509.SubjectAlternativeName) or ()) == [x509.UniformResourceIdentifier(str(spiffe_id))]
    assert len(again.extensions) == (5 if images else 4)
