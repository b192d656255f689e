"""HPACK decoder: the examples of RFC 7541, its limits, and the same results as hpack's."""

import pytest
from hpack import Decoder, Encoder, HPACKError, OversizedHeaderListError
from hypothesis import given
from hypothesis import strategies as st

from sentry_trio.grpc.frames import HEADER_TABLE_BYTES, ErrorCode, ViolationError
from sentry_trio.grpc.header_blocks import HeaderDecoder
from sentry_trio.grpc.headers import Header

_LIMIT = 2000
_AUTHORITY = (b":authority", b"www.example.com")
_REQUEST = [(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/"), _AUTHORITY]


def _violation(*blocks: bytes, limit: int = _LIMIT) -> ErrorCode:
    """Decodes all blocks; returns the error of the last."""
    decoder = HeaderDecoder(limit)
    for block in blocks[:-1]:
        decoder.decode(block)
    return _violation_of(decoder, blocks[-1])


def _violation_of(decoder: HeaderDecoder, block: bytes) -> ErrorCode:
    with pytest.raises(ViolationError) as violation:
        decoder.decode(block)
    return violation.value.code


def test_examples_without_indexing() -> None:
    """RFC 7541, C.2.2 and C.2.3: a literal with an indexed name, and one that is never indexed."""
    decoder = HeaderDecoder(_LIMIT)
    assert decoder.decode(bytes.fromhex("040c2f73616d706c652f70617468")) == [(b":path", b"/sample/path")]
    assert decoder.decode(bytes.fromhex("100870617373776f726406736563726574")) == [(b"password", b"secret")]
    assert _violation(b"\xbe") is ErrorCode.COMPRESSION_ERROR, "neither was added to the table"


@pytest.mark.parametrize(
    "blocks",
    [
        (
            "828684410f7777772e6578616d706c652e636f6d",
            "828684be58086e6f2d6361636865",
            "828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565",
        ),
        (
            "828684418cf1e3c2e5f23a6ba0ab90f4ff",
            "828684be5886a8eb10649cbf",
            "828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf",
        ),
    ],
    ids=["plain", "Huffman"],
)
def test_examples_of_requests(blocks: tuple[str, ...]) -> None:
    """RFC 7541, C.3 and C.4: three requests on one connection."""
    decoder = HeaderDecoder(_LIMIT)
    assert [decoder.decode(bytes.fromhex(block)) for block in blocks] == [
        _REQUEST,
        [*_REQUEST, (b"cache-control", b"no-cache")],
        [
            (b":method", b"GET"),
            (b":scheme", b"https"),
            (b":path", b"/index.html"),
            _AUTHORITY,
            (b"custom-key", b"custom-value"),
        ],
    ]


@pytest.mark.parametrize(
    "block",
    [
        b"\x80",  # RFC 7541, 6.1: index 0
        b"\xbe",  # no such entry
        b"\xff\xff\xff\xff\xff\x0f",  # an integer of more than 32 bits
        b"\xff",  # the end within an integer
        b"\x40\x03ab",  # the end within a name
        b"\x40\x01a",  # the end before a value
        b"\x40\x01a\x81\x00",  # no Huffman code
        b"\x40\x01a\x84\xff\xff\xff\xff",  # RFC 7541, 5.2: EOS
        b"\x82\x20",  # an update of the table's size behind a field
        b"\x3f\xe2\x1f",  # an update to 4,097 bytes
        b"\x20\x20\x20",  # three updates
    ],
)
def test_a_block_that_cannot_be_read(block: bytes) -> None:
    """The connection is of no use after any of these (RFC 9113, 4.3)."""
    assert _violation(block) is ErrorCode.COMPRESSION_ERROR


def test_entries_leave_the_table_when_it_gets_smaller() -> None:
    """RFC 7541, 4.3 and 4.4: the oldest first; an entry larger than the table empties it."""
    first, second = b"\x40\x01a\x01b", b"\x40\x01c\x01d"
    assert HeaderDecoder(_LIMIT).decode(first + second + b"\xbe\xbf")[2:] == [(b"c", b"d"), (b"a", b"b")]
    small = b"\x3f\x15"  # 52 bytes: room for one entry of 34
    decoder = HeaderDecoder(_LIMIT)
    assert decoder.decode(small + first + second + b"\xbe")[2:] == [(b"c", b"d")]
    assert _violation(small + first + second, b"\xbf") is ErrorCode.COMPRESSION_ERROR
    assert _violation(small + first, b"\x40\x15" + b"x" * 21 + b"\0", b"\xbe") is ErrorCode.COMPRESSION_ERROR
    assert _violation(first, b"\x20", b"\xbe") is ErrorCode.COMPRESSION_ERROR


def test_header_lists_over_the_limit() -> None:
    """References make a small block a large list (RFC 9113, 10.5.1)."""
    field = b"\x40\x01a\x1f" + b"x" * 31  # 64 bytes as a list counts them
    assert len(HeaderDecoder(640).decode(field + b"\xbe" * 9)) == 10
    assert _violation(field + b"\xbe" * 10, limit=640) is ErrorCode.ENHANCE_YOUR_CALM


_names = st.sampled_from([b":path", b"te", b"grpc-timeout", b"x-one", b"x" * 300])
_values = st.binary(max_size=8) | st.sampled_from([b"trailers", b"/a.B/C", b"9S", b"y" * 70, b"z" * 1000])
_blocks = st.tuples(
    st.lists(st.tuples(_names, _values), max_size=6), st.booleans(), st.none() | st.sampled_from([0, 100, 4096])
)


@given(st.lists(_blocks, max_size=6), st.none() | st.tuples(st.integers(0, 200), st.integers(0, 255)))
def test_same_results_as_hpack(
    blocks: list[tuple[list[Header], bool, int | None]], change: tuple[int, int] | None
) -> None:
    """Both decode what hpack has encoded, and what has one wrong byte."""
    encoder, expected, decoder = Encoder(), Decoder(max_header_list_size=_LIMIT), HeaderDecoder(_LIMIT)
    expected.max_allowed_table_size = HEADER_TABLE_BYTES
    for headers, huffman, table_bytes in blocks:
        if table_bytes is not None:
            encoder.header_table_size = table_bytes
        block = bytearray(encoder.encode(headers, huffman=huffman))
        if change is not None and change[0] < len(block):
            block[change[0]] = change[1]
        try:
            result = expected.decode(bytes(block), raw=True)
        except OversizedHeaderListError:
            assert _violation_of(decoder, bytes(block)) is ErrorCode.ENHANCE_YOUR_CALM
            return
        except (HPACKError, IndexError):
            assert _violation_of(decoder, bytes(block)) is ErrorCode.COMPRESSION_ERROR
            return
        assert decoder.decode(bytes(block)) == result
