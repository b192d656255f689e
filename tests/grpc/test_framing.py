"""Heads, messages and trailers as bytes."""

import gzip
import zlib
from typing import Any

import pytest
from grpclib.const import Cardinality, Handler, Status
from grpclib.metadata import decode_grpc_message, encode_metadata
from hypothesis import given, settings
from hypothesis import strategies as st

from sentry_trio.grpc.framing import (
    MessageReader,
    RefusedError,
    frame_message,
    metadata_of,
    read_request,
    response_headers,
    status_trailers,
)
from sentry_trio.grpc.headers import Header


async def _handle(call: object) -> None: ...


HANDLER = Handler(_handle, Cardinality.UNARY_UNARY, object, object)
HANDLERS = {b"/a.B/C": HANDLER}


def _head(**changes: bytes | None) -> list[Header]:
    head: dict[bytes, bytes | None] = {
        b":method": b"POST",
        b":scheme": b"https",
        b":path": b"/a.B/C",
        b"content-type": b"application/grpc",
    }
    for name, value in changes.items():
        head[{"method": b":method", "path": b":path"}.get(name, name.replace("_", "-").encode())] = value
    return [(name, value) for name, value in head.items() if value is not None]


def _refused(**changes: bytes | None) -> RefusedError:
    with pytest.raises(RefusedError) as caught:
        read_request(_head(**changes), HANDLERS)
    return caught.value


def _refusal(**changes: bytes | None) -> dict[bytes, bytes]:
    """A refused call: its answer is headers and no more."""
    refused = _refused(**changes)
    assert refused.body is None
    return dict(refused.headers)


def test_a_head_names_its_handler_and_its_terms() -> None:
    request = read_request(_head(x=b"y"), HANDLERS)
    assert request.handler is HANDLER
    assert request.path == "/a.B/C"
    assert request.timeout is None
    assert not request.gzip
    assert (b"x", b"y") in request.headers


@pytest.mark.parametrize(
    ("method", "why"),
    [(name, b"gRPC is called with POST\n") for name in (b"GET", b"PUT", b"OPTIONS", b"CONNECT", b"post", b"")]
    + [(b"HEAD", b"")],
)
def test_only_post_begins_a_call(method: bytes, why: bytes) -> None:
    refused = _refused(method=method)
    assert dict(refused.headers) == {b":status": b"405", b"allow": b"POST", b"content-type": b"text/plain"}
    assert refused.body == why


def test_connect_has_no_path() -> None:
    assert dict(_refused(method=b"CONNECT", path=None).headers)[b":status"] == b"405"


@pytest.mark.parametrize(
    "content_type",
    [
        b"application/grpc",
        b"application/grpc+proto",
        b"Application/GRPC",
        b"application/grpc;charset=utf-8",
        b"application/grpc ; charset=utf-8",
        b"application/grpc+proto; a=b",
    ],
)
def test_content_types_of_grpc(content_type: bytes) -> None:
    assert read_request(_head(content_type=content_type), HANDLERS).handler is HANDLER


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        b"",
        b"application/json",
        b"application/grpc-web",
        b"application/grpc+json",
        b"application/grpcx",
        b" application/grpc",
        b"application/grpc,",
        b"\xff",
    ],
)
def test_other_content_types_are_415(content_type: bytes | None) -> None:
    refused = _refused(content_type=content_type)
    assert dict(refused.headers) == {b":status": b"415", b"content-type": b"text/plain"}
    assert refused.body == b"gRPC is called with content-type application/grpc\n"


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (b"/a.B/D", b"unknown method D for service a.B"),
        (b"/a.B/", b"unknown method  for service a.B"),
        (b"/a.B/c", b"unknown method c for service a.B"),
        (b"a.B/C", b"unknown method C for service a.B"),
        (b"/x/y", b"unknown service x"),
        (b"/a/B/C", b"unknown service a/B"),
        (b"/a.B/C/", b"unknown service a.B/C"),
        (b"/a", b'malformed method name: "/a"'),
        (b"*", b'malformed method name: "*"'),
        (b"/\xff/\xfe", b"unknown service \\xff"),
    ],
)
def test_unknown_paths(path: bytes, message: bytes) -> None:
    refusal = _refusal(path=path)
    assert refusal[b":status"] == b"200"
    assert refusal[b"content-type"] == b"application/grpc"
    assert refusal[b"grpc-status"] == b"12"
    assert refusal[b"grpc-message"] == message


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (b"2H", 7200.0),
        (b"3M", 180.0),
        (b"1S", 1.0),
        (b"15m", 0.015),
        (b"7u", 7e-6),
        (b"9n", 9e-9),
        (b"0S", 0.0),
        (b"00000001S", 1.0),
        (b"99999999H", 99_999_999 * 3600.0),
    ],
)
def test_timeouts(value: bytes, seconds: float) -> None:
    assert read_request(_head(grpc_timeout=value), HANDLERS).timeout == pytest.approx(seconds)


