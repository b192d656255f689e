"""gRPC over HTTP/2 as bytes: request headers, length-prefixed messages, status trailers. Pure: no IO, no clock.

The rules are those of the gRPC over HTTP/2 specification. If it leaves a choice, the answer is that of grpc-go, the
server that Dapr's clients have always used.
"""

import math
import re
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from grpclib.const import Handler, Status
from grpclib.exceptions import GRPCError
from grpclib.metadata import encode_grpc_message
from multidict import MultiDict

from .headers import Header
from .inflation import Inflation
from .limits import PREFIX_BYTES

Metadata = MultiDict[str | bytes]
Outcome = tuple[Status, str | None]
"""Result of a call: its status and its message."""

_TIMEOUT: Final = re.compile(rb"([0-9]{1,8})([HMSmun])")
_SECONDS_PER_UNIT: Final = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
_CONTENT_TYPE: Final = re.compile(rb"application/grpc(?:\+proto)?(?: *;.*)?")
# HTTP's and gRPC's own headers, which handlers do not get as metadata.
_RESERVED: Final = frozenset({b"te", b"content-type", b"content-length", b"host", b"user-agent"})
# The specification's Header-Name and ASCII-Value, which are narrower than HTTP's.
_METADATA_NAME: Final = re.compile(rb"[0-9a-z_.\-]+")
_METADATA_VALUE: Final = re.compile(rb"[ -~]+")
_RESPONSE: Final[tuple[Header, ...]] = ((b":status", b"200"), (b"content-type", b"application/grpc"))
_OK: Final[tuple[Header, ...]] = ((b"grpc-status", b"0"),)
_SHOWN: Final = 128  # bytes of a request header that a response repeats


class CallRequest(NamedTuple):
    """Headers of a call: its handler, deadline, encoding and metadata.

    Attributes:
        path: `/<service>/<method>`.
        handler: the entry of the service's mapping.
        timeout: seconds from the arrival of the headers; None if there is no deadline.
        gzip: true if messages with the compressed flag are gzip.
        headers: as received, for `metadata_of`.
    """

    path: str
    handler: Handler
    timeout: float | None
    gzip: bool
    headers: tuple[Header, ...]


class RefusedError(Exception):
    """Headers that do not begin a call.

    Attributes:
        headers: headers of the answer.
        body: body of the answer to a request that is not gRPC; None for a response of headers only (Trailers-Only).
    """

    def __init__(self, headers: tuple[Header, ...], body: bytes | None = None) -> None:
        super().__init__(headers, body)
        self.headers = headers
        self.body = body


def read_request(headers: Iterable[Header], handlers: Mapping[bytes, Handler]) -> CallRequest:
    """Reads the headers of a call.

    Args:
        headers: as received, with names in lower case.
        handlers: handlers by path.

    Raises:
        RefusedError: with the answer: 405 for another method than POST, 415 for another content type, else
            Trailers-Only with Unimplemented (unknown service, method or encoding) or Internal (malformed timeout).
    """
    headers = tuple(headers)
    fields = dict(headers)
    method = fields[b":method"]
    if method != b"POST":
        raise _no_grpc(b"405", b"" if method == b"HEAD" else b"gRPC is called with POST\n", (b"allow", b"POST"))
    if not _CONTENT_TYPE.fullmatch(fields.get(b"content-type", b"").lower()):
        raise _no_grpc(b"415", b"gRPC is called with content-type application/grpc\n")
    path = fields[b":path"]
    handler = handlers.get(path)
    if handler is None:
        raise _refused(Status.UNIMPLEMENTED, _unknown(path, handlers))
    encoding = fields.get(b"grpc-encoding", b"identity")
    if encoding not in {b"identity", b"gzip"}:
        raise _refused(
            Status.UNIMPLEMENTED,
            f'grpc: Decompressor is not installed for grpc-encoding "{_printable(encoding)}"',
            ((b"grpc-accept-encoding", b"identity,gzip"),),
        )
    timeout = fields.get(b"grpc-timeout")
    return CallRequest(
        path=path.decode("ascii"),
        handler=handler,
        timeout=None if timeout is None else _read_timeout(timeout),
        gzip=encoding == b"gzip",
        headers=headers,
    )


