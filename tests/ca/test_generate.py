"""A new certificate authority: its profile to the last extension."""

import datetime as dt

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtensionOID, SignatureAlgorithmOID

from sentry_trio.ca.bundle import verify
from sentry_trio.ca.certificates import read_certificates
from sentry_trio.ca.compose import new_serial_number, organization
from sentry_trio.ca.generate import generate
from sentry_trio.ca.keys import KeyType, PublicKey, key_identifier, public_key_info, read_private_key
from sentry_trio.errors import ClockError, InvalidIdentityError
from testkit.ca.making import DAY, NOW, SKEW, extension, generated, key_usage, parsed

ORDER = [
    (ExtensionOID.KEY_USAGE, True),
    (ExtensionOID.BASIC_CONSTRAINTS, True),
    (ExtensionOID.SUBJECT_KEY_IDENTIFIER, False),
    (ExtensionOID.AUTHORITY_KEY_IDENTIFIER, False),
]


def subject_key_identifier(key: PublicKey) -> x509.SubjectKeyIdentifier:
    return x509.SubjectKeyIdentifier(key_identifier(public_key_info(key)))


def common_name(kind: str, certificate: x509.Certificate) -> str:
    identifier = extension(certificate, x509.SubjectKeyIdentifier)
    assert identifier
    return f"{kind} {identifier.digest.hex()[:8]}"


@pytest.mark.parametrize("key_type", KeyType)
def test_profile(key_type: KeyType) -> None:
    stored = generate("cluster.local", "dapr-system", key_type, now=NOW, allowed_clock_skew=SKEW)
    (root,), (issuer,) = (list(map(parsed, read_certificates(pem))) for pem in (stored.anchors, stored.chain))

    assert root.subject == root.issuer == issuer.issuer
    assert root.subject.rfc4514_string() == f"CN={common_name('root', root)},O=cluster.local"
    identity = "spiffe://cluster.local/ns/dapr-system/dapr-sentry"
    assert issuer.subject.rfc4514_string() == f"CN={common_name('issuer', issuer)},O={identity}"
    usages = (
        key_usage("digital_signature", "key_cert_sign"),
        key_usage("digital_signature", "key_cert_sign", "crl_sign"),
    )
    root_key = root.public_key()
    assert isinstance(root_key, ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey | rsa.RSAPublicKey)
    root_identifier = subject_key_identifier(root_key)
    identifiers = (root_identifier, subject_key_identifier(read_private_key(stored.key).public_key()))
    for made, usage, identifier in zip((root, issuer), usages, identifiers, strict=True):
        assert made.version is x509.Version.v3
        assert [(each.oid, each.critical) for each in made.extensions] == ORDER
        assert extension(made, x509.KeyUsage) == usage
        assert extension(made, x509.BasicConstraints) == x509.BasicConstraints(ca=True, path_length=None)
        assert extension(made, x509.SubjectKeyIdentifier) == identifier
        authority = x509.AuthorityKeyIdentifier(root_identifier.digest, None, None)
        assert extension(made, x509.AuthorityKeyIdentifier) == authority
        assert made.not_valid_before_utc == NOW - SKEW
        assert made.not_valid_after_utc == NOW + 365 * DAY
        assert made.serial_number > 0
    assert root.serial_number != issuer.serial_number
    assert root.public_key() != issuer.public_key()
    assert parsed(verify(stored, NOW).issuer) == issuer


@pytest.mark.parametrize(
    ("key_type", "algorithm", "digest"),
    [
        (KeyType.P256, SignatureAlgorithmOID.ECDSA_WITH_SHA256, hashes.SHA256),
        (KeyType.P384, SignatureAlgorithmOID.ECDSA_WITH_SHA384, hashes.SHA384),
        (KeyType.ED25519, SignatureAlgorithmOID.ED25519, type(None)),
        (KeyType.RSA2048, SignatureAlgorithmOID.RSA_WITH_SHA256, hashes.SHA256),
    ],
)
def test_the_signature_follows_the_key(
    key_type: KeyType, algorithm: x509.ObjectIdentifier, digest: type[hashes.HashAlgorithm | None]
) -> None:
    bundle = generated(key_type)
    for made in map(parsed, (*bundle.anchors, *bundle.chain)):
        assert made.signature_algorithm_oid == algorithm
        assert isinstance(made.signature_hash_algorithm, digest)


def test_seconds_are_whole_and_the_lifetime_is_as_asked() -> None:
    now = NOW + dt.timedelta(microseconds=999_999)
    stored = generate("td", "ns", KeyType.P256, now=now, allowed_clock_skew=SKEW, lifetime=DAY)
    bundle = verify(stored, now)
    assert (bundle.not_before, bundle.not_after) == (NOW - SKEW, NOW + DAY)


def test_the_organization_is_the_trust_domain_as_given() -> None:
    stored = generate("spiffe://td/x", "ns", KeyType.P256, now=NOW, allowed_clock_skew=SKEW)
    bundle = verify(stored, NOW)
    assert parsed(bundle.anchors[0]).subject.rfc4514_string().endswith(",O=spiffe://td/x")
    assert parsed(bundle.issuer).subject.rfc4514_string().endswith(",O=spiffe://td/ns/ns/dapr-sentry")


@pytest.mark.parametrize(
    ("text", "tag"),
    [
        ("cluster.local", 0x13),
        ("spiffe://td/ns/ns/dapr-sentry", 0x13),
        ("AZaz09 '()+,-./:=?", 0x13),
        ("a_b", 0x0C),
        ("a*b", 0x0C),
        ("a&b", 0x0C),
        ("a@b", 0x0C),
        ("ä", 0x0C),
    ],
)
def test_the_string_type_follows_the_characters(text: str, tag: int) -> None:
    encoded = text.encode()
    assert bytes([tag, len(encoded)]) + encoded in organization(text)


@pytest.mark.parametrize(
    ("trust_domain", "namespace", "message"),
    [
        ("", "ns", "trust domain is missing"),
        ("TD", "ns", "trust domain characters"),
        ("a..b", "ns", "empty DNS label"),
        ("td", "", "namespace: path cannot contain empty segments"),
    ],
)
def test_no_authority_for_a_bad_identity(trust_domain: str, namespace: str, message: str) -> None:
    with pytest.raises(InvalidIdentityError, match=message):
        generate(trust_domain, namespace, KeyType.P256, now=NOW, allowed_clock_skew=SKEW)


def test_serial_numbers_have_their_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    for drawn in (0, 2**128 - 2):
        monkeypatch.setattr("secrets.randbelow", lambda below, drawn=drawn: drawn if drawn < below else below - 1)
        assert new_serial_number() == drawn + 1
    monkeypatch.setattr("secrets.randbelow", lambda below: below - 1)
    assert new_serial_number() == 2**128 - 1


def test_serial_numbers_differ() -> None:
    drawn = {new_serial_number() for _ in range(50)}
    assert len(drawn) == 50
    assert max(drawn).bit_length() > 110


def test_nothing_is_generated_by_a_clock_before_the_release() -> None:
    start_of_unix = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
    with pytest.raises(ClockError, match="the clock is at 1970-01-01T00:00:00Z, before this program was released"):
        generate("td", "ns", KeyType.P256, now=start_of_unix, allowed_clock_skew=SKEW)


def test_nothing_is_generated_by_a_clock_at_the_end_of_the_calendar() -> None:
    with pytest.raises(ClockError, match="the clock is at 9999-12-31T23:59:59Z, and "):
        generate("td", "ns", KeyType.P256, now=dt.datetime.max.replace(tzinfo=dt.UTC), allowed_clock_skew=SKEW)
