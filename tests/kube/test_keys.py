"""The cluster's keys in virtual time: read on a timer and when one is missing, and kept when the API server is away."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import MockClock

from sentry_trio.conditions import Conditions
from sentry_trio.errors import ApiRejectedError, ApiUnavailableError, ApiUnreachableError
from sentry_trio.kube.keys import DISCOVERY, JWKS, ClusterKeys
from testkit.kube.fake_review import ISSUER, FakeApi, Signer
from testkit.log_capture import capture_logs

READ = [DISCOVERY, JWKS]
SECOND = Signer(kid="second").jwk()


@asynccontextmanager
async def kept(api: FakeApi) -> AsyncIterator[ClusterKeys]:
    keys = ClusterKeys(api.get)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(keys.keep)
        await keys.wait_tried()
        yield keys
        nursery.cancel_scope.cancel()


async def test_they_are_read_before_it_reports_ready() -> None:
    api = FakeApi()
    async with kept(api) as keys:
        assert api.read == READ
        assert keys.issuer == ISSUER
        key = await keys.find(ISSUER, "first")
        assert key is not None
        assert key.algorithms == {"ES256"}
        assert api.read == READ


async def test_they_are_read_again_every_5_minutes(autojump_clock: MockClock) -> None:
    api = FakeApi()
    async with kept(api) as keys:
        await trio.sleep(299)
        api.jwks = [SECOND]
        assert api.read == READ
        await trio.sleep(2)
        assert api.read == READ * 2
        assert await keys.find(ISSUER, "second") is not None
        # Taken out of the set, and so believed no more.
        assert await keys.find(ISSUER, "first") is None


async def test_a_withdrawn_key_is_accepted_until_the_next_refresh(autojump_clock: MockClock) -> None:
    api = FakeApi()
    keys = ClusterKeys(api.get, refresh=30)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(keys.keep)
        await keys.wait_tried()
        api.jwks = [SECOND]
        await trio.sleep(29)
        assert await keys.find(ISSUER, "first") is not None
        await trio.sleep(2)
        assert await keys.find(ISSUER, "first") is None
        nursery.cancel_scope.cancel()


async def test_keys_that_cannot_be_read_are_a_condition(autojump_clock: MockClock) -> None:
    api = FakeApi(failure=ApiUnreachableError("no answer"))
    conditions = Conditions()
    keys = ClusterKeys(api.get, condition=conditions.condition("cluster-keys"))
    with capture_logs() as logs:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(keys.keep)
            await keys.wait_tried()
            # The session reports a server that does not answer.
            assert (logs, dict(conditions.active)) == ([], {})
            api.failure = ApiRejectedError("no", status=403, reason="Forbidden")
            await trio.sleep(11)
            assert list(conditions.active) == ["cluster-keys"]
            api.failure = None
            await trio.sleep(11)
            assert dict(conditions.active) == {}
            nursery.cancel_scope.cancel()


async def test_a_missing_key_has_them_read_again_but_not_all_the_time(autojump_clock: MockClock) -> None:
    api = FakeApi()
    async with kept(api) as keys:
        api.jwks = [SECOND]
        assert await keys.find(ISSUER, "second") is None
        assert api.read == READ
        await trio.sleep(10)
        assert await keys.find(ISSUER, "second") is not None
        assert api.read == READ * 2
        for _ in range(100):
            assert await keys.find(ISSUER, "third") is None
        assert api.read == READ * 2


async def test_all_callers_with_an_unknown_key_wait_for_one_read(autojump_clock: MockClock) -> None:
    api = FakeApi()
    found = []

    async def one(kid: str) -> None:
        found.append(await keys.find(ISSUER, kid))

    async with kept(api) as keys:
        await trio.sleep(10)
        api.jwks, api.delay = [SECOND], 1
        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(one, "second" if number % 2 else "third")
        assert api.read == READ * 2
        assert [key is not None for key in found].count(True) == 10


async def test_another_issuer_s_keys_are_not_looked_for(autojump_clock: MockClock) -> None:
    api = FakeApi()
    async with kept(api) as keys:
        await trio.sleep(10)
        assert await keys.find("https://another", "first") is None
        assert await keys.find("https://another", "second") is None
        assert api.read == READ


@pytest.mark.parametrize(
    "failure", [ApiUnavailableError("away"), ApiRejectedError("no", status=403, reason="Forbidden")], ids=repr
)
async def test_the_last_set_is_kept_while_keys_cannot_be_read(autojump_clock: MockClock, failure: Exception) -> None:
    api = FakeApi()
    async with kept(api) as keys:
        with capture_logs() as logs:
            api.failure = failure
            await trio.sleep(395)
            # Every 10 s from 300 s on.
            assert len(api.read) == 2 + 10
            assert await keys.find(ISSUER, "first") is not None
            assert await keys.find(ISSUER, "second") is None
            api.failure = None
            api.jwks.append(SECOND)
            await trio.sleep(10)
            assert await keys.find(ISSUER, "second") is not None
    assert [(line["log_level"], line["event"]) for line in logs] == [
        ("warning", f"failed to read the cluster's token keys, the last key set stays in use: {failure}"),
        ("info", "reading the cluster's token keys succeeds again"),
    ]


async def test_a_set_without_keys_is_no_set(autojump_clock: MockClock) -> None:
    api = FakeApi()
    async with kept(api) as keys:
        api.jwks = []
        await trio.sleep(301)
        assert await keys.find(ISSUER, "first") is not None
        api.jwks, api.issuer = [SECOND], None
        await trio.sleep(20)
        assert await keys.find(ISSUER, "first") is not None


async def test_it_starts_without_an_api_server_and_tries_again(autojump_clock: MockClock) -> None:
    api = FakeApi(failure=ApiUnavailableError("away"))
    with capture_logs() as logs:
        async with kept(api) as keys:
            assert keys.issuer is None
            assert await keys.find(ISSUER, "first") is None
            assert api.read == READ[:1]
            await trio.sleep(9)
            api.failure = None
            await trio.sleep(2)
            assert await keys.find(ISSUER, "first") is not None
    assert logs[0]["event"] == ("failed to read the cluster's token keys, tokens are reviewed by the API server: away")


async def test_a_waiting_caller_may_be_cancelled(autojump_clock: MockClock) -> None:
    api = FakeApi(delay=1)
    keys = ClusterKeys(api.get)
    found = []

    async def impatient() -> None:
        with trio.move_on_after(0.5):
            await keys.find(ISSUER, "first")

    async def patient() -> None:
        found.append(await keys.find(ISSUER, "first"))

    async with trio.open_nursery() as keeping:
        keeping.start_soon(keys.keep)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(impatient)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(patient)
            nursery.start_soon(patient)
        keeping.cancel_scope.cancel()
    assert [key is not None for key in found] == [True, True]