def _unknown(path: bytes, handlers: Mapping[bytes, Handler]) -> str:
    service, slash, method = path.removeprefix(b"/").rpartition(b"/")
    if not slash:
        return f'malformed method name: "{_printable(path)}"'
    if any(known.startswith(b"/" + service + b"/") for known in handlers):
        return f"unknown method {_printable(method)} for service {_printable(service)}"
    return f"unknown service {_printable(service)}"


def _printable(value: bytes) -> str:
    # For one byte, a reference to the table of headers, a response of 16 KiB would take 1 ms.
    shown = value if len(value) <= _SHOWN else value[:_SHOWN] + b"..."
    return shown.decode("ascii", "backslashreplace")


def _read_timeout(value: bytes) -> float:
    match = _TIMEOUT.fullmatch(value)
    if match is None:
        raise _refused(Status.INTERNAL, f'malformed grpc-timeout: "{_printable(value)}"')
    return int(match[1]) * _SECONDS_PER_UNIT[match[2]]


def _no_grpc(status: bytes, why: bytes, *extra: Header) -> RefusedError:
    # RFC 9110, 15.5: the answer explains the error, except to HEAD.
    return RefusedError(((b":status", status), (b"content-type", b"text/plain"), *extra), why)


def _refused(status: Status, message: str, extra: tuple[Header, ...] = ()) -> RefusedError:
    return RefusedError((*_RESPONSE, *status_trailers(status, message), *extra))


def response_headers(metadata: Iterable[Header] = ()) -> tuple[Header, ...]:
    """Returns the headers of an answer, or of a Trailers-Only one."""
    return (*_RESPONSE, *metadata)


def status_trailers(status: Status, message: str | None, metadata: Iterable[Header] = ()) -> tuple[Header, ...]:
    """Returns the trailers that end a call; the message is percent-encoded."""
    if status is Status.OK and not message:
        return (*_OK, *metadata)
    trailers = [(b"grpc-status", str(status.value).encode())]
    if message:
        trailers.append((b"grpc-message", encode_grpc_message(message).encode("ascii")))
    return (*trailers, *metadata)


def metadata_of(headers: Iterable[Header]) -> Metadata:
    """Returns the custom metadata among request headers; values of `-bin` keys are split at commas and decoded.

    Headers that are valid in HTTP but not metadata of gRPC are omitted, as the specification allows, so a handler can
    send all metadata back. `-bin` values that are not base64 are omitted, too: no handler could use them.
    """
    metadata: Metadata = MultiDict()
    for name, value in headers:
        if name.startswith(b"grpc-") or name in _RESERVED or not _METADATA_NAME.fullmatch(name):
            continue
        key = name.decode("ascii")
        if not name.endswith(b"-bin"):
            if _METADATA_VALUE.fullmatch(value):
                metadata.add(key, value.decode("ascii"))
            continue
        for part in value.split(b","):
            try:
                metadata.add(key, b64decode(part.strip() + b"=" * (-len(part.strip()) % 4), validate=True))
            except Base64Error:
                continue
    return metadata


def frame_message(payload: bytes) -> bytes:
    """Returns a message with its prefix: flag 0 (not compressed) and four bytes of length."""
    return b"\0" + len(payload).to_bytes(4, "big") + payload