@pytest.mark.parametrize(
    "value", [b"", b"S", b"1", b"1s", b"1h", b"-1S", b"+1S", b"1.5S", b"1 S", b"123456789S", b"\xb2S"]
)
def test_malformed_timeouts(value: bytes) -> None:
    refusal = _refusal(grpc_timeout=value)
    assert refusal[b"grpc-status"] == b"13"
    assert refusal[b"grpc-message"].startswith(b"malformed grpc-timeout: ")


@pytest.mark.parametrize(
    "changes",
    [
        {"path": b"/%s/x"},
        {"path": b"/a.B/%s"},
        {"path": b"%s"},
        {"grpc_encoding": b"%s"},
        {"grpc_timeout": b"%s"},
    ],
    ids=["service", "method", "path", "encoding", "timeout"],
)
def test_an_answer_repeats_only_the_begin_of_a_long_value(changes: dict[str, bytes]) -> None:
    message = _refusal(**{name: value % (b"x" * 4000) for name, value in changes.items()})[b"grpc-message"]
    assert message.count(b"x" * 128 + b"...") == 1
    assert len(message) < 256
    message = _refusal(**{name: value % (b"\xff" * 4000) for name, value in changes.items()})[b"grpc-message"]
    assert len(message) < 640


@pytest.mark.parametrize(("encoding", "compressed"), [(None, False), (b"identity", False), (b"gzip", True)])
def test_encodings(encoding: bytes | None, compressed: bool) -> None:
    assert read_request(_head(grpc_encoding=encoding), HANDLERS).gzip is compressed


@pytest.mark.parametrize("encoding", [b"deflate", b"GZIP", b"", b"snappy", b"gzip,identity"])
def test_the_error_for_an_unknown_encoding_names_the_known_ones(encoding: bytes) -> None:
    refusal = _refusal(grpc_encoding=encoding)
    assert refusal[b"grpc-status"] == b"12"
    assert refusal[b"grpc-accept-encoding"] == b"identity,gzip"
    assert encoding.decode() in refusal[b"grpc-message"].decode()


def test_an_ok_needs_no_message() -> None:
    assert status_trailers(Status.OK, None) == ((b"grpc-status", b"0"),)
    assert status_trailers(Status.OK, "") == ((b"grpc-status", b"0"),)
    assert status_trailers(Status.OK, None, [(b"a", b"b")]) == ((b"grpc-status", b"0"), (b"a", b"b"))
    assert status_trailers(Status.NOT_FOUND, None) == ((b"grpc-status", b"5"),)


def test_an_answer_begins_with_its_status() -> None:
    assert response_headers([(b"a", b"b")])[0] == (b":status", b"200")
    assert response_headers([(b"a", b"b")])[-1] == (b"a", b"b")


