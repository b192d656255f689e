"""Trust bundles that would cut off clients: refused while a run serves, reported when a process starts."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta

import msgspec
import pytest
import trio
from msgspec.structs import replace
from trio.testing import MockClock

from sentry_trio.ca.bundle import verify
from sentry_trio.ca.certificates import fingerprint, read_certificates, write_certificates
from sentry_trio.ca.generate import Signer, certify, generate
from sentry_trio.ca.generation import next_bundle
from sentry_trio.ca.keys import KeyType, generate_key, public_key_info
from sentry_trio.ca.parts import Changes, bundle_of, bundle_parts
from sentry_trio.ca.renewal import RenewalRequest, Situation, plan
from sentry_trio.ca.renewal_record import digest_of, read_record, restored, write_record
from sentry_trio.conditions import RESTART
from sentry_trio.environments.renewal import RenewalOfRun
from sentry_trio.errors import ApiUnavailableError, Part, StoreError, TrustCutError
from sentry_trio.reload import ReloadCause, Trigger
from sentry_trio.renewal_status import HoldReason
from sentry_trio.settings.configuration import Configuration
from testkit.log_capture import capture_logs
from testkit.renewal import DAY, START, MemoryEnvironment, MemoryStore, later, phase, serving, stored_in

LATER = timedelta(days=185)


def foreign(replica: MemoryEnvironment) -> Mapping[Part, bytes]:
    """A certificate authority that no client trusts."""
    return bundle_parts(
        generate("td", "ns", KeyType.ED25519, now=replica.now(), allowed_clock_skew=timedelta(minutes=15))
    )


def exposed(replica: MemoryEnvironment) -> list[str]:
    return replica.metrics.exposition()[0].decode().splitlines()


def former(store: MemoryStore) -> Mapping[Part, bytes]:
    """The generation before, as a Helm upgrade puts it back."""
    return {Part.CHAIN: store.stored[Part.PREVIOUS_CHAIN], Part.KEY: store.stored[Part.PREVIOUS_KEY]}


async def test_a_bundle_that_cuts_is_refused_while_another_is_in_use(autojump_clock: MockClock) -> None:
    store = await stored_in("retiring")
    replica = MemoryEnvironment(store, skip=LATER)
    async with serving(replica):
        await trio.sleep(10)
        store.edit(foreign(replica))
        await trio.sleep(10)
        assert len(replica.runs) == 1
        (error,) = replica.failures
        assert isinstance(error, TrustCutError)
        assert "would cut off clients: certificates of issuer " in str(error)
        assert replica.reasons == ["TrustCutRefused"]
        assert replica.counted('sentry_ca_preflight_refusals_total{code="cut-leaves"}') == 1
        fingerprint = verify(bundle_of(store.stored), replica.now()).fingerprint
        assert f"--allow-trust-cut={fingerprint}" in str(error)


@pytest.mark.parametrize("is_that_one", [True, False])
async def test_one_bundle_may_be_allowed_to_cut(autojump_clock: MockClock, *, is_that_one: bool) -> None:
    store = await stored_in("retiring")
    new = foreign(MemoryEnvironment(store, skip=LATER))
    merged = {**store.stored, **new}
    fingerprint = verify(bundle_of(merged), MemoryEnvironment(store, skip=LATER).now()).fingerprint
    allowed = fingerprint if is_that_one else "0" * 64
    replica = MemoryEnvironment(store, f"--allow-trust-cut={allowed}", skip=LATER)
    async with serving(replica):
        await trio.sleep(10)
        store.edit(new)
        await trio.sleep(10)
        assert len(replica.runs) == 1 + is_that_one
        assert len(replica.failures) == 1 - is_that_one


async def test_a_former_generation_that_is_put_back_is_refused(autojump_clock: MockClock) -> None:
    store = await stored_in("signing")
    replica = MemoryEnvironment(store, skip=timedelta(days=183.6))
    async with serving(replica):
        await trio.sleep(1)
        store.edit(former(store))
        await trio.sleep(10)
        assert len(replica.runs) == 1
        assert replica.counted('sentry_ca_preflight_refusals_total{code="regression"}') == 1


async def test_a_backup_of_a_former_generation_is_refused_with_its_record(autojump_clock: MockClock) -> None:
    store = await stored_in("retiring")
    backup = dict(store.stored)
    replica = MemoryEnvironment(store, "--trust-anchor-propagation-grace=1h", skip=timedelta(days=366))
    async with serving(replica):
        await later(replica, 2 * 3600)
        runs = len(replica.runs)
        assert replica.runs[-1].issuer != replica.runs[0].issuer
        store.edit({**dict.fromkeys(store.stored), **backup})
        await trio.sleep(10)
        assert len(replica.runs) == runs
        assert replica.counted('sentry_ca_preflight_refusals_total{code="regression"}') == 1


async def requested(replica: MemoryEnvironment, request: RenewalRequest) -> None:
    """A command, that writes to the store."""
    policy = replica._renewer.policy_for(replica.configuration)
    situation = Situation(now=replica.now(), is_cut_accepted=True)
    replica.store.edit(plan(replica.store.stored, policy, situation, request).changes)
    await trio.sleep(100)


def whole(store: MemoryStore, backup: Mapping[Part, bytes]) -> Changes:
    """The changes that put a backup of the whole Secret back, its record included."""
    return {**dict.fromkeys(store.stored), **backup}


async def test_every_replica_follows_a_command_that_cuts_and_the_step_after_it(autojump_clock: MockClock) -> None:
    store = await stored_in("retiring")
    first, second = MemoryEnvironment(store, skip=LATER), MemoryEnvironment(store, skip=LATER)
    second.failure = StoreError("not now")
    async with serving(first, second):
        first.held_sets = second.held_sets = {frozenset({fingerprint(first.runs[-1].anchors[-1])}): ("shop/cart-1",)}
        await requested(first, RenewalRequest.DISTRUST)
        assert len(first.runs) == 2
        assert not set(first.runs[-1].anchors) & set(first.runs[0].anchors)
        await requested(first, RenewalRequest.START)
        assert len(first.runs) == 3
        second.failure = None
        store.edit({Part.ANCHORS: store.stored[Part.ANCHORS] + b"\n"})
        await trio.sleep(10)
        assert second.runs[-1].fingerprint == first.runs[-1].fingerprint
        assert first.failures == []
        assert "TrustCutRefused" not in second.reasons


async def test_a_bridge_that_is_removed_by_a_command_may_cut(autojump_clock: MockClock) -> None:
    store = await stored_in("retiring")
    replica = MemoryEnvironment(store, skip=LATER)
    async with serving(replica):
        replica.held_sets = {frozenset({fingerprint(replica.runs[-1].anchors[-1])}): ("shop/cart-1",)}
        await requested(replica, RenewalRequest.FLATTEN)
        assert len(replica.runs[-1].chain) == 1
        await later(replica, DAY)
        assert replica.failures == []


async def test_a_backup_from_before_a_theft_is_refused_with_its_record(autojump_clock: MockClock) -> None:
    store = await stored_in("retiring")
    backup = dict(store.stored)
    replica = MemoryEnvironment(store, skip=LATER)
    replica.held_sets = {}
    async with serving(replica):
        await trio.sleep(10)
        await requested(replica, RenewalRequest.DISTRUST)
        replica.held_sets = {frozenset({fingerprint(replica.runs[-1].anchors[0])}): ("shop/cart-1",)}
        store.edit(whole(store, backup))
        await trio.sleep(10)
        assert len(replica.runs) == 2
        assert replica.reasons == ["TrustCutRefused"]


async def test_a_backup_that_names_itself_as_accepted_is_refused(autojump_clock: MockClock) -> None:
    """Its record does not know the issuer in use: the cut was accepted before that."""
    store = await stored_in("retiring")
    replica = MemoryEnvironment(store, skip=LATER)
    async with serving(replica):
        await trio.sleep(10)
        await requested(replica, RenewalRequest.DISTRUST)
        backup = dict(store.stored)
        await requested(replica, RenewalRequest.DISTRUST)
        assert len(replica.runs) == 3
        store.edit(whole(store, backup))
        await trio.sleep(10)
        assert len(replica.runs) == 3
        assert replica.counted('sentry_ca_preflight_refusals_total{code="regression"}') == 1


@asynccontextmanager
async def rolled_back() -> AsyncIterator[tuple[MemoryEnvironment, Mapping[Part, bytes]]]:
    """A replica that uses the former issuer again, and the content of its store before."""
    store = await stored_in("signing")
    backup = dict(store.stored)
    replica = MemoryEnvironment(store, skip=timedelta(days=183.6))
    async with serving(replica):
        await trio.sleep(10)
        await requested(replica, RenewalRequest.ROLLBACK)
        assert replica.runs[-1].issuer == replica.runs[0].chain[2]
        await later(replica, 3600)
        yield replica, backup


async def test_a_backup_from_before_a_rollback_is_refused_with_its_record(autojump_clock: MockClock) -> None:
    """It knows the issuer in use, and that it signs no more."""
    async with rolled_back() as (replica, backup):
        runs = len(replica.runs)
        replica.store.edit(whole(replica.store, backup))
        await trio.sleep(10)
        assert len(replica.runs) == runs
        assert replica.counted('sentry_ca_preflight_refusals_total{code="regression"}') == 1


async def test_a_backup_from_before_a_rollback_is_used_if_a_command_restores_it(autojump_clock: MockClock) -> None:
    async with rolled_back() as (replica, backup):
        now = replica.now()
        replica.store.edit({**dict.fromkeys(replica.store.stored), **restored(backup, replica.store.stored, now)})
        await trio.sleep(100)
        assert replica.runs[-1].fingerprint == replica.runs[0].fingerprint
        assert replica.failures == []
        record = read_record(replica.store.stored[Part.RECORD])
        assert record is not None
        former = {each.issuer: each for each in record.former}[fingerprint(replica.runs[-1].chain[2])]
        assert former.until == now


async def test_a_backup_that_a_command_restores_is_used_although_it_cuts(autojump_clock: MockClock) -> None:
    store = await stored_in("retiring")
    backup = dict(store.stored)
    replica = MemoryEnvironment(store, skip=LATER)
    async with serving(replica):
        await trio.sleep(10)
        await requested(replica, RenewalRequest.DISTRUST)
        store.edit({**dict.fromkeys(store.stored), **restored(backup, store.stored, replica.now())})
        await trio.sleep(100)
        assert replica.runs[-1].fingerprint == replica.runs[0].fingerprint
        assert replica.failures == []
        assert phase(replica) == "retiring"


async def test_a_replica_that_uses_a_refused_bundle_does_not_make_others_use_it(autojump_clock: MockClock) -> None:
    store = await stored_in("retiring")
    first, second = MemoryEnvironment(store, skip=LATER), MemoryEnvironment(store, skip=LATER)
    first.held_sets = second.held_sets = {}
    async with serving(first):
        await trio.sleep(10)
        store.edit(foreign(first))
        await trio.sleep(10)
        async with serving(second):
            await trio.sleep(100)
            record = read_record(store.stored[Part.RECORD])
            assert record is not None
            assert record.digest == digest_of(store.stored)
        store.edit({Part.ANCHORS: store.stored[Part.ANCHORS] + b"\n"})
        await trio.sleep(10)
        assert len(first.runs) == 1
        assert len(first.failures) == 2


async def test_a_command_that_begins_a_renewal_does_not_make_a_refused_bundle_pass(autojump_clock: MockClock) -> None:
    async with in_use() as replica:
        other = generate("td", "default", KeyType.ED25519, now=replica.now(), allowed_clock_skew=timedelta(minutes=15))
        assert await edited(replica, bundle_parts(other))
        policy = replace(replica._renewer.policy_for(replica.configuration), trust_domain="td")
        started = plan(replica.store.stored, policy, Situation(now=replica.now()), RenewalRequest.START)
        assert await edited(replica, started.changes)


async def test_an_issuer_that_signs_no_more_does_not_count_for_ever(autojump_clock: MockClock) -> None:
    """The operator has moved to another program, and the record is not updated any more."""
    store = await stored_in("retiring")
    replica = MemoryEnvironment(store, skip=LATER)
    replica.manager, replica.held_sets = "cert-manager", {}
    store.edit(foreign(replica))
    async with serving(replica):
        await later(replica, DAY / 2)
        assert await edited(replica, beside(replica, foreign(replica))) == ""
        await later(replica, DAY)
        other = foreign(replica)
        assert await edited(replica, beside(replica, other)) == ""
        await later(replica, 3600)
        store.edit({Part.RECORD: None})
        assert await edited(replica, issuer_of(other)) == ""


async def test_reloads_do_not_prolong_the_time_of_an_issuer_that_signs_no_more(autojump_clock: MockClock) -> None:
    store = await stored_in("retiring")
    replica = MemoryEnvironment(store, skip=LATER)
    replica.manager, replica.held_sets = "cert-manager", {}
    other = foreign(replica)
    both = beside(replica, other)
    store.edit({**other, **both})
    async with serving(replica):
        await later(replica, 20 * 3600)
        assert "are valid until" in await edited(replica, {Part.ANCHORS: other[Part.ANCHORS]})
        assert await edited(replica, {Part.ANCHORS: both[Part.ANCHORS] + foreign(replica)[Part.ANCHORS]}) == ""
        await later(replica, 5 * 3600)
        assert await edited(replica, {Part.ANCHORS: other[Part.ANCHORS] + b"\n"}) == ""


async def test_the_present_issuer_of_a_record_that_is_not_updated_signs_no_more(autojump_clock: MockClock) -> None:
    """A former issuer is in use, which the record knows, too; no bridge leads from the other one to its root."""
    store = await stored_in("signing")
    record = read_record(store.stored[Part.RECORD])
    assert record is not None
    chain = write_certificates(read_certificates(store.stored[Part.CHAIN])[:1]).decode()
    record = msgspec.structs.replace(record, present=msgspec.structs.replace(record.present, chain=chain))
    store.edit({Part.RECORD: write_record(record)})
    replica = MemoryEnvironment(store, skip=timedelta(days=183.6))
    replica.manager, replica.held_sets = "cert-manager", {}
    store.edit(former(store))
    async with serving(replica):
        await later(replica, 25 * 3600)
        own_root = replica.runs[-1].anchors[-1]
        assert await edited(replica, {Part.ANCHORS: write_certificates([own_root])}) == ""


async def test_clients_cut_off_by_a_command_do_not_count_again(autojump_clock: MockClock) -> None:
    store = await stored_in("retiring")
    replica = MemoryEnvironment(store, skip=LATER)
    replica.held_sets = {}
    async with serving(replica):
        await trio.sleep(10)
        await requested(replica, RenewalRequest.DISTRUST)
        assert await edited(replica, beside(replica, foreign(replica))) == ""


async def test_a_bundle_that_cuts_is_used_at_start_and_reported(autojump_clock: MockClock) -> None:
    store = await stored_in("retiring")
    replica = MemoryEnvironment(store, skip=LATER)
    store.edit(foreign(replica))
    with capture_logs() as lines:
        inputs = await replica.run_inputs(may_generate=True)
    assert inputs.bundle.fingerprint == verify(bundle_of(store.stored), replica.now()).fingerprint
    assert replica.reasons == ["TrustCut"]
    assert not any(
        line.startswith("sentry_ca_preflight_refusals_total{") and not line.endswith(" 0.0")
        for line in exposed(replica)
    )
    assert any("cuts off clients, but there is no other: " in line["event"] for line in lines)


async def test_an_unreadable_record_is_ignored(autojump_clock: MockClock) -> None:
    store = await stored_in("retiring")
    replica = MemoryEnvironment(store, skip=LATER)
    store.edit({**foreign(replica), Part.RECORD: b"garbled"})
    await replica.run_inputs(may_generate=True)
    assert replica.reasons == []


# --- an authority that was never renewed


@asynccontextmanager
async def in_use(*flags: str) -> AsyncIterator[MemoryEnvironment]:
    """A replica that serves with an authority of its own, of which its store has no record."""
    replica = MemoryEnvironment(MemoryStore(), *flags)
    async with serving(replica):
        await trio.sleep(10)
        yield replica


async def edited(replica: MemoryEnvironment, changes: Changes) -> str:
    """Edits the store; returns why that was refused, or nothing if it is in use."""
    runs, failures = len(replica.runs), len(replica.failures)
    replica.store.edit(changes)
    await trio.sleep(10)
    assert len(replica.runs) + len(replica.failures) == runs + failures + 1
    if len(replica.runs) > runs:
        return ""
    assert isinstance(replica.failures[-1], TrustCutError)
    return str(replica.failures[-1])


def beside(replica: MemoryEnvironment, other: Mapping[Part, bytes]) -> dict[Part, bytes]:
    """The anchors of another authority beside the current ones."""
    return {Part.ANCHORS: replica.store.stored[Part.ANCHORS] + other[Part.ANCHORS]}


def issuer_of(other: Mapping[Part, bytes]) -> dict[Part, bytes]:
    return {part: other[part] for part in (Part.CHAIN, Part.KEY)}


async def test_it_is_not_replaced_as_a_whole(autojump_clock: MockClock) -> None:
    async with in_use() as replica:
        refused = await edited(replica, foreign(replica))
        assert "every client would reject them" in refused
        assert "clients that have not read the new trust anchors yet would reject" in refused
        assert replica.reasons == ["TrustCutRefused"]
        assert replica.counted('sentry_ca_preflight_refusals_total{code="cut-consumers"}') == 1


async def test_the_one_that_is_allowed_replaces_it(autojump_clock: MockClock) -> None:
    other = foreign(MemoryEnvironment(MemoryStore()))
    fingerprint = verify(bundle_of(other), START + timedelta(minutes=1)).fingerprint
    async with in_use(f"--allow-trust-cut={fingerprint}") as replica:
        assert await edited(replica, other) == ""


async def test_a_new_process_uses_the_bundle_that_replaced_it(autojump_clock: MockClock) -> None:
    async with in_use() as replica:
        other = foreign(replica)
        assert await edited(replica, other)
    successor = MemoryEnvironment(replica.store)
    async with serving(successor):
        assert successor.runs[-1].fingerprint == verify(bundle_of(other), successor.now()).fingerprint
        assert successor.reasons == []


def bridged(replica: MemoryEnvironment) -> Mapping[Part, bytes]:
    """A new root and its issuer with a bridge, beside the current root."""
    return bundle_parts(
        next_bundle(
            bundle_of(replica.store.stored),
            generate(
                "td",
                "ns",
                KeyType.ED25519,
                now=replica.now(),
                allowed_clock_skew=timedelta(minutes=15),
                lifetime=timedelta(days=365),
            ),
            now=replica.now(),
            allowed_clock_skew=timedelta(minutes=15),
            former_roots=(),
            anchors_kept=2,
        )
    )


async def test_a_bridge_replaces_it(autojump_clock: MockClock) -> None:
    async with in_use() as replica:
        assert await edited(replica, bridged(replica)) == ""


async def test_a_bridge_that_ends_early_replaces_it_with_a_warning(autojump_clock: MockClock) -> None:
    async with in_use() as replica:
        current, now, parts = replica.runs[-1], replica.now(), bridged(replica)
        new = verify(bundle_of(parts), now)
        root, signer = new.anchors[0], Signer(current.issuer.subject, current.key, None)
        dates = now - timedelta(hours=1), now + timedelta(hours=25)
        bridge = certify(root.subject, root.public_key_info, signer, dates, crl_sign=False)
        replica.held_sets = {frozenset(map(fingerprint, current.anchors)): ("shop/cart-1",)}
        with capture_logs() as lines:
            chain = write_certificates([new.issuer, bridge, current.issuer])
            assert await edited(replica, {**parts, Part.CHAIN: chain}) == ""
        (warning,) = (each["event"] for each in lines if "cuts off clients later" in each["event"])
        assert "shop/cart-1 would reject the new issuer's certificates from 2030-01-02T01:00:" in warning


async def test_a_pod_counts_although_its_root_is_no_longer_published(autojump_clock: MockClock) -> None:
    async with in_use("--ca-renewal-enabled=false") as replica:
        (root,) = replica.runs[-1].anchors
        replica.held_sets = {frozenset({fingerprint(root)}): ("shop/cart-1",)}
        replica.roots_of_pods = [root]
        assert await edited(replica, bridged(replica)) == ""
        await later(replica, 3 * DAY)
        new = replica.runs[-1]
        assert await edited(replica, {Part.ANCHORS: write_certificates(new.anchors[:1])}) == ""
        await later(replica, 3 * DAY)
        without_bridge = {Part.CHAIN: write_certificates(new.chain[:1])}
        assert "shop/cart-1 would reject the new issuer's" in await edited(replica, without_bridge)


async def test_a_root_may_be_added_but_its_issuer_not_sign_at_once(autojump_clock: MockClock) -> None:
    async with in_use() as replica:
        other = foreign(replica)
        at_once = await edited(replica, {**other, **beside(replica, other)})
        assert "clients that have not read the new trust anchors yet would reject the new issuer's" in at_once
    async with in_use() as replica:
        assert await edited(replica, beside(replica, other)) == ""


async def test_clients_that_cannot_be_seen_hold_published_anchors(autojump_clock: MockClock) -> None:
    """They get their trust anchors when they start, and may have started before the root was added."""
    async with in_use("--ca-ttl=240h", "--ca-renewal-enabled=false") as replica:
        other = foreign(replica)
        assert await edited(replica, beside(replica, other)) == ""
        assert "clients that started before 2030-01-01T00:00:" in await edited(replica, issuer_of(other))
        await later(replica, 9 * DAY)
        assert await edited(replica, {Part.ANCHORS: replica.store.stored[Part.ANCHORS] + b"\n"})
    successor = MemoryEnvironment(replica.store)
    async with serving(successor):
        assert successor.runs[-1].chain == verify(bundle_of(other), successor.now()).chain


async def test_clients_with_fewer_anchors_are_not_forgotten_for_those_with_more(autojump_clock: MockClock) -> None:
    store = await stored_in("retiring")
    replica = MemoryEnvironment(store, skip=LATER)
    async with serving(replica):
        await trio.sleep(10)
        for _ in range(9):
            more = store.stored[Part.ANCHORS] + foreign(replica)[Part.ANCHORS]
            assert await edited(replica, {Part.ANCHORS: more}) == ""
            await trio.sleep(100)
        record = read_record(store.stored[Part.RECORD])
        assert record is not None
        assert [each.anchors.count("BEGIN") for each in record.published] == [1, *range(5, 12)]
        without_bridge = {Part.CHAIN: write_certificates(replica.runs[-1].chain[:1])}
        assert "clients that started from 2030-07-02 to 2030-07-05 would reject" in await edited(
            replica, without_bridge
        )


async def test_clients_that_are_seen_decide_alone(autojump_clock: MockClock) -> None:
    async with in_use() as replica:
        other = foreign(replica)
        root = fingerprint(replica.runs[-1].anchors[0])
        assert await edited(replica, beside(replica, other)) == ""
        replica.held_sets = {frozenset({root}): ("shop/cart-1",)}
        assert "shop/cart-1 would reject the new issuer's certificates" in await edited(replica, issuer_of(other))
        replica.held_sets = {}
        assert await edited(replica, {Part.ANCHORS: replica.store.stored[Part.ANCHORS] + b"\n"}) == ""


@pytest.mark.parametrize("is_known_to_be_wrong", [True, False], ids=["differs from the server's", "was set"])
async def test_a_bundle_that_cuts_is_refused_while_the_clock_is_ahead(
    autojump_clock: MockClock, *, is_known_to_be_wrong: bool
) -> None:
    """By that clock all certificates in use have expired."""
    store = await stored_in("retiring")
    replica = MemoryEnvironment(store, skip=LATER)
    ahead, skew = timedelta(days=800), timedelta(minutes=15)
    other = generate("td", "ns", KeyType.ED25519, now=replica.now(), allowed_clock_skew=skew, lifetime=2 * ahead)
    async with serving(replica):
        await trio.sleep(10)
        replica.skip += ahead
        replica.server_offset = -ahead if is_known_to_be_wrong else None
        await trio.sleep(100)
        assert replica.renewal is not None
        assert replica.renewal.held_reason is HoldReason.CLOCK
        assert "every client would reject them" in await edited(replica, bundle_parts(other))
        replica.skip -= ahead
        replica.server_offset = None
        await trio.sleep(1000)
        assert len(replica.runs) == 1


async def test_a_step_of_another_replica_is_used_after_the_clock_was_set(autojump_clock: MockClock) -> None:
    store = await stored_in("retiring")
    replica = MemoryEnvironment(store, skip=LATER)
    async with serving(replica):
        await trio.sleep(10)
        replica.skip += timedelta(hours=2)
        await requested(replica, RenewalRequest.START)
        assert len(replica.runs) == 2
        assert replica.failures == []


# --- another look at a rejected bundle


@asynccontextmanager
async def rejecting() -> AsyncIterator[MemoryEnvironment]:
    """A replica that rejects another authority's issuer, because two pods hold only the root in use."""
    async with in_use("--ca-renewal-enabled=false") as replica:
        (root,) = replica.runs[-1].anchors
        other = foreign(replica)
        both = {Part.ANCHORS: replica.store.stored[Part.ANCHORS] + other[Part.ANCHORS]}
        assert await edited(replica, both) == ""
        replica.held_sets = {frozenset({fingerprint(root)}): ("shop/cart-1", "shop/cart-2")}
        assert "shop/cart-1, shop/cart-2 would reject" in await edited(replica, issuer_of(other))
        replica.events.clear()
        replica.causes.clear()
        yield replica


