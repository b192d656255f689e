"""Replicas, files and clusters that are asked, in memory; over real sockets in tests/cli/test_status.py."""

import threading
from functools import partial
from pathlib import Path

import pytest
import trio
import trio.lowlevel

from sentry_trio.status.assess import Verdict, assess
from sentry_trio.status.cluster import Cluster
from sentry_trio.status.collect import Files, ReplicaPlace, StatusSources, ask_replica, collect, watch
from sentry_trio.status.report import (
    Figures,
    NotShown,
    NotShownError,
    Published,
    ReplicaHealth,
    Report,
    Stored,
    absent,
)
from sentry_trio.stores.atomic_files import FileOperations
from sentry_trio.telemetry.metrics import Metrics
from testkit.ca.making import NOW
from testkit.kube.pods_api import FORBIDDEN, PodsApi

from .making import report

HEALTH = b'{"ready": true, "run": 1, "bundle": null, "degraded": null, "targets": {"metrics-exporter": true}}'
WITHOUT_METRICS = HEALTH.replace(b"metrics-exporter", b"sentry-server")
METRICS = Metrics().exposition()[0]


def answering(**by_port: bytes | None) -> ReplicaPlace:
    """A replica whose ports answer so; None does not."""

    async def get(port: int, path: str) -> bytes:
        assert path == {1: "/livez?verbose", 2: "/metrics"}[port]
        answer = by_port[f"port{port}"]
        if answer is None:
            raise NotShownError(f"{port} did not answer")
        return answer

    return ReplicaPlace("me", get, health_port=1, metrics_port=2, metrics_asked=True)


async def test_both() -> None:
    found = await ask_replica(answering(port1=HEALTH, port2=METRICS))
    assert isinstance(found.health, ReplicaHealth)
    assert found.figures == Figures(signing_requests=0, certificates=0)


@pytest.mark.parametrize(
    ("health", "metrics", "why"),
    [
        (HEALTH, None, NotShown("2 did not answer", asked=True)),
        (HEALTH, b"junk", NotShown("port 2: not metrics in the Prometheus text format", asked=True)),
        (WITHOUT_METRICS, None, NotShown("metrics are disabled in this process", asked=False)),
        (None, None, NotShown("2 did not answer", asked=False)),
    ],
)
async def test_no_metrics(health: bytes | None, metrics: bytes | None, why: NotShown) -> None:
    assert (await ask_replica(answering(port1=health, port2=metrics))).figures == why


async def test_no_health() -> None:
    found = await ask_replica(answering(port1=None, port2=METRICS))
    assert found.health == NotShown("1 did not answer")
    assert isinstance(found.figures, Figures)
    found = await ask_replica(answering(port1=b"junk", port2=METRICS))
    assert isinstance(found.health, NotShown)
    assert found.health.reason.startswith("me: not a health report of sentry-trio: ")


async def test_metrics_whose_port_is_not_known() -> None:
    place = ReplicaPlace("me", answering(port1=HEALTH).get, health_port=1)
    assert (await ask_replica(place)).figures == NotShown("no metrics port was given", asked=False)


def test_one_that_is_not_there_yet() -> None:
    found = absent("me", "no address yet")
    assert found.health == NotShown("no address yet")
    assert found.figures == NotShown("no address yet", asked=False)


HERE = answering(port1=HEALTH, port2=METRICS)
IN_KUBERNETES = HEALTH.replace(b"{", b'{"mode": "kubernetes", ', 1)


async def collected(sources: StatusSources) -> Report:
    return await collect(sources, lambda: NOW)


async def test_here_without_anything_else() -> None:
    found = await collected(StatusSources(replicas=(), here=HERE))
    assert [replica.name for replica in found.replicas] == ["me"]
    assert (found.at, found.stored, found.published, found.not_found) == (NOW, None, None, None)


async def test_those_that_were_named_in_their_order() -> None:
    async def late(port: int, path: str) -> bytes:
        await trio.lowlevel.checkpoint()
        return await HERE.get(port, path)

    named = (ReplicaPlace("a", late, 1, 2), ReplicaPlace("b", HERE.get, 1, 2))
    found = await collected(StatusSources(replicas=named, here=HERE))
    assert [replica.name for replica in found.replicas] == ["a", "b"]


@pytest.mark.parametrize("asked", [True, False])
async def test_files_that_are_not_there(tmp_path: Path, asked: bool) -> None:
    files = Files(tmp_path / "ca.crt", tmp_path / "issuer.crt", asked)
    found = await collected(StatusSources(replicas=(), here=HERE, files=files))
    assert found.stored == NotShown(f"{tmp_path / 'ca.crt'}: no such file", asked)


