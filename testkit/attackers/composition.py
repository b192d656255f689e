"""Random attacks: composed from a seed, written down as JSON, and made into bytes."""

import gzip
import random
from collections.abc import Callable, Collection, Mapping
from functools import lru_cache
from typing import Final, Literal

import msgspec
from hpack import Encoder

from testkit.deflate import empty_blocks

from .handshakes import ANNOUNCED_HELLO
from .http2 import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    HIGHEST_WINDOW,
    LARGEST_FRAME,
    PING,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    frame,
    head_block,
    prefixed,
)

Stream = Literal["connection", "new", "latest", "previous", "first", "even", "highest"]
Transport = Literal["TLS 1.3", "TLS 1.2", "TCP"]

PRIORITY, PUSH_PROMISE = 2, 5
PADDED, PRIORITY_FLAG = 8, 0x20
_SETTING_NUMBERS: Final = (1, 2, 3, 4, 5, 6, 8, 9, 0xFFFF)
_SETTING_VALUES: Final = (0, 1, 100, 4096, 16_384, 65_535, 2**24 - 1, HIGHEST_WINDOW, 2**32 - 1)
_REPEATS: Final = (1, 1, 2, 5, 20, 100)
_MOST_BURST_BYTES: Final = 256 * 1024
_CONNECTIONS: Final = (1, 1, 2, 5, 20, 100)


class Piece(msgspec.Struct):
    """A part of a burst.

    Attributes:
        recipe: a name of `RECIPES`, or of `HTTP_RECIPES` for the health port.
        amount: how much of what the recipe repeats within a frame or request.
        flags: flipped in the frame's flags.
        stream: the stream that frames are for.
        repeat: how often the piece is sent in a burst.
    """

    recipe: str
    amount: int
    flags: int = 0
    stream: Stream = "new"
    repeat: int = 1


class Actor(msgspec.Struct):
    """An attacker: sends its burst on each of its connections, again and again.

    Attributes:
        health: True for the health port, over TCP.
        transport: of its connections to the gRPC port.
        connections: at a time; each comes back when it is cut.
        bursts: of a connection, which is then closed; 0 for as many as the server takes.
        reads: False if it never reads.
        key_updates: TLS key updates after each burst; with TLS 1.2 renegotiations.
        settings: the first SETTINGS.
        pieces: the burst.
    """

    health: bool
    transport: Transport
    connections: int
    bursts: int
    reads: bool
    key_updates: int
    settings: list[tuple[int, int]]
    pieces: list[Piece]


class Composition(msgspec.Struct):
    """Attackers that come at once.

    Attributes:
        seed: of a session.
        number: within it.
        actors: the attackers.
    """

    seed: int
    number: int
    actors: list[Actor]


def compose(seed: int, number: int) -> Composition:
    """Returns the composition of this number in a session; always the same."""
    chance = random.Random(f"{seed}/{number}")
    return Composition(seed, number, [_actor(chance) for _ in range(chance.choice((1, 1, 2, 3)))])


def _actor(chance: random.Random) -> Actor:
    health = chance.random() < 0.15
    transport: Transport = "TCP" if health else chance.choices(("TLS 1.3", "TLS 1.2", "TCP"), (8, 2, 1))[0]
    recipes = HTTP_RECIPES if health else _WITHOUT_TLS if transport == "TCP" else RECIPES
    return Actor(
        health=health,
        transport=transport,
        connections=chance.choice(_CONNECTIONS),
        bursts=chance.choices((0, 1, 10), (6, 1, 1))[0],
        reads=chance.random() < 0.8,
        key_updates=chance.choices((0, 1, 20), (8, 1, 1))[0],
        settings=_settings(chance, chance.choice((0, 0, 1, 3))),
        pieces=[_piece(chance, recipes) for _ in range(chance.choice((1, 1, 2, 3, 5)))],
    )


def _piece(chance: random.Random, recipes: Collection[str]) -> Piece:
    """Mostly one that breaks no rule: the server ends a connection at once if its peer breaks one."""
    names = list(recipes)
    recipe = chance.choices(names, [0.1 if name in _FATAL else 1 for name in names])[0]
    stream: Stream = "connection" if recipe in _OF_CONNECTION else "latest"
    is_odd = chance.random() < _ODD
    return Piece(
        recipe=recipe,
        amount=chance.choice((0, 1, 2, 10, 100, 480, 1000, 4000, 16_000)),
        flags=chance.choice((END_STREAM, END_HEADERS, PADDED, PRIORITY_FLAG, 0xFF)) if is_odd else 0,
        stream=chance.choice(_STREAMS) if chance.random() < _ODD else stream,
        repeat=chance.choice(_REPEATS),
    )


