"""The audit log of a process: waiting calls, losses by a failing sink, and their reports."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from sentry_trio.audit import log as log_module
from sentry_trio.audit.chain import ChainEnd, ChainPosition
from sentry_trio.audit.decision import Decision
from sentry_trio.audit.log import AuditLog, open_log
from sentry_trio.audit.sinks import Sink
from sentry_trio.audit.writer import AuditLogOptions
from sentry_trio.errors import AuditLogError, AuditUnavailableError
from sentry_trio.telemetry.metrics import Metrics, SignFailure
from testkit.audit_chains import NOON, Paper, Worker, verified
from testkit.log_capture import capture_logs

ISSUED = Decision(("10.0.0.7", 1))
REFUSED = Decision(("10.0.0.7", 2), cause=SignFailure.NOT_PERMITTED)


async def settled() -> None:
    """Returns when a write of all decisions has been attempted."""
    await trio.sleep(0.1)


def lines(paper: Paper) -> list[dict[str, Any]]:
    return [json.loads(line) for line in paper.data.splitlines() if line.startswith(b"{") and line.endswith(b"}")]


def events(paper: Paper) -> list[str]:
    return [line["event"] for line in lines(paper)]


def lost(metrics: Metrics) -> float:
    found = [line for line in metrics.exposition()[0].decode().splitlines() if line.startswith("sentry_audit_dec")]
    return float(found[0].split()[1])


@asynccontextmanager
async def logging_to(
    open_sink: Callable[[], Sink],
    *,
    required: bool = False,
    metrics: Metrics | None = None,
    worker: Worker | None = None,
) -> AsyncIterator[AuditLog]:
    options = AuditLogOptions(name="audit.log", required=required, instance="here", version="1")
    log = await AuditLog.open(
        open_sink, options, metrics=metrics or Metrics(), now=lambda: NOON, in_thread=worker or Worker()
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(log.serve)
        yield log
        nursery.cancel_scope.cancel()


async def test_decisions_are_written_in_their_order(autojump_clock: MockClock) -> None:
    paper = Paper()
    async with logging_to(paper.opened) as log:
        log.record(REFUSED)
        await log.commit(ISSUED)
        log.record(REFUSED)
    assert [line.get("outcome", line["event"]) for line in lines(paper)] == [
        *("opened", "not_issued", "issued", "not_issued", "closed"),
    ]
    assert paper.is_closed
    report = verified(paper.data)
    assert report.is_intact
    assert report.is_closed
    assert lines(paper)[0]["begins"] == "anew"
    assert (lines(paper)[0]["instance"], lines(paper)[0]["version"]) == ("here", "1")


async def test_a_decision_is_written_though_no_other_follows(autojump_clock: MockClock) -> None:
    paper = Paper()
    async with logging_to(paper.opened) as log:
        log.record(REFUSED)
        await settled()
        assert events(paper) == ["opened", "decision"]


async def test_calls_do_not_wait_for_the_disk_if_it_is_not_required(autojump_clock: MockClock) -> None:
    paper, worker = Paper(), Worker()
    async with logging_to(paper.opened, worker=worker) as log:
        worker.hang()
        log.record(REFUSED)
        with trio.fail_after(1):
            await log.commit(ISSUED)
        worker.free.set()
    assert events(paper).count("decision") == 2


async def test_written_lines_are_flushed_to_disk_within_a_second(autojump_clock: MockClock) -> None:
    paper = Paper()
    async with logging_to(paper.opened) as log:
        syncs = paper.syncs
        log.record(REFUSED)
        await trio.sleep(0.5)
        assert paper.syncs == syncs
        await trio.sleep(1)
        assert paper.syncs == syncs + 1
        await trio.sleep(100)
        assert paper.syncs == syncs + 1


async def test_a_required_line_lasts_before_the_certificate_leaves_and_many_share_the_wait(
    autojump_clock: MockClock,
) -> None:
    paper, worker = Paper(), Worker()
    left: list[int] = []

    async def call(log: AuditLog) -> None:
        await log.commit(ISSUED)
        left.append(paper.syncs)

    async with logging_to(paper.opened, worker=worker, required=True) as log, trio.open_nursery() as calls:
        syncs = paper.syncs
        worker.hang()
        for _ in range(50):
            calls.start_soon(call, log)
        await settled()
        assert left == []
        worker.free.set()
    assert len(left) == 50
    assert min(left) > syncs
    # One for the first, which came when nothing was written, and one for all that came meanwhile.
    assert max(left) <= syncs + 2
    assert events(paper).count("decision") == 50


async def test_decisions_lost_to_a_full_disk_are_counted_and_recorded(autojump_clock: MockClock) -> None:
    paper, metrics = Paper(), Metrics()
    with capture_logs() as logged:
        async with logging_to(paper.opened, metrics=metrics) as log:
            log.record(REFUSED)
            await settled()
            assert events(paper).count("decision") == 1
            paper.room = 100
            for _ in range(3):
                await log.commit(ISSUED)
                log.record(REFUSED)
            await settled()
            assert lost(metrics) == 6
            paper.room = None
            log.record(REFUSED)
            await settled()
            assert events(paper).count("decision") == 2
    resumed = next(line for line in lines(paper) if line["event"] == "resumed")
    assert resumed["lost"] == {"issued": 3, "not_issued": 3}
    assert resumed["unsynced"] is None
    report = verified(paper.data)
    assert report.is_intact
    assert report.notes.count == 2
    reported = [line["event"] for line in logged if line["log_level"] != "info"]
    assert reported == [
        (
            "the audit log audit.log cannot be written: No space left on device; "
            "certificates are issued without a record meanwhile"
        ),
        "the audit log audit.log can be written again; the number of missing decisions is recorded in it",
    ]


async def test_on_a_full_disk_nothing_is_issued_where_it_is_required(autojump_clock: MockClock) -> None:
    paper, metrics = Paper(), Metrics()
    with capture_logs() as logged:
        async with logging_to(paper.opened, required=True, metrics=metrics) as log:
            paper.room = 100
            for _ in range(3):
                with pytest.raises(AuditUnavailableError):
                    await log.commit(ISSUED)
            paper.room = None
            await log.commit(ISSUED)
    assert verified(paper.data).is_intact
    assert [line["outcome"] for line in lines(paper) if line["event"] == "decision"] == ["issued"]
    assert lost(metrics) == 0
    assert "no certificates are issued meanwhile (--audit-required)" in logged[0]["event"]


async def test_lines_that_may_not_be_on_disk_are_recorded(autojump_clock: MockClock) -> None:
    paper = Paper()
    async with logging_to(paper.opened, required=True) as log:
        paper.sync_fails = True
        for _ in range(2):
            with pytest.raises(AuditUnavailableError):
                await log.commit(ISSUED)
        paper.sync_fails = False
        await log.commit(ISSUED)
    unsynced = [line["unsynced"] for line in lines(paper) if line["event"] == "resumed"]
    doubtful = [line["seq"] for line in lines(paper) if line["event"] == "decision"][:2]
    assert unsynced[-1] == doubtful
    assert verified(paper.data).notes.texts[-1].endswith(f"{doubtful} were not sent")


async def test_it_tries_again_by_itself(autojump_clock: MockClock) -> None:
    paper = Paper()
    async with logging_to(paper.opened) as log:
        paper.room = 0
        log.record(REFUSED)
        await trio.sleep(5)
        assert 4 < paper.writes < 12
        paper.room = None
        await trio.sleep(2)
        assert events(paper) == ["opened", "resumed"]


async def test_complaints_are_a_minute_apart(autojump_clock: MockClock) -> None:
    paper = Paper()
    with capture_logs() as logged:
        async with logging_to(paper.opened) as log:
            paper.room = 0
            for _ in range(130):
                log.record(REFUSED)
                await trio.sleep(1)
            paper.room = None
    assert len([line for line in logged if "cannot be written" in line["event"]]) == 3


async def test_a_problem_that_comes_and_goes_is_logged_once_a_minute(autojump_clock: MockClock) -> None:
    paper = Paper()
    with capture_logs() as logged:
        async with logging_to(paper.opened) as log:
            for _ in range(50):
                paper.room = 0
                log.record(REFUSED)
                await trio.sleep(0.5)
                paper.room = None
                log.record(REFUSED)
                await trio.sleep(0.5)
    assert [line["log_level"] for line in logged] == ["error", "warning"]
    assert sum(line["lost"]["not_issued"] for line in lines(paper) if line["event"] == "resumed") == 50
    assert verified(paper.data).is_intact


@pytest.mark.parametrize("required", [True, False])
async def test_a_queue_that_is_full_takes_no_more(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch, required: bool
) -> None:
    monkeypatch.setattr(log_module, "_MAX_QUEUED", 2000)
    paper, worker, metrics = Paper(), Worker(), Metrics()
    with capture_logs() as logged:
        async with logging_to(paper.opened, worker=worker, required=required, metrics=metrics) as log:
            worker.hang()
            log.record(REFUSED)
            await settled()  # it is being written
            for _ in range(20):
                log.record(REFUSED)
            if required:
                with pytest.raises(AuditUnavailableError):
                    await log.commit(ISSUED)
            worker.free.set()
    written = events(paper).count("decision")
    assert 1 < written < 10
    assert lost(metrics) == 21 - written
    assert sum(line["lost"]["not_issued"] for line in lines(paper) if line["event"] == "resumed") == 21 - written
    assert "cannot be written: decisions are made faster than they can be written" in logged[0]["event"]


async def test_a_caller_that_disconnects_before_its_line_is_written_leaves_none(autojump_clock: MockClock) -> None:
    paper, worker = Paper(), Worker()
    async with logging_to(paper.opened, worker=worker, required=True) as log:
        worker.hang()
        log.record(REFUSED)
        await settled()
        async with trio.open_nursery() as calls:
            calls.start_soon(log.commit, ISSUED)
            await settled()
            calls.cancel_scope.cancel()
        worker.free.set()
    assert [line["outcome"] for line in lines(paper) if line["event"] == "decision"] == ["not_issued"]


async def test_calls_that_were_shed_are_recorded_once_a_second(autojump_clock: MockClock) -> None:
    paper = Paper()
    async with logging_to(paper.opened) as log:
        for _ in range(3):
            for _ in range(100):
                log.shed("queue_full")
                log.shed("in_vain")
            await trio.sleep(2)
    shed = [line["calls"] for line in lines(paper) if line["event"] == "shed"]
    assert len(shed) == 3
    assert {name: sum(calls[name] for calls in shed) for name in shed[0]} == {"queue_full": 300, "in_vain": 300}
    assert verified(paper.data).is_intact


# --- its beginning and its end


async def test_the_chain_continues_after_the_last_line_of_the_file(autojump_clock: MockClock) -> None:
    paper = Paper(end=ChainEnd(ChainPosition(7, "ab" * 32)))
    async with logging_to(paper.opened):
        pass
    first = lines(paper)[0]
    assert (first["begins"], first["seq"], first["prev"]) == ("continued", 8, "ab" * 32)


async def test_an_altered_log_is_reported_and_not_continued(autojump_clock: MockClock) -> None:
    paper = Paper(end=ChainEnd(is_damaged=True))
    with capture_logs() as logged:
        async with logging_to(paper.opened):
            pass
    assert lines(paper)[0]["begins"] == "after_damage"
    assert [line["log_level"] for line in logged] == ["error"]
    assert "find out what changed it" in logged[0]["event"]


def cannot_open() -> Sink:
    raise AuditLogError("/audit.log: Permission denied")


async def test_a_cancelled_start_closes_its_files(autojump_clock: MockClock) -> None:
    """Not half way, though: the first line is written, and the last."""
    paper, worker = Paper(), Worker()
    worker.hang()
    async with trio.open_nursery() as nursery:

        async def start() -> None:
            async with logging_to(paper.opened, worker=worker):
                await trio.sleep_forever()

        nursery.start_soon(start)
        await settled()
        nursery.cancel_scope.cancel()
        worker.free.set()
    assert events(paper) == ["opened", "closed"]
    assert paper.is_closed


async def test_a_medium_that_hangs_keeps_it_from_starting(autojump_clock: MockClock) -> None:
    paper, worker = Paper(), Worker()
    worker.hang()
    with pytest.raises(AuditLogError, match=r"^the audit log audit.log could not be opened within 30 s$"):
        async with logging_to(paper.opened, worker=worker):
            pass
    assert trio.current_time() == 30


async def test_it_has_to_be_opened(autojump_clock: MockClock) -> None:
    with pytest.raises(AuditLogError, match=r"^the audit log cannot be opened: /audit.log: Permission denied$"):
        async with logging_to(cannot_open):
            pass


async def test_a_required_log_fails_to_start_if_its_first_line_cannot_be_written(autojump_clock: MockClock) -> None:
    paper = Paper(room=0)
    with pytest.raises(
        AuditLogError, match=r"^the audit log audit.log cannot be written, but --audit-required is set$"
    ):
        async with logging_to(paper.opened, required=True):
            pass
    assert paper.is_closed


@pytest.mark.parametrize("room", [0, 10])
async def test_else_it_begins_as_soon_as_it_can(autojump_clock: MockClock, room: int) -> None:
    paper, metrics = Paper(room=room), Metrics()
    async with logging_to(paper.opened, metrics=metrics) as log:
        log.record(REFUSED)
        await settled()
        assert lost(metrics) == 1
        paper.room = None
        log.record(REFUSED)
    report = verified(paper.data)
    assert report.is_intact
    assert report.lines == 4
    assert [event for event in events(paper) if event != "opened"] == ["resumed", "decision", "closed"]


async def test_all_that_waits_is_written_at_the_end(autojump_clock: MockClock) -> None:
    paper, worker = Paper(), Worker()
    async with logging_to(paper.opened, worker=worker) as log:
        worker.hang()
        for _ in range(2000):
            log.record(REFUSED)
        await settled()
        worker.free.set()
    assert events(paper).count("decision") == 2000
    assert paper.writes > 2  # not all in one piece
    assert events(paper)[-1] == "closed"


async def test_a_medium_that_hangs_holds_up_the_end_for_five_seconds(autojump_clock: MockClock) -> None:
    paper, worker = Paper(), Worker()
    with capture_logs() as logged:
        async with logging_to(paper.opened, worker=worker) as log:
            worker.hang()
            log.record(REFUSED)
            await settled()
            asked_at = trio.current_time()
    assert trio.current_time() - asked_at == pytest.approx(5, abs=1)
    worker.free.set()
    assert [line["event"] for line in logged] == [
        "the audit log audit.log could not be closed within 5 s: its last lines may be missing"
    ]


# --- another file


class Papers:
    """Sinks that are opened one after the other."""

    def __init__(self, *rest: Sink | AuditLogError) -> None:
        self.first = Paper()
        self._rest = [self.first.opened(), *rest]

    def open(self) -> Sink:
        found = self._rest.pop(0)
        if isinstance(found, AuditLogError):
            raise found
        return found


async def test_it_follows_to_a_new_file(autojump_clock: MockClock) -> None:
    second = Paper()
    papers = Papers(second.opened())
    async with logging_to(papers.open) as log:
        log.follow()
        log.record(REFUSED)
        await settled()
        assert events(papers.first) == ["opened", "decision"]
        papers.first.has_moved = True
        log.follow()
        await settled()
        assert events(second) == ["opened"]
        log.record(REFUSED)
    assert papers.first.is_closed
    assert [events(papers.first)[-1], lines(papers.first)[-1]["reason"]] == ["closed", "moved"]
    assert lines(second)[0]["begins"] == "moved"
    assert events(second) == ["opened", "decision", "closed"]
    for data in (papers.first.data, second.data, papers.first.data + second.data):
        assert verified(data).is_intact


async def test_decisions_that_could_not_be_written_are_counted_in_the_new_file(autojump_clock: MockClock) -> None:
    second, metrics = Paper(), Metrics()
    papers = Papers(second.opened())
    async with logging_to(papers.open, metrics=metrics) as log:
        papers.first.room = 50
        log.record(REFUSED)
        await settled()
        assert lost(metrics) == 1
        papers.first.has_moved = True
        log.follow()
        await settled()
        assert events(second)[:2] == ["opened", "resumed"]
    assert verified(second.data).is_intact


@pytest.mark.parametrize(
    ("new", "text"),
    [
        (
            AuditLogError("audit.log: Permission denied"),
            "a new file cannot be opened: audit.log: Permission denied; writing continues in the moved file",
        ),
        (
            Paper(end=ChainEnd(ChainPosition(3, "ab" * 32))),
            "the new file is not empty; writing continues in the moved file",
        ),
    ],
    ids=["not opened", "not empty"],
)
async def test_without_a_new_file_writing_continues_in_the_moved_one(
    autojump_clock: MockClock, new: Sink | AuditLogError, text: str
) -> None:
    papers = Papers(new)
    with capture_logs() as logged:
        async with logging_to(papers.open) as log:
            papers.first.has_moved = True
            log.follow()
            await settled()
            assert logged
            log.record(REFUSED)
    assert logged[0]["event"].endswith(text)
    assert events(papers.first) == ["opened", "decision", "closed"]
    if isinstance(new, Paper):
        assert new.is_closed
        assert new.data == b""


async def test_a_log_outlives_a_block(autojump_clock: MockClock) -> None:
    paper = Paper()
    options = AuditLogOptions(name="audit.log", required=False, instance="here", version="1")
    log = await AuditLog.open(paper.opened, options, metrics=Metrics(), now=lambda: NOON, in_thread=Worker())
    async with trio.open_nursery() as nursery:
        assert await nursery.start(partial(log.serve)) is log
        nursery.cancel_scope.cancel()
    assert events(paper) == ["opened", "closed"]


@pytest.mark.parametrize("name", ["stdout", "-"])
async def test_standard_output_has_two_names(
    name: str, capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    log = await open_log(name, required=False, environ={"HOSTNAME": "here"}, metrics=Metrics(), now=lambda: NOON)
    async with trio.open_nursery() as nursery:
        await nursery.start(log.serve)
        nursery.cancel_scope.cancel()
    written = capfd.readouterr().out.encode()
    assert verified(written).is_closed
    assert list(tmp_path.iterdir()) == []
