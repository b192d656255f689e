"""The certificate authority: a sequence of runs, each prepared before the one before it is touched.

`CertificateAuthority` is the counterpart of the type of that name in Dapr's `pkg/sentry/sentry.go`: `serve` is its
Start, `restart` its Restart and `stop` its Stop. See docs/sentry-go.md.
"""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from typing import Final, Generic, Protocol, Self, TypeVar

import trio

from sentry_trio.errors import NotYetValidError, SentryError
from sentry_trio.lifetimes import start_shielded
from sentry_trio.reload import Changed, Reload, ReloadCause, ReloadRequest, Trigger
from sentry_trio.telemetry.logs import get_logger

_LONGEST_SLEEP: Final = 60.0  # seconds
_RETRY_INTERVAL: Final = timedelta(seconds=30)
"""Time until a start that waited for a certificate, and then failed for another reason, is tried again."""

_log: Final = get_logger("dapr.sentry")


class AuthorityStoppedError(SentryError):
    """A request to an authority that has stopped, or that stopped before it handled the request."""

    def __init__(self) -> None:
        super().__init__("the certificate authority has stopped")


class AlreadyRunningError(SentryError):
    """A second start of an authority that is running."""

    def __init__(self) -> None:
        super().__init__("CertificateAuthority server is already running")


