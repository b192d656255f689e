"""Renewal of the certificate authority by runs that follow one another, in virtual time, on a store in memory."""

import itertools
from datetime import timedelta
from unittest.mock import AsyncMock, Mock

import pytest
import trio
from trio.testing import MockClock

from sentry_trio.ca.bundle import verify
from sentry_trio.ca.generate import generate
from sentry_trio.ca.keys import KeyType
from sentry_trio.ca.parts import bundle_of
from sentry_trio.ca.renewal import Situation, plan
from sentry_trio.ca.renewal_root import new_bundle
from sentry_trio.errors import ApiUnavailableError, InvalidBundleError, InvalidOptionsError, Part, StoreError
from sentry_trio.kube.uptake import Uptake
from sentry_trio.reload import Trigger
from sentry_trio.renewal_status import HoldReason
from sentry_trio.settings.configuration import Configuration
from testkit.log_capture import Line
from testkit.renewal import (
    BEGIN,
    BEGINNINGS,
    DAY,
    END,
    GRACE,
    LIMIT,
    SETTLED,
    SKEW,
    START,
    YEAR,
    MemoryEnvironment,
    MemoryStore,
    in_phase,
    later,
    phase,
    serving,
    serving_in,
    stored_in,
    until,
)

SPREAD = 15.0


async def test_a_renewal_takes_one_write_a_step(autojump_clock: MockClock, lines: list[Line]) -> None:
    replica = MemoryEnvironment(MemoryStore())
    async with serving(replica):
        await in_phase(replica, "steady")
        assert len(replica.store.writes) == 1
        first = replica.runs[-1]
        await in_phase(replica, "distributing")
        assert replica.runs[-1].chain == first.chain
        assert replica.runs[-1].anchors[1:] == first.anchors
        await in_phase(replica, "signing")
        assert replica.runs[-1].chain[2:] == first.chain
        assert bundle_of(replica.store.stored).anchors.endswith(first.anchors_pem)
        await in_phase(replica, "retiring")
        assert Part.PREVIOUS_KEY not in replica.store.stored
    assert replica.reasons == ["RenewalBegun", "IssuerSwitched", "OldKeyErased"]
    assert [cause.trigger for cause in replica.causes] == [Trigger.CA_RENEWAL] * 2
    assert len(replica.runs) == 3
    times = [round(time - replica.began - BEGIN) for time, _ in replica.store.writes[1:]]
    expected = [SPREAD, 2 * SPREAD, GRACE + 3 * SPREAD, GRACE + SETTLED + 4 * SPREAD]
    assert times == pytest.approx(expected, abs=5)
    assert replica.counted("dapr_sentry_ca_renewal_total") == 1
    assert replica.counted("dapr_sentry_ca_switchover_total") == 1
    assert replica.counted('sentry_ca_steps_total{outcome="success",step="note"}') == 1
    assert replica.counted("sentry_ca_generation") == 2
    begun = [line["event"] for line in lines if line.get("step") == "publish"]
    assert begun[0].startswith("CA renewal: the renewal of 'issuer ")


async def test_a_renewal_that_is_switched_off_is_not_begun(autojump_clock: MockClock) -> None:
    replica = MemoryEnvironment(MemoryStore(), "--ca-renewal-enabled=false")
    async with serving(replica):
        await until(replica, BEGIN + 10 * DAY)
        assert len(replica.store.writes) == 1
        assert replica.renewal is not None
        assert replica.renewal.next_step is None


@pytest.mark.soak
async def test_three_renewals_by_two_replicas(autojump_clock: MockClock) -> None:
    store = MemoryStore()
    replicas = [MemoryEnvironment(store, "--ca-ttl=240h", chance=chance) for chance in (0.1, 0.9)]
    async with serving(*replicas):
        while replicas[0].since < 16 * DAY:
            await until(replicas[0], replicas[0].since + 6 * 3600)
        assert len({replica.runs[-1].fingerprint for replica in replicas}) == 1
        assert replicas[0].renewal is not None
        assert replicas[0].renewal.generation == 4
    events = [reason for each in replicas for reason in each.reasons]
    assert events.count("RenewalBegun") == events.count("IssuerSwitched") == 3
    assert not any(each.failures for each in replicas)


