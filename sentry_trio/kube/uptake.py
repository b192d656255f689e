"""Uptake of trust anchors: the roots that running sidecars hold, by their pods."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sentry_trio.kube.pods import Pod
from sentry_trio.kube.sidecar_anchors import SidecarAnchors
from sentry_trio.telemetry.renewal_metrics import AnchorsHeld

INJECTOR_DELAY: Final = timedelta(minutes=10)
"""Time after the publication of a root after which new pods must hold it: the injector reads a mounted ConfigMap."""

RECENT: Final = timedelta(hours=1)
"""Time for which a pod without the newest root shows a stale injector although a later pod holds that root."""


@dataclass(frozen=True, slots=True)
class Uptake:
    """Roots that sidecars hold.

    Attributes:
        counts: number of sidecars by the values of `AnchorsHeld`.
        pinned: pods that hold former roots only, as `namespace/name`, sorted: they are cut off when the bridge ends.
        injector_stale: new pods did not get the newest root.
    """

    counts: Mapping[str, int]
    pinned: tuple[str, ...]
    injector_stale: bool

    @property
    def is_complete(self) -> bool:
        """True if every sidecar follows a file or holds the newest root."""
        return not (self.counts[AnchorsHeld.FORMER] or self.counts[AnchorsHeld.NONE])


def measure(pods: Iterable[Pod], roots: Sequence[str], *, published_at: datetime | None, now: datetime) -> Uptake:
    """Counts sidecars by the roots that they hold.

    Several injectors may differ: the injector counts as stale if the latest pod that should hold the newest root does
    not, or one of the last hour does not.

    Args:
        pods: all pods of the cluster.
        roots: fingerprints of the roots made here, the newest first.
        published_at: when the newest was published; None if it is the only one, which nobody can lack.
        now: the wall clock, aware.
    """
    kinds = _Kinds(roots)
    counts: Counter[str] = Counter(dict.fromkeys(AnchorsHeld, 0))
    pinned = []
    latest = dict.fromkeys(AnchorsHeld, 0)
    for pod in pods:
        if pod.sidecar is None:
            continue
        kind = kinds.of(pod.sidecar.anchors)
        counts[kind] += 1
        latest[kind] = max(latest[kind], pod.sidecar.created)
        if kind is AnchorsHeld.FORMER:
            pinned.append(f"{pod.namespace}/{pod.name}")
    lacking, holding = latest[AnchorsHeld.FORMER], latest[AnchorsHeld.CURRENT]
    is_late = published_at is not None and lacking > (published_at + INJECTOR_DELAY).timestamp()
    is_recent = lacking >= holding or lacking >= (now - RECENT).timestamp()
    return Uptake(counts, tuple(sorted(pinned)), is_late and is_recent)


def anchor_sets(pods: Iterable[Pod]) -> dict[frozenset[str], tuple[str, ...]]:
    """Returns the sets of roots that sidecars cannot exchange, by fingerprints, with the pods that hold each."""
    holders: dict[frozenset[str], list[str]] = {}
    for pod in pods:
        if pod.sidecar is not None and not pod.sidecar.anchors.follows_file:
            holders.setdefault(pod.sidecar.anchors.fingerprints, []).append(f"{pod.namespace}/{pod.name}")
    return {fingerprints: tuple(sorted(names)) for fingerprints, names in holders.items()}


class _Kinds:
    """Kinds of anchor sets, each found once."""

    def __init__(self, roots: Sequence[str]) -> None:
        self._newest = roots[0] if roots else None
        self._own = frozenset(roots)
        self._known: dict[SidecarAnchors, AnchorsHeld] = {}

    def of(self, anchors: SidecarAnchors) -> AnchorsHeld:
        kind = self._known.get(anchors)
        if kind is None:
            kind = self._known[anchors] = self._find(anchors)
        return kind

    def _find(self, anchors: SidecarAnchors) -> AnchorsHeld:
        if anchors.follows_file:
            return AnchorsHeld.FILE
        if self._newest in anchors.fingerprints:
            return AnchorsHeld.CURRENT
        return AnchorsHeld.NONE if anchors.fingerprints.isdisjoint(self._own) else AnchorsHeld.FORMER