_ODD: Final = 0.1
_STREAMS: Final[tuple[Stream, ...]] = ("new", "latest", "connection", "previous", "first", "even", "highest")
_WITHOUT_TLS: Final = ("noise", "a record cut short", "announced ClientHello")
_OF_CONNECTION: Final = frozenset(
    {"SETTINGS", "SETTINGS of windows", "SETTINGS acknowledged", "PING", "PING acknowledged", "GOAWAY"}
)
_FATAL: Final = frozenset(
    {"GOAWAY", "PUSH_PROMISE", "too long a frame", "noise", "a record cut short", "continuation", "head of noise"}
    | {"announced ClientHello", "length lie", "continuation, the last", "head not ended"}
)


def _settings(chance: random.Random, number: int) -> list[tuple[int, int]]:
    return [(chance.choice(_SETTING_NUMBERS), chance.choice(_SETTING_VALUES)) for _ in range(number)]


class Streams:
    """Stream identifiers of a connection, by their names."""

    def __init__(self) -> None:
        self._latest = -1

    def find(self, name: Stream) -> int:
        """Returns the identifier; "new" opens one."""
        if name == "new":
            self._latest = min(self._latest + 2, HIGHEST_WINDOW)
        found = {
            "connection": 0,
            "previous": max(1, self._latest - 2),
            "first": 1,
            "even": 2,
            "highest": HIGHEST_WINDOW,
        }
        return found.get(name, max(1, self._latest))


def burst(actor: Actor, streams: Streams, path: str, message: bytes) -> bytes:
    """Returns the next burst of an attacker, cut at some hundred KiB.

    Args:
        actor: the attacker.
        streams: of the connection.
        path: a method that is there.
        message: what it takes.
    """
    parts: list[bytes] = []
    size = 0
    for piece in actor.pieces:
        for _ in range(piece.repeat):
            if size < _MOST_BURST_BYTES:
                parts.append(_rendered(actor, piece, streams, path, message))
                size += len(parts[-1])
    return b"".join(parts)


def _rendered(actor: Actor, piece: Piece, streams: Streams, path: str, message: bytes) -> bytes:
    if actor.health:
        return _made_request(piece.recipe, piece.amount)
    if piece.recipe in _WHOLE:
        return _WHOLE[piece.recipe](piece, streams.find("new"), path, message)
    kind, flags, payload = _made(piece.recipe, piece.amount, path, message)
    stream = streams.find("new" if kind == HEADERS and piece.stream == "latest" else piece.stream)
    return frame(kind, stream, payload, flags ^ piece.flags)


@lru_cache(maxsize=256)
def _made_request(recipe: str, amount: int) -> bytes:
    return HTTP_RECIPES[recipe](amount)


@lru_cache(maxsize=256)
def _made(recipe: str, amount: int, path: str, message: bytes) -> "Frame":
    return RECIPES[recipe](amount, path, message)


@lru_cache(maxsize=16)
def _random_bytes(amount: int) -> bytes:
    return random.Random(amount).randbytes(amount)


# Recipes of single frames: kind, flags and payload.

Frame = tuple[int, int, bytes]
_END: Final = END_HEADERS | END_STREAM


def _head(path: str, block: bytes = b"", flags: int = END_HEADERS) -> Frame:
    return HEADERS, flags, (head_block(path) + block)[:LARGEST_FRAME]


def _field(name: str, value: str, *, sensitive: bool = False, huffman: bool = True) -> bytes:
    return Encoder().encode([(name, value, sensitive)], huffman=huffman)


def _bombs(amount: int) -> bytes:
    packed = gzip.compress(bytes(4096 * max(1, amount)), 9)
    return prefixed(packed, compressed=True)[:LARGEST_FRAME]


