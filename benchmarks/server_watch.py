"""Resources and turns of a server under attack. Linux only: it reads `/proc`."""

import os
import time
from bisect import bisect_left
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Final

import msgspec
from prometheus_client.parser import text_string_to_metric_families

from testkit.subject import Subject

TURN_P99_MS: Final = 20.0
"""The bound for the turns of the event loop, p99."""
TURN_MAX_MS: Final = 50.0
"""The same for the longest."""
RSS_MIB: Final = 150.0
"""The bound for the server's peak."""
_CORES: Final = sorted(os.sched_getaffinity(0))
_TURNS: Final = "sentry_event_loop_turn_duration_seconds"
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_SETTLING: Final = 10.0  # seconds for the server to be rid of its attackers
_TIMEOUT: Final = 10.0

Turns = list[tuple[float, float]]
"""Upper bounds of turns in ms, and how many turns were not longer."""


def pin(process: int) -> None:
    """Gives a process a core of its own, if there are two; this one and its later children leave it that one."""
    first, *others = _CORES
    if others:
        os.sched_setaffinity(process, {first})
        os.sched_setaffinity(0, others)


class Usage(msgspec.Struct):
    """Resources that the server used while it was watched.

    Attributes:
        cpu: in cores: 1.0 is one core all the time.
        rss_before_mib: at the beginning.
        rss_peak_mib: the most since then.
        rss_after_mib: some time after the attack.
        connections: open at the end of the attack; -1 if unknown.
        turn_p99_ms: no more than 1 % of the turns of the event loop took longer; a bound of the metric's buckets.
        turn_max_ms: none took longer.
    """

    cpu: float = 0.0
    rss_before_mib: float = 0.0
    rss_peak_mib: float = 0.0
    rss_after_mib: float = 0.0
    connections: int = -1
    turn_p99_ms: float = 0.0
    turn_max_ms: float = 0.0


class ServerWatch:
    """Watches a server.

    Args:
        target: the server.
    """

    def __init__(self, target: Subject) -> None:
        self._target = target
        self._process = Path("/proc", str(target.process.popen.pid))

    @contextmanager
    def watching(self) -> Iterator[Usage]:
        """Measures during the block, and waits after it until the server has no connection, for some seconds."""
        (self._process / "clear_refs").write_text("5")
        usage = Usage(rss_before_mib=self._mib("VmRSS"))
        turns, begin, cpu = self._turns(), time.monotonic(), self._cpu_seconds()
        yield usage
        usage.cpu = (self._cpu_seconds() - cpu) / (time.monotonic() - begin)
        usage.rss_peak_mib = self._mib("VmHWM")
        usage.turn_p99_ms, usage.turn_max_ms = _longest(turns, self._turns())
        self._settle()
        usage.rss_after_mib = self._mib("VmRSS")

    def connections(self) -> int:
        """The server's own count; -1 if it does not answer in time."""
        try:
            return int(self._target.metric("sentry_grpc_connections "))
        except OSError:
            return -1

    def _settle(self) -> None:
        deadline = time.monotonic() + _SETTLING
        while self.connections() and time.monotonic() < deadline:
            time.sleep(0.1)

    def _turns(self) -> Turns:
        connection = HTTPConnection("127.0.0.1", self._target.metrics_port, timeout=_TIMEOUT)
        try:
            connection.request("GET", "/")
            text = connection.getresponse().read().decode()
        finally:
            connection.close()
        families = {family.name: family for family in text_string_to_metric_families(text)}
        buckets = (sample for sample in families[_TURNS].samples if sample.name.endswith("_bucket"))
        return [(1000 * float(sample.labels["le"]), sample.value) for sample in buckets]

    def _mib(self, name: str) -> float:
        status = dict(line.split(":", 1) for line in (self._process / "status").read_text().splitlines())
        return int(status[name].split()[0]) / 1024

    def _cpu_seconds(self) -> float:
        user, system = (self._process / "stat").read_text().rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / _TICKS


def _longest(before: Turns, after: Turns) -> tuple[float, float]:
    """Returns the bounds of p99 and of the longest turn between two readings."""
    bounds = [bound for bound, _ in after]
    counts = [count - earlier for (_, count), (_, earlier) in zip(after, before, strict=True)]
    total = counts[-1]
    return bounds[bisect_left(counts, 0.99 * total)], bounds[bisect_left(counts, total)]
