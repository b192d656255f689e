"""A raw HTTP/1.1 client on h11: the test controls all bytes and the close."""

from dataclasses import dataclass, field

import h11
import trio

from sentry_trio.listener import Address


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes


@dataclass
class Client:
    stream: trio.SocketStream
    machine: h11.Connection = field(default_factory=lambda: h11.Connection(h11.CLIENT))

    async def __aenter__(self) -> "Client":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stream.aclose()

    async def ask(self, target: str, method: str = "GET", headers: dict[str, str] | None = None) -> Answer:
        await self.send(target, method, headers)
        return await self.answer()

    async def send(self, target: str, method: str = "GET", headers: dict[str, str] | None = None) -> None:
        if self.machine.our_state is h11.DONE:
            self.machine.start_next_cycle()
        request = h11.Request(method=method, target=target, headers=list(({"host": "x"} | (headers or {})).items()))
        head, end = self.machine.send(request), self.machine.send(h11.EndOfMessage())
        assert head is not None
        assert end is not None
        await self.stream.send_all(head + end)

    async def answer(self) -> Answer:
        response, body = None, b""
        while True:
            event = self.machine.next_event()
            if event is h11.NEED_DATA:
                self.machine.receive_data(await self.stream.receive_some())
            elif isinstance(event, h11.Response):
                response = event
            elif isinstance(event, h11.ConnectionClosed):
                raise h11.RemoteProtocolError("closed without an answer")
            elif isinstance(event, h11.Data):
                body += event.data
            else:
                assert isinstance(event, h11.EndOfMessage), event
                assert response is not None
                headers = {name.decode(): value.decode() for name, value in response.headers}
                return Answer(response.status_code, headers, body)

    async def is_closed_by_peer(self) -> bool:
        """Wait for the next thing the peer does; True if that is closing the connection."""
        try:
            return await self.stream.receive_some() == b""
        except trio.BrokenResourceError:
            return True


async def connect(address: Address) -> Client:
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address.host, address.host)
    return Client(await trio.open_tcp_stream(host, address.port))


async def ask(address: Address, target: str, method: str = "GET", headers: dict[str, str] | None = None) -> Answer:
    """One request on a connection of its own."""
    client = await connect(address)
    async with client.stream:
        return await client.ask(target, method, headers)