async def test_replicas_that_act_at_once_store_a_step_once(autojump_clock: MockClock) -> None:
    store = MemoryStore()
    replicas = [MemoryEnvironment(store), MemoryEnvironment(store)]
    async with serving(*replicas):
        await in_phase(replicas[0], "retiring")
        assert len({replica.runs[-1].fingerprint for replica in replicas}) == 1
    for reason in ("RenewalBegun", "IssuerSwitched", "OldKeyErased"):
        assert sum(each.reasons.count(reason) for each in replicas) == 1


async def test_a_lost_comparison_leads_to_another_plan(autojump_clock: MockClock) -> None:
    replica = MemoryEnvironment(MemoryStore())
    async with serving(replica):
        await until(replica, 1)

        def somebody_else() -> None:
            replica.store.before_write = lambda: None
            replica.store.edit({Part.RECORD: b"garbled"})

        replica.store.before_write = somebody_else
        await in_phase(replica, "distributing")
        assert [len(changes) for _, changes in replica.store.writes[1:]] == [4, 4, 1]
        assert replica.reasons == ["RenewalBegun"]


async def test_failures_to_store_are_retried_with_pauses(autojump_clock: MockClock, lines: list[Line]) -> None:
    replica = MemoryEnvironment(MemoryStore(), chance=0)
    async with serving(replica):
        await until(replica, 1)
        replica.store.trouble = StoreError("the disk is full")
        await until(replica, BEGIN - 60)
        await until(replica, BEGIN + 3600)
        times = [time for time, _ in replica.store.writes[1:]]
        pauses = [round(later - sooner) for sooner, later in itertools.pairwise(times)]
        assert pauses[:8] == [5, 10, 20, 40, 80, 160, 300, 300]
        assert replica.renewal is not None
        assert (replica.renewal.held_reason, replica.renewal.held) == (HoldReason.STORE, "the disk is full")
        assert replica.counted('sentry_ca_steps_total{outcome="failure",step="publish"}') == len(times)
        assert len(replica.runs) == 1
        replica.store.trouble = None
        await until(replica, BEGIN + 2 * 3600)
        assert phase(replica) == "distributing"
    failures = [line["event"] for line in lines if line["log_level"] == "error"]
    assert set(failures) == {"failed to renew the certificate authority, still using the current one: the disk is full"}


async def test_an_outage_across_the_limit_ends_with_both_steps_at_once(autojump_clock: MockClock) -> None:
    replica = MemoryEnvironment(MemoryStore())
    async with serving(replica):
        await until(replica, 1)
        replica.store.trouble = ApiUnavailableError("no answer")
        await until(replica, LIMIT + 60)
        replica.store.trouble = None
        await until(replica, LIMIT + 600)
        assert phase(replica) == "signing"
        assert replica.reasons == ["RenewalBegun", "IssuerSwitched"]
        assert len(replica.runs) == 2


async def test_an_outage_across_the_limit_while_distributing_ends_with_the_switch(autojump_clock: MockClock) -> None:
    async with serving_in("distributing", "--trust-anchor-propagation-grace=2400h") as replica:
        replica.store.trouble = ApiUnavailableError("no answer")
        replica.published = False
        await until(replica, LIMIT + 60)
        replica.store.trouble = None
        await until(replica, LIMIT + 600)
        assert phase(replica) == "signing"


