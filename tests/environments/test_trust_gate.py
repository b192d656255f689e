"""Trust bundles that would cut clients off: refused while a run serves, reported when a process starts."""

from collections.abc import Mapping
from datetime import timedelta

import pytest
import trio
from trio.testing import MockClock

from sentry_trio.ca.bundle import verify
from sentry_trio.ca.generate import generate
from sentry_trio.ca.keys import KeyType
from sentry_trio.ca.parts import bundle_of, bundle_parts
from sentry_trio.errors import Part, TrustCutError
from testkit.log_capture import capture_logs
from testkit.renewal import MemoryEnvironment, MemoryStore
from tests.environments.test_renewal import serving, stored_in

LATER = timedelta(days=185)


def foreign(replica: MemoryEnvironment) -> Mapping[Part, bytes]:
    """A certificate authority that nobody knows."""
    return bundle_parts(
        generate("td", "ns", KeyType.ED25519, now=replica.now(), allowed_clock_skew=timedelta(minutes=15))
    )


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
        assert "would cut clients off: certificates of issuer " in str(error)
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


async def test_a_bundle_that_cuts_is_used_at_start_and_reported(autojump_clock: MockClock) -> None:
    store = await stored_in("retiring")
    replica = MemoryEnvironment(store, skip=LATER)
    store.edit(foreign(replica))
    with capture_logs() as lines:
        inputs = await replica.run_inputs(may_generate=True)
    assert inputs.bundle.fingerprint == verify(bundle_of(store.stored), replica.now()).fingerprint
    assert replica.reasons == ["TrustCut"]
    assert any("cuts clients off, and there is no other: " in line["event"] for line in lines)


async def test_an_unreadable_record_says_nothing(autojump_clock: MockClock) -> None:
    store = await stored_in("retiring")
    replica = MemoryEnvironment(store, skip=LATER)
    store.edit({**foreign(replica), Part.RECORD: b"garbled"})
    await replica.run_inputs(may_generate=True)
    assert replica.reasons == []


async def test_an_authority_that_was_never_renewed_may_be_replaced(autojump_clock: MockClock) -> None:
    replica = MemoryEnvironment(MemoryStore())
    async with serving(replica):
        await trio.sleep(10)
        replica.store.edit(foreign(replica))
        await trio.sleep(10)
        assert len(replica.runs) == 2


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
