"""Untidy PEM: read if its meaning is clear, else the error names its encoding."""

import base64
from collections.abc import Callable
from pathlib import Path

import pytest

from sentry_trio.ca.certificates import read_certificates, write_certificates
from sentry_trio.ca.keys import read_private_key, write_private_key
from sentry_trio.ca.pem import begin_lines, explain, tidy
from sentry_trio.errors import InvalidBundleError
from testkit.ca.making import certificate, new_key, openssl

CERTIFICATES = [certificate(text, new_key()) for text in ("a", "b", "c")]
PEM = write_certificates(CERTIFICATES)
ONE, TWO, THREE = (write_certificates([each]) for each in CERTIFICATES)
KEY = new_key()
KEY_PEM = write_private_key(KEY)
MARK = b"\xef\xbb\xbf"


@pytest.mark.parametrize(
    "text",
    [
        PEM,
        ONE.rstrip() + TWO.rstrip() + THREE.rstrip(),
        MARK + PEM,
        MARK + ONE + MARK + TWO + MARK + THREE,
        ONE.rstrip() + MARK + TWO + THREE,
        b"    " + PEM.replace(b"\n", b"\n    "),
        b"\t" + PEM.replace(b"\n", b"\r\n\t"),
        b"ca.crt: |\n  " + PEM.replace(b"\n", b"\n  "),
        b"# root\n\n" + ONE + b"words\n" + TWO + THREE + b"more",
        PEM.replace(b"\n", b"\r\n"),
    ],
)
def test_all_blocks_are_read(text: bytes) -> None:
    assert read_certificates(text) == CERTIFICATES
    # What Go reads of it, published, is the same.
    assert tidy(tidy(text)) == tidy(text)
    assert len(begin_lines(tidy(text))) == 3


def test_a_text_without_irregularities_is_not_touched() -> None:
    for text in (PEM, b"", b"words", PEM.replace(b"\n", b"\r\n"), b"# root\n" + PEM + b"end"):
        assert tidy(text) is text or tidy(text) == text


@pytest.mark.parametrize("text", [MARK + KEY_PEM, b"  " + KEY_PEM.replace(b"\n", b"\n  "), KEY_PEM.rstrip()])
def test_keys_are_read_as_well(text: bytes) -> None:
    assert read_private_key(text).public_key() == KEY.public_key()


@pytest.mark.parametrize(
    "damage",
    [
        lambda: ONE + TWO[:-30] + THREE,
        lambda: ONE + TWO.replace(b"\n", b"\n!", 2) + THREE,
        lambda: ONE + TWO.replace(b"END CERTIFICATE", b"END CERT") + THREE,
        lambda: ONE + TWO + b"-----BEGIN CERTIFICATE-----\n",
    ],
    ids=["cut", "foreign characters", "other label", "begun"],
)
def test_no_damaged_block_is_lost_silently(damage: Callable[[], bytes]) -> None:
    with pytest.raises(
        InvalidBundleError,
        match=r"^\d PEM blocks of the trust anchors begin \(in lines 1, \d+(, \d+)?\), but only \d can",
    ):
        read_certificates(damage(), role="trust anchors")


def test_der_is_recognized(tmp_path: Path) -> None:
    (tmp_path / "a.pem").write_bytes(ONE)
    der = openssl("x509", "-in", tmp_path / "a.pem", "-outform", "DER")
    text = explain(der, convert="openssl x509 -inform DER")
    assert text == "it is DER, not PEM; convert it with `openssl x509 -inform DER`"
    assert openssl("x509", "-inform", "DER", stdin=der) == ONE


@pytest.mark.parametrize(
    ("text", "looks_like"),
    [
        (b"", "it is empty"),
        (b" \n", "it is empty"),
        (PEM.decode().encode("utf-16"), "it is UTF-16 text"),
        (PEM.decode().encode("utf-16-le"), "it is UTF-16 text"),
        (PEM.decode().encode("utf-16-be"), "it is UTF-16 text"),
        (base64.b64encode(PEM), "it is base64 of PEM text"),
        (base64.encodebytes(PEM), "it is base64 of PEM text"),
        (base64.b64encode(MARK + PEM), "it is base64 of PEM text"),
        (ONE.split(b"\n", 1)[1].rsplit(b"-----END", 1)[0], "it is base64 without BEGIN and END lines"),
        (PEM.replace(b"\n", b"\\n"), "its line breaks are written as \\n"),
        (b'"' + PEM.replace(b"\n", b"\\n") + b'"', "its line breaks are written as \\n"),
        (PEM.replace(b"CERTIFICATE-----\n", b"CERTIFICATE----\n"), "its BEGIN and END lines"),
        (b"<!DOCTYPE html>", "it is not PEM text"),
    ],
)
def test_other_texts_are_recognized(text: bytes, looks_like: str) -> None:
    with pytest.raises(InvalidBundleError, match="no certificates found: ") as refused:
        read_certificates(text)
    assert looks_like in str(refused.value)
    assert "\n" not in str(refused.value)


def test_nothing_of_a_key_is_shown() -> None:
    secret = KEY_PEM.split(b"\n")[1]
    for text in (base64.b64encode(KEY_PEM), secret, KEY_PEM.replace(b"\n", b"\\n"), KEY_PEM[:-20]):
        with pytest.raises(InvalidBundleError) as refused:
            read_private_key(text)
        assert secret.decode()[:8] not in str(refused.value)


@pytest.mark.parametrize("size", [1 << 20])
def test_hostile_texts_take_no_time_beyond_their_length(size: int) -> None:
    """A quadratic search would take minutes for a mebibyte."""
    for piece in (b"-----END A-----", b" \t", b"\n-----BEGIN ", MARK, b"-----BEGIN -----END "):
        tidy(b"-----BEGIN " + piece * (size // len(piece)))