async def test_anchors_that_are_not_published_hold_the_switch(autojump_clock: MockClock, lines: list[Line]) -> None:
    replica = MemoryEnvironment(MemoryStore())
    replica.published = False
    async with serving(replica):
        await until(replica, BEGIN + 100 * DAY)
        assert phase(replica) == "distributing"
        assert replica.renewal is not None
        assert replica.renewal.held_reason is HoldReason.CONFIG_MAP
        replica.published = True
        await until(replica, BEGIN + 100 * DAY + 600)
        assert replica.renewal.held is None
        assert phase(replica) == "distributing"  # only now the grace has begun
        await until(replica, BEGIN + 101 * DAY + 1200)
        assert phase(replica) == "signing"


# --- clocks


@pytest.mark.uncovered
@pytest.mark.parametrize("years", [1, -1])
@pytest.mark.parametrize("wanted", BEGINNINGS)
async def test_a_clock_that_is_set_and_set_back_has_no_effect(
    autojump_clock: MockClock, wanted: str, years: int
) -> None:
    async with serving_in(wanted) as replica:
        before, runs = dict(replica.store.stored), len(replica.runs)
        replica.skip = years * timedelta(days=365)
        await trio.sleep(300)
        assert replica.renewal is not None
        replica.skip = timedelta()
        await trio.sleep(1000)
        assert replica.store.stored == before
        assert len(replica.runs) == runs
        assert phase(replica) == wanted


async def test_a_clock_that_stays_set_holds_for_ten_minutes(autojump_clock: MockClock, lines: list[Line]) -> None:
    replica = MemoryEnvironment(MemoryStore())
    async with serving(replica):
        await until(replica, 30)
        replica.skip = timedelta(days=200)
        await trio.sleep(300)
        assert replica.renewal is not None
        assert replica.renewal.held_reason is HoldReason.CLOCK
        assert replica.reasons == ["RenewalHeld"]
        assert replica.events[0][1].endswith(
            "the clock was set, and is 17280000 s ahead of where it was: waiting for 10 min"
        )
        await trio.sleep(600)
        assert replica.reasons == ["RenewalHeld", "RenewalBegun"]
        assert replica.renewal.held is None


@pytest.mark.parametrize(("offset", "text"), [(-3600, "3600 s ahead of"), (3600, "3600 s behind")])
async def test_a_clock_that_differs_from_the_server_s_holds_until_it_does_not(
    autojump_clock: MockClock, offset: int, text: str
) -> None:
    replica = MemoryEnvironment(MemoryStore())
    async with serving(replica):
        await until(replica, BEGIN - 60)
        replica.server_offset = timedelta(seconds=offset)
        await until(replica, BEGIN + DAY)
        assert replica.renewal is not None
        assert replica.renewal.held == f"this machine's clock is {text} the API server's: set it"
        assert phase(replica) == "steady"
        replica.server_offset = timedelta(seconds=SKEW)
        await until(replica, BEGIN + DAY + 300)
        assert phase(replica) == "distributing"


# --- stores with more in them, and stores that cannot be written


async def test_private_keys_that_no_renewal_needs_are_reported_once(
    autojump_clock: MockClock, lines: list[Line]
) -> None:
    replica = MemoryEnvironment(MemoryStore())
    async with serving(replica):
        await until(replica, 1)
        replica.store.stored = {**replica.store.stored, Part.PREVIOUS_KEY: b"mine"}
        await until(replica, 300)
    (event,) = (str(line["event"]) for line in lines if "no renewal needs" in str(line["event"]))
    assert event.endswith(
        "beside the trust bundle: previous issuer key on the shelf; "
        "move them elsewhere, or erase them if nothing else needs them"
    )
    assert replica.store.stored[Part.PREVIOUS_KEY] == b"mine"


