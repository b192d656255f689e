"""Events in each phase of a renewal: obstacles delay the step that is due, and edits that would cut are refused."""

from collections.abc import Callable
from datetime import timedelta
from typing import Final, NoReturn

import pytest
import trio
from trio.testing import MockClock

from sentry_trio.ca.generate import generate
from sentry_trio.ca.keys import KeyType
from sentry_trio.ca.parts import BUNDLE, Changes, bundle_parts
from sentry_trio.ca.renewal import RenewalRequest, Situation, plan
from sentry_trio.errors import ApiUnavailableError, Part, StoreError, TrustCutError
from testkit.renewal import (
    BEGINNINGS,
    DAY,
    START,
    MemoryEnvironment,
    MemoryStore,
    in_phase,
    later,
    phase,
    serving,
    serving_in,
    until,
    until_after,
)

FOLLOWING: Final = {
    "steady": "distributing",
    "distributing": "signing",
    "signing": "retiring",
    "retiring": "distributing",
}


def set_obstacle(name: str, replica: MemoryEnvironment) -> Callable[[], None]:
    """Puts an obstacle in the way; returns what removes it."""
    store = replica.store
    match name:
        case "disk full":
            store.trouble = StoreError("no space left on device")
        case "API server away":
            store.trouble = ApiUnavailableError("no answer")
        case "read-only":
            store.read_only = "the shelf is glued"
        case "clocks disagree":
            replica.server_offset = timedelta(hours=1)

    def remove() -> None:
        store.trouble = store.read_only = replica.server_offset = None

    return remove


def due(replica: MemoryEnvironment) -> float:
    """Seconds after the start when the next step is due."""
    assert replica.renewal is not None
    assert replica.renewal.next_step_at is not None
    return (replica.renewal.next_step_at - START).total_seconds()


@pytest.mark.parametrize("obstacle", ["disk full", "API server away", "read-only", "clocks disagree"])
@pytest.mark.parametrize("wanted", BEGINNINGS)
async def test_an_obstacle_delays_the_step_that_ends_a_phase(
    autojump_clock: MockClock, wanted: str, obstacle: str
) -> None:
    async with serving_in(wanted) as replica:
        moment, stored, runs = due(replica), replica.store.stored, len(replica.runs)
        remove = set_obstacle(obstacle, replica)
        await until_after(replica, moment, 900)
        assert (phase(replica), replica.store.stored, len(replica.runs)) == (wanted, stored, runs)
        # A renewal that cannot begin in a read-only store is reported from 30 days before it is too late.
        is_reported_later = obstacle == "read-only" and wanted in {"steady", "retiring"}
        assert replica.renewal is not None
        assert (replica.renewal.held is None) is is_reported_later
        remove()
        await until(replica, moment + 1500)
        assert phase(replica) == FOLLOWING[wanted]
        assert replica.failures == []


@pytest.mark.parametrize("wanted", BEGINNINGS)
async def test_a_lost_comparison_leads_to_another_plan_for_the_step_that_ends_a_phase(
    autojump_clock: MockClock, wanted: str
) -> None:
    async with serving_in(wanted) as replica:
        store = replica.store
        moment = due(replica)

        def somebody_else() -> None:
            store.before_write = lambda: None
            store.edit({Part.REJECTED_CHAIN: b"a file of somebody else"})

        store.before_write = somebody_else
        await until_after(replica, moment, 900)
        assert phase(replica) == FOLLOWING[wanted]
        assert store.stored[Part.REJECTED_CHAIN] == b"a file of somebody else"
        assert replica.failures == []


@pytest.mark.parametrize("wanted", ["distributing", "signing"])
async def test_a_renewal_that_is_switched_off_meanwhile_comes_to_its_end(
    autojump_clock: MockClock, wanted: str
) -> None:
    former = MemoryEnvironment(MemoryStore())
    async with serving(former):
        await in_phase(former, wanted)
    replica = MemoryEnvironment(former.store, "--ca-renewal-enabled=false", skip=former.now() - START)
    async with serving(replica):
        await trio.sleep(60)
        while (planned := replica.renewal) is not None and planned.next_step_at is not None:
            await until(replica, (planned.next_step_at - START - replica.skip).total_seconds() - 10)
            await trio.sleep(180)
        assert phase(replica) == "steady"
        assert replica.now() - START > timedelta(days=365)
        assert Part.PREVIOUS_CHAIN not in replica.store.stored


@pytest.mark.parametrize("wanted", BEGINNINGS)
async def test_a_machine_that_was_suspended_takes_the_steps_that_it_missed(
    autojump_clock: MockClock, wanted: str
) -> None:
    async with serving_in(wanted) as replica:
        replica.store.suspended += due(replica) - replica.since + DAY
        await trio.sleep(180)
        assert phase(replica) == FOLLOWING[wanted]
        assert "RenewalHeld" not in replica.reasons


# --- edits while a run serves


async def edited(replica: MemoryEnvironment, changes: Changes) -> None:
    """Edits the store, and checks that the run goes on with what it has."""
    runs, failures = len(replica.runs), len(replica.failures)
    before = {part: replica.store.stored.get(part) for part in changes}
    replica.store.edit(changes)
    await trio.sleep(30)
    assert (len(replica.runs), len(replica.failures)) == (runs, failures + 1)
    replica.store.edit(before)


