"""Events, on an API server in memory, in virtual time."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from sentry_trio.event_reasons import EventReason
from sentry_trio.kube.events import WAITING, EventRecorder
from testkit.kube.fakes import NAMESPACE, FakeApi, Fault, refused, unavailable
from testkit.log_capture import capture_logs

BUNDLE = "dapr-trust-bundle"
START = datetime(2026, 11, 22, 19, 41, 15, tzinfo=UTC)


def wall_clock() -> datetime:
    return START + timedelta(seconds=trio.current_time())


def recorder_of(api: FakeApi) -> EventRecorder:
    return EventRecorder(api, NAMESPACE, BUNDLE, instance="dapr-sentry-0", now=wall_clock)


@asynccontextmanager
async def recording(api: FakeApi) -> AsyncIterator[EventRecorder]:
    recorder = recorder_of(api)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(recorder.keep)
        yield recorder
        nursery.cancel_scope.cancel()


def events(api: FakeApi) -> list[dict[str, Any]]:
    return list(api.objects.values())


def reported(api: FakeApi) -> list[tuple[str, int]]:
    return [(event["message"], event["count"]) for event in events(api)]


async def test_an_event_as_operators_see_it(autojump_clock: MockClock) -> None:
    api = FakeApi()
    async with recording(api) as recorder:
        recorder.record(EventReason.GENERATED, "a new certificate authority")
        await trio.sleep(1)
    (event,) = events(api)
    assert event["metadata"].pop("name").startswith("dapr-trust-bundle.")
    assert event["metadata"].pop("resourceVersion")
    assert event == {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"namespace": NAMESPACE},
        "involvedObject": {
            "apiVersion": "v1",
            "kind": "Secret",
            "namespace": NAMESPACE,
            "name": "dapr-trust-bundle",
        },
        "type": "Normal",
        "reason": "CertificateAuthorityGenerated",
        "message": "a new certificate authority",
        "count": 1,
        "firstTimestamp": "2026-11-22T19:41:15Z",
        "lastTimestamp": "2026-11-22T19:41:15Z",
        "source": {"component": "dapr-sentry", "host": "dapr-sentry-0"},
        "reportingComponent": "dapr-sentry",
        "reportingInstance": "dapr-sentry-0",
    }


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        (EventReason.GENERATED, "Normal"),
        (EventReason.REPLACED, "Normal"),
        (EventReason.RELOAD_FAILED, "Warning"),
        (EventReason.EXPIRY_NEAR, "Warning"),
        (EventReason.RENEWAL_BEGUN, "Normal"),
        (EventReason.ISSUER_SWITCHED, "Normal"),
        (EventReason.OLD_KEY_ERASED, "Normal"),
        (EventReason.ROOT_KEY_ERASED, "Warning"),
        (EventReason.BRIDGE_ENDED, "Normal"),
        (EventReason.RENEWAL_HELD, "Warning"),
        (EventReason.TRUST_CUT_REFUSED, "Warning"),
        (EventReason.TRUST_CUT, "Warning"),
        (EventReason.SIDECARS_NEED_RESTART, "Warning"),
        (EventReason.INJECTOR_STALE, "Warning"),
    ],
)
def test_reasons_have_the_type_normal_or_warning(reason: EventReason, kind: str) -> None:
    assert reason.type == kind


async def test_repeated_ones_are_counted(autojump_clock: MockClock) -> None:
    api = FakeApi()
    async with recording(api) as recorder:
        for number in range(10):
            recorder.record(EventReason.RELOAD_FAILED, f"failure {number}")
            await trio.sleep(1)
        assert reported(api) == [(f"failure {number}", 1) for number in range(5)]
        recorder.record(EventReason.EXPIRY_NEAR, "another reason has room of its own")
        await trio.sleep(1)
        assert len(events(api)) == 6
        await trio.sleep_until(61)
        assert reported(api)[6:] == [("failure 9", 5)]
        assert events(api)[-1]["firstTimestamp"] == "2026-11-22T19:41:20Z"
        assert events(api)[-1]["lastTimestamp"] == "2026-11-22T19:41:24Z"
        recorder.record(EventReason.RELOAD_FAILED, "once more")
        await trio.sleep_until(119)
        assert len(events(api)) == 7
        await trio.sleep_until(121)
        assert reported(api)[7:] == [("once more", 1)]
        await trio.sleep(3600)
        assert len(events(api)) == 8


async def test_a_flood_costs_one_event_a_minute(autojump_clock: MockClock) -> None:
    api = FakeApi()
    async with recording(api) as recorder:
        for number in range(3600):
            recorder.record(EventReason.RELOAD_FAILED, str(number))
            await trio.sleep(1)
        await trio.sleep(61)
    assert 60 <= len(events(api)) <= 66
    assert sum(event["count"] for event in events(api)) == 3600
    assert reported(api)[-1][0] == "3599"


async def test_recording_never_waits(autojump_clock: MockClock) -> None:
    api = FakeApi()
    recorder = recorder_of(api)
    for number in range(WAITING + 10):
        recorder.record(EventReason.RELOAD_FAILED, str(number))
    with trio.move_on_after(3600):
        await recorder.keep()
    assert sum(event["count"] for event in events(api)) == WAITING


async def test_events_that_cannot_be_sent_in_time_are_dropped(autojump_clock: MockClock) -> None:
    api = FakeApi()
    async with recording(api) as recorder:
        api.down = True
        recorder.record(EventReason.RELOAD_FAILED, "lost")
        await trio.sleep(15)
        api.down = False
        recorder.record(EventReason.RELOAD_FAILED, "sent")
        await trio.sleep(1)
    assert reported(api) == [("sent", 1)]


@pytest.mark.parametrize("after", [True, False], ids=["done", "not done"])
async def test_an_answer_that_was_lost_makes_no_second_event(autojump_clock: MockClock, after: bool) -> None:
    api = FakeApi()
    api.faults.append(Fault("create", "events", unavailable(), after=after))
    with capture_logs() as lines:
        async with recording(api) as recorder:
            recorder.record(EventReason.GENERATED, "once")
            await trio.sleep(15)
    assert reported(api) == [("once", 1)]
    assert lines == []


async def test_a_missing_permission_is_one_warning(autojump_clock: MockClock) -> None:
    api = FakeApi()
    api.faults.append(Fault("create", "events", refused(403, "Forbidden"), left=3))
    with capture_logs() as lines:
        async with recording(api) as recorder:
            for number in range(4):
                recorder.record(EventReason.RELOAD_FAILED, str(number))
                await trio.sleep(1)
    assert reported(api) == [("3", 1)]
    warnings = [line["event"] for line in lines if line["log_level"] == "warning"]
    assert warnings == ["the API server rejects Events, they are in this log only: 403 Forbidden"]


@pytest.mark.parametrize(
    ("message", "sent"),
    [
        ("a\nb\r\n c", "a b c"),
        ("x" * 2000, "x" * 1024),
        ("key -----BEGIN PRIVATE KEY-----\nMC4CAQ\n-----END PRIVATE KEY-----", "key (left out)"),
        ("token eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ4In0.c2ln is bad", "token (left out) is bad"),
        ("the issuer expires in 3 days", "the issuer expires in 3 days"),
    ],
)
async def test_messages_are_one_line_without_secrets(autojump_clock: MockClock, message: str, sent: str) -> None:
    api = FakeApi()
    async with recording(api) as recorder:
        recorder.record(EventReason.RELOAD_FAILED, message)
        await trio.sleep(1)
    assert reported(api) == [(sent, 1)]
