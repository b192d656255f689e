"""The Configuration object, on an API server in memory."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from sentry_trio.errors import ApiUnavailableError, InvalidConfigurationError, StoreError
from sentry_trio.settings.configuration import Configuration
from sentry_trio.stores.configuration_object import read_configuration_object, watch_configuration
from testkit.kube.fakes import NAMESPACE, FakeApi, Fault, refused, unavailable

PATH = f"/apis/dapr.io/v1alpha1/namespaces/{NAMESPACE}/configurations"
PREFIX = 'loading default config. couldn\'t find config name "daprsystem": '


def having(spec: object, name: str = "daprsystem", **others: object) -> FakeApi:
    api = FakeApi()
    api.put(f"{PATH}/{name}", {"apiVersion": "dapr.io/v1alpha1", "kind": "Configuration", "spec": spec, **others})
    return api


async def read(spec: object) -> Configuration:
    return await read_configuration_object(having(spec), NAMESPACE, "daprsystem")


# --- reading


async def test_as_the_chart_writes_it() -> None:
    mtls = {
        "enabled": True,
        "workloadCertTTL": "1h30m",
        "allowedClockSkew": "5m",
        "controlPlaneTrustDomain": "cluster.local",
        "sentryAddress": "dapr-sentry.dapr-system.svc.cluster.local:443",
    }
    assert await read({"mtls": mtls}) == Configuration(
        timedelta(minutes=90), timedelta(minutes=5), control_plane_trust_domain="cluster.local"
    )


@pytest.mark.parametrize("name", ["", "daprsystem", "other"])
async def test_the_name_that_is_asked_for_is_read(name: str) -> None:
    api = having({"mtls": {"allowedClockSkew": "1m"}}, name=name or "daprsystem")
    assert (await read_configuration_object(api, NAMESPACE, name)).allowed_clock_skew == timedelta(minutes=1)


@pytest.mark.parametrize(
    "spec",
    [
        None,
        {},
        {"mtls": None},
        {"mtls": {"unknown": [1, {"a": 2}]}},
        {"tracing": ["whatever"], "x" * 2000: 1, "accessControl": {"y" * 5000: [[[[[]]]]]}},
        {"secrets": {"scopes": [{"storeName": "a", "defaultAccess": "deny"}]}},
    ],
    ids=range(6),
)
async def test_empty_specs_leave_the_defaults(spec: object) -> None:
    assert await read(spec) == Configuration()


async def test_a_large_object_delays_no_other_request() -> None:
    scopes = [{"storeName": f"store {number}"} for number in range(1000)]
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await trio.lowlevel.checkpoint()
            ticks += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(tick)
        found = await read({"mtls": {"allowedClockSkew": "1m"}, "secrets": {"scopes": scopes}})
        nursery.cancel_scope.cancel()
    assert found.allowed_clock_skew == timedelta(minutes=1)
    assert ticks >= 3


async def test_there_need_not_be_a_spec() -> None:
    api = FakeApi()
    api.put(f"{PATH}/daprsystem", {"kind": "Configuration"})
    assert await read_configuration_object(api, NAMESPACE, "") == Configuration()


@pytest.mark.parametrize("text", ["$HOME", "${HOME}", "$$", "a b", "é", "\U0001f600", '"\\\n\t', "\x7f\x85\ufeff", "~"])
async def test_every_text_is_taken_as_it_is(text: str) -> None:
    found = await read({"mtls": {"controlPlaneTrustDomain": text}})
    assert found.control_plane_trust_domain == text


async def test_an_unknown_field_is_a_warning_without_a_line() -> None:
    found = await read({"mtls": {"workloadCertTtl": "1h"}, "tracing": {"x": 1}})
    assert found.warnings == ('unknown field "spec.mtls.workloadCertTtl" has no effect; did you mean workloadCertTTL?',)


@pytest.mark.parametrize(
    ("spec", "error"),
    [
        ({"mtls": {"workloadCertTTL": "1d"}}, "error parsing WorkloadCertTTL duration: expected a duration such as "),
        ({"mtls": {"allowedClockSkew": "x"}}, "error parsing AllowedClockSkew duration: expected a duration such as "),
        ({"mtls": {"workloadCertTTL": "0"}}, "spec.mtls.workloadCertTTL must be positive, got 0s"),
        ({"mtls": {"enabled": "true"}}, 'spec.mtls.enabled must be true or false, got "true"'),
        ({"mtls": {"tokenValidators": [{"name": "kubernetes"}]}}, "invalid token validator: the built-in 'kubernetes'"),
        ({"mtls": {"tokenValidators": [{"name": "x"}]}}, "invalid token validator name: 'x'; supported values: 'jwks'"),
        ({"secrets": {"scopes": [{}, {}]}}, '"" storeName is repeated in secrets configuration'),
        ({"mtls": ["x"]}, "spec.mtls must be a mapping, got a list"),
        (["x"], "spec must be a mapping, got a list"),
    ],
)
async def test_mistakes(spec: object, error: str) -> None:
    with pytest.raises(InvalidConfigurationError) as caught:
        await read(spec)
    assert str(caught.value).startswith(f'cannot parse configuration "daprsystem": {error}')
    assert str(caught.value).endswith(f" (Configuration {NAMESPACE}/daprsystem)")
    assert "line" not in str(caught.value)


@pytest.mark.parametrize(
    ("answer", "fact"),
    [
        (
            'NotFound: configurations.dapr.io "daprsystem" not found',
            f"there is no Configuration {NAMESPACE}/daprsystem; create it, or install the chart",
        ),
        ("404 page not found", "Dapr's CustomResourceDefinition configurations.dapr.io is not installed"),
    ],
    ids=["object", "kind"],
)
async def test_the_error_for_a_missing_object_has_daprs_text_and_the_cause(answer: str, fact: str) -> None:
    api = FakeApi()
    api.faults.append(Fault("get", "configurations", refused(404, answer)))
    with pytest.raises(InvalidConfigurationError) as caught:
        await read_configuration_object(api, NAMESPACE, "")
    assert str(caught.value) == f"{PREFIX}config CRD not found: {fact}"


async def test_a_missing_permission_is_reported() -> None:
    api = having({})
    api.faults.append(Fault("get", "configurations", refused(403, "Forbidden")))
    with pytest.raises(InvalidConfigurationError) as caught:
        await read_configuration_object(api, NAMESPACE, "")
    assert str(caught.value) == f"{PREFIX}403 Forbidden"


async def test_failures_that_pass_are_waited_for(autojump_clock: MockClock) -> None:
    api = having({"mtls": {"allowedClockSkew": "1m"}})
    api.faults.append(Fault("get", "configurations", unavailable(), left=5))
    assert (await read_configuration_object(api, NAMESPACE, "")).allowed_clock_skew == timedelta(minutes=1)
    api.down = True
    with pytest.raises(ApiUnavailableError) as caught:
        await read_configuration_object(api, NAMESPACE, "")
    assert str(caught.value) == f"{PREFIX}connection refused"


# --- watching

GOOD = {"mtls": {"workloadCertTTL": "24h", "allowedClockSkew": "15m"}}


@asynccontextmanager
async def watching(api: FakeApi) -> AsyncIterator[list[float]]:
    calls: list[float] = []

    async def changed() -> None:
        calls.append(trio.current_time())

    async with trio.open_nursery() as nursery:
        await nursery.start(partial(watch_configuration, api, NAMESPACE, "", Configuration(), changed))
        yield calls
        nursery.cancel_scope.cancel()


async def test_an_edit_is_reported_once(autojump_clock: MockClock) -> None:
    api = having(GOOD)
    async with watching(api) as calls:
        assert api.watched == [f"{PATH}/daprsystem"]
        await trio.sleep(10)
        api.edit(f"{PATH}/daprsystem", spec={"mtls": {"workloadCertTTL": "1h"}})
        before = trio.current_time()
        await trio.sleep(60)
        assert len(calls) == 1
        assert calls[0] - before <= 2
        api.edit(f"{PATH}/daprsystem", spec=GOOD)
        await trio.sleep(60)
        assert len(calls) == 2


@pytest.mark.parametrize(
    "changes",
    [
        {"metadata": {"labels": {"a": "b"}}},
        {"spec": {**GOOD, "tracing": {"samplingRate": "1"}}},
        {"spec": {"mtls": {"workloadCertTTL": "1440m", "enabled": True}}},
    ],
    ids=["label", "other section", "same duration"],
)
async def test_a_rewrite_without_a_change_is_not_reported(autojump_clock: MockClock, changes: dict[str, Any]) -> None:
    api = having(GOOD)
    async with watching(api) as calls:
        api.edit(f"{PATH}/daprsystem", **changes)
        await trio.sleep(60)
        assert calls == []


@pytest.mark.parametrize("how", ["invalid", "removed"])
async def test_unusable_content_is_reported_once_and_then_its_repair(autojump_clock: MockClock, how: str) -> None:
    api = having(GOOD)
    whole = api.objects[f"{PATH}/daprsystem"]
    async with watching(api) as calls:
        if how == "removed":
            api.remove(f"{PATH}/daprsystem")
        else:
            api.edit(f"{PATH}/daprsystem", spec={"mtls": {"workloadCertTTL": "1d"}})
        await trio.sleep(1000)
        assert len(calls) == 1
        api.put(f"{PATH}/daprsystem", whole)
        await trio.sleep(1000)
        assert len(calls) == 2


async def test_cut_watches_lose_nothing(autojump_clock: MockClock) -> None:
    api = having(GOOD)
    async with watching(api) as calls:
        await trio.sleep(60)
        api.down = True
        api.cut()
        api.edit(f"{PATH}/daprsystem", spec={"mtls": {"workloadCertTTL": "1h"}})
        await trio.sleep(60)
        assert calls == []
        api.down = False
        await trio.sleep(10)
        assert len(calls) == 1


async def test_a_removal_before_the_watch_is_reported(autojump_clock: MockClock) -> None:
    api = having(GOOD)
    async with watching(api) as calls:
        await trio.sleep(60)
        api.cut()
        api.remove(f"{PATH}/daprsystem")
        await trio.sleep(2)
        assert len(calls) == 1


async def test_other_failures_of_the_callback_end_the_watch(autojump_clock: MockClock) -> None:
    async def changed() -> None:
        raise StoreError("no")

    with pytest.RaisesGroup(pytest.RaisesExc(StoreError, match="no"), flatten_subgroups=True):
        await watch_configuration(having({"mtls": {"allowedClockSkew": "0"}}), NAMESPACE, "", Configuration(), changed)
