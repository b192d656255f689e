"""Certificates as they are composed here, and as `cryptography` builds them: the same bytes but for the signature."""

import datetime as dt

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given, settings
from hypothesis import strategies as st

from sentry_trio.ca.asn1 import MalformedError, Reader, encode_time
from sentry_trio.ca.bundle import TrustBundle, verify
from sentry_trio.ca.issue import IMAGES_OID, ContainerImage, IssuedCertificate, Issuer, WorkloadIdentity
from sentry_trio.ca.keys import KeyType, public_key_info
from sentry_trio.ca.spiffe import SpiffeId
from testkit.ca.making import (
    NOW,
    SKEW,
    certificate,
    extension,
    generated,
    key_usage,
    new_key,
    parsed,
    signature_hash,
    stored,
)

pytestmark = pytest.mark.uncovered

KEYS = [ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP521R1()), new_key()]
ISSUER_KEYS = {
    **{kind.value: generated(kind) for kind in KeyType},
    "p521": verify(
        stored(
            [certificate("r", KEYS[2])],
            [certificate("i", KEYS[1], "r", KEYS[2])],
            KEYS[1],
        ),
        NOW,
    ),
}
segment = st.text(alphabet="abcXYZ019._-", min_size=1, max_size=40).filter(lambda text: text not in {".", ".."})
label = st.text(alphabet="abcxyz019-", min_size=1, max_size=30)
images = st.builds(ContainerImage, st.sampled_from(["app", "daprd"]), st.text(max_size=20), st.text(max_size=200))


def built(bundle: TrustBundle, identity: WorkloadIdentity, issued: IssuedCertificate, key: object) -> x509.Certificate:
    """Returns the certificate as the builder of `cryptography` makes it, with the serial number and dates of ours."""
    issuer = parsed(bundle.issuer)
    names = [x509.DNSName(name) for name in identity.dns_names]
    builder = (
        x509.CertificateBuilder()
        .issuer_name(issuer.subject)
        .subject_name(x509.Name([]))
        .public_key(key)  # type: ignore[arg-type] # of any kind
        .serial_number(issued.serial_number)
        .not_valid_before(issued.not_before)
        .not_valid_after(issued.not_after)
        .add_extension(key_usage("digital_signature"), critical=True)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False
        )
    )
    if identifier := extension(issuer, x509.SubjectKeyIdentifier):
        builder = builder.add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False
        )
    uri = x509.UniformResourceIdentifier(str(identity.spiffe_id))
    builder = builder.add_extension(x509.SubjectAlternativeName([*names, uri]), critical=True)
    if identity.images:
        # The content of this extension has a test of its own; here its frame counts.
        (content,) = [each.value for each in parsed(issued).extensions if each.oid.dotted_string == IMAGES_OID]
        assert isinstance(content, x509.UnrecognizedExtension)
        builder = builder.add_extension(content, critical=False)
    return builder.sign(bundle.key, signature_hash(bundle.key))


@pytest.mark.parametrize("issuer", ISSUER_KEYS)
@given(
    segment,
    segment,
    st.lists(label, max_size=3),
    st.lists(images, max_size=2),
    st.integers(1, 10**9),
    st.sampled_from(KEYS),
)
@settings(max_examples=40, deadline=None)
def test_the_signed_part_is_the_same(
    issuer: str,
    namespace: str,
    app_id: str,
    dns_names: list[str],
    listed: list[ContainerImage],
    seconds: int,
    key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey,
) -> None:
    bundle = ISSUER_KEYS[issuer]
    identity = WorkloadIdentity(SpiffeId.make("td", namespace, app_id), tuple(dns_names), tuple(listed))
    issued = Issuer(bundle).issue(
        public_key_info(key.public_key()),
        identity,
        lifetime=dt.timedelta(seconds=seconds),
        allowed_clock_skew=SKEW,
        now=NOW,
    )
    expected = built(bundle, identity, issued, key.public_key())
    ours = parsed(issued)
    assert ours.tbs_certificate_bytes == expected.tbs_certificate_bytes
    assert ours.signature_algorithm_oid == expected.signature_algorithm_oid
    ours.verify_directly_issued_by(parsed(bundle.issuer))
    assert issued.pem.startswith(ours.public_bytes(serialization.Encoding.PEM))


@given(st.datetimes(dt.datetime(1950, 1, 1), dt.datetime(9999, 12, 31, 23, 59, 59)))  # noqa: DTZ001 # made aware below
def test_a_time_that_is_written_is_read(moment: dt.datetime) -> None:
    aware = moment.replace(tzinfo=dt.UTC)
    assert Reader(encode_time(aware)).time("time") == aware.replace(microsecond=0)


@pytest.mark.parametrize("moment", [dt.datetime(1949, 12, 31, tzinfo=dt.UTC), dt.datetime.min.replace(tzinfo=dt.UTC)])
def test_there_is_no_time_before_1950(moment: dt.datetime) -> None:
    with pytest.raises(ValueError, match="no times before 1950"):
        encode_time(moment)


def test_a_field_is_named_where_bytes_are_missing() -> None:
    with pytest.raises(MalformedError, match=r"^serialNumber is missing$"):
        Reader(b"").integer("serialNumber")
