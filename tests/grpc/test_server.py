"""Sockets, accepting, and what goes wrong around them."""

import errno
import socket
import ssl

import pytest
import trio
from grpclib.const import Handler
from trio.testing import MockClock

from sentry_trio.grpc import Limits, Observer, serve_grpc
from sentry_trio.listener import open_listener
from testkit.grpc.raw import peering
from testkit.grpc.toys import CONTEXT, Toys, open_descriptors, serving


async def _answers(port: int) -> bool:
    async with peering(port) as peer:
        await peer.call(1)
        return (await peer.answer(1)).value == "hello"


# --- serve_grpc


async def test_it_serves_on_every_listener_and_leaves_them_open() -> None:
    with await open_listener("127.0.0.1", 0) as one, await open_listener("127.0.0.1", 0) as other:
        for _ in range(2):
            async with trio.open_nursery() as nursery:

                async def serve(*, task_status: trio.TaskStatus[None]) -> None:
                    await serve_grpc([Toys()], [one, other], tls=lambda: CONTEXT, task_status=task_status)

                await nursery.start(serve)
                assert await _answers(one.getsockname()[1])
                assert await _answers(other.getsockname()[1])
                nursery.cancel_scope.cancel()
            assert one.fileno() >= 0


async def test_it_needs_a_listener() -> None:
    with pytest.raises(ValueError, match="needs a listening socket"):
        await serve_grpc([Toys()], [], tls=lambda: CONTEXT)


async def test_many_connections(autojump_clock: MockClock) -> None:
    async with serving() as server, trio.open_nursery() as nursery:

        async def one() -> None:
            assert await _answers(server.port)

        for _ in range(50):
            nursery.start_soon(one)


async def test_it_can_be_cancelled_before_it_has_begun() -> None:
    before = open_descriptors()
    with await open_listener("127.0.0.1", 0) as listener, trio.CancelScope() as scope:
        scope.cancel()
        await serve_grpc([Toys()], [listener], tls=lambda: CONTEXT)
    assert scope.cancelled_caught
    assert open_descriptors() <= before


@pytest.mark.parametrize("steps", range(8))
async def test_it_can_be_cancelled_at_any_step_of_its_beginning(steps: int) -> None:
    with await open_listener("127.0.0.1", 0) as listener:
        async with trio.open_nursery() as nursery:

            async def serve() -> None:
                await serve_grpc([Toys()], [listener], tls=lambda: CONTEXT)

            nursery.start_soon(serve)
            for _ in range(steps):
                await trio.lowlevel.cancel_shielded_checkpoint()
            nursery.cancel_scope.cancel()


async def test_a_connection_without_an_identity_is_closed_and_logged() -> None:
    calls = 0

    def tls() -> ssl.SSLContext:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise LookupError("no identity yet")
        return CONTEXT

    async with serving(tls=tls) as server:
        async with await trio.open_tcp_stream("127.0.0.1", server.port) as stream:
            assert await stream.receive_some() == b""
        assert server.witness.open == 0
        assert await _answers(server.port)
        [error] = server.witness.broken
        assert isinstance(error, LookupError)
        server.witness.broken.clear()


class _Tired(socket.socket):
    """Fails to accept so many times."""

    errors: list[OSError]

    def accept(self) -> tuple[socket.socket, object]:
        if self.errors:
            raise self.errors.pop(0)
        return super().accept()


def _tired(*errors: OSError) -> socket.socket:
    class Tired(_Tired):
        pass

    Tired.errors = list(errors)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        tired = Tired(listener.family, listener.type, listener.proto, fileno=listener.detach())
        tired.setblocking(False)
        return tired


async def test_accepting_continues_after_a_failure(autojump_clock: MockClock) -> None:
    full, odd = OSError(errno.EMFILE, "Too many open files"), OSError(errno.EPERM, "Operation not permitted")
    gone, nothing = ConnectionAbortedError(errno.ECONNABORTED, "aborted"), BlockingIOError()
    with _tired(nothing, full, gone, odd) as listener:
        async with serving(listener=listener) as server:
            begin = trio.current_time()
            assert await _answers(server.port)
            assert 0.2 <= trio.current_time() - begin < 0.4
            assert server.witness.not_accepted == [full, odd]


async def test_an_observer_need_not_do_anything() -> None:
    """Every method of the base class can be called; a server without an observer serves."""
    observer = Observer()
    observer.connection_failed(None, ValueError())
    observer.accept_failed(OSError())
    with await open_listener("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        async with trio.open_nursery() as nursery:

            async def serve() -> None:
                await serve_grpc([Toys()], [listener], tls=lambda: CONTEXT, limits=Limits(close_timeout=0.1))

            nursery.start_soon(serve)
            assert await _answers(port)
            async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
                await stream.send_all(b"no handshake")
                while await stream.receive_some():
                    pass
            async with peering(port) as peer:
                await peer.call(1, "Crash")
                assert await peer.status(1) == (2, "Internal Server Error")
            nursery.cancel_scope.cancel()


async def test_every_service_has_its_own_methods() -> None:
    class Others(Toys):
        def __mapping__(self) -> dict[str, Handler]:
            return {
                path.replace("toys.Toys", "others.Others"): handler for path, handler in super().__mapping__().items()
            }

    with await open_listener("127.0.0.1", 0) as listener:
        async with trio.open_nursery() as nursery:

            async def serve() -> None:
                await serve_grpc([Toys(), Others()], [listener], tls=lambda: CONTEXT)

            nursery.start_soon(serve)
            async with peering(listener.getsockname()[1]) as peer:
                await peer.call(1, path="/others.Others/Echo")
                await peer.call(3)
                await peer.call(5, path="/others.Others/Nothing")
                assert (await peer.answer(1)).value == "hello"
                assert (await peer.answer(3)).value == "hello"
                assert await peer.status(5) == (12, "unknown method Nothing for service others.Others")
            nursery.cancel_scope.cancel()