async def test_nothing_is_begun_in_a_read_only_store_and_that_is_reported_in_time(
    autojump_clock: MockClock, lines: list[Line], monkeypatch: pytest.MonkeyPatch
) -> None:
    replica = MemoryEnvironment(MemoryStore())
    make = Mock(wraps=new_bundle)
    monkeypatch.setattr("sentry_trio.ca.renewal_steps.new_bundle", make)
    async with serving(replica):
        await until(replica, 1)
        replica.store.read_only = "the shelf is glued"
        await until(replica, LIMIT - 30 * DAY - 120)
        assert replica.renewal is not None
        assert (replica.renewal.next_step, replica.renewal.held) == (None, None)
        assert replica.events == []
        await until(replica, LIMIT - 29 * DAY)
        assert replica.renewal.held_reason is HoldReason.READ_ONLY
        assert replica.reasons == ["RenewalHeld"]
        assert "the shelf is glued: make it writable" in replica.events[0][1]
        assert len(replica.store.writes) == 1
        make.assert_not_called()  # nor is a key made that cannot be stored
        replica.store.read_only = None
        await trio.sleep(300)
        assert phase(replica) == "distributing"


@pytest.mark.parametrize("begun", ["distributing", "signing"])
async def test_a_store_that_becomes_read_only_during_a_renewal_is_reported_soon(
    autojump_clock: MockClock, begun: str
) -> None:
    due = {"distributing": "signing", "signing": "retiring"}[begun]
    replica = MemoryEnvironment(MemoryStore())
    async with serving(replica):
        await in_phase(replica, begun)
        replica.events.clear()
        replica.store.read_only = "the shelf is glued"
        await until(replica, BEGINNINGS[due])
        await trio.sleep(200)
        assert replica.events == []
        await trio.sleep(DAY)
        assert replica.renewal is not None
        assert replica.renewal.held_reason is HoldReason.READ_ONLY
        assert replica.events == [("RenewalHeld", "CA renewal is held: the shelf is glued: make it writable")]
        replica.store.read_only = None
        await trio.sleep(300)
        assert phase(replica) == due
        assert replica.renewal.held is None


async def test_a_read_only_replica_follows_a_renewal_without_a_report(autojump_clock: MockClock) -> None:
    store = MemoryStore()
    reader, writer = MemoryEnvironment(store), MemoryEnvironment(store, chance=0.9)
    reader._renewer._chance = lambda: 0.0

    class Mounted:
        """The store as the reader sees it."""

        def __getattr__(self, name: str) -> object:
            return getattr(store, name)

        async def read_only_reason(self) -> str:
            return "the shelf is glued"

    async with serving(writer):
        reader.store = Mounted()  # type: ignore[assignment]
        async with serving(reader):
            await in_phase(writer, "retiring")
            await trio.sleep(600)
            assert phase(reader) == "retiring"
    assert reader.events == []
    assert reader.runs[-1].fingerprint == writer.runs[-1].fingerprint


@pytest.mark.parametrize("scope", ["own", "any"])
async def test_a_bundle_that_another_program_keeps_is_left_alone(autojump_clock: MockClock, scope: str) -> None:
    replica = MemoryEnvironment(MemoryStore(), f"--ca-renewal-scope={scope}")
    replica.manager = "cert-manager"
    async with serving(replica):
        await until(replica, BEGIN + 10 * DAY)
        assert len(replica.store.writes) == 1


async def test_a_program_may_begin_and_cease_to_keep_the_bundle_of_a_run(autojump_clock: MockClock) -> None:
    replica = MemoryEnvironment(MemoryStore())
    async with serving(replica):
        await trio.sleep(10)
        replica.manager = "values of the Helm chart"
        await until(replica, BEGIN + 10 * DAY)
        assert len(replica.store.writes) == 1
        replica.manager = None
        await trio.sleep(300)
        assert phase(replica) == "distributing"


@pytest.mark.parametrize(("begun", "due"), [("distributing", "signing"), ("signing", "retiring")])
async def test_a_step_of_a_begun_renewal_that_cannot_be_stored_is_reported(
    autojump_clock: MockClock, begun: str, due: str
) -> None:
    replica = MemoryEnvironment(MemoryStore())
    async with serving(replica):
        await in_phase(replica, begun)
        replica.events.clear()
        replica.store.trouble = StoreError("no space left on device")
        await until(replica, BEGINNINGS[due] + 1800)
        assert phase(replica) == begun
        assert replica.events == [("RenewalHeld", "CA renewal is held: no space left on device")]
        assert replica.renewal is not None
        assert replica.renewal.held_reason is HoldReason.STORE
        replica.store.trouble = None
        await until(replica, BEGINNINGS[due] + 2200)
        assert phase(replica) == due


