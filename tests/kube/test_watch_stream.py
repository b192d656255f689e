"""Events cut from a stream."""

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentry_trio.errors import ApiUnavailableError
from sentry_trio.kube import watch_stream
from sentry_trio.kube.watch_stream import EventLines


@given(st.lists(st.text()), st.lists(st.integers(0, 200)))
def test_it_does_not_matter_how_events_arrive(texts: list[str], cuts: list[int]) -> None:
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
def test_what_is_no_event(line: bytes) -> None:
    with pytest.raises(ApiUnavailableError, match="a watch sent what is no event"):
        EventLines().feed(line + b"\n")


def test_events_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch_stream, "LONGEST_EVENT", 100)
    lines = EventLines()
    assert lines.feed(b" " * 100) == []
    with pytest.raises(ApiUnavailableError, match="more than 100 bytes"):
        lines.feed(b" ")
