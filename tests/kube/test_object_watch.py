"""Log lines of failing watches of single objects."""

import trio
from trio.testing import MockClock

from sentry_trio.errors import ApiUnavailableError, ApiUnreachableError
from sentry_trio.kube.object_watch import WatchedObject, watch_objects
from testkit.kube.fakes import SECRET, FakeApi, Fault, installed
from testkit.log_capture import capture_logs

FOLLOWED = WatchedObject(SECRET.rpartition("/")[0], "dapr-trust-bundle")
TOO_LARGE = "504 Timeout: Too large resource version"


async def follow_for(api: FakeApi, seconds: float) -> list[tuple[str, str]]:
    async def look() -> str:
        await trio.lowlevel.checkpoint()
        return "the same"

    async def changed() -> None:
        raise AssertionError("nothing changes")

    with capture_logs() as lines, trio.move_on_after(seconds):
        await watch_objects(api, [FOLLOWED], look=look, known="the same", changed=changed)
    return [(str(line["log_level"]), str(line["event"])) for line in lines if line["log_level"] != "debug"]


async def test_a_watch_begins_at_version_0(autojump_clock: MockClock) -> None:
    api = installed()
    await follow_for(api, 1)
    assert api.versions == ["0"]


async def test_a_watch_that_is_cut_again_and_again_is_one_warning(autojump_clock: MockClock) -> None:
    api = installed()
    api.faults.append(Fault("watch", "secrets", ApiUnavailableError(TOO_LARGE), left=20))
    lines = await follow_for(api, 300)
    assert lines == [
        ("warning", f"the watch of {SECRET} keeps failing, changes are noticed with a delay: {TOO_LARGE}"),
        ("info", f"watching {SECRET} again"),
    ]


async def test_single_cuts_are_ordinary(autojump_clock: MockClock) -> None:
    api = installed()
    with capture_logs() as lines:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(follow_for, api, 200)
            for _ in range(9):
                await trio.sleep(20)
                api.cut()
    assert {line["log_level"] for line in lines} <= {"debug"}


async def test_an_outage_is_the_session_s_to_report(autojump_clock: MockClock) -> None:
    api = installed()
    api.faults.append(Fault("watch", "secrets", ApiUnreachableError("no connection"), left=20))
    assert await follow_for(api, 300) == []
