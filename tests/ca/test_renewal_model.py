"""Renewal by several replicas, with kills, lost races, edits, reverts and clocks that jump, as a state machine.

After each action every certificate that is valid verifies with the chain that it was served with, at every client
whose trust anchors still serve it. The store has one issuer, and private keys only in the phases that they belong to.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from msgspec.structs import replace

from sentry_trio.ca.bundle import StoredBundle, TrustBundle, verify
from sentry_trio.ca.certificates import Certificate, fingerprint, read_certificates, write_certificates
from sentry_trio.ca.generation import direct_root
from sentry_trio.ca.parts import KEYS_BESIDE, NEXT, PREVIOUS, REJECTED, ROOT_KEYS
from sentry_trio.ca.renewal import Plan, RenewalRequest, Situation, plan, promote
from sentry_trio.ca.renewal_policy import RenewalPolicy
from sentry_trio.ca.renewal_record import read_record
from sentry_trio.ca.renewal_root import new_parts
from sentry_trio.errors import InvalidBundleError, Part, RenewalRejectedError
from sentry_trio.renewal_status import Phase, Step
from testkit.ca.making import DAY, HOUR, NOW, SKEW, certificate, new_key
from testkit.ca.renewing import POLICY, YEAR, Clients, Stored, after, bundle_of, generated, remembering, without

pytestmark = pytest.mark.uncovered

LIFETIME: Final = 30 * DAY
MINUTE: Final = timedelta(minutes=1)
MOST_LAG: Final = DAY
FOREIGN: Final = certificate("Elsewhere", new_key())
BUNDLE: Final = (Part.ANCHORS, Part.CHAIN, Part.KEY)

RENEWAL: Final = (*NEXT, *PREVIOUS, Part.REJECTED_KEY, Part.RECORD)
DISTURBANCES: Final = [
    *("dapr_signs", "dapr_promotes", "dapr_stages", "lose", "garble", "federate"),
    *("put_former_generation_back", "put_former_anchors_back"),
]

ALLOWED: Final = {
    (Phase.STEADY, Step.PUBLISH): {Phase.DISTRIBUTING},
    (Phase.STEADY, Step.PUBLISH_AND_SWITCH): {Phase.SIGNING},
    (Phase.DISTRIBUTING, Step.SWITCH): {Phase.SIGNING, Phase.STEADY},
    (Phase.SIGNING, Step.ERASE): {Phase.RETIRING},
    (Phase.SIGNING, Step.ROLLBACK): {Phase.STEADY, Phase.RETIRING},
    (Phase.RETIRING, Step.PUBLISH): {Phase.DISTRIBUTING},
    (Phase.RETIRING, Step.PUBLISH_AND_SWITCH): {Phase.SIGNING},
    (Phase.RETIRING, Step.CUT): {Phase.STEADY, Phase.RETIRING},
    (Phase.STEADY, Step.RENEW_ISSUER): {Phase.SIGNING},
    (Phase.RETIRING, Step.RENEW_ISSUER): {Phase.SIGNING},
    (Phase.RETIRING, Step.DISCARD): {Phase.STEADY, Phase.RETIRING},
}
"""Phases after steps that change them; all others leave it."""


def bundle_parts(stored: Stored) -> Stored:
    return {part: stored[part] for part in BUNDLE}


def newest_root(stored: Stored) -> str | None:
    try:
        return fingerprint(read_certificates(stored[Part.ANCHORS])[0])
    except InvalidBundleError:
        return None


@dataclass
class Replica:
    """A process of the certificate authority.

    Attributes:
        accepted: the trust bundle that its run was made of; None if it does not run.
        pending: what it has read, and the step that it is about to write.
        unpublished: it has written new trust anchors to the Secret, and is about to write the ConfigMap.
        offset: of its clock.
        hold: why it takes no step.
        behind_since: since when it has not seen that the store has changed.
    """

    accepted: Stored | None = None
    pending: tuple[Stored, Plan] | None = None
    unpublished: bool = False
    offset: timedelta = timedelta()
    hold: str | None = None
    behind_since: datetime | None = None

    def kill(self) -> None:
        self.accepted = self.pending = self.behind_since = self.hold = None
        self.unpublished = False
        self.offset = timedelta()


class Renewal(RuleBasedStateMachine):
    """One store and up to three replicas; true time is `now`."""

    losable: Sequence[Part] = RENEWAL

    def __init__(self) -> None:
        super().__init__()
        self.now = NOW
        self.clients = Clients()
        self.policy: RenewalPolicy = POLICY
        self.store: Stored = {}
        self.former: list[Stored] = []
        self.config_map = b""
        self.replicas: list[Replica] = []
        self.lines: dict[Certificate, list[tuple[Certificate, datetime]]] = {}
        self.roots: dict[Certificate, Certificate] = {}
        self.reverted: set[Certificate] = set()
        self.is_put_back = False
        self.strangers: set[bytes] = set()

    @initialize(
        replicas=st.integers(1, 3),
        kept=st.integers(0, 2),
        threshold=st.sampled_from([0.5, 0.3, 0.8]),
        may_end_early=st.booleans(),
    )
    def begin(self, replicas: int, kept: int, threshold: float, *, may_end_early: bool) -> None:
        self.policy = replace(
            POLICY, lifetime=LIFETIME, anchors_kept=kept, threshold=threshold, grace_may_end_early=may_end_early
        )
        self.policy.check()
        self.store = self.generated()
        self.replicas = [Replica() for _ in range(replicas)]
        self.observe_issuer(self.current())
        for replica in self.replicas:
            self.load(replica)

    def generated(self) -> Stored:
        return generated(self.now, LIFETIME)

    # --- the world

    def current(self) -> TrustBundle:
        return bundle_of(self.store, self.now)

    def look(self, stored: Stored) -> Plan:
        """Returns the plan without the step that is due, for which keys would be made."""
        situation = Situation(now=self.now, held_by_all=newest_root(stored), hold="only a look")
        return plan(stored, self.policy, situation)

    def replica(self, number: int) -> Replica:
        return self.replicas[number % len(self.replicas)]

    def clock(self, replica: Replica) -> datetime:
        return self.now + replica.offset

    def root_of(self, bundle: TrustBundle) -> Certificate:
        """Returns the root that has signed the issuer; an operator may have taken it out of the trust anchors."""
        root = direct_root(bundle)
        if root is not None:
            self.roots[bundle.issuer] = root
        return self.roots[bundle.issuer]

    def observe_issuer(self, bundle: TrustBundle) -> None:
        """Notes which issuer signs from now on, and which ones have led to it."""
        root = self.root_of(bundle)
        if root not in self.lines:
            self.lines[root] = [*self.clients.line, (root, min(root.not_after, bundle.issuer.not_after))]
        # Another issuer below the same root serves those that hold it for longer.
        *before, (_, end) = self.lines[root]
        self.lines[root] = [*before, (root, max(end, min(root.not_after, bundle.issuer.not_after)))]
        self.clients.line = self.lines[root]

    def publish(self) -> None:
        self.config_map = self.store[Part.ANCHORS]
        self.clients.sets.setdefault(tuple(read_certificates(self.config_map)), self.now)

    def changed(self, stored: Stored) -> None:
        """An operator has written the Secret."""
        self.store = stored
        for replica in self.replicas:
            if replica.accepted not in (None, bundle_parts(stored)) and replica.behind_since is None:
                replica.behind_since = self.now

    def has_expired(self) -> bool:
        return self.now > self.clients.line[-1][1]

    def accept(self, replica: Replica) -> bool:
        """Returns whether the gate lets a running replica go on with what is stored; else it keeps what it has."""
        replica.behind_since = None
        try:
            bundle = self.current()
        except InvalidBundleError:
            return False
        is_regression = self.root_of(bundle) != self.clients.line[-1][0]
        if is_regression or self.cuts_off(bundle):
            return False
        replica.accepted = bundle_parts(self.store)
        return True

    def cuts_off(self, bundle: TrustBundle) -> bool:
        clients, now = self.clients, self.now
        holding = [anchors for anchors in clients.sets if clients.serves_until(anchors) >= now]
        served = [(chain, end) for chain, end in clients.served.items() if end >= now]
        return any(clients.path_end(bundle.chain, anchors, now) < now for anchors in holding) or any(
            clients.path_end(chain, bundle.anchors, now) < end for chain, end in served
        )

    def load(self, replica: Replica) -> None:
        """Starts a process, which uses the stored bundle in any case."""
        try:
            self.current()
        except InvalidBundleError:
            return
        self.accept_stored_bundle()
        replica.accepted = bundle_parts(self.store)
        self.publish()

    def accept_stored_bundle(self) -> None:
        """An operator has restored a former generation, and a process uses it: one that starts, or Dapr Sentry, or
        one that lags so far behind that it has never seen another. All others refuse it.

        It cuts those off who do not verify it, which is reported. What follows is bridged to it, and to no generation
        that came after it, as the key of that one is gone.
        """
        try:
            bundle = self.current()
        except InvalidBundleError:
            return  # it has expired
        if not self.is_put_back:
            return
        self.is_put_back = False
        clients, now = self.clients, self.now
        self.reverted |= {root for root, _ in clients.line}
        self.observe_issuer(bundle)
        self.reverted -= {root for root, _ in clients.line}
        clients.sets = {
            anchors: since
            for anchors, since in clients.sets.items()
            if clients.path_end(bundle.chain, anchors, now) >= now
        }
        clients.served = {
            chain: end for chain, end in clients.served.items() if clients.path_end(chain, bundle.anchors, now) >= end
        }

    def write(self, expected: Stored, planned: Plan) -> bool:
        """Compares and swaps; true if it was done."""
        if self.store != expected:
            return False
        self.accept_stored_bundle()
        stored = after(self.store, planned)
        assert stored != self.store
        if planned.step not in {Step.PUBLISH, Step.PUBLISH_AND_SWITCH}:
            assert stored[Part.ANCHORS] == self.store[Part.ANCHORS]
        if stored[Part.KEY] != self.store[Part.KEY]:
            self.former.append(bundle_parts(self.store))
            try:
                self.observe_issuer(bundle_of(stored, self.now))
            except InvalidBundleError:
                assert self.has_expired()  # and so has the next one, but for a clock that lags
        self.changed(stored)
        assert planned.step is not None
        phase = self.look(stored).phase
        left = (
            {Phase.STEADY, Phase.RETIRING, Phase.SIGNING}
            if planned.text.startswith("the renewal is cancel")
            else {planned.phase}
        )
        allowed = ALLOWED.get((planned.phase, planned.step), left)
        # No way back is stored over what others have written.
        no_way_back = {Phase.RETIRING, Phase.STEADY} if planned.step is Step.RENEW_ISSUER else {Phase.RETIRING}
        assert phase in allowed or (self.strangers and phase in no_way_back and Phase.SIGNING in allowed)
        self.check_settled()
        return True

    def check_settled(self) -> None:
        """After all that is due now, keys are where they belong, and the next step has a time."""
        stored = self.store
        for _ in range(8):
            planned = plan(stored, self.policy, Situation(now=self.now))
            if planned.step is None:
                break
            stored = after(stored, planned)
        assert planned.step is None
        if planned.due is None:
            assert planned.held == "the issuer has expired, and there is no next one" or self.is_unknown(planned)
            return
        assert planned.due > self.now
        verify(StoredBundle(*(stored[part] for part in BUNDLE)), self.now)
        assert (Part.NEXT_KEY in stored) is (planned.phase is Phase.DISTRIBUTING)
        # Without a record, or after an edit, they might be the operator's own.
        kept = [part for part in PREVIOUS if part in stored and stored[part] not in self.strangers]
        assert Part.PREVIOUS_KEY not in kept or planned.phase in {Phase.SIGNING, Phase.DISTRIBUTING}
        assert planned.phase is not Phase.STEADY or not any(part in stored for part in NEXT)
        assert planned.phase is not Phase.STEADY or not kept or Part.RECORD not in stored
        root_keys = {part for part in ROOT_KEYS if part in stored and stored[part] not in self.strangers}
        assert Part.NEXT_ROOT_KEY not in root_keys or planned.phase is Phase.DISTRIBUTING
        assert Part.PREVIOUS_ROOT_KEY not in root_keys or Part.PREVIOUS_KEY in stored
        # Keys that no phase needs are the operator's, who hears of them.
        needed = {Part.ROOT_KEY, Part.REJECTED_KEY}
        needed |= {Part.NEXT_KEY, Part.NEXT_ROOT_KEY} if planned.phase is Phase.DISTRIBUTING else set()
        if planned.phase in {Phase.SIGNING, Phase.DISTRIBUTING}:
            needed |= {Part.PREVIOUS_KEY, Part.PREVIOUS_ROOT_KEY}
        assert (set(KEYS_BESIDE) & stored.keys()) - needed <= set(planned.stray_keys)

    def is_unknown(self, planned: Plan) -> bool:
        """Returns True if nothing stored shows that the authority was made here: an operator took its root out of the
        trust anchors, and lost the record that knew the others. It is watched, and warnings begin before it expires.
        """
        bundle, record = self.current(), read_record(self.store.get(Part.RECORD))
        known = () if record is None else record.own_roots
        has_known = direct_root(bundle) is not None or any(fingerprint(each) in known for each in bundle.anchors)
        return not has_known and planned.text.startswith("not renewed: it was not generated by")

    # --- replicas

    @rule(number=st.integers(0, 2))
    def read_and_plan(self, number: int) -> None:
        replica = self.replica(number)
        if replica.accepted != bundle_parts(self.store):
            return
        situation = Situation(
            now=self.clock(replica),
            is_published=self.config_map == self.store[Part.ANCHORS],
            held_by_all=newest_root(self.store),  # even if that is wrong
            hold=replica.hold,
        )
        try:
            planned = plan(self.store, self.policy, situation)
        except InvalidBundleError:
            return  # it has expired, or is not valid yet by the clock
        assert planned.due is not None or planned.held is not None or self.is_unknown(planned)
        if planned.step is not None:
            assert replica.hold is None
            replica.pending = self.store, planned

    @rule(number=st.integers(0, 2))
    def write_secret(self, number: int) -> None:
        replica = self.replica(number)
        if replica.pending is None:
            return
        expected, planned = replica.pending
        replica.pending = None
        if self.write(expected, planned):
            replica.unpublished = Part.ANCHORS in planned.changes
            assert self.accept(replica) or self.has_expired()

    @rule(number=st.integers(0, 2))
    def write_config_map(self, number: int) -> None:
        replica = self.replica(number)
        if replica.accepted == bundle_parts(self.store):
            replica.unpublished = False
            self.publish()

    @rule(number=st.integers(0, 2))
    def notice(self, number: int) -> None:
        replica = self.replica(number)
        if replica.behind_since is not None:
            replica.pending = None
            self.accept(replica)

    @rule(number=st.integers(0, 2))
    def renew(self, number: int) -> None:
        """All that a replica does without being interrupted, as nearly always."""
        for _ in range(3):
            self.notice(number)
            self.write_config_map(number)
            self.read_and_plan(number)
            self.write_secret(number)
        self.write_config_map(number)

    @rule(number=st.integers(0, 2))
    def sign(self, number: int) -> None:
        replica = self.replica(number)
        if replica.accepted is None or replica.hold is not None:
            return
        try:
            bundle = bundle_of(replica.accepted, self.clock(replica))
        except InvalidBundleError:
            return
        if self.root_of(bundle) in self.reverted:
            return  # an operator has put a former generation back
        end = min(self.clock(replica) + self.policy.workload_ttl, bundle.not_after)
        served = self.clients.served
        served[bundle.chain] = max(end, served.get(bundle.chain, end))

    @rule(number=st.integers(0, 2))
    def kill(self, number: int) -> None:
        self.replica(number).kill()

    @rule(number=st.integers(0, 2), wrong=st.sampled_from([timedelta(), timedelta(), 5 * DAY]))
    def start(self, number: int, wrong: timedelta) -> None:
        """A start, at times with a clock that is ahead: it may bring the switch on, which a bridge makes harmless."""
        replica = self.replica(number)
        if replica.accepted is not None:
            return
        try:
            if plan(self.store, self.policy, Situation(now=self.now)).step is Step.ADOPT:
                wrong = timedelta()
            planned = promote(self.store, self.policy, Situation(now=self.now + wrong))
        except InvalidBundleError:
            return
        self.accept_stored_bundle()
        if planned.step is not None:
            self.write(self.store, planned)
        self.load(replica)

    @rule(number=st.integers(0, 2), offset=st.sampled_from([-YEAR, -7 * MINUTE, timedelta(), 7 * MINUTE, YEAR]))
    def set_clock(self, number: int, offset: timedelta) -> None:
        """The process notices if it jumps."""
        replica = self.replica(number)
        replica.offset, replica.hold = offset, "the clock has jumped" if abs(offset) > SKEW else None

    # --- time

    @rule(step=st.sampled_from([MINUTE, HOUR, 6 * HOUR, DAY, 3 * DAY, 3 * DAY, 12 * DAY]))
    def wait(self, step: timedelta) -> None:
        for number, replica in enumerate(self.replicas):
            if replica.behind_since is not None and replica.behind_since + MOST_LAG < self.now + step:
                self.notice(number)
        self.now += step

    @rule()
    def wait_until_due(self) -> None:
        try:
            planned = self.look(self.store)
        except InvalidBundleError:
            return
        is_due = planned.next_step_at is not None and planned.next_step_at <= self.now
        if planned.due is not None and not is_due:
            self.wait(planned.due - self.now)

    @rule(number=st.integers(0, 2))
    def pass_a_phase(self, number: int) -> None:
        """As nearly always: a replica is there when a step is due, and nothing interrupts it."""
        self.wait_until_due()
        if self.replica(number).hold is None:
            self.renew(number)

    # --- commands, other programs and people

    @rule(request=st.sampled_from([RenewalRequest.START, RenewalRequest.CANCEL, RenewalRequest.ROLLBACK]))
    def command(self, request: RenewalRequest) -> None:
        if not any(replica.accepted == bundle_parts(self.store) for replica in self.replicas):
            return
        try:
            planned = plan(self.store, self.policy, Situation(now=self.now), request)
        except (InvalidBundleError, RenewalRejectedError):
            return
        if planned.step is not None:
            self.write(self.store, planned)

    @rule(what=st.sampled_from(DISTURBANCES), number=st.integers(0, 99))
    def disturb(self, what: str, number: int) -> None:
        getattr(self, what)(number)

    def dapr_signs(self, number: int) -> None:
        """Dapr Sentry takes over for a while: it would generate an authority if the ConfigMap were another."""
        if self.config_map == self.store[Part.ANCHORS]:
            replica = Replica(accepted=bundle_parts(self.store))
            self.replicas.append(replica)
            self.accept_stored_bundle()
            self.sign(len(self.replicas) - 1)
            self.replicas.pop()

    def dapr_promotes(self, number: int) -> None:
        """A Sentry of pull request 10290 switches by its own clock, and removes the next pair in a second write."""
        planned = self.look(self.store)
        if planned.bridge_end is None or planned.phase is not Phase.DISTRIBUTING:
            return
        stored = {**self.store, Part.CHAIN: self.store[Part.NEXT_CHAIN], Part.KEY: self.store[Part.NEXT_KEY]}
        self.accept_stored_bundle()
        self.edit(without(stored, *NEXT) if number % 2 else stored)
        self.observe_issuer(self.current())

    def dapr_stages(self, number: int) -> None:
        """It publishes a root of its own and stores the next pair, without a bridge."""
        if Part.NEXT_KEY in self.store or not self.is_accepted():
            return
        following = generated(self.now, LIFETIME)
        self.edit(
            {
                **self.store,
                Part.ANCHORS: self.store[Part.ANCHORS] + following[Part.ANCHORS],
                Part.NEXT_CHAIN: following[Part.CHAIN],
                Part.NEXT_KEY: following[Part.KEY],
            }
        )

    def lose(self, number: int) -> None:
        part = self.losable[number % len(self.losable)]
        self.forget_copies(part)
        self.edit(without(self.store, part))

    def garble(self, number: int) -> None:
        part = self.losable[number % len(self.losable)]
        if part in self.store:
            self.forget_copies(part)
            self.edit({**self.store, part: self.store[part][:-40]})
            self.strangers.add(self.store[part])

    def forget_copies(self, part: Part) -> None:
        """Without the record nothing shows that copies are a renewal's, but for a bridge."""
        if part is Part.RECORD:
            self.strangers |= {self.store[each] for each in (*PREVIOUS, *REJECTED) if each in self.store}

    def federate(self, number: int) -> None:
        """A trust anchor of another mesh joins, or the last one leaves."""
        anchors = read_certificates(self.store[Part.ANCHORS])
        kept = [each for each in anchors if each != FOREIGN]
        changed = kept if FOREIGN in anchors else [*anchors, FOREIGN]
        self.edit({**self.store, Part.ANCHORS: write_certificates(changed)})

    def put_former_generation_back(self, number: int) -> None:
        """Helm does, or `dapr upgrade`."""
        if self.former:
            self.is_put_back = True
            self.edit({**self.store, **self.former[number % len(self.former)]})

    def put_former_anchors_back(self, number: int) -> None:
        """An operator restores ca.crt alone."""
        if self.former:
            anchors = self.former[number % len(self.former)][Part.ANCHORS]
            changed = {**self.store, Part.ANCHORS: anchors}
            with suppress(InvalidBundleError):
                bundle_of(changed, self.now)
                self.is_put_back = True
                self.edit(changed)

    def is_accepted(self) -> bool:
        return any(replica.accepted == bundle_parts(self.store) for replica in self.replicas)

    def edit(self, stored: Stored) -> None:
        if stored[Part.KEY] != self.store[Part.KEY]:
            self.former.append(bundle_parts(self.store))
        self.changed(stored)

    # --- promises

    @invariant()
    def nobody_is_cut_off(self) -> None:
        assert self.clients.cut_off(self.now) == []


class RenewalWithRootKey(Renewal):
    """The same, with the key of the root, which lives for as long as two issuers."""

    losable = (*RENEWAL, *ROOT_KEYS)

    def generated(self) -> Stored:
        self.policy = replace(self.policy, keeps_root_key=True, root_lifetime=2 * LIFETIME)
        return new_parts(self.policy, self.now, None)


@pytest.mark.parametrize("examples", [25, pytest.param(100, marks=pytest.mark.soak)])
@pytest.mark.parametrize("machine", [Renewal, RenewalWithRootKey])
def test_renewal(machine: type[Renewal], examples: int) -> None:
    repeated = settings(max_examples=examples, stateful_step_count=80, derandomize=True)
    with remembering():
        run_state_machine_as_test(machine, settings=repeated)