async def test_a_rejected_bundle_is_used_within_a_minute_after_the_last_pod_has_restarted(
    autojump_clock: MockClock,
) -> None:
    async with rejecting() as replica:
        await later(replica, DAY)
        replica.held_sets = {}
        await trio.sleep(60)
        assert replica.runs[-1].fingerprint == verify(bundle_of(replica.store.stored), replica.now()).fingerprint
        assert replica.causes == [ReloadCause(Trigger.TRUST_CUT, ("the shelf",))]
        assert len(replica.failures) == 1
        await later(replica, DAY)
        assert len(replica.causes) == 1


async def test_a_rejection_is_not_reported_again_while_the_same_roots_are_cut_off(autojump_clock: MockClock) -> None:
    async with rejecting() as replica:
        (held,) = replica.held_sets or {}
        with capture_logs() as lines:
            await later(replica, DAY)
            replica.held_sets = {held: ("shop/cart-3",)}
            await later(replica, DAY)
        assert (replica.events, replica.causes, lines, len(replica.failures)) == ([], [], [], 1)
        assert replica.counted('sentry_ca_preflight_refusals_total{code="cut-consumers"}') == 1


async def test_health_names_the_pods_that_are_left(autojump_clock: MockClock) -> None:
    async with rejecting() as replica:
        failed = replica.conditions.condition(RESTART)
        failed.set(str(replica.failures[-1]))
        (held,) = replica.held_sets or {}
        for names in (("shop/cart-2",), ("shop/cart-2", "shop/cart-3")):
            replica.held_sets = {held: names}
            await trio.sleep(61)
            assert f": {', '.join(names)} would reject" in str(failed.message)
        failed.set("the configuration cannot be read")
        replica.held_sets = {held: ("shop/cart-3",)}
        await trio.sleep(61)
        assert failed.message == "the configuration cannot be read"