class PreparedRun(Protocol):
    """One run, prepared: it holds all that it needs to sign and has signed before."""

    async def serve(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Serves until cancelled, then drains; started when it accepts connections."""


AnyRun = TypeVar("AnyRun", bound=PreparedRun)
AnyRun_co = TypeVar("AnyRun_co", bound=PreparedRun, covariant=True)
AnyRun_contra = TypeVar("AnyRun_contra", bound=PreparedRun, contravariant=True)


class Prepare(Protocol[AnyRun_co]):
    """Function that makes a run."""

    async def __call__(self, changed: Changed, *, may_generate: bool) -> AnyRun_co:
        """Makes a run that calls `changed` when its inputs have changed.

        Args:
            changed: requests a restart; returns when that has succeeded or failed.
            may_generate: true only for the first attempt, which may fill an empty store.

        Raises:
            SentryError: no run can be made.
        """


class RunObserver(Protocol[AnyRun_contra]):
    """Observer of the authority's runs, for log, health and metrics."""

    def waiting(self, error: SentryError, valid_from: datetime) -> None:
        """Records that the first run is delayed: a certificate becomes valid later."""

    def serving(self, run: AnyRun_contra, number: int, reload: Reload | None) -> None:
        """Records that a run serves: the first, without a reload, or a successor of the one that now drains."""

    def reload_failed(self, error: SentryError, reload: Reload) -> None:
        """Records that a successor could not be prepared; the current run continues."""

    def stopping(self) -> None:
        """Records that the last run closes its listeners and drains."""


class CertificateAuthority(Generic[AnyRun]):
    """Holds runs, one after the other, and replaces the current one on request.

    If the first run cannot be prepared because a certificate is not valid yet, the authority waits without a run. It
    tries again when the certificate becomes valid, when the credentials change, or on request. The wait has no limit:
    the certificate seems to be years ahead on a machine whose clock has not been set yet.

    The order of a restart: the successor is prepared; if that fails, the current run continues. The successor
    accepts connections on its own handle of the same listening sockets; only then is the current run cancelled. It
    closes its listeners first, sends GOAWAY on its connections, finishes its calls, and at the drain timeout
    answers the remaining ones with Unavailable. Connections in between wait in the kernel or are served by either run.

    The order of shutdown is the order of nesting, innermost first: the accept loop, the calls, their connections, the
    watchers and the serving identity, the run, then the authority. `serve` returns when all of it has ended. The
    listening sockets and health are the caller's and end after that. Stopping and being cancelled are the same thing.

    Args:
        prepare: makes the next run.
        observer: reports runs, failures and the end.
        watch_rejected: watches the inputs of a first run that failed, until cancelled; calls its argument on a change.
        now: the wall clock, aware.
    """

    def __init__(
        self,
        prepare: Prepare[AnyRun],
        observer: RunObserver[AnyRun],
        *,
        watch_rejected: Callable[[Changed], Awaitable[None]],
        now: Callable[[], datetime],
    ) -> None:
        self._prepare = prepare
        self._observer = observer
        self._watch_rejected = watch_rejected
        self._now = now
        self._retry_at: datetime | None = None
        self._retry_trigger = Trigger.ISSUER_VALID
        self._scope = trio.CancelScope()
        self._next = ReloadRequest()
        self._number = 0
        self._is_running = False
        self._has_stopped = False

    async def serve(self, *, task_status: trio.TaskStatus[Self] = trio.TASK_STATUS_IGNORED) -> None:
        """Prepares the first run, serves, and restarts on request, until cancelled or stopped.

        Args:
            task_status: started, with this authority, when the first run serves or is waited for.

        Raises:
            AlreadyRunningError: it is running already.
            AuthorityStoppedError: it ran before and has stopped.
            SentryError: the first run could not be prepared, for another reason than a certificate that is not valid
                yet.
            BaseExceptionGroup: a run failed while it served; nothing but a defect or the system does that.
        """
        if self._is_running:
            raise AlreadyRunningError
        if self._has_stopped:
            raise AuthorityStoppedError
        self._is_running = True
        with self._scope, self._closing():
            first = await self._prepare_first()
            async with trio.open_nursery() as runs:
                if first is None:
                    present, _ = await start_shielded(runs, self._wait)
                else:
                    present = await self._begin(runs, first)
                try:
                    task_status.started(self)
                    while True:
                        await self._wait_for_request()
                        # A request from here on needs one more run: this one may have read the old content.
                        request, self._next = self._next, ReloadRequest()
                        request.begin()
                        _log.info("sentry certificate authority is restarting", cause=request.reload.cause)
                        with self._answering(request):
                            prepared = await self._prepare(self._changed, may_generate=False)
                            successor = await self._begin(runs, prepared, request)
                            present.cancel()
                            present = successor
                finally:
                    # Health reports "not ready" before the run closes its listeners.
                    _log.info("sentry certificate authority is shutting down")
                    self._observer.stopping()
                    present.cancel()

    async def restart(self, *causes: ReloadCause) -> None:
        """Requests a restart and returns once the new run serves.

        Requests that arrive during a restart share the next one. Cancelling the wait does not withdraw the
        request.

        Args:
            causes: reasons for the restart, for the log.

        Raises:
            SentryError: the successor could not be prepared; the current run continues.
            AuthorityStoppedError: the authority has stopped, or stops before the restart.
        """
        request = self._next
        request.ask(*(causes or (ReloadCause(Trigger.CALLER),)))
        await request.answered()

    async def _changed(self, *causes: ReloadCause) -> None:
        # The observer has recorded the failure; the current run continues.
        with suppress(SentryError):
            await self.restart(*causes)

    async def _prepare_first(self) -> AnyRun | None:
        """Prepares the first run; returns None if that has to wait for a certificate to become valid."""
        try:
            return await self._prepare(self._changed, may_generate=True)
        except SentryError as error:
            self._retry_at = _valid_from(error)
            if self._retry_at is None:
                raise
            self._observer.waiting(error, self._retry_at)
            return None

    async def _wait_for_request(self) -> None:
        """Waits for a request, or makes one when a certificate that was rejected as not yet valid becomes valid."""
        while self._retry_at is not None and not self._next.asked.is_set():
            remaining = (self._retry_at - self._now()).total_seconds()
            if remaining <= 0:
                self._next.ask(ReloadCause(self._retry_trigger))
            else:
                # In steps, because the wall clock may be set meanwhile.
                with trio.move_on_after(min(remaining, _LONGEST_SLEEP)):
                    await self._next.asked.wait()
        await self._next.asked.wait()
        self._retry_at = None

    def stop(self) -> None:
        """Cancels `serve`."""
        self._scope.cancel()

    async def _wait(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Watches in place of a first run, until cancelled."""
        task_status.started()
        await self._watch_rejected(self._changed)

    async def _begin(self, runs: trio.Nursery, run: AnyRun, request: ReloadRequest | None = None) -> trio.CancelScope:
        # So that runs end in order, and not all by the cause that ends `serve`.
        scope, _ = await start_shielded(runs, run.serve)
        self._number += 1
        _log.info("sentry certificate authority is running, protecting y'all", run=self._number)
        self._observer.serving(run, self._number, None if request is None else request.reload)
        return scope

    @contextmanager
    def _answering(self, request: ReloadRequest) -> Iterator[None]:
        try:
            yield
        except SentryError as error:
            self._observer.reload_failed(error, request.reload)
            self._retry_at = _valid_from(error)
            if self._retry_at is not None:
                self._retry_trigger = Trigger.ISSUER_VALID
                _log.info("the next reload follows when the certificate becomes valid", at=self._retry_at.isoformat())
            elif self._number == 0:
                # Nothing serves, and the cause, e.g. the Kubernetes API server, may recover without a change.
                self._retry_at, self._retry_trigger = self._now() + _RETRY_INTERVAL, Trigger.RETRY
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
            self._is_running, self._has_stopped = False, True
            self._next.answer(AuthorityStoppedError())


def _valid_from(error: BaseException | None) -> datetime | None:
    """Returns when a certificate that caused the error becomes valid; None if that is not the reason."""
    while error is not None:
        if isinstance(error, NotYetValidError):
            return error.valid_from
        error = error.__cause__
    return None