@pytest.mark.parametrize("wanted", BEGINNINGS)
async def test_an_edit_that_cuts_off_no_client_is_used_in_any_phase(autojump_clock: MockClock, wanted: str) -> None:
    """A trust anchor of a federated mesh is added; the renewal keeps it and comes to its end."""
    async with serving_in(wanted) as replica:
        store = replica.store
        runs = len(replica.runs)
        other = generate("elsewhere", "ns", KeyType.ED25519, now=START, allowed_clock_skew=timedelta())
        store.edit({Part.ANCHORS: store.stored[Part.ANCHORS] + other.anchors})
        await trio.sleep(120)
        assert (phase(replica), len(replica.runs)) == (wanted, runs + 1)
        moment = due(replica)
        await until_after(replica, moment, 900)
        assert phase(replica) == FOLLOWING[wanted]
        assert store.stored[Part.ANCHORS].endswith(other.anchors)
        assert replica.failures == []


@pytest.mark.parametrize("wanted", BEGINNINGS)
async def test_an_edit_that_cuts_is_refused_in_any_phase(autojump_clock: MockClock, wanted: str) -> None:
    async with serving_in(wanted) as replica:
        moment = due(replica)
        other = generate("td", "ns", KeyType.ED25519, now=replica.now(), allowed_clock_skew=timedelta(minutes=15))
        await edited(replica, bundle_parts(other))
        assert isinstance(replica.failures[-1], TrustCutError)
        assert replica.reasons[-1] == "TrustCutRefused"
        # What was refused has no effect once it is taken back.
        await until_after(replica, moment, 900)
        assert phase(replica) == FOLLOWING[wanted]


@pytest.mark.parametrize("wanted", BEGINNINGS)
async def test_a_former_generation_is_refused_in_any_phase(autojump_clock: MockClock, wanted: str) -> None:
    """As a Helm upgrade puts it back; once the bridge has ended, the former issuer has expired."""
    store = MemoryStore()
    first = MemoryEnvironment(store)
    async with serving(first):
        await trio.sleep(10)
        former = {part: store.stored[part] for part in BUNDLE}
        await in_phase(first, "retiring")
    flag = "--ca-renewal-enabled=false" if wanted == "steady" else "--ca-renewal-threshold=0.3"
    replica = MemoryEnvironment(store, flag, skip=first.now() - START)
    async with serving(replica):
        await trio.sleep(60)
        while phase(replica) != wanted:
            await until(replica, due(replica) - replica.skip.total_seconds() - 10)
            await trio.sleep(180)
        await edited(replica, former)
        code = "expired" if wanted == "steady" else "regression"
        assert replica.counted(f'sentry_ca_preflight_refusals_total{{code="{code}"}}') == 1
        assert phase(replica) == wanted


@pytest.mark.parametrize("wanted", BEGINNINGS)
async def test_an_emptied_store_stops_no_run_and_is_filled_by_none(autojump_clock: MockClock, wanted: str) -> None:
    async with serving_in(wanted) as replica:
        moment, writes = due(replica), len(replica.store.writes)
        await edited(replica, dict.fromkeys(replica.store.stored))
        assert "the trust bundle is missing from the shelf: no new one is generated" in str(replica.failures[-1])
        assert len(replica.store.writes) == writes
        await until_after(replica, moment, 900)
        assert phase(replica) == FOLLOWING[wanted]


@pytest.mark.parametrize("is_pruned", [False, True])
async def test_a_renewal_that_another_program_undoes_begins_again_after_a_week(
    autojump_clock: MockClock, *, is_pruned: bool
) -> None:
    replica = MemoryEnvironment(MemoryStore())
    store = replica.store

    async def put_back(original: Changes) -> NoReturn:
        while True:
            await trio.sleep(180)
            kept = dict.fromkeys(store.stored) if is_pruned else {}
            if any(store.stored[part] != content for part, content in original.items()):
                store.edit({**kept, **original})

    async with serving(replica), trio.open_nursery() as nursery:
        await in_phase(replica, "steady")
        nursery.start_soon(put_back, dict(store.stored))
        await until_after(replica, BEGINNINGS["distributing"], DAY)
        assert replica.reasons.count("RenewalBegun") == 1
        assert replica.reasons[-1] == "RenewalHeld"
        assert "has put the former trust bundle back" in replica.events[-1][1]
        assert len(replica.runs) == 3
        await until_after(replica, BEGINNINGS["distributing"] + 8 * DAY, DAY)
        assert replica.reasons.count("RenewalBegun") == 2
        nursery.cancel_scope.cancel()


async def test_a_renewal_that_a_command_cancels_is_not_undone_by_another_program(autojump_clock: MockClock) -> None:
    async with serving_in("distributing") as replica:
        policy = replica._renewer.policy_for(replica.configuration)
        situation = Situation(now=replica.now())
        replica.store.edit(plan(replica.store.stored, policy, situation, RenewalRequest.CANCEL).changes)
        await later(replica, DAY)
        assert phase(replica) == "steady"
        assert replica.reasons == ["RenewalBegun"]
        assert replica.renewal is not None
        assert replica.renewal.held is None
        await later(replica, 7 * DAY)
        assert phase(replica) != "steady"