async def test_a_rejection_is_reported_again_when_other_clients_are_cut_off(autojump_clock: MockClock) -> None:
    async with rejecting() as replica:
        third = verify(bundle_of(foreign(replica)), replica.now()).anchors
        (held,) = replica.held_sets or {}
        replica.roots_of_pods = third
        replica.held_sets = {
            held: ("shop/cart-1",),
            held | set(map(fingerprint, third)): ("shop/cart-4",),
        }
        await later(replica, DAY)
        assert replica.reasons == ["TrustCutRefused"]
        assert "shop/cart-4 would reject" in str(replica.failures[-1])
        assert len(replica.causes) == 1


async def test_a_removed_root_is_accepted_as_soon_as_its_last_certificate_has_expired(
    autojump_clock: MockClock,
) -> None:
    async with in_use("--ca-renewal-enabled=false") as replica:
        replica.held_sets = {}
        other = foreign(replica)
        assert await edited(replica, beside(replica, other)) == ""
        assert await edited(replica, issuer_of(other)) == ""
        assert "its root is not among" in await edited(replica, {Part.ANCHORS: other[Part.ANCHORS]})
        await later(replica, DAY)
        assert (len(replica.runs), len(replica.failures)) == (3, 1)
        await later(replica, 15 * 60 + 60)
        assert (len(replica.runs), len(replica.failures)) == (4, 1)


