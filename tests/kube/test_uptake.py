"""Uptake of trust anchors, from pods that are listed and watched."""

import gc
import tracemalloc
from datetime import UTC, datetime, timedelta

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from sentry_trio.kube.index import Index
from sentry_trio.kube.pods import Pod
from sentry_trio.kube.sidecar_anchors import ReadFingerprints, Sidecar, SidecarAnchors
from sentry_trio.kube.uptake import INJECTOR_DELAY, RECENT, Uptake, anchor_sets, anchor_texts, measure
from testkit.kube.objects import Objects, pod, sidecar_pod

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
LATER = NOON + timedelta(days=1)
SECOND = timedelta(seconds=1)
R1, R2, R3, FOREIGN = "r1", "r2", "r3", "foreign"


def fingerprints(text: str) -> frozenset[str]:
    return frozenset(text.split())


def made(name: str, *held: str, at: datetime = NOON, follows_file: bool = False) -> Pod:
    sidecar = Sidecar(SidecarAnchors(frozenset(held), follows_file), int(at.timestamp()))
    return Pod("shop", name, name, "account", {}, (), sidecar)


def ends(*roots: str) -> dict[str, datetime]:
    """Roots, the newest first, that are cut off a month apart."""
    return {root: NOON + timedelta(days=30 * (len(roots) - index)) for index, root in enumerate(roots)}


def measured(*pods: Pod, roots: tuple[str, ...] = (R2, R1), now: datetime = LATER) -> Uptake:
    return measure(pods, ends(*roots), published_at=NOON, now=now)


def test_sidecars_are_counted_by_their_newest_own_root() -> None:
    uptake = measured(
        made("both", R1, R2),
        made("new", R2, FOREIGN),
        made("old", R1),
        made("older", R1, FOREIGN),
        made("other", FOREIGN),
        made("empty"),
        made("file", R1, follows_file=True),
        Pod("shop", "plain", "plain", "account", {}, ()),
    )
    assert uptake.counts == {"current": 2, "former": 2, "none": 2, "file": 1}
    assert uptake.pinned == ("shop/old", "shop/older")


def test_two_generations_ago_is_former_too() -> None:
    uptake = measured(made("a", R1), made("b", R1, R2), made("c", R2, R3), roots=(R3, R2, R1))
    assert uptake.counts == {"current": 1, "former": 2, "none": 0, "file": 0}


def test_pods_that_are_cut_off_first_come_first() -> None:
    pods = made("a", R2), made("c", R1), made("b", R1), made("d", R1, R2), made("e", R3)
    uptake = measured(*pods, roots=(R3, R2, R1))
    assert uptake.pinned == ("shop/b", "shop/c", "shop/a", "shop/d")
    assert uptake.first_end == ends(R3, R2, R1)[R1]
    assert measured(made("a", R1, R2), roots=(R3, R2, R1)).first_end == ends(R3, R2, R1)[R2]
    assert measured(made("e", R3), made("f", FOREIGN), roots=(R3, R2, R1)).first_end is None


def test_sidecars_hold_no_roots_of_an_authority_made_elsewhere() -> None:
    assert measured(made("a", FOREIGN), roots=()).counts["none"] == 1


@pytest.mark.parametrize(
    ("pods", "is_held"),
    [
        pytest.param([made("a", R1, R2), made("b", R2, FOREIGN)], True, id="all"),
        pytest.param([made("a", R2), Pod("shop", "plain", "plain", "account", {}, ())], True, id="without a sidecar"),
        pytest.param([], False, id="no sidecars"),
        pytest.param([made("a", R2), made("b", R1)], False, id="former"),
        pytest.param([made("a", R2), made("b", FOREIGN)], False, id="foreign"),
        pytest.param([made("a", R2), made("b")], False, id="unknown"),
        pytest.param([made("a", R2), made("b", R2, follows_file=True)], False, id="file"),
    ],
)
def test_a_root_is_held_by_all_if_each_sidecar_has_it_in_its_environment(pods: list[Pod], *, is_held: bool) -> None:
    assert measured(*pods).held_by_all == (R2 if is_held else None)
    assert measured(*pods, roots=()).held_by_all is None


def test_the_injector_is_stale_if_a_pod_made_late_lacks_the_newest_root() -> None:
    in_time, late = NOON + INJECTOR_DELAY, NOON + INJECTOR_DELAY + SECOND
    assert not measured(made("a", R1, at=in_time)).injector_stale
    assert measured(made("a", R1, at=late)).injector_stale


def test_the_injector_is_not_stale_if_there_is_one_root_only() -> None:
    only = measure([made("a", R1, at=LATER)], ends(R1), published_at=None, now=LATER)
    assert not only.injector_stale
    assert only.counts["current"] == 1


