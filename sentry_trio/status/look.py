"""One look at everything, within a few seconds."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

import trio

from sentry_trio.errors import StoreError
from sentry_trio.status.replicas import Absent, Place, look_at
from sentry_trio.status.report import (
    HiddenError,
    NotShown,
    Published,
    Replica,
    Report,
    Stored,
    read_published,
    read_stored,
)
from sentry_trio.stores.public import read_public_files

if TYPE_CHECKING:
    from sentry_trio.status.cluster import Cluster

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Files:
    """Where standalone mode keeps what may be told.

    Attributes:
        anchors: the trust anchors.
        chain: the issuer chain.
        asked: whether they were asked for, and not merely looked for.
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
class Sight:
    """Where to look.

    Attributes:
        replicas: those that were named; empty to find them by the Kubernetes API.
        here: who is asked where none were named or found.
        files: of a standalone authority; None for none.
        cluster: of one in Kubernetes; None for none.
        cluster_missing: why there is no cluster although one was looked for.
        timeout: seconds for each answer.
    """

    replicas: tuple[Place, ...]
    here: Place
    files: Files | None = None
    cluster: "Cluster | None" = None
    cluster_missing: NotShown | None = None
    timeout: float = 5.0


async def look(sight: Sight, now: Callable[[], datetime]) -> Report:
    """Looks at replicas and store, all at once. What cannot be seen is told in the report and not raised.

    Args:
        sight: where.
        now: the wall clock, aware; read when all has been seen.

    Cancellation: at once.
    """
    found = _Once[tuple[list[Replica], NotShown | None]]()
    stored = _Once[Stored | NotShown | None]()
    published = _Once[Published | NotShown | None]()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(found.keep, lambda: _look_at_replicas(sight))
        nursery.start_soon(stored.keep, lambda: _look_at_store(sight, now))
        nursery.start_soon(published.keep, lambda: _look_at_published(sight))
    replicas, not_found = found.value
    report = Report(
        at=now(),
        replicas=tuple(replicas),
        stored=stored.value,
        published=published.value,
        not_found=not_found,
    )
    if sight.files is not None and not sight.files.asked and _keeps_it_in_kubernetes(report):
        # Files that merely lie here are none of its business.
        return replace(report, stored=NotShown("it is kept in Kubernetes; --kubernetes looks there", asked=False))
    return report


def _keeps_it_in_kubernetes(report: Report) -> bool:
    return any(health.mode == "kubernetes" for _, health in report.reached)


class _Once(Generic[T]):
    """What a task came to."""

    value: T

    async def keep(self, make: Callable[[], Awaitable[T]]) -> None:
        self.value = await make()


async def _look_at_replicas(sight: Sight) -> tuple[list[Replica], NotShown | None]:
    places, not_found = await _places(sight)
    found: dict[int, Replica] = {}

    async def keep(index: int, place: Place | Absent) -> None:
        found[index] = await look_at(place)

    async with trio.open_nursery() as nursery:
        for index, place in enumerate(places):
            nursery.start_soon(keep, index, place)
    return [found[index] for index in range(len(places))], not_found


async def _places(sight: Sight) -> tuple[list[Place | Absent], NotShown | None]:
    if sight.replicas:
        return list(sight.replicas), sight.cluster_missing
    if sight.cluster is None:
        return [sight.here], sight.cluster_missing
    try:
        return await _within(sight, sight.cluster.replicas), None
    except HiddenError as hidden:
        return [sight.here], hidden.not_shown


async def _look_at_store(sight: Sight, now: Callable[[], datetime]) -> Stored | NotShown | None:
    if sight.cluster is not None:
        try:
            parts = await _within(sight, sight.cluster.stored)
        except HiddenError as hidden:
            return hidden.not_shown
        return read_stored(parts, sight.cluster.secret_place, now())
    files = sight.files
    if files is None:
        return None
    try:
        with trio.fail_after(sight.timeout):
            parts = await read_public_files(files.anchors, files.chain)
    except trio.TooSlowError:
        return NotShown(f"{files.place} cannot be read within {sight.timeout:g} s", files.asked)
    except StoreError as error:
        return NotShown(str(error), files.asked)
    return read_stored(parts, files.place, now())


async def _look_at_published(sight: Sight) -> Published | NotShown | None:
    if sight.cluster is None:
        return None
    try:
        return read_published(await _within(sight, sight.cluster.published), sight.cluster.config_map_place)
    except HiddenError as hidden:
        return hidden.not_shown


async def _within(sight: Sight, ask: Callable[[], Awaitable[T]]) -> T:
    """Asks the API server, for as long as a replica would be waited for."""
    try:
        with trio.fail_after(sight.timeout):
            return await ask()
    except trio.TooSlowError:
        raise HiddenError(f"the Kubernetes API server did not answer within {sight.timeout:g} s") from None
