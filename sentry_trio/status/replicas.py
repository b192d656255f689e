"""One replica: what it says of itself, and what it counts."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

import trio

from sentry_trio.status.figures import Figures, read_figures
from sentry_trio.status.health import Health, NotOursError, read_health
from sentry_trio.status.http import NotAnsweredError
from sentry_trio.status.report import NotShown, Replica

Get = Callable[[int, str], Awaitable[bytes]]
"""The body that a port answers with to a path. Raises NotAnsweredError."""

_METRICS = "metrics-exporter"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a replica can be asked.

    Attributes:
        name: for people.
        get: asks it.
        health_port: of its health server.
        metrics_port: of its metrics; None where that is not known.
        metrics_asked: whether its metrics were asked for, and not merely looked for.
    """

    name: str
    get: Get
    health_port: int = 8080
    metrics_port: int | None = None
    metrics_asked: bool = False


@dataclass(frozen=True, slots=True)
class Absent:
    """A replica that cannot be asked.

    Attributes:
        name: for people.
        reason: why.
    """

    name: str
    reason: str


async def look_at(place: Place | Absent) -> Replica:
    """Asks a replica, for health and metrics at once.

    Never raises for what a replica does. Cancellation: at once.
    """
    if isinstance(place, Absent):
        return Replica(place.name, NotShown(place.reason), NotShown(place.reason, asked=False))
    health: list[Health | NotShown] = []
    figures: list[Figures | NotShown] = []

    async def ask_health() -> None:
        health.append(await _health(place))

    async def ask_figures() -> None:
        figures.append(await _figures(place))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask_health)
        nursery.start_soon(ask_figures)
    return Replica(place.name, health[0], _explained(figures[0], health[0]))


def _explained(figures: Figures | NotShown, health: Health | NotShown) -> Figures | NotShown:
    """Where there are no metrics because they are off, that is the reason; and one missing replica is told once."""
    if isinstance(figures, NotShown):
        if isinstance(health, NotShown):
            return replace(figures, asked=False)
        if _METRICS not in health.targets:
            return NotShown("metrics are off in this process", asked=False)
    return figures


async def _health(place: Place) -> Health | NotShown:
    try:
        # Of the three paths the one that answers 200 whatever the verdict is: that stands in the body, too.
        return read_health(await place.get(place.health_port, "/livez?verbose"))
    except NotAnsweredError as error:
        return NotShown(str(error))
    except NotOursError as error:
        return NotShown(f"{place.name}: {error}")


async def _figures(place: Place) -> Figures | NotShown:
    if place.metrics_port is None:
        return NotShown("no metrics port is named", asked=False)
    try:
        return read_figures(await place.get(place.metrics_port, "/metrics"))
    except NotAnsweredError as error:
        return NotShown(str(error), place.metrics_asked)
    except NotOursError as error:
        return NotShown(f"port {place.metrics_port}: {error}", place.metrics_asked)
