"""The sequence of runs, in virtual time: restart, merging, failure, recovery, and cancellation at every step."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from sentry_trio.authority import AlreadyRunningError, AuthorityStoppedError, CertificateAuthority
from sentry_trio.errors import InvalidBundleError, NotYetValidError, SentryError
from sentry_trio.reload import Changed, Reload, ReloadCause, Trigger
from testkit.log_capture import capture_logs

START = datetime(2026, 11, 1, tzinfo=UTC)


@dataclass
class Script:
    """Makes runs that write down what happens to them; the world around an authority."""

    preparing: float = 0.0
    draining: float = 0.0
    failing: SentryError | None = None
    events: list[str] = field(default_factory=list)
    made: int = 0
    reloads: list[Reload | None] = field(default_factory=list)
    may_generate: list[bool] = field(default_factory=list)
    edited: trio.Event = field(default_factory=trio.Event)

    def authority(self, now: Callable[[], datetime] = lambda: START) -> CertificateAuthority["ScriptedRun"]:
        return CertificateAuthority(self.prepare, self, watch_rejected=self.watch_rejected, now=now)

    async def prepare(self, changed: Changed, *, may_generate: bool) -> "ScriptedRun":
        self.may_generate.append(may_generate)
        self.made += 1
        number = self.made
        self.events.append(f"prepare {number}")
        await trio.sleep(self.preparing)
        if self.failing is not None:
            raise self.failing
        return ScriptedRun(self, number)

    async def watch_rejected(self, changed: Changed) -> None:
        self.events.append("watch")
        try:
            await self.edited.wait()
            await changed(KEY)
            await trio.sleep_forever()
        finally:
            self.events.append("end of watch")

    def waiting(self, error: SentryError, valid_from: datetime) -> None:
        self.events.append(f"waiting for {valid_from - START}: {error}")

    def serving(self, run: "ScriptedRun", number: int, reload: Reload | None) -> None:
        self.events.append(f"run {number} is {run.number}")
        self.reloads.append(reload)

    def reload_failed(self, error: SentryError, reload: Reload) -> None:
        self.events.append(f"failed: {error}")
        self.reloads.append(reload)

    def stopping(self) -> None:
        self.events.append("stopping")


@dataclass
class ScriptedRun:
    script: Script
    number: int

    async def serve(self, *, task_status: trio.TaskStatus[None]) -> None:
        self.script.events.append(f"serve {self.number}")
        task_status.started()
        try:
            await trio.sleep_forever()
        finally:
            self.script.events.append(f"drain {self.number}")
            with trio.CancelScope(shield=True, deadline=trio.current_time() + 60):
                await trio.sleep(self.script.draining)
            self.script.events.append(f"end {self.number}")


Started = Callable[[], Awaitable[CertificateAuthority[ScriptedRun]]]


async def started(nursery: trio.Nursery, script: Script) -> CertificateAuthority[ScriptedRun]:
    return await nursery.start(script.authority().serve)  # type: ignore[no-any-return]  # start() is not generic


async def test_the_start_is_reported_when_the_first_run_serves(autojump_clock: trio.abc.Clock) -> None:
    script = Script(preparing=2)
    async with trio.open_nursery() as nursery:
        authority = await started(nursery, script)
        assert trio.current_time() == 2
        assert script.events == ["prepare 1", "serve 1", "run 1 is 1"]
        authority.stop()
    assert script.events[3:] == ["stopping", "drain 1", "end 1"]


async def test_a_first_run_that_cannot_be_prepared_ends_it() -> None:
    script = Script(failing=InvalidBundleError("no key"))
    authority = script.authority()
    with pytest.raises(InvalidBundleError, match="no key"):
        await authority.serve()
    with pytest.raises(AuthorityStoppedError):
        await authority.restart()


async def test_a_restart_overlaps_and_returns_once_the_new_run_serves(autojump_clock: trio.abc.Clock) -> None:
    script = Script(preparing=1, draining=5)
    async with trio.open_nursery() as nursery:
        authority = await started(nursery, script)
        await authority.restart()
        assert trio.current_time() == 2
        await wait_all_tasks_blocked()
        assert script.events == [
            *("prepare 1", "serve 1", "run 1 is 1"),
            *("prepare 2", "serve 2", "run 2 is 2", "drain 1"),
        ]
        await trio.sleep(5.5)
        assert script.events[-1] == "end 1"
        authority.stop()


async def test_requests_during_a_restart_are_merged_into_one_more(autojump_clock: trio.abc.Clock) -> None:
    script = Script(preparing=1)
    done: list[float] = []
    async with trio.open_nursery() as nursery:
        authority = await started(nursery, script)

        async def restart() -> None:
            await authority.restart()
            done.append(trio.current_time())

        async with trio.open_nursery() as askers:
            askers.start_soon(restart)
            await trio.sleep(0.5)  # the first is being prepared
            for _ in range(10):
                askers.start_soon(restart)
        assert done == [2.0] + [3.0] * 10
        assert script.made == 3
        authority.stop()


async def test_a_failed_restart_changes_nothing_and_a_later_one_recovers(autojump_clock: trio.abc.Clock) -> None:
    script = Script()
    async with trio.open_nursery() as nursery:
        authority = await started(nursery, script)
        script.failing = InvalidBundleError("bad edit")
        with pytest.raises(InvalidBundleError, match="bad edit"):
            await authority.restart()
        await wait_all_tasks_blocked()
        assert script.events[3:] == ["prepare 2", "failed: bad edit"]
        script.failing = None
        await authority.restart()
        assert script.events[5:8] == ["prepare 3", "serve 3", "run 2 is 3"]
        authority.stop()


async def test_a_request_that_is_no_longer_waited_for_is_still_served(autojump_clock: trio.abc.Clock) -> None:
    script = Script(preparing=1)
    async with trio.open_nursery() as nursery:
        authority = await started(nursery, script)
        with trio.move_on_after(0.5):
            await authority.restart()
        await trio.sleep(1)
        assert "run 2 is 2" in script.events
        authority.stop()


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        pytest.param(0.5, ["prepare 1"], id="while the first is prepared"),
        pytest.param(1.5, ["serve 1", "run 1 is 1", "stopping", "drain 1", "end 1"], id="while it serves"),
        pytest.param(
            2.5, ["run 1 is 1", "prepare 2", "stopping", "drain 1", "end 1"], id="while a successor is prepared"
        ),
        pytest.param(4.0, ["drain 1", "stopping", "drain 2", "end 1", "end 2"], id="while the predecessor drains"),
    ],
)
async def test_cancellation_leaves_nothing(autojump_clock: trio.abc.Clock, at: float, expected: list[str]) -> None:
    script = Script(preparing=1, draining=3)
    authority = script.authority()
    failures: list[BaseException] = []

    async def restart() -> None:
        await trio.sleep(2)
        try:
            await authority.restart()
        except AuthorityStoppedError as error:
            failures.append(error)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(restart)
        with trio.move_on_after(at):
            await authority.serve()
        nursery.cancel_scope.deadline = trio.current_time() + 5
    assert script.events[-len(expected) :] == expected
    assert len(failures) == (1 if at < 3 else 0)


async def test_a_run_that_breaks_ends_the_authority() -> None:
    class Breaking(Script):
        async def prepare(self, changed: Changed, *, may_generate: bool) -> "ScriptedRun":
            return BreakingRun(self, 1)

    class BreakingRun(ScriptedRun):
        async def serve(self, *, task_status: trio.TaskStatus[None]) -> None:
            task_status.started()
            await trio.lowlevel.checkpoint()
            raise RuntimeError("a defect")

    script = Breaking()
    with pytest.RaisesGroup(pytest.RaisesExc(RuntimeError, match="a defect")):
        await script.authority().serve()
    assert script.events[-1] == "stopping"


async def test_a_request_made_before_it_serves_is_served() -> None:
    script = Script()
    authority = script.authority()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(authority.serve)
        await authority.restart()
        assert script.made == 2
        authority.stop()


HANGUP, KEY = ReloadCause(Trigger.SIGHUP), ReloadCause(Trigger.TRUST_BUNDLE, ("ca.crt", "issuer.key"))


async def test_a_reload_reports_its_causes_and_duration(autojump_clock: trio.abc.Clock) -> None:
    script = Script(preparing=1.5)
    async with trio.open_nursery() as nursery:
        authority = await started(nursery, script)
        await authority.restart(KEY)
        with capture_logs() as lines:
            async with trio.open_nursery() as askers:
                askers.start_soon(authority.restart, HANGUP)
                await trio.sleep(0.5)
                # These three share the restart after the one under way.
                askers.start_soon(authority.restart)
                askers.start_soon(authority.restart, KEY)
                askers.start_soon(authority.restart, KEY, HANGUP)
        script.failing = InvalidBundleError("bad edit")
        with pytest.raises(InvalidBundleError):
            await authority.restart(KEY)
        authority.stop()
    assert script.reloads[:3] == [None, Reload((KEY,), 1.5), Reload((HANGUP,), 1.5)]
    merged = script.reloads[3]
    assert merged is not None
    assert set(merged.causes) == {ReloadCause(Trigger.CALLER), KEY, HANGUP}
    assert len(merged.causes) == 3
    assert script.reloads[4:] == [Reload((KEY,), 1.5)]
    assert str(KEY) == "trust bundle changed: ca.crt, issuer.key"
    assert [line["cause"] for line in lines if line["event"].endswith("is restarting")] == [
        "received SIGHUP",
        merged.cause,
    ]


async def test_start_restart_and_stop_are_logged_as_in_sentry_go() -> None:
    script = Script()
    with capture_logs() as lines:
        async with trio.open_nursery() as nursery:
            authority = await started(nursery, script)
            await authority.restart()
            authority.stop()
    assert [(line["event"], line["log_level"], line["scope"]) for line in lines] == [
        (f"sentry certificate authority is {what}", "info", "dapr.sentry")
        for what in ("running, protecting y'all", "restarting", "running, protecting y'all", "shutting down")
    ]


async def test_a_second_start_is_an_error_and_the_first_continues() -> None:
    script = Script()
    async with trio.open_nursery() as nursery:
        authority = await started(nursery, script)
        with pytest.raises(AlreadyRunningError, match="CertificateAuthority server is already running"):
            await authority.serve()
        await authority.restart()
        assert "run 2 is 2" in script.events
        authority.stop()
    with pytest.raises(AuthorityStoppedError):
        await authority.serve()


async def test_a_second_start_is_an_error_while_the_first_run_is_prepared(autojump_clock: trio.abc.Clock) -> None:
    script = Script(preparing=1)
    authority = script.authority()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(authority.serve)
        await trio.sleep(0.5)
        with pytest.raises(AlreadyRunningError):
            await authority.serve()
        await trio.sleep(1)
        authority.stop()
    assert script.made == 1


@dataclass
class WallClock:
    """Wall clock that goes with virtual time, unless it is set."""

    offset: timedelta = timedelta()

    def __call__(self) -> datetime:
        return START + self.offset + timedelta(seconds=trio.current_time())


def not_valid_yet(valid_from: datetime) -> InvalidBundleError:
    """The error is wrapped, as it really is."""
    error = InvalidBundleError("wrapped")
    error.__cause__ = NotYetValidError("not yet", valid_from=valid_from)
    return error


@asynccontextmanager
async def serving(authority: CertificateAuthority[ScriptedRun]) -> AsyncIterator[None]:
    """Serves during the block, and stops after it."""
    async with trio.open_nursery() as nursery:
        await nursery.start(authority.serve)
        yield
        authority.stop()


async def refused(authority: CertificateAuthority[ScriptedRun], script: Script, valid_from: datetime) -> None:
    """A reload is refused because of a certificate that is not valid yet."""
    script.failing = not_valid_yet(valid_from)
    with pytest.raises(InvalidBundleError):
        await authority.restart(KEY)
    script.failing = None


async def test_a_certificate_that_is_not_valid_yet_is_tried_again_when_it_is(autojump_clock: trio.abc.Clock) -> None:
    script = Script()
    authority = script.authority(WallClock())
    async with serving(authority):
        await refused(authority, script, START + timedelta(seconds=135))
        await trio.sleep(134.9)
        assert script.made == 2
        await trio.sleep(0.2)
        assert script.events[-1] == "end 1"
        assert script.reloads[-1] == Reload((ReloadCause(Trigger.ISSUER_VALID),), 0)
        await trio.sleep(1000)
        assert script.made == 3


async def test_the_retry_follows_a_clock_that_is_set(autojump_clock: trio.abc.Clock) -> None:
    script, clock = Script(), WallClock()
    authority = script.authority(clock)
    async with serving(authority):
        await refused(authority, script, START + timedelta(days=1))
        clock.offset = timedelta(days=2)
        await trio.sleep(61)
        assert script.made == 3


async def test_a_later_reload_replaces_the_retry(autojump_clock: trio.abc.Clock) -> None:
    script = Script()
    authority = script.authority(WallClock())
    async with serving(authority):
        await refused(authority, script, START + timedelta(seconds=100))
        await authority.restart(KEY)
        await trio.sleep(1000)
        assert script.made == 3


WAITING = ["prepare 1", "waiting for 0:02:15: wrapped", "watch"]


async def test_a_start_waits_for_a_certificate_to_become_valid(autojump_clock: trio.abc.Clock) -> None:
    script = Script(failing=not_valid_yet(START + timedelta(seconds=135)))
    async with trio.open_nursery() as nursery:
        authority = await nursery.start(script.authority(WallClock()).serve)
        await wait_all_tasks_blocked()
        assert script.events == WAITING
        script.failing = None
        await trio.sleep(134.9)
        assert script.made == 1
        await trio.sleep(0.2)
        assert script.events[3:] == ["prepare 2", "serve 2", "run 1 is 2", "end of watch"]
        # Only the first attempt may fill an empty store.
        assert script.may_generate == [True, False]
        assert script.reloads == [Reload((ReloadCause(Trigger.ISSUER_VALID),), 0)]
        authority.stop()
    assert script.events[-3:] == ["stopping", "drain 2", "end 2"]


async def test_a_start_that_waits_follows_a_clock_that_is_set(autojump_clock: trio.abc.Clock) -> None:
    """Decades ahead is what a certificate seems to be on a machine that boots in 1970."""
    clock = WallClock(timedelta(days=-20_000))
    script = Script(failing=not_valid_yet(START))
    async with trio.open_nursery() as nursery:
        authority = await nursery.start(script.authority(clock).serve)
        await trio.sleep(3600)
        assert script.made == 1
        script.failing, clock.offset = None, timedelta()
        await trio.sleep(61)
        assert "run 1 is 2" in script.events
        authority.stop()


async def test_a_start_that_waits_is_tried_again_on_a_change_or_a_request(autojump_clock: trio.abc.Clock) -> None:
    script = Script(failing=not_valid_yet(START + timedelta(days=1)))
    async with trio.open_nursery() as nursery:
        authority = await nursery.start(script.authority(WallClock()).serve)
        with pytest.raises(InvalidBundleError, match="wrapped"):
            await authority.restart(HANGUP)
        script.failing = InvalidBundleError("bad edit")
        script.edited.set()
        await wait_all_tasks_blocked()
        assert script.events[3:] == ["prepare 2", "failed: wrapped", "prepare 3", "failed: bad edit"]
        script.failing = None
        await authority.restart(HANGUP)
        assert script.events[7:10] == ["prepare 4", "serve 4", "run 1 is 4"]
        authority.stop()


async def test_a_start_that_waits_survives_an_outage_when_the_certificate_becomes_valid(
    autojump_clock: trio.abc.Clock,
) -> None:
    script = Script(failing=not_valid_yet(START + timedelta(seconds=135)))
    async with trio.open_nursery() as nursery:
        authority = await nursery.start(script.authority(WallClock()).serve)
        script.failing = InvalidBundleError("the API server is away")
        await trio.sleep(140)
        assert script.made == 2
        script.failing = None
        await trio.sleep(30)
        assert "run 1 is 3" in script.events
        assert script.reloads[-1] == Reload((ReloadCause(Trigger.RETRY),), 0)
        authority.stop()


async def test_a_start_that_waits_may_be_stopped(autojump_clock: trio.abc.Clock) -> None:
    script = Script(failing=not_valid_yet(START + timedelta(seconds=135)))
    async with trio.open_nursery() as nursery:
        authority = await nursery.start(script.authority(WallClock()).serve)
        await wait_all_tasks_blocked()
        authority.stop()
    assert script.events == [*WAITING, "stopping", "end of watch"]
    with pytest.raises(AuthorityStoppedError):
        await authority.restart()


class CancelledAsItServes(ScriptedRun):
    """A run during whose first step as a serving run the authority is cancelled."""

    scope: trio.CancelScope

    async def serve(self, *, task_status: trio.TaskStatus[None]) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.use_trio)
            await wait_all_tasks_blocked()
            task_status.started()
            self.scope.cancel()

    async def use_trio(self) -> None:
        try:
            await trio.sleep_forever()
        finally:
            # Raises, if the cancellation still holds.
            await trio.lowlevel.checkpoint_if_cancelled()


@pytest.mark.parametrize("time", range(20))
async def test_a_cancellation_is_not_taken_back_as_a_run_begins_to_serve(time: int) -> None:
    """Tasks run in any order, so once might show nothing."""
    script = Script()

    async def prepare(changed: Changed, *, may_generate: bool) -> ScriptedRun:
        run = CancelledAsItServes(script, 1)
        run.scope = scope
        return run

    with trio.CancelScope() as scope:
        await CertificateAuthority(prepare, script, watch_rejected=script.watch_rejected, now=lambda: START).serve()
    assert scope.cancelled_caught
