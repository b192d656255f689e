"""The container images extension, byte for byte."""

import json

import pytest

from sentry_trio.ca.asn1 import Reader, Tag, dotted
from sentry_trio.ca.issue import ContainerImage, images_extension


def value_of(extension: bytes) -> bytes:
    reader = Reader(extension).inside("extension")
    reader.element("type", Tag.OBJECT_IDENTIFIER)
    return reader.content("value", Tag.OCTET_STRING)


def content(*images: ContainerImage) -> bytes:
    """Content of the OCTET STRING; its length is checked."""
    encoded = value_of(images_extension(images))
    assert encoded[0] == 0x04
    if encoded[1] < 0x80:
        length, start = encoded[1], 2
    else:
        start = 2 + (encoded[1] & 0x7F)
        length = int.from_bytes(encoded[2:start], "big")
        assert encoded[2] != 0
        assert length >= 0x80
    assert len(encoded) == start + length
    return encoded[start:]


def test_encoding() -> None:
    extension = images_extension((ContainerImage("daprd", "daprd", "daprio/daprd:1.18", "sha256:00"),))
    document = b'[{"role":"daprd","containerName":"daprd","image":"daprio/daprd:1.18","digest":"sha256:00"}]'
    assert dotted(Reader(extension).inside("extension").content("type", Tag.OBJECT_IDENTIFIER)) == (
        "1.3.6.1.4.1.57683.100.1"
    )
    assert value_of(extension) == b"\x04\x5b" + document


def test_an_unknown_digest_is_left_out_and_order_is_kept() -> None:
    assert content(ContainerImage("app", "b", "y"), ContainerImage("app", "a", "x", "d")) == (
        b'[{"role":"app","containerName":"b","image":"y"},{"role":"app","containerName":"a","image":"x","digest":"d"}]'
    )


@pytest.mark.parametrize(
    ("text", "encoded"),
    [
        ("a<b>&c", rb"a\u003cb\u003e\u0026c"),
        ("\u2028\u2029", rb"\u2028\u2029"),
        ('q"\\', rb"q\"\\"),
        ("\n\r\t\b\f", rb"\n\r\t\b\f"),
        ("\x00\x1f", rb"\u0000\u001f"),
        ("\x7fäß", "\x7fäß".encode()),
        ("😀", "😀".encode()),
    ],
)
def test_characters_as_go_writes_them(text: str, encoded: bytes) -> None:
    written = content(ContainerImage("app", "a", text))
    assert written == b'[{"role":"app","containerName":"a","image":"' + encoded + b'"}]'
    assert json.loads(written)[0]["image"] == text


@pytest.mark.parametrize("size", [1, 100, 127, 128, 255, 256, 65_535, 65_536, 100_000])
def test_lengths(size: int) -> None:
    assert len(content(ContainerImage("app", "", "x" * size))) >= size


def test_a_lone_surrogate_is_refused() -> None:
    with pytest.raises(ValueError, match="surrogates not allowed"):
        images_extension((ContainerImage("app", "a", "\ud800"),))
