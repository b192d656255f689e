"""The certificate authority: a sequence of runs, each prepared before the one before it is touched."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Final, Generic, Protocol, Self, TypeVar

import trio

from sentry_trio.errors import SentryError
from sentry_trio.telemetry.logs import get_logger

_log: Final = get_logger("dapr.sentry")


class AuthorityStoppedError(SentryError):
    """A restart was asked of an authority that has stopped, or that stopped before it came to it."""

    def __init__(self) -> None:
        super().__init__("the certificate authority has stopped")


class Run(Protocol):
    """One run, prepared: it holds all that it needs to sign and has signed before."""

    async def serve(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Serves until cancelled, then drains; started when it accepts connections."""


AnyRun = TypeVar("AnyRun", bound=Run)
AnyRun_contra = TypeVar("AnyRun_contra", bound=Run, contravariant=True)


class Ledger(Protocol[AnyRun_contra]):
    """Who is told of the authority's runs, for health and metrics."""

    def serving(self, run: AnyRun_contra, number: int) -> None:
        """A run has taken over; it is the first, or the one before it is draining."""

    def restart_failed(self, error: SentryError) -> None:
        """A successor could not be prepared; the present run goes on."""

    def stopping(self) -> None:
        """No successor will come: the last run gives up its listeners and drains."""


class _Request:
    """A restart that was asked for, by one caller or by many."""

    def __init__(self) -> None:
        self.asked = trio.Event()
        self._answered = trio.Event()
        self._error: SentryError | None = None

    def answer(self, error: SentryError | None = None) -> None:
        self._error = error
        self._answered.set()

    async def answered(self) -> None:
        await self._answered.wait()
        if self._error is not None:
            raise self._error


class CertificateAuthority(Generic[AnyRun]):
    """Holds runs, one after the other, and replaces the present one when asked.

    The order of a restart: the successor is prepared; if that fails the present run goes on untouched. The successor
    accepts connections on its own handle of the same listening sockets; only then is the present run cancelled. It
    gives up its listeners first, tells its connections to go elsewhere, finishes its calls, and at the drain timeout
    answers what is left with Unavailable. Whatever arrives in between waits in the kernel or is served by either.

    The order of shutdown is the order of nesting, innermost first: the accept loop, the calls, their connections, the
    watchers and the serving identity, the run, then the authority. `serve` returns when all of it is gone. What stands
    outside, the listening sockets and health, is the caller's and ends after that. Stopping and being cancelled are the
    same thing.

    Args:
        prepare: makes the next run; raises a SentryError where that cannot be.
        ledger: told of what happens.
    """

    def __init__(self, prepare: Callable[[], Awaitable[AnyRun]], ledger: Ledger[AnyRun]) -> None:
        self._prepare = prepare
        self._ledger = ledger
        self._scope = trio.CancelScope()
        self._next = _Request()
        self._number = 0

    async def serve(self, *, task_status: trio.TaskStatus[Self] = trio.TASK_STATUS_IGNORED) -> None:
        """Prepares the first run, serves, and restarts when asked, until cancelled or stopped.

        Args:
            task_status: started, with this authority, when the first run serves.

        Raises:
            SentryError: the first run could not be prepared.
            BaseExceptionGroup: a run failed while it served; nothing but a defect or the system does that.
        """
        with self._scope, self._closing():
            first = await self._prepare()
            async with trio.open_nursery() as runs:
                present = await self._begin(runs, first)
                try:
                    task_status.started(self)
                    while True:
                        await self._next.asked.wait()
                        # Whoever asks from here on asks for one more: what they changed may be read already, or not.
                        request, self._next = self._next, _Request()
                        with self._answering(request):
                            successor = await self._begin(runs, await self._prepare())
                            present.cancel()
                            present = successor
                finally:
                    # First nobody is sent here any more, then the run gives up.
                    self._ledger.stopping()
                    present.cancel()

    async def restart(self) -> None:
        """Asks for a restart and returns once the new run serves.

        Several who ask while a restart is under way are answered by one more. Cancelling the wait does not take the
        request back.

        Raises:
            SentryError: what kept the successor from being prepared; the present run goes on.
            AuthorityStoppedError: the authority has stopped or stops meanwhile.
        """
        request = self._next
        request.asked.set()
        await request.answered()

    def stop(self) -> None:
        """Cancels `serve`."""
        self._scope.cancel()

    async def _begin(self, runs: trio.Nursery, run: AnyRun) -> trio.CancelScope:
        scope = trio.CancelScope()

        async def hold(*, task_status: trio.TaskStatus[None]) -> None:
            with scope:
                await run.serve(task_status=task_status)

        await runs.start(hold)
        # From here on it is ended by `serve` and not by what ends `serve`: so there is an order between the two.
        scope.shield = True
        self._number += 1
        self._ledger.serving(run, self._number)
        return scope

    @contextmanager
    def _answering(self, request: _Request) -> Iterator[None]:
        try:
            yield
        except SentryError as error:
            _log.error(f"restart failed, going on as before: {error}")
            self._ledger.restart_failed(error)
            request.answer(error)
        except BaseException:
            request.answer(AuthorityStoppedError())
            raise
        else:
            request.answer()

    @contextmanager
    def _closing(self) -> Iterator[None]:
        try:
            yield
        finally:
            self._next.answer(AuthorityStoppedError())