async def test_a_clock_that_was_set_does_not_end_a_rejection(autojump_clock: MockClock) -> None:
    async with in_use("--ca-renewal-enabled=false") as replica:
        replica.held_sets = {}
        other = foreign(replica)
        assert await edited(replica, beside(replica, other)) == ""
        assert await edited(replica, issuer_of(other)) == ""
        removal = {Part.ANCHORS: other[Part.ANCHORS]}
        assert "its root is not among" in await edited(replica, removal)
        replica.skip += timedelta(days=30)
        await trio.sleep(300)
        depths = []
        for _ in range(2):
            with pytest.raises(TrustCutError, match="its root is not among") as caught:
                await replica.run_inputs(may_generate=False)
            depths.append(len(caught.traceback))
        assert depths[0] == depths[1], "the kept error does not grow"
        replica.skip -= timedelta(days=30)
        await later(replica, DAY / 2)
        assert (len(replica.runs), len(replica.failures)) == (3, 1)
        replica.server_offset = timedelta(hours=1)
        await later(replica, DAY)
        assert len(replica.runs) == 3
        replica.server_offset = timedelta()
        await trio.sleep(61)
        assert (len(replica.runs), len(replica.failures)) == (4, 1)


async def test_another_edit_ends_the_looks_at_a_rejected_bundle(autojump_clock: MockClock) -> None:
    async with rejecting() as replica:
        replica.store.edit({Part.KEY: b"garbled"})
        await trio.sleep(10)
        assert len(replica.failures) == 2
        replica.held_sets = {}
        await later(replica, DAY)
        assert (len(replica.runs), len(replica.failures)) == (2, 2)