def test_a_sidecar_with_roots_of_others_is_not_the_injectors() -> None:
    assert not measured(made("a", FOREIGN, at=LATER)).injector_stale


def test_one_of_two_injectors_may_be_stale() -> None:
    late = NOON + INJECTOR_DELAY + SECOND
    pods = made("a", R1, at=late), made("b", R1, R2, at=late + SECOND)
    assert measured(*pods, now=late + RECENT).injector_stale


def test_a_restarted_injector_is_not_stale_although_its_former_pods_are_there() -> None:
    late = NOON + INJECTOR_DELAY + SECOND
    pods = made("a", R1, at=late), made("b", R1, R2, at=late + SECOND)
    assert not measured(*pods, now=late + RECENT + SECOND).injector_stale
    assert measured(pods[0], now=late + RECENT + SECOND).injector_stale


def test_sets_name_the_pods_that_hold_them() -> None:
    pods = made("b", R1), made("a", R1), made("c", R2, R1), made("d", follows_file=True), made("e")
    assert anchor_sets(pods) == {
        frozenset({R1}): ("shop/a", "shop/b"),
        frozenset({R1, R2}): ("shop/c",),
        frozenset(): ("shop/e",),
    }


def test_texts_of_most_sidecars_come_first() -> None:
    def holding(text: str, *, follows_file: bool = False) -> Pod:
        anchors = SidecarAnchors(frozenset(text.split()), follows_file, text)
        return Pod("shop", "cart", "cart", "account", {}, (), Sidecar(anchors, 0))

    pods = holding("r1"), holding("r2"), holding("r2"), holding(""), made("a", follows_file=True)
    assert anchor_texts(pods) == ("r2", "r1")


# --- a large mesh

PODS = 5000
TEXT = "-----BEGIN CERTIFICATE-----\n" + "M" * 700 + "\n{}\n"
SETS = {0: (R1,), 1: (R1, R2), 2: (R2,)}


def large() -> Objects:
    """Pods as large as the injector makes them, of three anchor sets."""
    objects = Objects()
    for number in range(PODS):
        text = "".join(TEXT.format(f"root {root}") for root in SETS[number % 3])
        objects.put(sidecar_pod(f"cart-{number}", text, created="2026-03-01T12:00:00Z"), quietly=True)
    return objects


def roots_in(text: str) -> frozenset[str]:
    return frozenset(root for root in (R1, R2) if f"root {root}" in text)


async def indexed(objects: Objects, nursery: trio.Nursery, reader: ReadFingerprints | None) -> tuple[Index, int]:
    """The index of all pods, and the bytes that it keeps."""
    index = Index(objects, fingerprints=reader)
    gc.collect()
    tracemalloc.start()
    try:
        nursery.start_soon(index.keep)
        await index.wait_ready()
        await wait_all_tasks_blocked()
        gc.collect()
        return index, tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()


@pytest.mark.uncovered
async def test_5000_pods_are_counted_in_little_memory(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    objects = large()
    _, without = await indexed(objects, nursery, None)
    index, kept = await indexed(objects, nursery, roots_in)
    assert kept - without < 1_000_000

    uptake = measure(index.pods, ends(R2, R1), published_at=NOON, now=LATER)
    former = len(range(0, PODS, 3))
    assert uptake.counts == {"current": PODS - former, "former": former, "none": 0, "file": 0}
    assert len(uptake.pinned) == former
    assert {names: len(holders) for names, holders in anchor_sets(index.pods).items()} == {
        frozenset(held): len(range(number, PODS, 3)) for number, held in SETS.items()
    }
    assert set(map(roots_in, anchor_texts(index.pods))) == {frozenset(held) for held in SETS.values()}


async def test_a_stale_injector_is_found_by_the_next_event_of_the_watch(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    objects = Objects()
    objects.put(sidecar_pod("old", R1, created="2026-02-01T12:00:00Z"))
    objects.put(pod("plain"))
    index = Index(objects, fingerprints=fingerprints)
    nursery.start_soon(index.keep)
    await index.wait_ready()

    def is_stale() -> bool:
        return measure(index.pods, ends(R2, R1), published_at=NOON, now=NOON + 2 * INJECTOR_DELAY).injector_stale

    await wait_all_tasks_blocked()
    assert not is_stale()
    objects.put(sidecar_pod("made-by-a-blind-injector", R1, created="2026-03-01T12:10:01Z"))
    await wait_all_tasks_blocked()
    assert is_stale()
    objects.delete("default", "made-by-a-blind-injector")
    await wait_all_tasks_blocked()
    assert not is_stale()
