"""Findings as they are written to disk, and conclusions from them."""

import statistics
from collections.abc import Iterable
from typing import Literal, NamedTuple, get_args

import msgspec

Kind = Literal["kept", "new"]
"""Use of connections: callers keep theirs, or make a new one, with TLS, for each call."""
KINDS: tuple[Kind, ...] = get_args(Kind)


class Spread(NamedTuple):
    """Summary of several measurements of one thing."""

    median: float
    lowest: float
    highest: float

    @classmethod
    def of(cls, values: Iterable[float]) -> "Spread":
        """The spread of at least one value."""
        found = sorted(values)
        return cls(statistics.median(found), found[0], found[-1])


class Pass(msgspec.Struct, kw_only=True):
    """One contender under load of one kind, once.

    Attributes:
        calls: those that were answered.
        seconds: how long that took.
        cpu_seconds: of the server, user and system.
        system_seconds: the part of it that the kernel took; None if that was not measured.
        p50_ms: as callers wait; None without calls.
        p99_ms: likewise.
        rss_kib: of the server, at the end.
        client_seconds: CPU of the load client meanwhile; together with the server it bounds the throughput.
        others: the part of the machine's processors that other programs used meanwhile.
    """

    calls: int
    seconds: float
    cpu_seconds: float
    system_seconds: float | None = None
    p50_ms: float | None = None
    p99_ms: float | None = None
    rss_kib: int
    client_seconds: float | None = None
    others: float | None = None

    @property
    def cpu_ms(self) -> float:
        """CPU per call."""
        return 1000 * self.cpu_seconds / self.calls

    @property
    def rate(self) -> float:
        """Calls a second."""
        return self.calls / self.seconds


class Contest(msgspec.Struct, kw_only=True):
    """One contender in all rounds; the n-th passes of all contenders are of one round."""

    name: str
    title: str
    kept: list[Pass] = []
    new: list[Pass] = []

    def passes(self, kind: Kind) -> list[Pass]:
        """Passes of one kind, in order."""
        return self.kept if kind == "kept" else self.new


class Target(NamedTuple):
    """Upper target for the ratio of our CPU per call to another's."""

    kind: Kind
    name: str
    at_most: float


TARGETS = (
    Target("kept", "grpcio", 0.80),
    Target("new", "grpcio", 1.20),
    Target("kept", "trio-asyncio", 0.65),
    Target("new", "trio-asyncio", 0.55),
)


class Verdict(msgspec.Struct, kw_only=True):
    """Our CPU per call as a part of another's, round by round."""

    kind: Kind
    name: str
    ratio: Spread
    target: float | None
    met: bool | None


def verdicts(contests: list[Contest]) -> list[Verdict]:
    """Ours against each of the others; none without ours."""
    ours = next((each for each in contests if each.name == "ours"), None)
    if ours is None:
        return []
    found = []
    for other in (each for each in contests if each is not ours):
        for kind in KINDS:
            pairs = zip(ours.passes(kind), other.passes(kind), strict=True)
            ratio = Spread.of(mine.cpu_ms / theirs.cpu_ms for mine, theirs in pairs)
            target = next((t.at_most for t in TARGETS if (t.kind, t.name) == (kind, other.name)), None)
            met = None if target is None else ratio.median <= target
            found.append(Verdict(kind=kind, name=other.name, ratio=ratio, target=target, met=met))
    return found


class Start(msgspec.Struct, kw_only=True):
    """One start of the real process, from exec until it reports that it is healthy."""

    wall_seconds: float
    cpu_seconds: float
    rss_kib: int


class Starts(msgspec.Struct, kw_only=True):
    """Several starts, and the modules imported in each.

    Attributes:
        starts: as they were.
        modules: how many are imported.
        import_ms: by top-level package, the dearest first, as `-X importtime` reports, which itself costs time.
    """

    starts: list[Start]
    modules: int
    import_ms: dict[str, float]


class Profile(msgspec.Struct, kw_only=True):
    """CPU profile of one contender under load of one kind.

    Attributes:
        samples: how many were taken.
        cpu_ms: per call, while sampled.
        groups: part of the samples by group of modules, the largest first; together 1.
    """

    name: str
    kind: Kind
    samples: int
    cpu_ms: float
    groups: dict[str, float]


class Machine(msgspec.Struct, kw_only=True):
    """Machine and versions of a measurement."""

    processor: str
    processors: int
    system: str
    python: str
    openssl: str
    packages: dict[str, str]
    commit: str | None


class Findings(msgspec.Struct, kw_only=True):
    """All of it."""

    at: str
    machine: Machine
    rounds: int
    seconds: float
    workers: int
    contests: list[Contest]
    verdicts: list[Verdict]
    start: Starts | None
    profiles: list[Profile]