async def test_a_bundle_that_cuts_off_no_client_now_is_tried_until_it_is_used(autojump_clock: MockClock) -> None:
    async with rejecting() as replica:
        replica.held_sets = {}
        replica.failure = ApiUnavailableError("the API server cannot be reached")
        await trio.sleep(130)
        assert len(replica.failures) == 3
        replica.failure = None
        await trio.sleep(60)
        assert len(replica.runs) == 3


# --- what was replaced stays in use for a while


@pytest.mark.parametrize("is_shortened", [True, False])
async def test_a_root_stays_until_the_last_certificate_has_expired(
    autojump_clock: MockClock, *, is_shortened: bool
) -> None:
    async with in_use() as replica:
        replica.held_sets = {}
        other = foreign(replica)
        assert await edited(replica, beside(replica, other)) == ""
        if is_shortened:
            replica.configuration = Configuration(workload_cert_ttl=timedelta(hours=1))
        assert await edited(replica, issuer_of(other)) == ""
        await later(replica, 23 * 3600)
        refused = await edited(replica, {Part.ANCHORS: other[Part.ANCHORS]})
        assert "its root is not among the new trust anchors" in refused
        await later(replica, 2 * 3600)
        assert await edited(replica, {Part.ANCHORS: other[Part.ANCHORS] + b"\n"}) == ""


