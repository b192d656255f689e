"""Listing and watching, in virtual time."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from sentry_trio.conditions import Conditions
from sentry_trio.errors import ApiUnavailableError
from sentry_trio.kube.pods import Pod, pod_resource
from sentry_trio.kube.reflector import LONGEST_PAUSE, Reflector
from testkit.kube.objects import PODS as PATH
from testkit.kube.objects import Failure, Objects, away, busy, expired, forbidden, pod
from testkit.log_capture import capture_logs


@pytest.fixture
def objects() -> Objects:
    return Objects()


def reflector_of(objects: Objects, *, page: int = 500) -> tuple[Reflector[Pod], list[str]]:
    deleted: list[str] = []
    kind = pod_resource()
    return Reflector(objects, kind, deleted=lambda pod: deleted.append(pod.uid), page=page), deleted


@asynccontextmanager
async def kept(reflector: Reflector[Pod]) -> AsyncIterator[None]:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reflector.keep)
        await reflector.wait_ready()
        await wait_all_tasks_blocked()
        yield
        nursery.cancel_scope.cancel()


def names(reflector: Reflector[Pod]) -> list[str]:
    return sorted(f"{each.namespace}/{each.name}" for each in reflector)


async def test_everything_is_listed_and_followed(autojump_clock: MockClock, objects: Objects) -> None:
    objects.put(pod("a"))
    objects.put(pod("b", namespace="other"))
    reflector, deleted = reflector_of(objects)
    async with kept(reflector):
        assert names(reflector) == ["default/a", "other/b"]
        objects.put(pod("c"))
        objects.put(pod("a", app_id="changed"))
        objects.delete("other", "b")
        await wait_all_tasks_blocked()
        assert names(reflector) == ["default/a", "default/c"]
        assert len(reflector) == 2
        found = reflector.get("default", "a")
        assert found is not None
        assert found.annotations == {"dapr.io/app-id": "changed"}
        assert reflector.get("other", "b") is None
        assert deleted == ["b"]
    assert len(objects.asked()) == 1


@pytest.mark.parametrize(("number", "pages"), [(0, 1), (3, 1), (4, 2), (7, 3), (250, 84)])
async def test_lists_come_in_pages(autojump_clock: MockClock, objects: Objects, number: int, pages: int) -> None:
    for each in range(number):
        objects.put(pod(f"pod-{each}"))
    reflector, _ = reflector_of(objects, page=3)
    async with kept(reflector):
        assert len(reflector) == number
    assert len(objects.asked()) == pages


async def test_a_watch_continues_after_the_last_event(autojump_clock: MockClock, objects: Objects) -> None:
    reflector, _ = reflector_of(objects)
    async with kept(reflector):
        objects.put(pod("a"))
        objects.bookmark()
        await wait_all_tasks_blocked()
        for failure in (None, ApiUnavailableError("cut")):
            objects.end_watches(failure)
            await trio.sleep(2)
            assert objects.watches == 1
        objects.put(pod("b"))
        await wait_all_tasks_blocked()
        assert names(reflector) == ["default/a", "default/b"]
    assert len(objects.asked()) == 1
    versions = [query["resourceVersion"] for _, _, query in objects.requests[1:]]
    assert versions == ["100", "102", "102"]
    assert all(query["allowWatchBookmarks"] == "true" for _, _, query in objects.requests[1:])
    assert all(200 <= int(query["timeoutSeconds"]) < 290 for _, _, query in objects.requests[1:])


@pytest.mark.parametrize("by", ["answer", "event"])
async def test_an_expired_history_is_listed_again(autojump_clock: MockClock, objects: Objects, by: str) -> None:
    objects.put(pod("kept"))
    objects.put(pod("gone"))
    objects.put(pod("replaced", uid="first"))
    reflector, deleted = reflector_of(objects)
    async with kept(reflector):
        objects.delete("default", "gone", quietly=True)
        objects.put(pod("new"), quietly=True)
        objects.put(pod("replaced", uid="second"), quietly=True)
        if by == "answer":
            objects.failures.append(expired)
            objects.end_watches()
        else:
            objects.end_watches(expired())
        await trio.sleep(3)
        assert names(reflector) == ["default/kept", "default/new", "default/replaced"]
        assert sorted(deleted) == ["first", "gone"]
        assert objects.watches == 1
    assert len(objects.asked()) == 2


async def test_a_pod_of_the_same_name_replaces_another(autojump_clock: MockClock, objects: Objects) -> None:
    objects.put(pod("a", uid="first"))
    reflector, deleted = reflector_of(objects)
    async with kept(reflector):
        objects.put(pod("a", uid="second"))
        await wait_all_tasks_blocked()
        assert [each.uid for each in reflector] == ["second"]
        assert deleted == ["first"]


@pytest.mark.parametrize("failure", [away, forbidden, expired, busy])
async def test_lists_are_tried_until_one_succeeds(
    autojump_clock: MockClock, objects: Objects, failure: Failure
) -> None:
    objects.failures = [failure] * 12
    reflector, _ = reflector_of(objects)
    async with kept(reflector):
        assert reflector.ready
    times = objects.asked()
    pauses = [later - earlier for earlier, later in pairwise(times)]
    assert len(pauses) == 12
    assert all(pause <= LONGEST_PAUSE for pause in pauses)
    assert all(pause >= LONGEST_PAUSE / 2 for pause in pauses[7:])
    # Never in step with others that failed at the same moment.
    assert len(set(pauses)) == len(pauses) or failure is busy
    assert pauses[0] >= (20 if failure is busy else 0.25)
    assert failure is busy or pauses[0] <= 0.5


async def test_objects_stay_known_while_the_server_is_unreachable(autojump_clock: MockClock, objects: Objects) -> None:
    objects.put(pod("a"))
    reflector, _ = reflector_of(objects)
    async with kept(reflector):
        objects.failures = [away] * 10
        objects.end_watches(away())
        await trio.sleep(60)
        assert objects.watches == 0
        assert names(reflector) == ["default/a"]
        await trio.sleep(600)
        assert objects.watches == 1
        assert len(objects.asked()) == 1


async def test_pauses_begin_anew_after_a_steady_watch(autojump_clock: MockClock, objects: Objects) -> None:
    reflector, _ = reflector_of(objects)
    async with kept(reflector):
        objects.failures = [away] * 8
        objects.end_watches()
        await trio.sleep(300)
        assert objects.watches == 1
        before = trio.current_time()
        objects.end_watches()
        await trio.sleep(1)
        assert objects.asked(watch=True)[-1] - before <= 0.5


async def test_a_watch_that_ends_at_once_is_not_begun_without_end(autojump_clock: MockClock, objects: Objects) -> None:
    reflector, _ = reflector_of(objects)
    async with kept(reflector):
        for _ in range(100):
            objects.end_watches()
            await trio.sleep(1)
    assert len(objects.asked(watch=True)) < 15


async def test_unreadable_objects_are_left_out(autojump_clock: MockClock, objects: Objects) -> None:
    objects.put(pod("a"))
    odd = pod("odd")
    odd["spec"]["serviceAccountName"] = 7
    objects.put(odd)
    reflector, _ = reflector_of(objects)
    async with kept(reflector):
        assert names(reflector) == ["default/a"]
        objects.raw_event("ADDED", b'{"metadata":{"resourceVersion":"900"}}')
        await wait_all_tasks_blocked()
        objects.end_watches()
        await trio.sleep(1)
        assert objects.requests[-1][2]["resourceVersion"] == "900"
        objects.raw_event("ADDED", b'{"metadata":{}}')
        await trio.sleep(2)
        assert names(reflector) == ["default/a"]
        assert objects.watches == 1 + 1  # the first of them was given up by its reader


async def test_the_log_names_objects_that_cannot_be_read(autojump_clock: MockClock, objects: Objects) -> None:
    odd = pod("odd", namespace="shop")
    odd["spec"]["serviceAccountName"] = 7
    objects.put(odd)
    reflector, _ = reflector_of(objects)
    with capture_logs() as lines:
        async with kept(reflector):
            objects.raw_event("ADDED", b'{"metadata":{"resourceVersion":"900"}}')
            await wait_all_tasks_blocked()
    events = [str(line["event"]) for line in lines if line["log_level"] == "warning"]
    assert events[0].startswith("ignoring shop/odd of /api/v1/pods, which cannot be read: ")
    assert events[1].startswith("ignoring one of /api/v1/pods, which cannot be read: ")


@pytest.mark.parametrize("failure", [forbidden, busy])
async def test_a_collection_that_cannot_be_followed_is_a_condition(
    autojump_clock: MockClock, objects: Objects, failure: Failure
) -> None:
    conditions = Conditions()
    reflector = Reflector(objects, pod_resource(), condition=conditions.condition("pods"))
    async with kept(reflector):
        objects.failures = [failure] * 14
        objects.end_watches(failure())
        await trio.sleep(100)
        (text,) = conditions.active.values()
        assert text == f"cannot watch {PATH}, retrying: {failure()}"
        await trio.sleep(600)
        assert dict(conditions.active) == {}


async def test_an_answer_that_is_no_list_may_pass(autojump_clock: MockClock, objects: Objects) -> None:
    class Odd(Objects):
        async def get_raw(self, path: str, query: object = None) -> bytes:
            await trio.lowlevel.checkpoint()
            return b'{"kind":"Odd"}'

    reflector, _ = reflector_of(Odd())
    with trio.move_on_after(100):
        await reflector.keep()
    assert not reflector.ready


async def test_the_path_is_that_of_all_namespaces(autojump_clock: MockClock, objects: Objects) -> None:
    reflector, _ = reflector_of(objects)
    async with kept(reflector):
        pass
    assert {path for _, path, _ in objects.requests} == {PATH}
