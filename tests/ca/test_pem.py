"""PEM blocks, read as Go's encoding/pem reads them."""

import base64
import sys
import time
from itertools import dropwhile

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import ExtensionOID
from hypothesis import given, settings
from hypothesis import strategies as st

from sentry_trio.ca.certificates import read_certificates, write_certificates
from sentry_trio.ca.pem import Block, blocks, first_block
from sentry_trio.errors import InvalidBundleError
from testkit.ca.making import certificate, new_key, parsed, unread_certificate

GOOD = b"-----BEGIN X-----\nAAEC\n-----END X-----\n"
READ = Block("X", b"\0\1\2")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"", []),
        (b"no PEM at all", []),
        (GOOD, [READ]),
        (GOOD.rstrip(), [READ]),
        (GOOD + GOOD, [READ, READ]),
        (GOOD.replace(b"\n", b"\r\n"), [READ]),
        (b"some words\n" + GOOD + b"more words", [READ]),
        (b"words " + GOOD, []),
        (b" " + GOOD, []),
        (b"words " + GOOD + GOOD, [READ]),
        (b"\n\n" + GOOD, [READ]),
        (b"-----BEGIN X----- \t\nAAEC\n-----END X----- \t\n", [READ]),
        (b"-----BEGIN X-----\nA A\tE\n  C  \n\n-----END X-----\n", [READ]),
        (b"-----BEGIN X-----\n-----END X-----\n", [Block("X", b"")]),
        (b"-----BEGIN X-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: x\n\nAAEC\n-----END X-----\n", [READ]),
        (b"-----BEGIN X-----\nkey: value\nAAEC\n-----END X-----\n", [READ]),
        (b"-----BEGIN X-----\nkey: value\n-----END X-----\n" + GOOD, [READ]),  # no empty line before END
        (b"-----BEGIN X-----\nAAE\n-----END X-----\n" + GOOD, [READ]),  # base64 cut short
        (b"-----BEGIN X-----\nAA==AAEC\n-----END X-----\n" + GOOD, [READ]),
        (b"-----BEGIN X-----\nAA*C\n-----END X-----\n" + GOOD, [READ]),
        (b"-----BEGIN X-----\n====\n-----END X-----\n" + GOOD, [READ]),
        (b"-----BEGIN X\nAAEC\n-----END X-----\n" + GOOD, [READ]),
        (b"-----BEGIN X-----\nAAEC\n-----END Y-----\n" + GOOD, [READ]),
        (b"-----BEGIN X-----\nAAEC\n-----END X-----junk\n" + GOOD, [READ]),
        (b"-----BEGIN X-----\nAAEC\n-----END X--\n" + GOOD, [READ]),
        (b"-----BEGIN X-----\nAAEC\n" + GOOD, [READ]),  # a BEGIN without END
        (b"-----BEGIN X-----\nAAEC\n", []),
        (b"-----END X-----\n" + GOOD, [READ]),
        (b"\n-----END X-----\n" + GOOD, [READ]),
        (b"-----BEGIN X-----\nAAEC\n-----END X-----:\n" + GOOD, [READ]),
        (b"-----BEGIN X-----\na: b\n-----END X-----:\n" + GOOD, []),  # headers run over the END line
        (b"-----BEGIN X-----\na: b\n-----END X-----:", []),
        (b"-----BEGIN -----\nAAEC\n-----END -----\n", [Block("", b"\0\1\2")]),
        (b"-----BEGIN \xff-----\nAAEC\n-----END \xff-----\n", [Block("\ufffd", b"\0\1\2")]),
    ],
)
def test_blocks(text: bytes, expected: list[Block]) -> None:
    assert list(blocks(text)) == expected
    assert first_block(text) == (expected[0] if expected else None)