async def test_a_root_stays_as_long_as_certificates_of_an_earlier_process(autojump_clock: MockClock) -> None:
    async with in_use() as replica:
        other = foreign(replica)
        assert await edited(replica, beside(replica, other)) == ""
    replica.store.edit(issuer_of(other))
    successor = MemoryEnvironment(replica.store)
    async with serving(successor):
        await later(successor, 3600)
        refused = await edited(successor, {Part.ANCHORS: other[Part.ANCHORS]})
        assert "certificates that were signed under it before this process started may be valid until" in refused
        await later(successor, DAY)
        assert await edited(successor, {Part.ANCHORS: other[Part.ANCHORS] + b"\n"}) == ""


async def test_a_root_of_the_same_key_may_replace_another_at_once(autojump_clock: MockClock) -> None:
    async with in_use() as replica:
        (root,) = replica.runs[-1].anchors
        key = generate_key(KeyType.ED25519)
        signer = Signer(root.subject, key, None)
        old, new = (
            certify(
                root.subject,
                public_key_info(key.public_key()),
                signer,
                (START, replica.now() + timedelta(days=days)),
                crl_sign=True,
            )
            for days in (30, 60)
        )
        replica.store.edit({Part.ANCHORS: write_certificates([root, old])})
    successor = MemoryEnvironment(replica.store)
    async with serving(successor):
        assert await edited(successor, {Part.ANCHORS: write_certificates([root, new])}) == ""
        assert await edited(successor, {Part.ANCHORS: write_certificates([root, old])}) == ""
        assert await edited(successor, {Part.ANCHORS: write_certificates([root])})


