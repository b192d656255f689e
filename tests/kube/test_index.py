"""The index: what is in it, and what it asks for."""

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from sentry_trio.errors import ApiUnavailableError
from sentry_trio.kube import index as index_module
from sentry_trio.kube.index import REMEMBERED, Index
from testkit.kube.objects import CONFIGURATIONS, Failure, Objects, away, forbidden, pod

ONE = "/api/v1/namespaces/default/pods"


@pytest.fixture
def objects() -> Objects:
    return Objects()


@pytest.fixture
async def index(objects: Objects, nursery: trio.Nursery) -> Index:
    """An index that is kept."""
    objects.put(pod("known"))
    made = Index(objects)
    nursery.start_soon(made.keep)
    await made.wait_ready()
    await wait_all_tasks_blocked()
    objects.requests.clear()
    return made


def asked(objects: Objects) -> list[str]:
    return [path for _, path, _ in objects.requests]


async def test_known_pods_cause_no_request(autojump_clock: MockClock, index: Index, objects: Objects) -> None:
    for uid in (None, "known"):
        found = await index.pod("default", "known", uid=uid)
        assert found is not None
        assert (found.name, found.service_account) == ("known", "account")
    assert asked(objects) == []


async def test_it_is_ready_when_both_kinds_are_listed(autojump_clock: MockClock, objects: Objects) -> None:
    objects.delay = 5
    index = Index(objects)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(index.keep)
        await trio.sleep(4)
        ready = [index.ready]
        await index.wait_ready()
        assert [*ready, index.ready] == [False, True]
        assert trio.current_time() == pytest.approx(5)
        nursery.cancel_scope.cancel()


async def test_sidecars_are_counted(autojump_clock: MockClock, index: Index, objects: Objects) -> None:
    assert index.sidecars == 0
    ordinary, shouted, other = pod("ordinary", enabled="true"), pod("shouted", enabled="YES"), pod("other", enabled="0")
    for each in (ordinary, shouted, other, pod("none", app_id="none")):
        objects.put(each)
    await wait_all_tasks_blocked()
    assert index.sidecars == 2


async def test_unknown_objects_are_looked_up(autojump_clock: MockClock, index: Index, objects: Objects) -> None:
    objects.put(pod("new"), quietly=True)
    found = await index.pod("default", "new")
    assert found is not None
    assert found.uid == "new"
    assert await index.pod("default", "none") is None
    assert asked(objects) == [f"{ONE}/new", f"{ONE}/none"]


async def test_another_pod_of_the_same_name_is_asked_for(
    autojump_clock: MockClock, index: Index, objects: Objects
) -> None:
    objects.put(pod("known", uid="second"), quietly=True)
    found = await index.pod("default", "known", uid="second")
    assert found is not None
    assert found.uid == "second"
    assert asked(objects) == [f"{ONE}/known"]


async def test_a_uid_that_is_gone_is_asked_for_once(autojump_clock: MockClock, index: Index, objects: Objects) -> None:
    for _ in range(3):
        assert await index.pod("default", "known", uid="of-an-earlier-pod") is None
        assert await index.pod("default", "nobody", uid="of-nobody") is None
    assert asked(objects) == [f"{ONE}/known", f"{ONE}/nobody"]


async def test_a_pod_that_was_deleted_is_not_asked_for(
    autojump_clock: MockClock, index: Index, objects: Objects
) -> None:
    objects.delete("default", "known")
    await wait_all_tasks_blocked()
    assert await index.pod("default", "known", uid="known") is None
    assert asked(objects) == []


async def test_not_all_that_is_gone_is_remembered(autojump_clock: MockClock, objects: Objects) -> None:
    index = Index(objects)
    for number in range(REMEMBERED + 1):
        index._remember(str(number))
    assert await index.pod("default", "any", uid="1") is None
    assert asked(objects) == []
    assert await index.pod("default", "any", uid="0") is None
    assert len(asked(objects)) == 1


@pytest.mark.parametrize("name", ["", "..", "a/b", "A", "a" * 254, "a%2fb", "secrets/../../x"])
async def test_invalid_names_are_not_paths(
    autojump_clock: MockClock, index: Index, objects: Objects, name: str
) -> None:
    assert await index.pod("default", name) is None
    assert await index.pod(name, "known") is None
    assert await index.configuration("default", name) is None
    assert asked(objects) == []


@pytest.mark.parametrize("failure", [away, forbidden])
async def test_a_failed_lookup_is_unavailable_and_not_a_rejection(
    autojump_clock: MockClock, index: Index, objects: Objects, failure: Failure
) -> None:
    objects.failures.append(failure)
    with pytest.raises(ApiUnavailableError, match="GET /api/v1/pods: "):
        await index.pod("default", "new", uid="new")
    objects.put(pod("new"), quietly=True)
    assert await index.pod("default", "new", uid="new") is not None


async def test_an_answer_that_is_no_pod_is_not_taken_for_one(autojump_clock: MockClock) -> None:
    class Odd(Objects):
        async def get_raw(self, path: str, query: object = None) -> bytes:
            await trio.lowlevel.checkpoint()
            return b"{}"

    with pytest.raises(ApiUnavailableError, match="unexpected response"):
        await Index(Odd()).pod("default", "new")


async def test_simultaneous_callers_share_an_answer(autojump_clock: MockClock, index: Index, objects: Objects) -> None:
    objects.put(pod("new"), quietly=True)
    objects.delay = 1
    found = []

    async def ask() -> None:
        found.append(await index.pod("default", "new"))

    async with trio.open_nursery() as nursery:
        for _ in range(50):
            nursery.start_soon(ask)
    assert [each is not None for each in found] == [True] * 50
    assert asked(objects) == [f"{ONE}/new"]


async def test_few_are_asked_for_at_once(autojump_clock: MockClock, index: Index, objects: Objects) -> None:
    objects.delay = 1
    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        for number in range(3 * index_module.CONCURRENCY):
            nursery.start_soon(index.pod, "default", f"new-{number}")
    assert trio.current_time() - began == pytest.approx(3)


async def test_not_more_are_asked_for_than_is_fair(autojump_clock: MockClock, index: Index, objects: Objects) -> None:
    for number in range(index_module.PER_MINUTE):
        await index.pod("default", f"new-{number}")
    with pytest.raises(ApiUnavailableError, match=f"not requested: {index_module.PER_MINUTE} objects"):
        await index.pod("default", "new")
    assert await index.pod("default", "known") is not None
    assert await index.configuration("default", "tracing") is None  # which has an allowance of its own
    await trio.sleep(1)
    assert await index.pod("default", "new") is None


async def test_configurations_are_known_by_their_spec(
    autojump_clock: MockClock, index: Index, objects: Objects
) -> None:
    spec = {"accessControl": {"trustDomain": "mesh"}}
    for name, quietly in (("watched", False), ("new", True)):
        item = {"metadata": {"namespace": "default", "name": name, "uid": name}, "spec": spec}
        objects.put(item, CONFIGURATIONS, quietly=quietly)
    objects.put({"metadata": {"namespace": "default", "name": "empty", "uid": "empty"}}, CONFIGURATIONS)
    await wait_all_tasks_blocked()
    assert await index.configuration("default", "watched") == spec
    assert await index.configuration("default", "empty") == {}
    assert asked(objects) == []
    assert await index.configuration("default", "new") == spec
    assert await index.configuration("default", "none") is None
    assert len(asked(objects)) == 2
