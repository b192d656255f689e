"""Whatever bytes come in, what goes out is a value or one of the domain's errors."""

import base64

import pytest
from cryptography import x509
from hypothesis import given, settings
from hypothesis import strategies as st

from sentry_trio.ca.bundle import StoredBundle, verify
from sentry_trio.ca.certificates import read_certificates, write_certificates
from sentry_trio.ca.csr import read_csr
from sentry_trio.ca.expiry import report
from sentry_trio.ca.generate import generate
from sentry_trio.ca.issue import Issuer, WorkloadIdentity
from sentry_trio.ca.keys import KeyType, public_key_info, read_private_key, write_private_key
from sentry_trio.ca.pem import first_block
from sentry_trio.ca.spiffe import SpiffeId
from sentry_trio.errors import InvalidBundleError, InvalidCSRError, SigningError
from testkit.ca.making import DAY, NOW, SKEW, certificate, csr_pem, generated, new_key, small_rsa

# cryptography warns of what it reads against its taste (serial number 0, names too long); that is not a failure.
pytestmark = [pytest.mark.uncovered, pytest.mark.filterwarnings("ignore::UserWarning")]

STORED = generate("cluster.local", "dapr-system", KeyType.ED25519, now=NOW, allowed_clock_skew=SKEW)
EXAMPLES = 100


def der(pem: bytes) -> bytes:
    block = first_block(pem)
    assert block
    return block.der


def wrapped(content: bytes, label: str) -> bytes:
    return f"-----BEGIN {label}-----\n{base64.b64encode(content).decode()}\n-----END {label}-----\n".encode()


@st.composite
def mutated(draw: st.DrawFn, samples: list[bytes]) -> bytes:
    """Some good bytes with a few of them overwritten, left out or doubled."""
    content = bytearray(draw(st.sampled_from(samples)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(content) - 1))
        match draw(st.integers(0, 4)):
            case 0:
                content[at] = draw(st.integers(0, 255))
            case 1:
                content[at] ^= 1 << draw(st.integers(0, 7))
            case 2:
                del content[at : at + draw(st.integers(1, 8))]
            case 3:
                content[at:at] = content[at : at + 8]
            case _:
                content[at : at + 1] = draw(st.binary(max_size=4))
        content = content or bytearray(1)
    return bytes(content)


def mutations(label: str, samples: list[bytes]) -> st.SearchStrategy[bytes]:
    """Arbitrary bytes, bad PEM, and good PEM around bad DER."""
    return st.one_of(
        st.binary(max_size=300),
        mutated([wrapped(sample, label) for sample in samples]),
        mutated(samples).map(lambda content: wrapped(content, label)),
        mutated(samples).map(lambda content: wrapped(content, label)),
    )


def several_certificates() -> list[bytes]:
    root = certificate("root", new_key(), path_length=3, extended=[x509.OID_SERVER_AUTH])
    rest = [*generated(KeyType.P256).anchors, *generated(KeyType.RSA2048).chain, root]
    return [der(STORED.anchors), der(STORED.chain), *(each.der for each in rest)]


def several_requests() -> list[bytes]:
    return [der(csr_pem(key)) for key in (None, new_key(), small_rsa())]


def several_keys() -> list[bytes]:
    return [der(STORED.key), der(write_private_key(small_rsa()))]


CERTIFICATES = mutations("CERTIFICATE", several_certificates())


@given(CERTIFICATES)
@settings(max_examples=EXAMPLES, deadline=None)
def test_certificates(pem: bytes) -> None:
    try:
        certificates = read_certificates(pem)
    except InvalidBundleError as error:
        assert_one_line(error)
        return
    assert read_certificates(write_certificates(certificates)) == certificates


@given(mutations("CERTIFICATE REQUEST", several_requests()))
@settings(max_examples=EXAMPLES, deadline=None)
def test_requests(pem: bytes) -> None:
    try:
        read_csr(pem)
    except InvalidCSRError as error:
        assert_one_line(error)


@given(st.one_of(mutations("PRIVATE KEY", several_keys()), mutations("RSA PRIVATE KEY", several_keys())))
@settings(max_examples=EXAMPLES, deadline=None)
def test_keys(pem: bytes) -> None:
    try:
        key = read_private_key(pem)
    except InvalidBundleError as error:
        assert_one_line(error)
        return
    assert write_private_key(key)


@given(
    st.sampled_from(["anchors", "chain", "key"]).flatmap(
        lambda part: st.tuples(st.just(part), mutated([getattr(STORED, part)]) | mutated_within(part))
    )
)
@settings(max_examples=EXAMPLES, deadline=None)
def test_bundles(mutation: tuple[str, bytes]) -> None:
    part, pem = mutation
    parts = {"anchors": STORED.anchors, "chain": STORED.chain, "key": STORED.key, part: pem}
    stored = StoredBundle(**parts)
    try:
        bundle = verify(stored, NOW)
    except InvalidBundleError as error:
        assert_one_line(error, start="failed to verify CA bundle: ")
        return
    # What was accepted also works.
    assert report(bundle, NOW)
    identity = WorkloadIdentity(SpiffeId.make("td", "ns", "app"))
    issuer = Issuer(bundle)
    try:
        issuer.issue(public_key_info(new_key().public_key()), identity, lifetime=DAY, allowed_clock_skew=SKEW, now=NOW)
    except SigningError as error:
        assert_one_line(error)


def mutated_within(part: str) -> st.SearchStrategy[bytes]:
    label = "PRIVATE KEY" if part == "key" else "CERTIFICATE"
    return mutated([der(getattr(STORED, part))]).map(lambda content: wrapped(content, label))


def assert_one_line(error: Exception, start: str = "") -> None:
    assert str(error)
    assert str(error).startswith(start)
    assert not set(str(error)) & set("\r\n\x1b\0")
