"""One look: where it looks, and what it says of what it does not find."""

import threading
from functools import partial
from pathlib import Path

import pytest
import trio
import trio.lowlevel

from sentry_trio.status.cluster import Cluster
from sentry_trio.status.look import Files, Sight, look
from sentry_trio.status.replicas import Place
from sentry_trio.status.report import NotShown, Published, Report, Stored
from sentry_trio.stores.disk import Disk
from sentry_trio.stores.secret_content import Keys
from testkit.ca.making import NOW
from testkit.kube.pods_api import FORBIDDEN, PodsApi

from .test_replicas import HEALTH, METRICS, answering

HERE = answering(port1=HEALTH, port2=METRICS)
IN_KUBERNETES = HEALTH.replace(b"{", b'{"mode": "kubernetes", ', 1)


async def look_with(sight: Sight) -> Report:
    return await look(sight, lambda: NOW)


async def test_here_without_anything_else() -> None:
    found = await look_with(Sight(replicas=(), here=HERE))
    assert [replica.name for replica in found.replicas] == ["me"]
    assert (found.at, found.stored, found.published, found.not_found) == (NOW, None, None, None)


async def test_those_that_were_named_in_their_order() -> None:
    async def late(port: int, path: str) -> bytes:
        await trio.lowlevel.checkpoint()
        return await HERE.get(port, path)

    named = (Place("a", late, 1, 2), Place("b", HERE.get, 1, 2))
    found = await look_with(Sight(replicas=named, here=HERE))
    assert [replica.name for replica in found.replicas] == ["a", "b"]


@pytest.mark.parametrize("asked", [True, False])
async def test_files_that_are_not_there(tmp_path: Path, asked: bool) -> None:
    files = Files(tmp_path / "ca.crt", tmp_path / "issuer.crt", asked)
    found = await look_with(Sight(replicas=(), here=HERE, files=files))
    assert found.stored == NotShown(f"{tmp_path / 'ca.crt'}: no such file", asked)


async def test_files_that_merely_lie_here_are_no_store_of_an_authority_in_kubernetes(tmp_path: Path) -> None:
    for name in ("ca.crt", "issuer.crt"):
        (tmp_path / name).write_bytes(b"junk")
    here = answering(port1=IN_KUBERNETES, port2=METRICS)
    files = partial(Files, tmp_path / "ca.crt", tmp_path / "issuer.crt")
    merely = await look_with(Sight(replicas=(), here=here, files=files(asked=False)))
    assert merely.stored == NotShown("it is kept in Kubernetes; --kubernetes looks there", asked=False)
    asked = await look_with(Sight(replicas=(), here=here, files=files(asked=True)))
    assert isinstance(asked.stored, Stored)
    assert asked.stored.place == str(tmp_path)


def test_files_in_two_places_are_both_named() -> None:
    assert Files(Path("a/ca.crt"), Path("b/issuer.crt"), asked=True).place == "a/ca.crt and b/issuer.crt"


def sight_of(api: PodsApi) -> Sight:
    cluster = Cluster(api, "here", Keys(), own_pod=None, timeout=5)
    return Sight(replicas=(), here=HERE, cluster=cluster)


async def test_a_cluster() -> None:
    api = PodsApi()
    api.pod("dapr-sentry-b", "10.0.0.2")
    api.pod("dapr-sentry-a", "10.0.0.1")
    api.answers = {"8080/proxy/livez": HEALTH, "9090/proxy/metrics": METRICS}
    found = await look_with(sight_of(api))
    assert [replica.name for replica in found.replicas] == ["dapr-sentry-a", "dapr-sentry-b"]
    assert len(found.reached) == 2
    assert isinstance(found.stored, Stored)
    assert isinstance(found.published, Published)


async def test_a_cluster_without_rights() -> None:
    api = PodsApi()
    api.refuse = FORBIDDEN
    found = await look_with(sight_of(api))
    assert [replica.name for replica in found.replicas] == ["me"]
    assert found.not_found == NotShown("no right to list pods in here", asked=False)
    assert found.stored == NotShown("no right to get secrets dapr-trust-bundle in here", asked=False)
    assert found.published == NotShown("no right to get configmaps dapr-trust-bundle in here", asked=False)


async def test_an_api_server_that_never_answers(autojump_clock: trio.abc.Clock) -> None:
    api = PodsApi()
    api.silent = True
    begin = trio.current_time()
    found = await look_with(sight_of(api))
    assert trio.current_time() == begin + 5
    assert found.stored == NotShown("the Kubernetes API server did not answer within 5 s")


async def test_files_that_cannot_be_read_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a share whose server is gone: the thread that waits is left behind."""
    gone = threading.Event()
    monkeypatch.setattr(Disk, "read", lambda *_: gone.wait())
    files = Files(tmp_path / "ca.crt", tmp_path / "issuer.crt", asked=True)
    found = await look_with(Sight(replicas=(), here=HERE, files=files, timeout=0.1))
    gone.set()
    assert found.stored == NotShown(f"{tmp_path} cannot be read within 0.1 s")
