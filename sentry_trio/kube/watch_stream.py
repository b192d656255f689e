"""Watches: events, one JSON document a line, and the loop that begins a watch again whenever it ends."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Final, NoReturn

import msgspec
import trio

from sentry_trio.backoff import Backoff
from sentry_trio.conditions import Condition, Conditions
from sentry_trio.errors import ApiRejectedError, ApiUnavailableError, ApiUnreachableError
from sentry_trio.telemetry.logs import get_logger

LONGEST_EVENT: Final = 16 * 1024 * 1024  # bytes; etcd keeps objects of 1.5 MiB by default, and JSON may double them

FAILURES: Final = 3
"""Consecutive failures after which a watch is reported: watches are also cut in normal operation."""

STEADY: Final = 10.0
"""Seconds that a watch has to last to end a series of failures: pauses begin again with the first one."""

_log: Final = get_logger("dapr.sentry.kubernetes")


class Event(msgspec.Struct, frozen=True):
    """Change of an object.

    Attributes:
        type: ADDED, MODIFIED, DELETED, BOOKMARK or ERROR.
        object: JSON of the current object, of the deleted one, or of the Status of an error.
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
            ApiUnavailableError: an event cannot be parsed, or is longer than `LONGEST_EVENT`.
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
            raise ApiUnavailableError(f"cannot parse an event of a watch: {error}") from error


class WatchLoop:
    """Repeats one watch, and reports failures that go on.

    A rejection is reported at once. The session reports an API server that does not answer at all.

    Args:
        failing: text that is logged and reported when the watch fails, without the cause.
        recovered: text that is logged when it lasts again.
        nursery: runs a timer while the watch is open.
        backoff: pauses between two watches.
        condition: set while the watch fails.
    """

    def __init__(
        self,
        failing: str,
        recovered: str,
        nursery: trio.Nursery,
        *,
        backoff: Backoff,
        condition: Condition | None = None,
    ) -> None:
        self._failing = failing
        self._recovered = recovered
        self._nursery = nursery
        self._backoff = backoff
        self._condition = condition or Conditions().condition("watch")
        self._failures = 0

    async def keep(
        self, watch: Callable[[], Awaitable[None]], *, refused: Callable[[ApiRejectedError], float]
    ) -> NoReturn:
        """Repeats a watch after a pause whenever it ends; runs until cancelled.

        Args:
            watch: one watch; marks it as `established`. The server's own Retry-After prolongs the pause after it, up to
                the longest pause.
            refused: called if the API server refuses the watch; returns the seconds to pause at least.

        Cancellation: at once.
        """
        while True:
            pause = 0.0
            try:
                await watch()
            except ApiUnavailableError as error:
                self.failed(error)
                pause = min(error.retry_after or 0.0, self._backoff.longest)
            except ApiRejectedError as error:
                pause = refused(error)
            await trio.sleep(max(self._backoff.next(), pause))

    def failed(self, error: ApiUnavailableError | ApiRejectedError) -> None:
        """Records that the watch was cut, or could not be begun."""
        text = f"{self._failing}: {error}"
        if isinstance(error, ApiUnreachableError):
            _log.debug(text)
            return
        self._failures += 1
        is_lasting = isinstance(error, ApiRejectedError) or self._failures >= FAILURES
        log = _log.warning if is_lasting and self._condition.set(text) else _log.debug
        log(text)

    @contextmanager
    def established(self) -> Iterator[None]:
        """Marks the watch as open while the block runs."""
        timer = trio.CancelScope()
        self._nursery.start_soon(self._confirm, timer)
        try:
            yield
        finally:
            timer.cancel()

    async def _confirm(self, timer: trio.CancelScope) -> None:
        with timer:
            await trio.sleep(STEADY)
            self._failures = 0
            self._backoff.reset()
            if self._condition.clear():
                _log.info(self._recovered)
