"""Events of a watch: one JSON document a line, read from a stream of bytes."""

from typing import Final

import msgspec

from sentry_trio.errors import ApiUnavailableError

LONGEST_EVENT: Final = 16 * 1024 * 1024  # bytes; etcd keeps objects of 1.5 MiB by default, and JSON may double them


class Event(msgspec.Struct, frozen=True):
    """Change of an object.

    Attributes:
        type: ADDED, MODIFIED, DELETED, BOOKMARK or ERROR.
        object: JSON of the present object, of the deleted one, or of the Status of an error.
    """

    type: str
    object: msgspec.Raw


_decoder: Final = msgspec.json.Decoder(Event)


class EventLines:
    """Splits a stream into events."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, chunk: bytes) -> list[Event]:
        """Returns the events that this chunk completes.

        Raises:
            ApiUnavailableError: this is no watch, or an event is longer than `LONGEST_EVENT`.
        """
        *lines, rest = chunk.split(b"\n")
        if lines:
            lines[0] = bytes(self._rest) + lines[0]
            self._rest.clear()
        self._rest += rest
        if len(self._rest) > LONGEST_EVENT:
            raise ApiUnavailableError(f"a watch sent an event of more than {LONGEST_EVENT} bytes")
        try:
            return [_decoder.decode(line) for line in lines if line]
        except msgspec.MsgspecError as error:
            raise ApiUnavailableError(f"a watch sent what is no event: {error}") from error