async def test_a_store_that_cannot_be_read_before_a_step_is_due_sends_no_event(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    replica = MemoryEnvironment(MemoryStore())
    async with serving(replica):
        await trio.sleep(90)
        monkeypatch.setattr(replica.store, "read_bundle", AsyncMock(side_effect=StoreError("permission denied")))
        await trio.sleep(1800)
        assert replica.renewal is not None
        assert replica.renewal.held == "permission denied"
        assert replica.events == []


# --- when a run is made


async def test_the_pair_of_a_bundle_that_another_program_keeps_is_not_promoted(autojump_clock: MockClock) -> None:
    store = await stored_in("distributing")
    before = dict(store.stored)
    replica = MemoryEnvironment(store, skip=timedelta(days=300))
    replica.manager = "cert-manager"
    await replica.run_inputs(may_generate=True)
    assert store.stored == before


async def test_a_next_pair_takes_the_place_of_an_issuer_that_has_expired(autojump_clock: MockClock) -> None:
    store = await stored_in("distributing")
    replica = MemoryEnvironment(store, skip=timedelta(days=370))
    inputs = await replica.run_inputs(may_generate=True)
    assert inputs.bundle.fingerprint == verify(bundle_of(store.stored), replica.now()).fingerprint
    assert Part.NEXT_CHAIN not in store.stored
    assert replica.reasons == ["IssuerSwitched"]


async def test_an_issuer_that_has_expired_without_a_next_one_keeps_a_process_from_starting(
    autojump_clock: MockClock,
) -> None:
    replica = MemoryEnvironment(await stored_in("steady"), skip=timedelta(days=370))
    with pytest.raises(InvalidBundleError, match="expired"):
        await replica.run_inputs(may_generate=True)


@pytest.mark.parametrize("wanted", ["signing", "retiring"])
async def test_the_end_of_the_former_issuer_is_no_obstacle_at_start(autojump_clock: MockClock, wanted: str) -> None:
    store = await stored_in(wanted)
    chain = store.stored[Part.CHAIN]
    replica = MemoryEnvironment(store, skip=timedelta(days=370))
    await replica.run_inputs(may_generate=True)
    assert store.stored[Part.CHAIN] == chain


async def test_a_switch_that_cannot_be_stored_at_start_is_no_failure_before_the_issuer_expires(
    autojump_clock: MockClock, lines: list[Line]
) -> None:
    store = await stored_in("distributing")
    store.trouble = StoreError("read-only file system")
    replica = MemoryEnvironment(store, skip=timedelta(days=300))
    inputs = await replica.run_inputs(may_generate=True)
    assert inputs.bundle.fingerprint == verify(bundle_of(store.stored), replica.now()).fingerprint
    assert "failed to switch to the next issuer: read-only file system" in [line["event"] for line in lines]
    replica = MemoryEnvironment(store, skip=timedelta(days=400))
    with pytest.raises(InvalidBundleError, match="expired"):
        await replica.run_inputs(may_generate=True)


async def test_a_switch_at_start_that_another_replica_has_done_is_taken_over(autojump_clock: MockClock) -> None:
    store = await stored_in("distributing")
    other = MemoryEnvironment(MemoryStore(store.stored), skip=timedelta(days=370))
    replica = MemoryEnvironment(store, skip=timedelta(days=370))
    await other.run_inputs(may_generate=True)

    def somebody_else() -> None:
        store.before_write = lambda: None
        store.stored = other.store.stored

    store.before_write = somebody_else
    inputs = await replica.run_inputs(may_generate=True)
    assert inputs.bundle.fingerprint == verify(bundle_of(other.store.stored), replica.now()).fingerprint
    assert replica.reasons == []


async def test_no_switch_is_made_at_start_while_clocks_disagree(autojump_clock: MockClock) -> None:
    store = await stored_in("distributing")
    replica = MemoryEnvironment(store, skip=timedelta(days=300))
    replica.server_offset = timedelta(days=-300)
    await replica.run_inputs(may_generate=True)
    assert Part.NEXT_CHAIN in store.stored


async def test_parameters_that_leave_no_time_are_refused(autojump_clock: MockClock) -> None:
    replica = MemoryEnvironment(MemoryStore(), "--ca-ttl=48h")
    with pytest.raises(InvalidOptionsError, match="--ca-ttl 48h"):
        await replica.run_inputs(may_generate=True)
    assert replica.store.writes == []


async def test_a_configuration_that_leaves_no_time_is_served_without_renewals(
    autojump_clock: MockClock, lines: list[Line]
) -> None:
    replica = MemoryEnvironment(MemoryStore())
    replica.configuration = Configuration(workload_cert_ttl=timedelta(days=365))
    async with serving(replica):
        await until(replica, BEGIN + DAY)
        assert len(replica.store.writes) == 1
    assert any("the certificate authority is not renewed: --ca-ttl" in line["event"] for line in lines)


# --- what others store


async def test_half_a_next_pair_is_put_aside_for_a_day(autojump_clock: MockClock) -> None:
    replica = MemoryEnvironment(MemoryStore())
    async with serving(replica):
        await until(replica, 10)
        replica.store.edit({Part.NEXT_CHAIN: b"half"})
        await trio.sleep(60)
        assert Part.NEXT_CHAIN not in replica.store.stored
        assert replica.store.stored[Part.REJECTED_CHAIN] == b"half"
        assert replica.reasons == ["RenewalHeld"]
        await later(replica, DAY + 120)
        assert Part.REJECTED_CHAIN not in replica.store.stored
        assert len(replica.runs) == 1


async def test_a_foreign_next_pair_is_put_aside(autojump_clock: MockClock) -> None:
    foreign = generate("other", "ns", KeyType.ED25519, now=START, allowed_clock_skew=timedelta(0))
    store = await stored_in("steady")
    store.edit({Part.NEXT_CHAIN: foreign.chain, Part.NEXT_KEY: foreign.key})
    replica = MemoryEnvironment(store)
    async with serving(replica):
        await trio.sleep(120)
        assert store.stored[Part.REJECTED_KEY] == foreign.key
        assert replica.reasons == ["RenewalHeld"]


async def test_the_next_pair_of_another_program_is_adopted(autojump_clock: MockClock) -> None:
    """As a later Dapr Sentry stages it: the new root among the anchors, a chain without a bridge."""
    store = await stored_in("steady")
    other = generate("cluster.local", "default", KeyType.ED25519, now=START, allowed_clock_skew=timedelta(0))
    store.edit(
        {
            Part.ANCHORS: store.stored[Part.ANCHORS] + other.anchors,
            Part.NEXT_CHAIN: other.chain,
            Part.NEXT_KEY: other.key,
        }
    )
    replica = MemoryEnvironment(store)
    async with serving(replica):
        first = replica.runs[-1]
        await trio.sleep(120)
        assert phase(replica) == "distributing"
        await later(replica, DAY + 120)
        assert phase(replica) == "signing"
        assert store.stored[Part.KEY] == other.key
        assert replica.runs[-1].chain[2:] == first.chain


@pytest.mark.uncovered
@pytest.mark.parametrize("record", [None, b"garbled", b"{}"])
@pytest.mark.parametrize("wanted", ["distributing", "signing", "retiring"])
async def test_a_lost_record_costs_time_only(autojump_clock: MockClock, wanted: str, record: bytes | None) -> None:
    store = await stored_in(wanted)
    store.edit({Part.RECORD: record})
    replica = MemoryEnvironment(store, skip=timedelta(days=183))
    async with serving(replica):
        await trio.sleep(120)
        assert phase(replica) == wanted
        for _ in range(3):
            await later(replica, DAY + SKEW)
        assert phase(replica) == "retiring"


async def test_a_change_by_another_writer_is_read_at_once(autojump_clock: MockClock) -> None:
    store = await stored_in("distributing")
    replica = MemoryEnvironment(store, skip=timedelta(days=182.6))
    async with serving(replica):
        await trio.sleep(200)
        policy = replica._renewer.policy_for(Configuration())
        moment = replica.now() + timedelta(days=2)
        switched = plan(store.stored, policy, Situation(now=moment))
        store.edit(switched.changes)
        await trio.sleep(1)
        assert phase(replica) == "signing"
        assert [cause.trigger for cause in replica.causes] == [Trigger.TRUST_BUNDLE]


async def test_a_bundle_that_is_not_in_use_is_not_renewed(autojump_clock: MockClock) -> None:
    replica = MemoryEnvironment(MemoryStore())
    async with serving(replica):
        await until(replica, 10)
        replica.store.edit({Part.KEY: b"no key"})
        await until(replica, BEGIN + DAY)
        assert len(replica.store.writes) == 1
        assert len(replica.failures) == 1


async def test_a_step_that_could_not_be_loaded_is_loaded_later(autojump_clock: MockClock, lines: list[Line]) -> None:
    replica = MemoryEnvironment(MemoryStore(), chance=0)
    async with serving(replica):
        await until(replica, 10)
        replica.failure = StoreError("not now")
        await until(replica, BEGIN + 3)
        assert len(replica.runs) == 1
        replica.failure = None
        await until(replica, BEGIN + 60)
        assert len(replica.runs) == 2
        assert phase(replica) == "distributing"
    assert any("contains a renewal step that could not be loaded yet" in line["event"] for line in lines)


# --- sidecars


async def test_sidecars_and_their_injector_are_reported_once_a_day(autojump_clock: MockClock) -> None:
    async with serving_in("retiring", "--ca-renewal-enabled=true") as replica:
        names = tuple(f"shop/app-{number:02}" for number in range(12))
        replica.pods = Uptake(
            {"current": 1, "former": 12, "none": 0, "file": 0}, names, END, injector_stale=True, held_by_all=None
        )
        await later(replica, 0.5 * DAY)
        await later(replica, DAY)
        assert replica.reasons[3:] == ["InjectorStale"] * 2
        assert replica.renewal is not None
        assert (replica.renewal.sidecars, replica.renewal.injector_stale) == (replica.pods.counts, True)
        assert replica.asked is not None
        roots, published = replica.asked
        assert len(roots) == 2
        assert published is not None
        replica.pods = Uptake(replica.pods.counts, names, END, injector_stale=False, held_by_all=None)
        before = len(replica.events)
        await until(replica, YEAR - 29 * DAY)
        assert set(replica.reasons[before:]) == {"SidecarsNeedRestart"}
        text = replica.events[-1][1]
        assert "shop/app-00, " in text
        assert text.endswith("shop/app-09 and 2 more")


async def test_an_authority_that_was_generated_for_another_identity_is_reported_once(
    autojump_clock: MockClock, lines: list[Line]
) -> None:
    store = await stored_in("steady")
    replica = MemoryEnvironment(store, "--trust-domain=mesh.example")
    async with serving(replica):
        await until(replica, BEGIN + DAY)
        assert phase(replica) == "steady"
    (event,) = (str(line["event"]) for line in lines if "is not renewed" in str(line["event"]))
    assert event == (
        "the certificate authority is not renewed: it was generated for spiffe://localhost/ns/default/dapr-sentry, "
        "not for spiffe://mesh.example/ns/default/dapr-sentry, and --ca-renewal-scope is own: set --trust-domain and "
        "NAMESPACE to the former, or --ca-renewal-scope to any"
    )
