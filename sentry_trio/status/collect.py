"""Reads replicas, store and Kubernetes concurrently, within a few seconds."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, TypeAlias, TypeVar

import trio

from sentry_trio.errors import StoreError
from sentry_trio.status.http import NotAnsweredError
from sentry_trio.status.parsers import NotOursError, read_figures, read_health, read_published, read_stored
from sentry_trio.status.report import (
    Figures,
    HiddenError,
    NotShown,
    Published,
    Replica,
    ReplicaHealth,
    Report,
    Stored,
)
from sentry_trio.stores.directory import read_public_files

if TYPE_CHECKING:
    from sentry_trio.status.cluster import Cluster

T = TypeVar("T")
Get: TypeAlias = Callable[[int, str], Awaitable[bytes]]
"""Gets a path from a port; raises NotAnsweredError."""

_METRICS_TARGET = "metrics-exporter"


@dataclass(frozen=True, slots=True)
class ReplicaPlace:
    """Address of a replica.

    Attributes:
        name: for people.
        get: reads a document from it.
        health_port: of its health server.
        metrics_port: of its metrics; None if unknown.
        metrics_asked: the user asked for its metrics; False if they are merely looked for.
    """

    name: str
    get: Get
    health_port: int = 8080
    metrics_port: int | None = None
    metrics_asked: bool = False


@dataclass(frozen=True, slots=True)
class Absent:
    """Replica that cannot be reached.

    Attributes:
        name: for people.
        reason: why.
    """

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Files:
    """Public credential files of standalone mode.

    Attributes:
        anchors: the trust anchors.
        chain: the issuer chain.
        asked: the user asked for them; False if they are merely looked for.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusSources:
    """Sources of a report.

    Attributes:
        replicas: those that the user named; empty to find them by the Kubernetes API.
        here: the replica to read if none is named or found.
        files: of a standalone authority; None for none.
        cluster: of one in Kubernetes; None for none.
        cluster_missing: why there is no cluster although one was looked for.
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
        report.stored = await _stored(sources, now)

    async def published() -> None:
        report.published = await _published(sources)

    async with trio.open_nursery() as nursery:
        for part in (replicas, stored, published):
            nursery.start_soon(part)
    report.at = now()
    if sources.files is not None and not sources.files.asked and _is_in_kubernetes(report):
        # These files belong to another authority.
        report.stored = NotShown("it is stored in Kubernetes: use --kubernetes", asked=False)
    return report


def _is_in_kubernetes(report: Report) -> bool:
    return any(health.mode == "kubernetes" for _, health in report.reached)


# --- replicas


async def _replicas(sources: StatusSources) -> tuple[tuple[Replica, ...], NotShown | None]:
    places, not_found = await _places(sources)
    replicas: dict[int, Replica] = {}

    async def ask(index: int, place: ReplicaPlace | Absent) -> None:
        replicas[index] = await ask_replica(place)

    async with trio.open_nursery() as nursery:
        for index, place in enumerate(places):
            nursery.start_soon(ask, index, place)
    return tuple(replicas[index] for index in range(len(places))), not_found


async def _places(sources: StatusSources) -> tuple[list[ReplicaPlace | Absent], NotShown | None]:
    if sources.replicas:
        return list(sources.replicas), sources.cluster_missing
    if sources.cluster is None:
        return [sources.here], sources.cluster_missing
    try:
        return await _in_time(sources, sources.cluster.replicas), None
    except HiddenError as hidden:
        # Outside the cluster this machine has a replica only behind a forwarded port, for users who may not list pods.
        is_here = sources.cluster.own_pod is not None or not hidden.not_shown.asked
        return [sources.here] if is_here else [], hidden.not_shown


async def ask_replica(place: ReplicaPlace | Absent) -> Replica:
    """Reads health and metrics of a replica concurrently; never raises for its answers.

    Cancellation: at once.
    """
    if isinstance(place, Absent):
        return Replica(place.name, NotShown(place.reason), NotShown(place.reason, asked=False))
    replica = Replica(place.name, NotShown(""), NotShown(""))

    async def health() -> None:
        replica.health = await _health(place)

    async def figures() -> None:
        replica.figures = await _figures(place)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(health)
        nursery.start_soon(figures)
    if isinstance(replica.figures, NotShown):
        replica.figures = _explained(replica.figures, replica.health)
    return replica


def _explained(figures: NotShown, health: ReplicaHealth | NotShown) -> NotShown:
    """Explains missing figures: metrics may be disabled, and a missing replica is reported once."""
    if isinstance(health, NotShown):
        return replace(figures, asked=False)
    if _METRICS_TARGET not in health.targets:
        return NotShown("metrics are disabled in this process", asked=False)
    return figures


async def _health(place: ReplicaPlace) -> ReplicaHealth | NotShown:
    try:
        # Of the three paths the one that answers 200 even if a target is not ready: the body has that, too.
        return read_health(await place.get(place.health_port, "/livez?verbose"))
    except NotAnsweredError as error:
        return NotShown(str(error))
    except NotOursError as error:
        return NotShown(f"{place.name}: {error}")


async def _figures(place: ReplicaPlace) -> Figures | NotShown:
    if place.metrics_port is None:
        return NotShown("no metrics port was given", asked=False)
    try:
        return read_figures(await place.get(place.metrics_port, "/metrics"))
    except NotAnsweredError as error:
        return NotShown(str(error), place.metrics_asked)
    except NotOursError as error:
        return NotShown(f"port {place.metrics_port}: {error}", place.metrics_asked)


# --- store and ConfigMap


async def _stored(sources: StatusSources, now: Callable[[], datetime]) -> Stored | NotShown | None:
    cluster, files = sources.cluster, sources.files
    if cluster is not None:
        try:
            parts = await _in_time(sources, cluster.stored)
        except HiddenError as hidden:
            return hidden.not_shown
        return read_stored(parts, cluster.secret_place, now())
    if files is None:
        return None
    try:
        with trio.fail_after(sources.timeout):
            parts = await read_public_files(files.anchors, files.chain)
    except trio.TooSlowError:
        return NotShown(f"{files.place} cannot be read within {sources.timeout:g} s", files.asked)
    except StoreError as error:
        return NotShown(str(error), files.asked)
    return read_stored(parts, files.place, now())


async def _published(sources: StatusSources) -> Published | NotShown | None:
    cluster = sources.cluster
    if cluster is None:
        return None
    try:
        return read_published(await _in_time(sources, cluster.published), cluster.config_map_place)
    except HiddenError as hidden:
        return hidden.not_shown


async def _in_time(sources: StatusSources, ask: Callable[[], Awaitable[T]]) -> T:
    """Asks the API server, for as long as a replica would be waited for."""
    try:
        with trio.fail_after(sources.timeout):
            return await ask()
    except trio.TooSlowError:
        raise HiddenError(f"the Kubernetes API server did not answer within {sources.timeout:g} s") from None
