"""Points of the gRPC over HTTP/2 specification that no other test here shows; docs/conformance.md lists them all."""

from base64 import b64encode

import pytest
from grpclib.const import Status
from h2.errors import ErrorCodes
from h2.events import ResponseReceived, StreamReset
from hyperframe.frame import DataFrame
from trio.testing import wait_all_tasks_blocked

from testkit.grpc.raw import Headers, Peer, peering, request_head, text
from testkit.grpc.toys import Served

pytestmark = pytest.mark.uncovered


async def _answered(peer: Peer, head: Headers, body: bytes) -> tuple[int, str]:
    """The status of a call on stream 1, and what it was answered."""
    peer.compose(1, head, body)
    await peer.flush()
    answer = await peer.answer(1)
    return answer.status, answer.value


# --- Request-Headers


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_either_scheme_is_accepted(served: Served, scheme: str) -> None:
    async with peering(served.port) as peer:
        assert await _answered(peer, request_head(scheme=scheme), text("hello")) == (0, "hello")


@pytest.mark.parametrize("authority", ["localhost", "localhost:50001", "10.0.0.1", "no.such.name"])
async def test_any_authority_is_accepted(served: Served, authority: str) -> None:
    async with peering(served.port) as peer:
        assert await _answered(peer, request_head(authority=authority), text("hello")) == (0, "hello")


async def test_te_may_be_missing(served: Served) -> None:
    async with peering(served.port) as peer:
        head = [(name, value) for name, value in request_head() if name != "te"]
        assert await _answered(peer, head, text("hello")) == (0, "hello")


@pytest.mark.parametrize("duration", ["1H", "1M", "9S", "9999m", "99999999u", "99999999n"])
async def test_a_timeout_of_any_unit_is_the_deadline(served: Served, duration: str) -> None:
    seconds = {"H": 3600, "M": 60, "S": 1, "m": 1e-3, "u": 1e-6, "n": 1e-9}[duration[-1]] * int(duration[:-1])
    async with peering(served.port) as peer:
        await peer.call(1, grpc_timeout=duration)
        assert await peer.status(1) in {(0, ""), (4, "deadline exceeded")}
    for call in served.toys.seen:
        assert call.due_at is not None
        assert call.due_at - call.started_at == pytest.approx(seconds)


@pytest.mark.parametrize("duration", ["", "1", "1s", "-1S", "123456789S"])
async def test_a_malformed_timeout_is_internal(served: Served, duration: str) -> None:
    async with peering(served.port) as peer:
        await peer.call(1, grpc_timeout=duration)
        assert await peer.status(1) == (13, f'malformed grpc-timeout: "{duration}"')
    assert served.toys.seen == []


@pytest.mark.parametrize("accepted", ["identity", "gzip", "deflate,snappy", ""])
async def test_an_answer_is_never_compressed(served: Served, accepted: str) -> None:
    async with peering(served.port) as peer:
        await peer.call(1, grpc_accept_encoding=accepted)
        answer = await peer.answer(1)
    assert answer.data == text("hello")
    assert "grpc-encoding" not in answer.heads[0]


async def test_the_answer_to_an_unknown_encoding_names_the_known_ones(served: Served) -> None:
    async with peering(served.port) as peer:
        await peer.call(1, grpc_encoding="snappy")
        answer = await peer.answer(1)
    assert answer.status == Status.UNIMPLEMENTED.value
    assert answer.heads[0]["grpc-accept-encoding"] == "identity,gzip"


async def test_an_encoding_may_be_announced_and_not_used(served: Served) -> None:
    async with peering(served.port) as peer:
        assert await _answered(peer, request_head(grpc_encoding="gzip"), text("hello")) == (0, "hello")


@pytest.mark.parametrize("name", ["grpc-message-type", "grpc-previous-rpc-attempts", "grpc-to-come", "grpc-tags-bin"])
async def test_reserved_headers_are_accepted_and_not_passed_on(served: Served, name: str) -> None:
    async with peering(served.port) as peer:
        assert await _answered(peer, [*request_head(), (name, "AA"), ("mine", "1")], text("hello")) == (0, "hello")
    [call] = served.toys.seen
    assert set(call.metadata) == {"mine"}


# --- Custom-Metadata


