"""Points of gRPC over HTTP/2 that belong to no module of their own, as a peer on the wire sees them."""

from base64 import b64encode

import pytest
from grpclib.const import Status
from h2.errors import ErrorCodes
from hyperframe.frame import RstStreamFrame

from .conftest import Served
from .raw import peering, request_head, text


async def test_te_is_not_asked_for(served: Served) -> None:
    head = [(name, value) for name, value in request_head() if name not in {"te", b"te"}]
    assert len(head) == len(request_head()) - 1
    async with peering(served.port) as peer:
        peer.compose(1, head, text("hello"))
        await peer.flush()
        assert (await peer.answer(1)).value == "hello"
    assert "te" not in served.toys.seen[0].metadata


@pytest.mark.parametrize("padding", [b"", b"=="], ids=["unpadded", "padded"])
async def test_binary_metadata(served: Served, padding: bytes) -> None:
    values = [b"\x00", b"\xff"]
    one, two = (b64encode(value).rstrip(b"=") + padding for value in values)
    head = [*request_head(), (b"a-bin", one + b", " + two), (b"a-bin", one), (b"b-bin", b"no base64!")]
    async with peering(served.port) as peer:
        peer.compose(1, head, text("hello"))
        await peer.flush()
        assert (await peer.answer(1)).value == "hello"
    metadata = served.toys.seen[0].metadata
    assert metadata.getall("a-bin") == [*values, values[0]]
    assert "b-bin" not in metadata


@pytest.mark.parametrize("code", [*ErrorCodes, 0xFFFF], ids=str)
async def test_any_reset_of_the_client_ends_its_call_only(served: Served, code: int) -> None:
    async with peering(served.port) as peer:
        await peer.call(1, "Hang")
        await served.toys.hanging.wait()
        await peer.send_frames(RstStreamFrame(1, int(code)))
        await served.toys.cancelled.wait()
        await peer.call(3)
        assert (await peer.answer(3)).value == "hello"
    assert served.witness.finished[0] == ("Hang", Status.CANCELLED)
