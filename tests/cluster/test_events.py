"""Events sent to a real API server."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import trio
from trio.testing import wait_all_tasks_blocked

from sentry_trio.event_reasons import EventReason
from sentry_trio.kube.events import EventRecorder
from testkit.authorities import wall_clock
from testkit.cluster.admin import Manifest
from testkit.cluster.cluster import Cluster
from testkit.cluster.installing import DAPR_ROLE, NAME, ROLE, Installation, eventually, install
from testkit.log_capture import Line, hear_logs


@asynccontextmanager
async def recording(installation: Installation, role: tuple[Manifest, ...]) -> AsyncIterator[EventRecorder]:
    async with installation.session(role=role) as session, trio.open_nursery() as nursery:
        recorder = EventRecorder(session, installation.namespace, NAME, instance="dapr-sentry-0", now=wall_clock)
        nursery.start_soon(recorder.keep)
        yield recorder
        nursery.cancel_scope.cancel()


async def events_in(cluster: Cluster, namespace: str) -> list[Manifest]:
    found: list[Manifest] = (await cluster.ask("GET", f"/api/v1/namespaces/{namespace}/events"))["items"]
    return found


async def test_the_api_server_takes_them(cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    async def all_there() -> bool:
        return len(await events_in(cluster, namespace)) == len(EventReason)

    async with recording(await install(cluster, namespace, tmp_path), ROLE) as recorder:
        for reason in EventReason:
            recorder.record(reason, f"about {reason}")
        await eventually(all_there)
    events = await events_in(cluster, namespace)
    assert {(event["reason"], event["type"], event["message"]) for event in events} == {
        (str(reason), reason.type, f"about {reason}") for reason in EventReason
    }
    assert {event["involvedObject"]["name"] for event in events} == {NAME}
    assert all(event["source"] == {"component": "dapr-sentry", "host": "dapr-sentry-0"} for event in events)


async def test_a_missing_permission_is_only_a_warning(cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    warned = trio.Event()

    def hear(line: Line) -> None:
        if line["event"].startswith("the API server rejects Events") and "403 Forbidden" in line["event"]:
            assert line["log_level"] == "warning"
            warned.set()

    with hear_logs(hear), trio.fail_after(60):
        async with recording(await install(cluster, namespace, tmp_path), DAPR_ROLE) as recorder:
            recorder.record(EventReason.GENERATED, "nobody will see this")
            await warned.wait()
            await wait_all_tasks_blocked()
    assert await events_in(cluster, namespace) == []
