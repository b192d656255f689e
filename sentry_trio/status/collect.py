"""Reads replicas, store and Kubernetes concurrently, within a few seconds."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn, TypeAlias, TypeVar

import httpcore
import msgspec
import trio
from msgspec.structs import replace
from trio_util import wait_all

from sentry_trio.errors import StoreError
from sentry_trio.http_client import FAILURES, TooLongError, get
from sentry_trio.listener import Address
from sentry_trio.reasons import reason_of
from sentry_trio.status.parsers import read_figures, read_health, read_published, read_stored
from sentry_trio.status.report import (
    Figures,
    NotShown,
    NotShownError,
    Published,
    Replica,
    ReplicaHealth,
    Report,
    Stored,
)
from sentry_trio.stores.directory import read_public_files

if TYPE_CHECKING:
    from sentry_trio.status.cluster import Cluster

MOST_BYTES: Final = 4 << 20
"""Bytes of the longest accepted answer; a scrape of a busy authority has some 50,000."""

T = TypeVar("T")
Get: TypeAlias = Callable[[int, str], Awaitable[bytes]]
"""Gets a path from a port; raises NotShownError."""

_METRICS_TARGET: Final = "metrics-exporter"


class ReplicaPlace(msgspec.Struct, frozen=True):
    """Address of a replica.

    Attributes:
        name: name for people.
        get: reads a document from it.
        health_port: port of its health server.
        metrics_port: port of its metrics; None if unknown.
        metrics_asked: true if the user requested its metrics; false if they are only looked for.
    """

    name: str
    get: Get
    health_port: int = 8080
    metrics_port: int | None = None
    metrics_asked: bool = False


class Files(msgspec.Struct, frozen=True):
    """Public credential files of standalone mode.

    Attributes:
        anchors: the trust anchors.
        chain: the issuer chain.
        asked: true if the user requested them; false if they are only looked for.
    """

    anchors: Path
    chain: Path
    asked: bool

    @property
    def place(self) -> str:
        """Names them."""
        if self.anchors.parent == self.chain.parent:
            return f"{self.anchors.parent}"
        return f"{self.anchors} and {self.chain}"


class StatusSources(msgspec.Struct, frozen=True, kw_only=True):
    """Sources of a report.

    Attributes:
        replicas: those that the user named; empty to find them by the Kubernetes API.
        here: the replica to read if none is named or found.
        files: files of a standalone authority; None for none.
        cluster: cluster of an authority in Kubernetes; None for none.
        cluster_missing: reason why no cluster was found although one was looked for.
        timeout: seconds for each response.
    """

    replicas: tuple[ReplicaPlace, ...]
    here: ReplicaPlace
    files: Files | None = None
    cluster: "Cluster | None" = None
    cluster_missing: NotShown | None = None
    timeout: float = 5.0


async def watch(
    collect: Callable[[], Awaitable[Report]], show: Callable[[Report], None], *, interval: float
) -> NoReturn:
    """Collects and shows until cancelled.

    Args:
        collect: collects a report; limits its own duration.
        show: called with each report.
        interval: seconds from one start to the next; a collection that takes longer is followed at once.

    Cancellation: at once.
    """
    due = trio.current_time()
    while True:
        show(await collect())
        due = max(due + interval, trio.current_time())
        await trio.sleep_until(due)


async def collect(sources: StatusSources, now: Callable[[], datetime]) -> Report:
    """Reads all sources concurrently. A source that cannot be read is part of the report and not raised.

    Args:
        sources: the sources to read.
        now: the wall clock, aware; the report has the time of its end.

    Cancellation: at once.
    """
    report = Report(at=now())

    async def replicas() -> None:
        report.replicas, report.not_found = await _replicas(sources)

    async def stored() -> None:
        report.stored = await _shown(partial(_stored, sources, now))

    async def published() -> None:
        report.published = await _shown(partial(_published, sources))

    await wait_all(replicas, stored, published)
    report.at = now()
    if sources.files is not None and not sources.files.asked and _is_in_kubernetes(report):
        # These files belong to another authority.
        report.stored = NotShown("it is stored in Kubernetes: use --kubernetes", asked=False)
    return report


def _is_in_kubernetes(report: Report) -> bool:
    return any(health.mode == "kubernetes" for _, health in report.reached)


async def _shown(read: Callable[[], Awaitable[T]]) -> T | NotShown:
    try:
        return await read()
    except NotShownError as error:
        return error.not_shown


# --- replicas


async def _replicas(sources: StatusSources) -> tuple[tuple[Replica, ...], NotShown | None]:
    places, not_found = await _places(sources)
    replicas: dict[int, Replica] = {}

    async def ask(index: int, place: ReplicaPlace | Replica) -> None:
        replicas[index] = place if isinstance(place, Replica) else await ask_replica(place)

    await wait_all(*(partial(ask, index, place) for index, place in enumerate(places)))
    return tuple(replicas[index] for index in range(len(places))), not_found


async def _places(sources: StatusSources) -> tuple[list[ReplicaPlace | Replica], NotShown | None]:
    if sources.replicas:
        return list(sources.replicas), sources.cluster_missing
    if sources.cluster is None:
        return [sources.here], sources.cluster_missing
    try:
        return await sources.cluster.replicas(), None
    except NotShownError as error:
        # Outside the cluster this machine has a replica only behind a forwarded port, for users who may not list pods.
        is_here = sources.cluster.own_pod is not None or not error.not_shown.asked
        return [sources.here] if is_here else [], error.not_shown


async def ask_replica(place: ReplicaPlace) -> Replica:
    """Reads health and metrics of a replica concurrently; never raises for its answers.

    Cancellation: at once.
    """
    replica = Replica(place.name, NotShown(""), NotShown(""))

    async def health() -> None:
        replica.health = await _shown(partial(_health, place))

    async def figures() -> None:
        replica.figures = await _shown(partial(_figures, place))

    await wait_all(health, figures)
    if isinstance(replica.figures, NotShown):
        replica.figures = _explained(replica.figures, replica.health, place)
    return replica


def _explained(figures: NotShown, health: ReplicaHealth | NotShown, place: ReplicaPlace) -> NotShown:
    """Explains missing figures: metrics may be disabled, and a missing replica is reported once."""
    if isinstance(health, NotShown):
        return replace(figures, asked=False)
    if _METRICS_TARGET not in health.targets:
        return NotShown("metrics are disabled in this process", asked=False)
    return replace(figures, asked=figures.asked and place.metrics_asked)


async def _health(place: ReplicaPlace) -> ReplicaHealth:
    # Of the three paths the one that answers 200 even if a target is not ready: the body has that, too.
    return read_health(await place.get(place.health_port, "/livez?verbose"), place.name)


async def _figures(place: ReplicaPlace) -> Figures:
    if place.metrics_port is None:
        raise NotShownError("no metrics port was given", asked=False)
    return read_figures(await place.get(place.metrics_port, "/metrics"), f"port {place.metrics_port}")


# --- store and ConfigMap


async def _stored(sources: StatusSources, now: Callable[[], datetime]) -> Stored | None:
    cluster, files = sources.cluster, sources.files
    if cluster is not None:
        return read_stored(await cluster.stored(), cluster.secret_place, now())
    if files is None:
        return None
    try:
        with trio.fail_after(sources.timeout):
            parts = await read_public_files(files.anchors, files.chain)
    except trio.TooSlowError:
        reason = f"{files.place} cannot be read within {sources.timeout:g} s"
        raise NotShownError(reason, asked=files.asked) from None
    except StoreError as error:
        raise NotShownError(str(error), asked=files.asked) from error
    return read_stored(parts, files.place, now())


async def _published(sources: StatusSources) -> Published | None:
    cluster = sources.cluster
    return None if cluster is None else read_published(await cluster.published(), cluster.config_map_place)


# --- one document


async def fetch(host: str, port: int, path: str, *, timeout: float) -> bytes:  # noqa: ASYNC109  # of the whole
    """Returns the body of an answer with status 200.

    Args:
        host: name or address; IPv6 without brackets.
        port: HTTP port.
        path: path with its query.
        timeout: seconds, from the lookup of the name to the last byte.

    Raises:
        NotShownError: there is no answer in time, none of HTTP, none with 200, or one longer than `MOST_BYTES`.

    Cancellation: at once.
    """
    where = Address(host, port)
    try:
        with trio.fail_after(timeout):
            answer = await get(
                f"http://{where}{path}", most_bytes=MOST_BYTES, headers=[("Accept-Encoding", "identity")]
            )
    except trio.TooSlowError:
        raise NotShownError(f"{where} did not answer within {timeout:g} s") from None
    except TooLongError as error:
        raise NotShownError(f"{where} answered {error} to {path}") from error
    except httpcore.ProtocolError as error:
        raise NotShownError(f"{where} does not speak HTTP: {error}") from error
    except FAILURES as error:
        raise NotShownError(f"cannot reach {where}: {reason_of(error)}") from error
    if answer.status != HTTPStatus.OK:
        text = f"{where} answered {answer.status} to {path}: not a port of sentry-trio, or of an old release"
        raise NotShownError(text)
    return answer.body
