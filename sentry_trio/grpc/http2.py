"""h2's connection where a gRPC server under real peers needs it a little different. No IO."""

from typing import TYPE_CHECKING, Final

from h2.config import H2Configuration
from h2.connection import ConnectionInputs, ConnectionState, H2Connection, H2ConnectionStateMachine
from h2.errors import ErrorCodes
from h2.events import Event
from h2.exceptions import FrameTooLargeError
from h2.frame_buffer import FrameBuffer
from h2.settings import SettingCodes, Settings
from hyperframe.frame import GoAwayFrame

if TYPE_CHECKING:
    from h2._typing import Buffer

# What is checked here need not be checked again: our own headers are constants, lower case, from `wire`.
_CONFIGURATION: Final = H2Configuration(
    client_side=False,
    header_encoding=None,
    validate_inbound_headers=True,
    normalize_inbound_headers=False,
    validate_outbound_headers=False,
    normalize_outbound_headers=False,
)
_FRAME_HEAD_BYTES: Final = 9
# RFC 7541, 4.2: an encoder may use less than the peer allows, which may be 4 GiB. This is HTTP/2's initial size.
_LARGEST_TABLE: Final = 4096


class _StateMachine(H2ConnectionStateMachine):
    def process_input(self, input_: ConnectionInputs) -> list[Event]:
        # RFC 9113, 6.8: a peer that has sent GOAWAY opens nothing new for us, but still sends and wants its answers; to
        # h2 the connection would be closed.
        if input_ is ConnectionInputs.RECV_GOAWAY:
            return []
        return super().process_input(input_)


class _FrameBuffer(FrameBuffer):
    @property
    def waiting(self) -> int:
        """Bytes of a frame that is not whole yet."""
        return len(self._data)


class ServerConnection(H2Connection):
    """The server's side of one HTTP/2 connection.

    Args:
        streams: calls that the peer may have open at once.
        header_bytes: the largest header list that it may send.
    """

    # Of how many closed streams it is remembered how they were closed; 2^16 in h2, which is megabytes per connection.
    MAX_CLOSED_STREAMS = 1024

    def __init__(self, *, streams: int, header_bytes: int) -> None:
        super().__init__(_CONFIGURATION)
        self.state_machine = _StateMachine()
        self._frames = _FrameBuffer(server=True)
        self.incoming_buffer = self._frames
        self.local_settings = Settings(
            client=False,
            initial_values={
                SettingCodes.MAX_CONCURRENT_STREAMS: streams,
                SettingCodes.MAX_HEADER_LIST_SIZE: header_bytes,
            },
        )
        self.decoder.max_header_list_size = header_bytes
        self._streams = streams

    def initiate_connection(self) -> None:
        """As h2's; from then on twice as many streams as announced are an error of the whole connection."""
        super().initiate_connection()
        # RFC 9113, 5.1.2: a stream over the limit is an error of that stream. To h2 it would be one of the connection,
        # so its own limit is a wider one, out of reach of a peer whose count is off by a few.
        self.local_settings.max_concurrent_streams = 2 * self._streams
        self.local_settings.acknowledge()

    def over_limit(self, stream_id: int) -> bool:
        """Whether a stream that the peer has opened is one more than announced."""
        opened = sum(stream.open for number, stream in self.streams.items() if number <= stream_id)
        return opened > self._streams

    @property
    def broken(self) -> bool:
        """Whether one side has broken off: nothing but what is composed already can be sent."""
        return self.state_machine.state is ConnectionState.CLOSED

    def can_send(self, stream_id: int) -> bool:
        """Whether anything may still be sent on a stream that the peer has opened."""
        stream = self.streams.get(stream_id)
        return stream is not None and not stream.closed and not self.broken

    def receive_data(self, data: "Buffer") -> list[Event]:
        """As h2's, but an overlong frame is an error when its head arrives, not when all of it has been buffered."""
        events = super().receive_data(data)
        if self._frames.waiting > _FRAME_HEAD_BYTES + self.max_inbound_frame_size:
            self.close_connection(ErrorCodes.FRAME_SIZE_ERROR)
            raise FrameTooLargeError(f"a frame of more than {self.max_inbound_frame_size} bytes")
        return events

    def bound_header_table(self) -> None:
        """Keeps the table of the headers that we send at its usual size, whatever the peer has allowed."""
        if self.encoder.header_table_size > _LARGEST_TABLE:
            self.encoder.header_table_size = _LARGEST_TABLE

    def clear_outbound_data_buffer(self) -> None:
        """Nothing: h2 asks for it when the peer has sent GOAWAY, and what is composed is still wanted."""

    def go_away(self, last_stream: int) -> None:
        """Composes a GOAWAY that, unlike `close_connection`, is not the end: streams up to `last_stream` go on."""
        frame = GoAwayFrame(0)
        frame.last_stream_id = last_stream
        frame.error_code = ErrorCodes.NO_ERROR
        self._prepare_for_sending([frame])