@pytest.mark.parametrize(
    ("message", "encoded"),
    [("plain text~", b"plain text~"), ("100%", b"100%25"), ("ü", b"%C3%BC"), ("a\r\nb", b"a%0D%0Ab"), ("\x7f", b"%7F")],
)
def test_messages_are_percent_encoded(message: str, encoded: bytes) -> None:
    assert dict(status_trailers(Status.UNKNOWN, message))[b"grpc-message"] == encoded


@given(st.text(min_size=1))
def test_any_message_comes_back_and_no_header_is_split(message: str) -> None:
    encoded = dict(status_trailers(Status.UNKNOWN, message))[b"grpc-message"]
    assert all(0x20 <= byte <= 0x7E for byte in encoded)
    assert decode_grpc_message(encoded.decode("ascii")) == message


def test_metadata_excludes_headers_of_http_and_grpc() -> None:
    metadata = metadata_of(
        [
            *_head(te=b"trailers", user_agent=b"x", grpc_timeout=b"1S"),
            (b"a", b"1"),
            (b"a", b"2"),
            (b"odd", b"\xff"),
            (b"tab", b"a\tb"),
            (b"empty", b""),
            (b"odd!name", b"1"),
            (b"host", b"localhost"),
            (b"content-length", b"5"),
            (b"b-bin", b"AAE,Ag=="),
            (b"b-bin", b" Aw "),
            (b"b-bin", b"?"),
            (b"b-bin", b"A"),
            (b"b-bin", b"\xff\xff"),
        ]
    )
    assert metadata.getall("a") == ["1", "2"]
    assert metadata.getall("b-bin") == [b"\0\1", b"\2", b"\3"]
    assert set(metadata) == {"a", "b-bin"}


@given(st.lists(st.tuples(st.binary(), st.binary())))
def test_any_headers_are_metadata_or_nothing(headers: list[Header]) -> None:
    metadata = metadata_of(headers)
    for name, value in metadata.items():
        assert isinstance(value, bytes if name.endswith("-bin") else str)
    encode_metadata(list(metadata.items()))


# --- messages


def _compressed(payload: bytes) -> bytes:
    data = gzip.compress(payload)
    return b"\1" + len(data).to_bytes(4, "big") + data


def _with_flag(flag: int, payload: bytes) -> bytes:
    return bytes([flag]) + frame_message(payload)[1:]


def _read(
    data: bytes, *, limit: int = 100, compressed: bool = True
) -> list[bytes | bytearray] | tuple[Status, str | None]:
    reader = MessageReader(limit=limit, gzip=compressed)
    messages = reader.feed(data)
    if reader.failure is None:
        return messages
    assert reader.rest == 0
    assert reader.feed(frame_message(b"more")) == []
    return reader.failure


@settings(max_examples=100, deadline=None)
@given(st.data(), st.lists(st.tuples(st.binary(max_size=60), st.booleans()), max_size=6), st.binary(max_size=20))
def test_chunks_do_not_matter(data: st.DataObject, messages: list[tuple[bytes, bool]], rest: bytes) -> None:
    stream = b"".join(_compressed(payload) if small else frame_message(payload) for payload, small in messages) + rest
    whole = MessageReader(limit=50, gzip=True)
    expected = whole.feed(stream)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=10)))
    parts = MessageReader(limit=50, gzip=True)
    got: list[bytes | bytearray] = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        got += parts.feed(stream[start:end], data.draw(st.floats(0.01, 1)))
        while parts.paused:
            got += parts.feed(b"", data.draw(st.floats(0.01, 1)))
    assert got == expected
    assert parts.rest == whole.rest
    assert parts.failure == whole.failure
    if not rest and all(len(payload) <= 20 for payload, _ in messages):  # gzip makes what is short longer
        assert got == [payload for payload, _ in messages]