async def test_remembered_and_reported_anchor_sets_are_bounded(autojump_clock: MockClock) -> None:
    async with in_use("--ca-renewal-enabled=false") as replica:
        own, policy = replica.store.stored, replica._renewer.policy_for(replica.configuration)
        others = [foreign(replica) for _ in range(100)]
        bundles = [verify(bundle_of({**own, **beside(replica, other)}), replica.now()) for other in others]
        for bundle in (*bundles, *bundles[-2:] * 50):
            replica._gate.use(RenewalOfRun(store=replica.store, stored={}, bundle=bundle, policy=policy))
        assert len(replica._gate._anchor_sets) == 64
        refused = await edited(replica, foreign(replica))
        assert refused.count("clients that started before ") == 8
        assert "; and 56 more; to use it anyway" in refused


async def test_it_may_be_replaced_once_it_has_expired(autojump_clock: MockClock) -> None:
    async with in_use("--ca-ttl=48h", "--ca-renewal-enabled=false", "--trust-anchor-propagation-grace=1h") as replica:
        await later(replica, 49 * 3600)
        assert await edited(replica, foreign(replica)) == ""


# --- other programs


async def test_a_replacement_by_another_program_is_refused_if_it_cuts(autojump_clock: MockClock) -> None:
    replica = MemoryEnvironment(MemoryStore())
    replica.manager = "cert-manager"
    async with serving(replica):
        await trio.sleep(10)
        before = replica.store.stored
        replica.store.edit(foreign(replica))
        await trio.sleep(10)
        assert len(replica.runs) == 1
        assert isinstance(replica.failures[0], TrustCutError)
        new = verify(bundle_of(replica.store.stored), replica.now())
        replica.store.edit({**before, Part.ANCHORS: before[Part.ANCHORS] + new.anchors_pem})
        await trio.sleep(10)
        assert len(replica.runs) == 2  # the root that the program should have published first