@pytest.mark.uncovered
@pytest.mark.parametrize(
    "piece",
    [
        b"-----BEGIN X-----\na:\n\n-----END Y-----\n",
        b"-----BEGIN X-----\na:\n-----END X-----:\n",
        b"-----BEGIN X-----\n",
        b"\n-----END Y-----",
        b"-----BEGIN X-----\nAAAA*\n-----END X-----\n",
        b"a:\n",
    ],
)
def test_no_text_takes_long(piece: bytes) -> None:
    text = b"-----BEGIN X-----\n" + piece * (2_000_000 // len(piece)) + b"\n-----END Z-----\n"
    begun = time.process_time()
    assert first_block(text) is None
    assert time.process_time() - begun < 20  # less than one as a rule; quadratic time would be minutes


@pytest.mark.parametrize("line", [b":\n", b"key: value\r\n", b": \t\n"])
def test_headers_are_not_read_one_by_one(line: bytes) -> None:
    """A request is at most 16 KiB, and a step in Python for each line would take longer than all other checks."""
    text = b"-----BEGIN X-----\n" + line * 1_000 + b"\nAAEC\n-----END X-----\n"
    calls: list[str] = []
    sys.setprofile(lambda _frame, event, _function: calls.append(event))
    try:
        found = first_block(text)
    finally:
        sys.setprofile(None)
    assert found == READ
    assert len(calls) < 100


@given(st.lists(st.sampled_from([b"", b":", b"a: b", b"AAEC", b"a: b\r", b" \t", b"AA", b"\r", b":-----END X-----"])))
@settings(max_examples=300, deadline=None)
def test_headers_are_the_first_lines_with_a_colon(lines: list[bytes]) -> None:
    text = b"\n".join([b"-----BEGIN X-----", *lines, b"-----END X-----", b""])
    body = list(dropwhile(lambda line: b":" in line, lines))
    # If there are headers, a line between them and END is required.
    is_closed = bool(body) or not lines
    content = b"".join(body).translate(None, b" \t\r")
    is_base64 = not content.strip(b"AEC") and len(content) % 4 == 0
    assert first_block(text) == (Block("X", base64.b64decode(content)) if is_closed and is_base64 else None)


@given(st.binary(max_size=200), st.text(alphabet="ABC XYZ", min_size=1, max_size=12).map(str.strip))
@settings(max_examples=100, deadline=None)
def test_a_written_block_is_read_unchanged(content: bytes, label: str) -> None:
    body = base64.encodebytes(content)
    text = b"-----BEGIN %b-----\n%b-----END %b-----\n" % (label.encode(), body, label.encode())
    assert first_block(text) == Block(label, content)


@given(st.lists(st.sampled_from([b"-----BEGIN ", b"X-----", b"\n", b"-----END ", b"A", b"AAAA", b":", b" ", b"\r\n"])))
@settings(max_examples=300, deadline=None)
def test_any_text_has_blocks_or_none(pieces: list[bytes]) -> None:
    for block in blocks(b"".join(pieces)):
        assert block.label in {"X", ""}
        assert block.der == b"\0" * len(block.der)


# --- certificates


def test_certificates_come_back_in_order_and_without_decoration() -> None:
    certificates = [certificate(text, new_key()) for text in ("a", "b")]
    pem = write_certificates(certificates)
    first, second = (parsed(each).public_bytes(serialization.Encoding.PEM) for each in certificates)
    decorated = (
        b"# root\n" + first.replace(b"CERTIFICATE-----\n", b"CERTIFICATE-----\nwho: me\n\n", 1) + b"\nnote\n" + second
    )
    assert read_certificates(decorated + b"trailing words") == certificates
    assert write_certificates(read_certificates(decorated)) == pem == first + second


def wrapped(der: bytes, label: str = "CERTIFICATE") -> bytes:
    return f"-----BEGIN {label}-----\n{base64.b64encode(der).decode()}\n-----END {label}-----\n".encode()


def garbled(oid: x509.ObjectIdentifier, content: bytes = b"\xff\xff") -> bytes:
    """A certificate with an extension of this type and any content."""
    bad = x509.Extension(oid, True, x509.UnrecognizedExtension(oid, content))
    made = unread_certificate("a", new_key(), ca=None, usage=None, more=[bad])
    return made.public_bytes(serialization.Encoding.PEM)


def patched(old: str, new: str) -> bytes:
    """A certificate with two extensions, 1.2.3 and 1.2.4; then some of its bytes, in hexadecimal digits, replaced."""
    oids = [x509.ObjectIdentifier(text) for text in ("1.2.3", "1.2.4")]
    more = [x509.Extension(oid, False, x509.UnrecognizedExtension(oid, b"")) for oid in oids]
    der = certificate("a", new_key(), more=more).der
    assert bytes.fromhex(old) in der
    return wrapped(der.replace(bytes.fromhex(old), bytes.fromhex(new)))


UNREADABLE = "certificate 1 of the role cannot be read here or by Dapr's components: "


@pytest.mark.parametrize(
    ("pem", "message"),
    [
        (b"", "no certificates found"),
        (b"words", "no certificates found"),
        (wrapped(b"\0", "PRIVATE KEY"), 'PEM block 1 of the role is of type "PRIVATE KEY"; '),
        (wrapped(b"\0", "X" * 100), f'PEM block 1 of the role is of type "{"X" * 60}"; '),
        (wrapped(b"\0", "A\rB\x1b"), 'PEM block 1 of the role is of type "A?B?"; '),
        (wrapped(b"\x30\x00"), f"{UNREADABLE}tbsCertificate is missing"),
        (wrapped(b""), f"{UNREADABLE}the certificate is missing"),
        (garbled(ExtensionOID.BASIC_CONSTRAINTS), f"{UNREADABLE}basicConstraints has an unexpected type"),
        (garbled(ExtensionOID.SUBJECT_KEY_IDENTIFIER), f"{UNREADABLE}extension 2.5.29.14 is marked critical"),
        (patched("06022a04", "06022a03"), f"{UNREADABLE}extension 1.2.3 occurs twice"),
        (patched("a003020102", "a003020103"), f"{UNREADABLE}version is not 1, 2 or 3"),
        (
            patched("0c0161", "030100"),
            f"{UNREADABLE}attribute CN of the issuer has a string type",
        ),
    ],
)
def test_invalid_lists_of_certificates_are_rejected(pem: bytes, message: str) -> None:
    with pytest.raises(InvalidBundleError) as refused:
        read_certificates(pem, role="role")
    assert str(refused.value).startswith(message)
    assert "\n" not in str(refused.value)


def test_a_foreign_block_hides_nothing() -> None:
    pem = write_certificates([certificate("a", new_key())])
    with pytest.raises(
        InvalidBundleError, match='PEM block 2 of the trust anchors is of type "EC PARAMETERS"; remove it'
    ):
        read_certificates(pem + wrapped(b"\0", "EC PARAMETERS") + pem, role="trust anchors")


def test_a_certificate_with_bytes_after_it_is_refused() -> None:
    der = certificate("a", new_key()).der
    assert read_certificates(wrapped(der))
    with pytest.raises(InvalidBundleError, match="cannot be read"):
        read_certificates(wrapped(der + b"\0"))