async def test_files_that_merely_lie_here_are_no_store_of_an_authority_in_kubernetes(tmp_path: Path) -> None:
    for name in ("ca.crt", "issuer.crt"):
        (tmp_path / name).write_bytes(b"junk")
    here = answering(port1=IN_KUBERNETES, port2=METRICS)
    files = partial(Files, tmp_path / "ca.crt", tmp_path / "issuer.crt")
    merely = await collected(StatusSources(replicas=(), here=here, files=files(asked=False)))
    assert merely.stored == NotShown("it is stored in Kubernetes: use --kubernetes", asked=False)
    asked = await collected(StatusSources(replicas=(), here=here, files=files(asked=True)))
    assert isinstance(asked.stored, Stored)
    assert asked.stored.place == str(tmp_path)


def test_files_in_two_places_are_both_named() -> None:
    assert Files(Path("a/ca.crt"), Path("b/issuer.crt"), asked=True).place == "a/ca.crt and b/issuer.crt"


def sources_of(api: PodsApi) -> StatusSources:
    cluster = Cluster(api, "here", own_pod=None, timeout=5)
    return StatusSources(replicas=(), here=HERE, cluster=cluster)


async def test_a_cluster() -> None:
    api = PodsApi()
    api.pod("dapr-sentry-b", "10.0.0.2")
    api.pod("dapr-sentry-a", "10.0.0.1")
    api.answers = {"8080/proxy/livez": HEALTH, "9090/proxy/metrics": METRICS}
    found = await collected(sources_of(api))
    assert [replica.name for replica in found.replicas] == ["dapr-sentry-a", "dapr-sentry-b"]
    assert len(found.reached) == 2
    assert isinstance(found.stored, Stored)
    assert isinstance(found.published, Published)


async def test_a_cluster_without_permissions() -> None:
    api = PodsApi()
    api.refuse = FORBIDDEN
    found = await collected(sources_of(api))
    assert [replica.name for replica in found.replicas] == ["me"]
    assert found.not_found == NotShown("missing permission to list pods in here", asked=False)
    assert found.stored == NotShown("missing permission to get secrets dapr-trust-bundle in here", asked=False)
    assert found.published == NotShown("missing permission to get configmaps dapr-trust-bundle in here", asked=False)


@pytest.mark.parametrize(("own_pod", "names"), [(None, []), ("dapr-sentry-a", ["me"])])
async def test_a_cluster_without_pods(own_pod: str | None, names: list[str]) -> None:
    cluster = Cluster(PodsApi(), "here", own_pod=own_pod, timeout=5)
    found = await collected(StatusSources(replicas=(), here=HERE, cluster=cluster))
    assert [replica.name for replica in found.replicas] == names
    assert found.not_found == NotShown("there are no pods app=dapr-sentry in here")
    assert assess(found).verdict is (Verdict.UNREACHABLE if own_pod is None else Verdict.ATTENTION)


async def test_an_api_server_that_never_answers(autojump_clock: trio.abc.Clock) -> None:
    api = PodsApi()
    api.silent = True
    begin = trio.current_time()
    found = await collected(sources_of(api))
    assert trio.current_time() == begin + 5
    assert found.stored == NotShown("the Kubernetes API server did not answer within 5 s")


async def test_files_that_cannot_be_read_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a share whose server is gone: the thread that waits is left behind."""
    gone = threading.Event()
    monkeypatch.setattr(FileOperations, "read", lambda *_: gone.wait())
    files = Files(tmp_path / "ca.crt", tmp_path / "issuer.crt", asked=True)
    found = await collected(StatusSources(replicas=(), here=HERE, files=files, timeout=0.1))
    gone.set()
    assert found.stored == NotShown(f"{tmp_path} cannot be read within 0.1 s")


async def times_of(took: list[float], *, seconds: float) -> list[float]:
    """Times of the reports, for the given durations of collecting them."""
    shown: list[float] = []
    begin = trio.current_time()

    async def look() -> Report:
        await trio.sleep(took[len(shown) % len(took)])
        return report()

    def show(_: Report) -> None:
        shown.append(trio.current_time() - begin)

    with trio.move_on_after(seconds):
        await watch(look, show, interval=2)
    return shown


async def test_from_beginning_to_beginning(autojump_clock: trio.abc.Clock) -> None:
    assert await times_of([0, 1], seconds=7.5) == [0, 3, 4, 7]


async def test_a_slow_look_is_followed_at_once(autojump_clock: trio.abc.Clock) -> None:
    assert await times_of([3], seconds=10.5) == [3, 6, 9]
