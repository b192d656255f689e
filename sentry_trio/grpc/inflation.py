"""Decompression of a gzip message in parts: up to 10 ms for 4 MiB of output, and up to 350 ms for 4 MiB of input."""

import zlib
from typing import Final

from grpclib.const import Status
from grpclib.exceptions import GRPCError

from .cpu_budget import COMPRESSED_BYTES, INFLATED_BYTES, USUAL_INFLATION

# 16 + MAX_WBITS: zlib reads a gzip header and trailer.
_GZIP_WINDOW: Final = 16 + zlib.MAX_WBITS
# Passed to zlib at a time: it takes 0.2 ms for so many bytes of blocks that describe a code and use it for nothing.
_PIECE_BYTES: Final = 2 * 1024
_ZLIB_BYTES: Final = 40 * 1024  # of memory: a window of 32 KiB, and tables


class Inflation:
    """Decompresses one gzip message (RFC 1952).

    Args:
        compressed: the whole message.
        limit: largest size in bytes when decompressed. A longer message is not decompressed to its end.

    Attributes:
        message: what is decompressed so far.
        done: true if that is the whole message.
        work: price of it, as in `cpu_budget`.
    """

    __slots__ = ("_at", "_compressed", "_inflate", "_limit", "done", "message", "work")

    def __init__(self, compressed: bytes, limit: int) -> None:
        self.message = bytearray()
        self.done = False
        self.work = 0.0
        self._compressed = compressed
        self._at = 0
        self._inflate = zlib.decompressobj(_GZIP_WINDOW)
        self._limit = limit

    @property
    def held(self) -> int:
        """Bytes of memory."""
        return len(self._compressed) + len(self.message) + _ZLIB_BYTES

    @property
    def unusual_work(self) -> float:
        """Part of `work` beyond that of a usual message."""
        return max(0.0, self.work - USUAL_INFLATION)

    def proceed(self, work: float) -> None:
        """Decompresses more, until the message is complete or costs `work` more, or a piece beyond that.

        Raises:
            GRPCError: ResourceExhausted for a message over the limit, Internal for one that is not gzip.
        """
        end = self.work + work
        while not self.done and self.work < end:
            self._decompress_piece(1 + int(min((end - self.work) * INFLATED_BYTES, self._limit)))

    def _decompress_piece(self, most: int) -> None:
        """Decompresses up to `most` bytes, and no more than one too many for the limit."""
        piece = self._inflate.unconsumed_tail or self._next_piece()
        try:
            inflated = self._inflate.decompress(piece, min(most, self._limit + 1 - len(self.message)))
        except zlib.error as error:
            self.work += len(piece) / COMPRESSED_BYTES
            raise _unreadable(str(error)) from error
        self.message += inflated
        consumed = len(piece) - len(self._inflate.unconsumed_tail)
        self.work += consumed / COMPRESSED_BYTES + len(inflated) / INFLATED_BYTES
        if len(self.message) > self._limit:
            raise GRPCError(
                Status.RESOURCE_EXHAUSTED, f"grpc: received message after decompression larger than max {self._limit}"
            )
        if self._inflate.eof:
            if self._inflate.unused_data or self._at < len(self._compressed):
                raise _unreadable("bytes after its end")
            self.done = True
        elif not (piece or inflated):
            raise _unreadable("unexpected EOF")

    def _next_piece(self) -> bytes:
        piece = self._compressed[self._at : self._at + _PIECE_BYTES]
        self._at += len(piece)
        return piece


def _unreadable(why: str) -> GRPCError:
    return GRPCError(Status.INTERNAL, f"grpc: failed to decompress the received message: {why}")