def test_parts_of_a_message_have_the_price_of_the_whole() -> None:
    stream = _compressed(bytes(300_000))
    whole, parts = (MessageReader(limit=300_000, gzip=True) for _ in range(2))
    whole.feed(stream)
    parts.feed(stream, 10)
    work, unusual = parts.work, parts.unusual_work
    while parts.paused:
        parts.feed(b"", 10)
        work, unusual = work + parts.work, unusual + parts.unusual_work
    assert (round(work), round(unusual)) == (round(whole.work), round(whole.unusual_work)) == (38, 22)


def test_messages_before_a_bad_one_are_whole() -> None:
    reader = MessageReader(limit=10, gzip=False)
    assert reader.feed(frame_message(b"good") + _with_flag(7, b"bad") + frame_message(b"late")) == [b"good"]
    assert reader.failure is not None


def test_the_size_limit_is_exact_and_known_from_the_prefix() -> None:
    assert _read(frame_message(b"x" * 100)) == [b"x" * 100]
    too_large = (Status.RESOURCE_EXHAUSTED, "grpc: received message larger than max (101 vs. 100)")
    assert _read(frame_message(b"x" * 101)[:5]) == too_large
    assert _read(b"\0\xff\xff\xff\xff") == (
        Status.RESOURCE_EXHAUSTED,
        "grpc: received message larger than max (4294967295 vs. 100)",
    )


def test_gzip_is_read_and_its_limit_is_exact_too() -> None:
    assert _read(_compressed(b"x" * 100)) == [b"x" * 100]
    assert _read(_compressed(b"")) == [b""]
    assert _read(_compressed(b"x" * 101)) == (
        Status.RESOURCE_EXHAUSTED,
        "grpc: received message after decompression larger than max 100",
    )


def test_a_bomb_is_not_unpacked() -> None:
    bomb = _compressed(b"\0" * 50_000_000)
    assert _read(bomb, limit=len(bomb)) == (
        Status.RESOURCE_EXHAUSTED,
        f"grpc: received message after decompression larger than max {len(bomb)}",
    )


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"garbage",
        gzip.compress(b"cut short")[:-3],
        gzip.compress(b"cut short")[:12],
        gzip.compress(b"one") + b"junk",
        gzip.compress(b"one") + gzip.compress(b"two"),
        gzip.compress(b"wrong sum")[:-8] + b"\0" * 8,
        zlib.compress(b"another format"),
    ],
    ids=range(8),  # its own would have the time
)
def test_invalid_gzip_is_named(payload: bytes) -> None:
    answer: Any = _read(_with_flag(1, payload))
    assert answer[0] is Status.INTERNAL
    assert answer[1].startswith("grpc: failed to decompress the received message: ")


def test_the_flag_needs_an_encoding() -> None:
    assert _read(_compressed(b"x"), compressed=False) == (
        Status.INTERNAL,
        "grpc: compressed flag set with identity or empty encoding",
    )


@pytest.mark.parametrize("flag", [2, 3, 128, 255])
def test_unknown_flags(flag: int) -> None:
    assert _read(_with_flag(flag, b"x")) == (Status.INTERNAL, f"grpc: received unexpected payload format {flag}")


@pytest.mark.parametrize(("data", "failed"), [(b"", False), (b"\0", True), (frame_message(b"half")[:7], True)])
def test_half_a_message_at_the_end_is_a_failure(data: bytes, failed: bool) -> None:
    reader = MessageReader(limit=10, gzip=False)
    assert reader.feed(frame_message(b"whole") + data) == [b"whole"]
    reader.end()
    expected = (Status.INTERNAL, "grpc: the request ends within a message")
    assert reader.failure == (expected if failed else None)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200), st.booleans())
def test_any_bytes_are_messages_or_a_failure(data: bytes, compressed: bool) -> None:
    answer = _read(data, compressed=compressed)
    assert isinstance(answer, list) or answer[0] in {Status.INTERNAL, Status.RESOURCE_EXHAUSTED}
