"""Events split from a stream, and the loop of a watch in virtual time."""

import json
from contextlib import AbstractContextManager
from itertools import pairwise

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from sentry_trio.backoff import Backoff
from sentry_trio.conditions import Conditions
from sentry_trio.errors import ApiRejectedError, ApiUnavailableError
from sentry_trio.kube import watch_stream
from sentry_trio.kube.watch_stream import STEADY, EventLines, WatchLoop
from testkit.log_capture import capture_logs


@given(st.lists(st.text()), st.lists(st.integers(0, 200)))
def test_events_may_arrive_in_any_pieces(texts: list[str], cuts: list[int]) -> None:
    stream = b"".join(json.dumps({"type": "ADDED", "object": {"text": text}}).encode() + b"\n" for text in texts)
    places = sorted({0, len(stream), *(cut % (len(stream) + 1) for cut in cuts)})
    lines = EventLines()
    events = [event for begin, end in pairwise(places) for event in lines.feed(stream[begin:end])]
    assert [json.loads(bytes(event.object))["text"] for event in events] == texts


def test_a_part_of_an_event_is_none() -> None:
    lines = EventLines()
    assert lines.feed(b'{"type":"ADDED","object":{}}') == []
    (event,) = lines.feed(b"\n\n")
    assert event.type == "ADDED"


@pytest.mark.parametrize("line", [b"<html>", b"{}", b"[]", b'{"type":1,"object":{}}'])
def test_invalid_events(line: bytes) -> None:
    with pytest.raises(ApiUnavailableError, match="cannot parse an event of a watch"):
        EventLines().feed(line + b"\n")


def test_events_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch_stream, "LONGEST_EVENT", 100)
    lines = EventLines()
    assert lines.feed(b" " * 100) == []
    with pytest.raises(ApiUnavailableError, match="more than 100 bytes"):
        lines.feed(b" ")


# --- reports of a loop

CUT = ApiUnavailableError("cut")
FORBIDDEN = ApiRejectedError("403", status=403, reason="Forbidden")


async def test_a_series_ends_with_a_watch_that_lasts(autojump_clock: MockClock) -> None:
    conditions = Conditions()

    def stands(loop: WatchLoop) -> AbstractContextManager[None]:
        return loop.established()

    with capture_logs() as lines:
        async with trio.open_nursery() as nursery:
            loop = WatchLoop("cannot", "can again", nursery, backoff=Backoff(), condition=conditions.condition("pods"))
            for _ in range(5):
                with stands(loop):
                    await trio.sleep(STEADY / 2)
                loop.failed(CUT)
            assert dict(conditions.active) == {"pods": "cannot: cut"}
            with stands(loop):
                await trio.sleep(STEADY + 1)
            assert dict(conditions.active) == {}
            for _ in range(2):
                loop.failed(CUT)
            assert dict(conditions.active) == {}
    assert [line["event"] for line in lines if line["log_level"] != "debug"] == ["cannot: cut", "can again"]


async def test_a_refusal_is_reported_at_once(autojump_clock: MockClock) -> None:
    conditions = Conditions()
    with capture_logs() as lines:
        async with trio.open_nursery() as nursery:
            loop = WatchLoop("cannot", "can again", nursery, backoff=Backoff(), condition=conditions.condition("pods"))
            for _ in range(3):
                loop.failed(FORBIDDEN)
    assert dict(conditions.active) == {"pods": "cannot: 403"}
    assert [line["log_level"] for line in lines] == ["warning", "debug", "debug"]