class MessageReader:
    """Cuts the data of one stream into messages.

    Args:
        limit: largest message in bytes, before and after decompression.
        gzip: true if messages with the compressed flag are gzip; else the flag is an error.

    Attributes:
        failure: status if nothing more can be read: ResourceExhausted for a message over the limit, as soon as its
            length is known; Internal for one that cannot be read. The messages before it are complete. Not an
            exception, because a stored exception keeps its traceback, and with it the call's data.
        work: price of the decompression by the last `feed`.
        unusual_work: part of it, beyond that of usual messages.
        paused: true if it stopped because of that price, before it was done.
    """

    __slots__ = ("_buffer", "_gzip", "_inflation", "_limit", "failure", "paused", "unusual_work", "work")

    def __init__(self, *, limit: int, gzip: bool) -> None:
        self.failure: Outcome | None = None
        self.work = self.unusual_work = 0.0
        self.paused = False
        self._buffer = bytearray()
        self._inflation: Inflation | None = None
        self._limit = limit
        self._gzip = gzip

    @property
    def rest(self) -> int:
        """Bytes of an incomplete message, and of messages that are not decompressed."""
        return len(self._buffer) + (0 if self._inflation is None else self._inflation.held)

    def feed(self, data: bytes, work: float = math.inf) -> list[bytes | bytearray]:
        """Adds bytes and returns the messages that are now complete; drops all bytes after a failure.

        Args:
            data: the next bytes. None are needed to continue after a pause.
            work: largest price of decompression, above 0. When it is spent, the reader pauses.
        """
        messages: list[bytes | bytearray] = []
        self.work = self.unusual_work = 0.0
        self.paused = False
        if self.failure is None:
            try:
                self._cut(data, messages, work)
            except GRPCError as error:
                self.fail(error.status, error.message)
        return messages

    def _cut(self, data: bytes, messages: list[bytes | bytearray], work: float) -> None:
        """Appends the complete messages, and keeps the rest."""
        source: bytes | bytearray = data
        if self._buffer:
            self._buffer += data
            source = self._buffer
        at = 0
        while True:
            if self._inflation is not None:
                if self.work >= work:
                    self.paused = True
                    break
                self._decompress(self._inflation, messages, work - self.work)
                continue
            payload_at = at + PREFIX_BYTES
            if payload_at > len(source):
                break
            end = payload_at + self._size(source, at)
            compressed = self._compressed(source[at])
            if end > len(source):
                break
            payload = bytes(source[payload_at:end])
            at = end
            if compressed:
                self._inflation = Inflation(payload, self._limit)
            else:
                messages.append(payload)
        if source is self._buffer:
            del self._buffer[:at]
        else:
            self._buffer += data[at:]

    def _decompress(self, inflation: Inflation, messages: list[bytes | bytearray], work: float) -> None:
        """Continues a message, and appends it when it is complete."""
        before, unusual_before = inflation.work, inflation.unusual_work
        try:
            inflation.proceed(work)
        finally:
            self.work += inflation.work - before
            self.unusual_work += inflation.unusual_work - unusual_before
        if inflation.done:
            messages.append(inflation.message)
            self._inflation = None

    def end(self) -> None:
        """Processes the end of the data; an incomplete message is a failure."""
        if self._buffer:
            self.fail(Status.INTERNAL, "grpc: the request ends within a message")

    def fail(self, status: Status, message: str | None) -> None:
        """Drops buffered bytes and all later ones."""
        self.failure = (status, message)
        self.paused = False
        self._buffer.clear()
        self._inflation = None

    def _size(self, source: bytes | bytearray, at: int) -> int:
        size = int.from_bytes(source[at + 1 : at + PREFIX_BYTES], "big")
        if size > self._limit:
            raise GRPCError(
                Status.RESOURCE_EXHAUSTED, f"grpc: received message larger than max ({size} vs. {self._limit})"
            )
        return size

    def _compressed(self, flag: int) -> bool:
        if flag == 0:
            return False
        if flag != 1:
            raise GRPCError(Status.INTERNAL, f"grpc: received unexpected payload format {flag}")
        if not self._gzip:
            raise GRPCError(Status.INTERNAL, "grpc: compressed flag set with identity or empty encoding")
        return True
