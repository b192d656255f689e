"""Uptake of trust anchors: the roots that running sidecars hold, by their pods."""

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from functools import cache, partial
from typing import Final

import msgspec

from sentry_trio.kube.pods import Pod
from sentry_trio.kube.sidecar_anchors import SidecarAnchors
from sentry_trio.renewal_status import AnchorsHeld

INJECTOR_DELAY: Final = timedelta(minutes=10)
"""Time after the publication of a root after which new pods must hold it: the injector reads a mounted ConfigMap."""

RECENT: Final = timedelta(hours=1)
"""Time for which a pod without the newest root shows a stale injector although a later pod holds that root."""


class Uptake(msgspec.Struct, frozen=True):
    """Roots that sidecars hold.

    Attributes:
        counts: number of sidecars by the values of `AnchorsHeld`.
        pinned: pods that hold former roots only, as `namespace/name`; those that are cut off first come first.
        first_end: time at which the first of these are cut off, or now if they have been; None if there are none.
        injector_stale: new pods did not get the newest root.
        held_by_all: fingerprint of the newest root if there are sidecars and all hold it in their environment, or else
            None.
    """

    counts: Mapping[str, int]
    pinned: tuple[str, ...]
    first_end: datetime | None
    injector_stale: bool
    held_by_all: str | None


def measure(
    pods: Iterable[Pod], roots: Mapping[str, datetime], *, published_at: datetime | None, now: datetime
) -> Uptake:
    """Counts sidecars by the roots that they hold.

    Several injectors may differ: the injector counts as stale if the latest pod that should hold the newest root does
    not, or one of the last hour does not.

    Args:
        pods: all pods of the cluster.
        roots: fingerprints of the roots made here, the newest first, and when sidecars that hold one alone are cut off.
        published_at: time at which the newest was published; None if it is the only one, which every sidecar has.
        now: the wall clock, aware.
    """
    newest = next(iter(roots), None)
    holding_of = cache(partial(_holding, roots, newest))  # most sidecars hold one of a few sets
    counts: Counter[str] = Counter(dict.fromkeys(AnchorsHeld, 0))
    pinned: list[tuple[datetime, str]] = []
    latest = dict.fromkeys(AnchorsHeld, 0)
    for pod in pods:
        if pod.sidecar is None:
            continue
        kind, end = holding_of(pod.sidecar.anchors)
        counts[kind] += 1
        latest[kind] = max(latest[kind], pod.sidecar.created)
        if end is not None:
            pinned.append((end, f"{pod.namespace}/{pod.name}"))
    lacking, holding = latest[AnchorsHeld.FORMER], latest[AnchorsHeld.CURRENT]
    is_late = published_at is not None and lacking > (published_at + INJECTOR_DELAY).timestamp()
    is_recent = lacking >= holding or lacking >= (now - RECENT).timestamp()
    pinned.sort()
    return Uptake(
        counts=counts,
        pinned=tuple(name for _, name in pinned),
        first_end=pinned[0][0] if pinned else None,
        injector_stale=is_late and is_recent,
        held_by_all=newest if 0 < counts.total() == counts[AnchorsHeld.CURRENT] else None,
    )


def anchor_sets(pods: Iterable[Pod]) -> dict[frozenset[str], tuple[str, ...]]:
    """Returns the sets of roots that sidecars keep while they run, by fingerprints, with the pods that hold each."""
    holders: dict[frozenset[str], list[str]] = {}
    for pod in pods:
        if pod.sidecar is not None and not pod.sidecar.anchors.follows_file:
            holders.setdefault(pod.sidecar.anchors.fingerprints, []).append(f"{pod.namespace}/{pod.name}")
    return {fingerprints: tuple(sorted(names)) for fingerprints, names in holders.items()}


def anchor_texts(pods: Iterable[Pod]) -> tuple[str, ...]:
    """Returns the texts of these sets, PEM; those that the most sidecars hold come first."""
    counts: Counter[SidecarAnchors] = Counter(pod.sidecar.anchors for pod in pods if pod.sidecar is not None)
    return tuple(anchors.text for anchors, _ in counts.most_common() if anchors.text)


def _holding(
    roots: Mapping[str, datetime], newest: str | None, anchors: SidecarAnchors
) -> tuple[AnchorsHeld, datetime | None]:
    """Returns the kind of a set, and for former roots the time at which sidecars that hold it are cut off."""
    if anchors.follows_file:
        return AnchorsHeld.FILE, None
    if newest in anchors.fingerprints:
        return AnchorsHeld.CURRENT, None
    ends = [end for root, end in roots.items() if root in anchors.fingerprints]
    return (AnchorsHeld.FORMER, max(ends)) if ends else (AnchorsHeld.NONE, None)
