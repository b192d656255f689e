"""Header blocks as they come in: collected from their frames, then read (RFC 9113, 4.3)."""

from typing import cast

from hpack import Decoder, HPACKError, OversizedHeaderListError

from . import frames
from .fields import Header
from .frames import ErrorCode, ViolationError
from .limits import HEADER_FRAMES


class HeaderBlocks:
    """Reads the header blocks of one connection, one at a time.

    Args:
        limit: bytes of a block, and of the header list in it as HTTP/2 counts it.

    Attributes:
        stream_id: of the block that is coming in; 0 where none is.
        ends_stream: what its HEADERS said.
    """

    __slots__ = ("_decoder", "_limit", "_parts", "_size", "ends_stream", "stream_id")

    def __init__(self, limit: int) -> None:
        self.stream_id = 0
        self.ends_stream = False
        self._decoder = Decoder(max_header_list_size=limit)
        self._decoder.max_allowed_table_size = frames.HEADER_TABLE_BYTES
        self._limit = limit
        self._parts: list[bytes] = []
        self._size = 0

    def begin(self, stream_id: int, *, ends_stream: bool) -> None:
        """A HEADERS frame has come."""
        self.stream_id = stream_id
        self.ends_stream = ends_stream

    def add(self, part: bytes, *, last: bool) -> list[Header] | None:
        """Takes a part of the block that has begun; returns the header list with the last.

        Raises:
            ViolationError: the block is too large or in too many parts, or cannot be read.
        """
        self._parts.append(part)
        self._size += len(part)
        if self._size > self._limit or len(self._parts) > HEADER_FRAMES:
            raise ViolationError(ErrorCode.ENHANCE_YOUR_CALM)
        if not last:
            return None
        block = b"".join(self._parts)
        self._parts.clear()
        self._size = self.stream_id = 0
        try:
            return cast("list[Header]", self._decoder.decode(block, raw=True))
        except OversizedHeaderListError as error:
            raise ViolationError(ErrorCode.ENHANCE_YOUR_CALM) from error
        except (HPACKError, IndexError, TypeError, UnicodeError) as error:  # the last three: bytes that it trips over
            raise ViolationError(ErrorCode.COMPRESSION_ERROR) from error