async def _reflected(served: Served, *extra: tuple[str | bytes, str | bytes]) -> list[tuple[bytes, bytes]]:
    """The trailing metadata of a handler that answers with all metadata that it was sent."""
    async with peering(served.port) as peer:
        peer.compose(1, [*request_head("Reflect"), *extra], text(""))
        await peer.flush()
        assert await peer.status(1) == (0, "")
        [head] = peer.having(ResponseReceived, 1)
        return [(bytes(name), bytes(value)) for name, value in head.headers if bytes(name).startswith(b"back-")]


async def test_values_of_one_name_keep_their_order(served: Served) -> None:
    pairs = await _reflected(served, ("a", "2"), ("b", "3"), ("a", "1"), ("a", "0, 9"))
    assert [value for name, value in pairs if name == b"back-a"] == [b"2", b"1", b"0, 9"]


@pytest.mark.parametrize("value", [b"", b"\0", b"\0\xff", b"\0\xff?", bytes(range(256))])
@pytest.mark.parametrize("padded", [True, False])
async def test_binary_values_come_padded_or_not_and_leave_unpadded(served: Served, value: bytes, padded: bool) -> None:
    encoded = b64encode(value)
    sent = encoded if padded else encoded.rstrip(b"=")
    assert await _reflected(served, ("x-bin", sent)) == [(b"back-x-bin", encoded.rstrip(b"="))]


async def test_binary_values_may_share_a_header(served: Served) -> None:
    assert await _reflected(served, ("x-bin", "AA==,AQ, Ag==")) == [
        (b"back-x-bin", b"AA"),
        (b"back-x-bin", b"AQ"),
        (b"back-x-bin", b"Ag"),
    ]


async def test_values_valid_only_in_http_cause_no_error_even_in_an_answer(served: Served) -> None:
    pairs = await _reflected(
        served,
        ("umlaut", "ü".encode()),
        ("latin", b"\xfc"),
        ("tab", "a\tb"),
        ("empty", ""),
        ("odd!name", "1"),
        ("odd-bin", "no base64!"),
        ("good", "1"),
    )
    assert pairs == [(b"back-good", b"1")]


# --- Length-Prefixed-Message


async def test_a_message_may_come_byte_by_byte(served: Served) -> None:
    """DATA frames and messages have nothing to do with one another; the end may be an empty frame of its own."""
    async with peering(served.port) as peer:
        peer.h2.send_headers(1, request_head())
        for byte in text("slowly"):
            peer.h2.send_data(1, bytes([byte]))
        await peer.flush()
        await peer.send_frames(DataFrame(1, b"", flags=["END_STREAM"]))
        answer = await peer.answer(1)
    assert (answer.status, answer.value) == (0, "slowly")


async def test_messages_may_share_a_frame(served: Served) -> None:
    async with peering(served.port) as peer:
        both = text("a") + text("b")
        assert await _answered(peer, request_head("Join"), both + text("c")[:3] + text("c")[3:]) == (0, "a,b,c")


async def test_a_message_may_be_empty(served: Served) -> None:
    assert text("") == b"\0\0\0\0\0"
    async with peering(served.port) as peer:
        peer.compose(1, request_head(), text(""))
        await peer.flush()
        answer = await peer.answer(1)
    assert (answer.status, answer.data) == (0, b"\0\0\0\0\0")


# --- Responses


async def test_a_status_follows_messages_that_have_been_sent(served: Served) -> None:
    async with peering(served.port) as peer:
        await peer.call(1, "MisuseOften", "headers")
        answer = await peer.answer(1)
    assert answer.heads == [
        {":status": "200", "content-type": "application/grpc"},
        {"grpc-status": "2", "grpc-message": "Internal Server Error"},
    ]
    assert answer.data == text("")


async def test_a_streaming_answer_may_have_no_message(served: Served) -> None:
    async with peering(served.port) as peer:
        await peer.call(1, "Count", "0")
        answer = await peer.answer(1)
    assert [answer.heads[-1]["grpc-status"], answer.data] == ["0", b""]


# --- Errors


@pytest.mark.parametrize("code", [*ErrorCodes, 0xFFFF])
async def test_a_reset_with_any_code_is_a_cancellation(served: Served, code: int) -> None:
    async with peering(served.port) as peer:
        await peer.call(1, "Hang")
        await served.toys.hanging.wait()
        peer.h2.reset_stream(1, code)
        await peer.flush()
        await served.toys.cancelled.wait()
        await wait_all_tasks_blocked()
        await peer.call(3)
        assert await peer.status(3) == (0, "")
        assert peer.having(ResponseReceived, 1) == []
        assert peer.having(StreamReset, 1) == []
    assert served.witness.finished[0] == ("Hang", Status.CANCELLED)