def _empty_gzip(amount: int) -> bytes:
    return prefixed(empty_blocks(min(amount, LARGEST_FRAME // 2)), compressed=True)


def _fill(unit: bytes, amount: int) -> bytes:
    return (unit * amount)[:LARGEST_FRAME]


RECIPES: Final[Mapping[str, Callable[[int, str, bytes], Frame]]] = {
    "head": lambda _amount, path, _message: _head(path),
    "head of an unknown method": lambda _amount, _path, _message: _head("/no.Such/Method", flags=_END),
    "head with references": lambda amount, path, _message: _head(path, _field("x", "") + bytes([0x80 | 62]) * amount),
    "head with table sizes": lambda amount, path, _message: (
        HEADERS,
        _END,
        (bytes([0x20]) * amount + head_block(path))[:LARGEST_FRAME],
    ),
    "head with Huffman": lambda amount, path, _message: _head(path, _field("x", "~" * amount)),
    "head with literals": lambda amount, path, _message: _head(path, _field("x", "", sensitive=True) * amount),
    "head with bytes": lambda amount, path, _message: _head(path, _field("x", "a" * amount, huffman=False)),
    "head with many names": lambda amount, path, _message: _head(
        path, b"".join(_field(f"x-{number}", "") for number in range(min(amount, 1000)))
    ),
    "head in gzip": lambda _amount, path, _message: (
        HEADERS,
        END_HEADERS,
        head_block(path, **{"grpc-encoding": "gzip"}),
    ),
    "head of HTTP": lambda amount, path, _message: (
        HEADERS,
        _END,
        head_block(f"{path}?{'a' * min(amount, 8000)}", **{"content-type": "text/html"}),
    ),
    "head not ended": lambda amount, path, _message: _head(path, _field("x", "a" * amount), flags=0),
    "head of references": lambda amount, _path, _message: (HEADERS, _END, _fill(bytes([0x80 | 3]), amount)),
    "head of noise": lambda amount, _path, _message: (HEADERS, _END, _random_bytes(amount)),
    "continuation": lambda amount, _path, _message: (CONTINUATION, 0, _fill(bytes([0x80 | 3]), amount)),
    "continuation, the last": lambda amount, _path, _message: (CONTINUATION, END_HEADERS, _fill(b"\x20", amount)),
    "message": lambda _amount, _path, message: (DATA, END_STREAM, prefixed(message)),
    "message, more to come": lambda _amount, _path, message: (DATA, 0, prefixed(message)),
    "empty messages": lambda amount, _path, _message: (DATA, 0, _fill(prefixed(b""), amount)),
    "zeros": lambda amount, _path, _message: (DATA, 0, bytes(min(amount, LARGEST_FRAME))),
    "gzip bomb": lambda amount, _path, _message: (DATA, END_STREAM, _bombs(amount)),
    "gzip of nothing": lambda amount, _path, _message: (DATA, END_STREAM, _empty_gzip(amount)),
    "length lie": lambda amount, _path, _message: (DATA, 0, b"\0\0\x3f\xff\xff" + bytes(min(amount, 1000))),
    "unknown fields": lambda amount, _path, _message: (DATA, END_STREAM, prefixed(_fill(b"\xfa\x7f\0", amount))),
    "empty audiences": lambda amount, _path, _message: (DATA, END_STREAM, prefixed(_fill(b"\x3a\0", amount))),
    "PRIORITY": lambda _amount, _path, _message: (PRIORITY, 0, bytes(5)),
    "RST_STREAM": lambda amount, _path, _message: (RST_STREAM, 0, amount.to_bytes(4, "big")),
    "SETTINGS": lambda amount, _path, _message: (SETTINGS, 0, _fill(b"\0\1\0\0\x10\0", min(amount, 2700))),
    "SETTINGS of windows": lambda amount, _path, _message: (
        SETTINGS,
        0,
        b"".join(b"\0\4" + size.to_bytes(4, "big") for size in range(min(amount, 2700))),
    ),
    "SETTINGS acknowledged": lambda _amount, _path, _message: (SETTINGS, 1, b""),
    "PUSH_PROMISE": lambda _amount, path, _message: (PUSH_PROMISE, END_HEADERS, bytes(4) + head_block(path)),
    "PING": lambda _amount, _path, _message: (PING, 0, bytes(8)),
    "PING acknowledged": lambda _amount, _path, _message: (PING, 1, bytes(8)),
    "GOAWAY": lambda amount, _path, _message: (GOAWAY, 0, bytes(8 + min(amount, LARGEST_FRAME - 8))),
    "WINDOW_UPDATE": lambda amount, _path, _message: (WINDOW_UPDATE, 0, amount.to_bytes(4, "big")),
    "unknown frame": lambda amount, _path, _message: (0x42, 0, bytes(min(amount, LARGEST_FRAME))),
    "too long a frame": lambda amount, _path, _message: (DATA, 0, bytes(LARGEST_FRAME + amount)),
    "call": lambda _amount, path, _message: _head(path),
    "call that is reset": lambda _amount, path, _message: _head(path),
    "call in pieces": lambda _amount, path, _message: _head(path),
    "noise": lambda _amount, path, _message: _head(path),
    "a record cut short": lambda _amount, path, _message: _head(path),
    "announced ClientHello": lambda _amount, path, _message: _head(path),
}
"""Frames by name. The last ones are whole exchanges; see `_WHOLE`."""


def _call(piece: Piece, stream: int, path: str, message: bytes) -> bytes:
    return frame(HEADERS, stream, head_block(path), END_HEADERS) + frame(DATA, stream, prefixed(message), END_STREAM)


def _reset_call(piece: Piece, stream: int, path: str, message: bytes) -> bytes:
    return _call(piece, stream, path, message) + frame(RST_STREAM, stream, (8).to_bytes(4, "big"))


def _call_in_pieces(piece: Piece, stream: int, path: str, message: bytes) -> bytes:
    body = prefixed(message)
    size = max(1, len(body) // max(1, min(piece.amount, 200)))
    pieces = (frame(DATA, stream, body[at : at + size]) for at in range(0, len(body), size))
    return (
        frame(HEADERS, stream, head_block(path), END_HEADERS) + b"".join(pieces) + frame(DATA, stream, flags=END_STREAM)
    )


def _noise(piece: Piece, stream: int, path: str, message: bytes) -> bytes:
    return _random_bytes(piece.amount)


def _cut_short(piece: Piece, stream: int, path: str, message: bytes) -> bytes:
    """A TLS record without its end, for TCP; within TLS, a frame without its end."""
    return b"\x16\3\1\x40\0" + bytes(piece.amount)


def _announced_hello(piece: Piece, stream: int, path: str, message: bytes) -> bytes:
    """The head of a long TLS message, for TCP; within TLS, noise."""
    return ANNOUNCED_HELLO


_WHOLE: Final[Mapping[str, Callable[[Piece, int, str, bytes], bytes]]] = {
    "call": _call,
    "call that is reset": _reset_call,
    "call in pieces": _call_in_pieces,
    "noise": _noise,
    "a record cut short": _cut_short,
    "announced ClientHello": _announced_hello,
}


# Recipes of HTTP/1.1 on the health port.

_HOST: Final = b"host: x\r\n"
HTTP_RECIPES: Final[Mapping[str, Callable[[int], bytes]]] = {
    "nothing": lambda _amount: b"",
    "probe": lambda _amount: b"GET /readyz HTTP/1.1\r\n" + _HOST + b"\r\n",
    "details": lambda _amount: b"GET /readyz?verbose HTTP/1.1\r\n" + _HOST + b"\r\n",
    "many headers": lambda amount: b"GET / HTTP/1.1\r\n" + _HOST + b"a:\r\n" * amount + b"\r\n",
    "head not ended": lambda amount: b"GET / HTTP/1.1\r\n" + _HOST + b"a: " + b"x" * amount,
    "long path": lambda amount: b"GET /" + b"%41" * amount + b" HTTP/1.1\r\n" + _HOST + b"\r\n",
    "chunks": lambda amount: (
        b"POST / HTTP/1.1\r\n" + _HOST + b"transfer-encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * amount + b"0\r\n\r\n"
    ),
    "body": lambda amount: b"POST / HTTP/1.1\r\n" + _HOST + b"content-length: %d\r\n\r\n" % amount + bytes(amount),
    "two lengths": lambda _amount: (
        b"POST / HTTP/1.1\r\n" + _HOST + b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"
    ),
    "HTTP/2": lambda _amount: b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "upgrade": lambda _amount: b"GET / HTTP/1.1\r\n" + _HOST + b"connection: upgrade\r\nupgrade: h2c\r\n\r\n",
    "noise": _random_bytes,
}
"""Requests by name."""
