"""Renewal of the certificate authority: which step is due when, and what it changes."""

from datetime import timedelta

import pytest
from msgspec.structs import replace

from sentry_trio.ca.certificates import fingerprint, read_certificates
from sentry_trio.ca.pem import write_block
from sentry_trio.ca.renewal import RenewalRequest, Situation, plan, promote
from sentry_trio.ca.renewal_policy import RenewalPolicy
from sentry_trio.ca.renewal_record import read_record
from sentry_trio.errors import Part, RenewalRejectedError
from sentry_trio.renewal_status import Phase, Step
from testkit.ca.making import DAY, HOUR, NOW, SKEW, certificate, new_key
from testkit.ca.renewing import (
    BEGIN,
    BRIDGE_END,
    DISTRIBUTING,
    LIMIT,
    MOMENTS,
    POLICY,
    RETIRING,
    SECOND,
    SETTLED,
    SIGNING,
    STEADY,
    SWITCH,
    YEAR,
    Stored,
    after,
    bundle_of,
    foreign_authority,
    generated,
    parts_of,
    run,
)

pytestmark = pytest.mark.usefixtures("certificates_remembered")


def test_the_life_of_a_renewal() -> None:
    first = run(generated(), NOW)
    planned = plan(first, POLICY, Situation(now=NOW))
    assert (planned.phase, planned.generation) == (Phase.STEADY, 1)
    assert (planned.next_step, planned.next_step_at, planned.due) == (Step.PUBLISH, BEGIN, BEGIN)
    assert plan(first, POLICY, Situation(now=BEGIN - SECOND)).step is None

    published = run(first, BEGIN, Step.PUBLISH, Step.NOTE)
    planned = plan(published, POLICY, Situation(now=BEGIN))
    switch = BEGIN + DAY
    assert (planned.phase, planned.generation) == (Phase.DISTRIBUTING, 1)
    assert (planned.next_step, planned.next_step_at, planned.due) == (Step.SWITCH, switch, switch)
    assert (published[Part.CHAIN], published[Part.KEY]) == (first[Part.CHAIN], first[Part.KEY])
    assert published[Part.ANCHORS].endswith(first[Part.ANCHORS])
    assert len(read_certificates(published[Part.ANCHORS])) == 2
    assert len(read_certificates(published[Part.NEXT_CHAIN])) == 3

    switched = run(published, switch, Step.SWITCH)
    planned = plan(switched, POLICY, Situation(now=switch))
    settled = switch + DAY + SKEW
    assert (planned.phase, planned.generation) == (Phase.SIGNING, 2)
    assert (planned.next_step, planned.next_step_at, planned.due) == (Step.ERASE, settled, settled)
    assert switched[Part.ANCHORS] == published[Part.ANCHORS]
    assert (switched[Part.CHAIN], switched[Part.KEY]) == (published[Part.NEXT_CHAIN], published[Part.NEXT_KEY])
    assert (switched[Part.PREVIOUS_CHAIN], switched[Part.PREVIOUS_KEY]) == (first[Part.CHAIN], first[Part.KEY])
    assert switched[Part.PREVIOUS_ANCHORS] == published[Part.ANCHORS]
    assert not {Part.NEXT_CHAIN, Part.NEXT_KEY} & switched.keys()
    assert planned.bridge_end == NOW.replace(microsecond=0) + YEAR

    erased = run(switched, settled, Step.ERASE)
    planned = plan(erased, POLICY, Situation(now=settled))
    assert (planned.phase, planned.generation) == (Phase.RETIRING, 2)
    assert switched.keys() - erased.keys() == {Part.PREVIOUS_KEY}
    second_begin = planned.next_step_at
    assert planned.next_step is Step.PUBLISH
    assert second_begin is not None

    off = replace(POLICY, enabled=False)
    # On a clock that lags the bridge is valid for longer.
    assert plan(erased, off, Situation(now=settled)).due == BRIDGE_END == NOW + YEAR + SKEW + SECOND
    steady = run(erased, BRIDGE_END, Step.CUT, policy=off)
    planned = plan(steady, off, Situation(now=BRIDGE_END))
    assert (planned.phase, planned.generation, planned.due) == (Phase.STEADY, 2, None)
    assert len(read_certificates(steady[Part.CHAIN])) == 1
    assert steady[Part.ANCHORS] == published[Part.ANCHORS]
    assert steady.keys() == {*first, Part.RECORD}


# --- a grace that may end early

AUTO = replace(POLICY, grace_may_end_early=True)
EARLY = BEGIN + timedelta(minutes=10)
NEXT_ROOT, FORMER_ROOT = map(fingerprint, read_certificates(DISTRIBUTING[Part.ANCHORS]))


def test_the_grace_ends_early_if_all_sidecars_hold_the_new_root() -> None:
    for now, step in ((EARLY - SECOND, None), (EARLY, Step.SWITCH), (SWITCH - SECOND, Step.SWITCH)):
        planned = plan(DISTRIBUTING, AUTO, Situation(now=now, held_by_all=NEXT_ROOT))
        assert (planned.step, planned.next_step, planned.next_step_at) == (step, Step.SWITCH, EARLY)


@pytest.mark.parametrize(
    ("policy", "held_by_all"),
    [
        pytest.param(POLICY, NEXT_ROOT, id="fixed"),
        pytest.param(AUTO, None, id="not all"),
        pytest.param(AUTO, FORMER_ROOT, id="another root"),
    ],
)
def test_the_grace_lasts_as_long_as_it_is_set_otherwise(policy: RenewalPolicy, held_by_all: str | None) -> None:
    for now, step in ((EARLY, None), (SWITCH - SECOND, None), (SWITCH, Step.SWITCH)):
        planned = plan(DISTRIBUTING, policy, Situation(now=now, held_by_all=held_by_all))
        assert (planned.step, planned.next_step_at) == (step, SWITCH)


def test_the_grace_never_ends_early_later_than_otherwise() -> None:
    short = replace(AUTO, grace=timedelta(minutes=1))
    planned = plan(DISTRIBUTING, short, Situation(now=BEGIN, held_by_all=NEXT_ROOT))
    assert planned.next_step_at == BEGIN + timedelta(minutes=1)


def test_the_grace_does_not_end_before_the_root_is_published() -> None:
    stored = after(STEADY, plan(STEADY, POLICY, Situation(now=BEGIN)))
    next_root = fingerprint(read_certificates(stored[Part.ANCHORS])[0])
    lagging = Situation(now=EARLY, held_by_all=next_root, is_published=False)
    assert plan(stored, AUTO, lagging).step is None
    noted = after(stored, plan(stored, AUTO, replace(lagging, is_published=True)))
    planned = plan(noted, AUTO, replace(lagging, is_published=True))
    assert (planned.step, planned.next_step_at) == (None, EARLY + timedelta(minutes=10))
    held = plan(DISTRIBUTING, AUTO, replace(lagging, held_by_all=NEXT_ROOT))
    assert (held.step, held.held) == (None, "the new trust anchors are not published")


# --- one test for each event in each phase

DUE = {
    Phase.STEADY: (STEADY, BEGIN, Step.PUBLISH),
    Phase.DISTRIBUTING: (DISTRIBUTING, SWITCH, Step.SWITCH),
    Phase.SIGNING: (SIGNING, SETTLED, Step.ERASE),
    Phase.RETIRING: (RETIRING, BRIDGE_END, Step.CUT),
}
"""The step that ends each phase, and when it is due. Renewal is disabled in the last: the next would begin before."""


def policy_in(phase: Phase) -> RenewalPolicy:
    return replace(POLICY, enabled=False) if phase is Phase.RETIRING else POLICY


@pytest.mark.parametrize("phase", Phase)
def test_nothing_happens_before_it_is_due(phase: Phase) -> None:
    stored, since = MOMENTS[phase]
    _, due, step = DUE[phase]
    for now in (since, since + (due - since) / 2, due - SECOND):
        planned = plan(stored, policy_in(phase), Situation(now=now))
        assert (planned.phase, planned.step, planned.changes, planned.held) == (phase, None, {}, None)
        assert (planned.next_step, planned.next_step_at, planned.due) == (step, due, due)


@pytest.mark.parametrize("phase", Phase)
def test_the_step_that_is_due(phase: Phase) -> None:
    stored, due, step = DUE[phase]
    planned = plan(stored, policy_in(phase), Situation(now=due))
    assert (planned.phase, planned.step, planned.next_step, planned.next_step_at) == (phase, step, step, due)


@pytest.mark.parametrize("phase", Phase)
def test_a_kill_before_the_write_or_after_it(phase: Phase) -> None:
    """Before: the same step again, with other keys if it makes some. After: the next phase, and nothing twice."""
    stored, due, step = DUE[phase]
    later = due + HOUR
    assert plan(stored, policy_in(phase), Situation(now=later)).step is step
    written = after(stored, plan(stored, policy_in(phase), Situation(now=due)))
    planned = plan(written, policy_in(phase), Situation(now=later))
    order = list(Phase)
    assert planned.phase is order[(order.index(phase) + 1) % 4]
    assert planned.step in {None, Step.NOTE}


@pytest.mark.parametrize("phase", Phase)
def test_a_replica_that_comes_second_plans_anew(phase: Phase) -> None:
    stored, due, step = DUE[phase]
    first, second = (after(stored, plan(stored, policy_in(phase), Situation(now=due))) for _ in range(2))
    planned = plan(first, policy_in(phase), Situation(now=due))
    assert planned.step in {None, Step.NOTE}
    # Each makes a root of its own, so that only a comparison before the write keeps them apart.
    assert (first != second) is (step is Step.PUBLISH)


def test_limit_passed_in_steady() -> None:
    planned = plan(STEADY, POLICY, Situation(now=LIMIT))
    assert planned.step is Step.PUBLISH_AND_SWITCH
    stored = after(STEADY, planned)
    planned = plan(stored, POLICY, Situation(now=LIMIT))
    assert (planned.phase, planned.generation, planned.step) == (Phase.SIGNING, 2, None)
    assert (planned.bridge_end, planned.due) == (NOW + YEAR, LIMIT + DAY + SKEW)
    assert stored[Part.PREVIOUS_CHAIN] == STEADY[Part.CHAIN]


@pytest.mark.parametrize("is_published", [True, False])
def test_limit_passed_in_distributing(is_published: bool) -> None:
    assert plan(DISTRIBUTING, POLICY, Situation(now=LIMIT, is_published=is_published)).step is Step.SWITCH


@pytest.mark.parametrize(("phase", "step"), [(Phase.SIGNING, Step.ERASE), (Phase.RETIRING, Step.PUBLISH_AND_SWITCH)])
def test_limit_passed_later(phase: Phase, step: Step) -> None:
    stored, _ = MOMENTS[phase]
    limit = plan(RETIRING, POLICY, Situation(now=SETTLED)).next_step_at
    assert limit is not None
    assert plan(stored, POLICY, Situation(now=BEGIN + YEAR - DAY - SKEW)).step is step


@pytest.mark.parametrize("phase", [Phase.STEADY, Phase.SIGNING, Phase.RETIRING])
def test_a_config_map_that_differs_holds_up_distribution_only(phase: Phase) -> None:
    stored, due, step = DUE[phase]
    assert plan(stored, policy_in(phase), Situation(now=due, is_published=False)).step is step


def test_a_config_map_that_differs_holds_up_the_switch() -> None:
    fresh = run(after(STEADY, plan(STEADY, POLICY, Situation(now=BEGIN))), BEGIN, Step.NOTE)
    unseen = after(STEADY, plan(STEADY, POLICY, Situation(now=BEGIN)))
    planned = plan(unseen, POLICY, Situation(now=BEGIN + 7 * DAY, is_published=False))
    assert (planned.step, planned.held) == (None, "the new trust anchors are not published")
    assert (planned.next_step, planned.next_step_at, planned.due) == (Step.SWITCH, LIMIT, LIMIT)
    # The grace begins when they are seen to be published.
    noted = run(unseen, BEGIN + 7 * DAY, Step.NOTE)
    assert plan(noted, POLICY, Situation(now=BEGIN + 7 * DAY)).due == BEGIN + 8 * DAY
    # They were, and are not now.
    planned = plan(fresh, POLICY, Situation(now=SWITCH, is_published=False))
    assert (planned.step, planned.held) == (None, "the new trust anchors are not published")
    assert (planned.next_step_at, planned.due) == (SWITCH, SWITCH + timedelta(minutes=10))


def test_start() -> None:
    assert plan(STEADY, POLICY, Situation(now=NOW), RenewalRequest.START).step is Step.PUBLISH
    assert plan(STEADY, replace(POLICY, enabled=False), Situation(now=NOW), RenewalRequest.START).step is Step.PUBLISH
    assert plan(STEADY, POLICY, Situation(now=LIMIT), RenewalRequest.START).step is Step.PUBLISH_AND_SWITCH
    under_way = plan(DISTRIBUTING, POLICY, Situation(now=BEGIN), RenewalRequest.START)
    assert (under_way.step, under_way.next_step, under_way.next_step_at) == (None, Step.SWITCH, SWITCH)
    with pytest.raises(RenewalRejectedError, match=r"phase is signing, which ends at 2027-05-26T07:48:45Z"):
        plan(SIGNING, POLICY, Situation(now=SWITCH), RenewalRequest.START)
    assert plan(RETIRING, POLICY, Situation(now=SETTLED), RenewalRequest.START).step is Step.PUBLISH


def test_start_is_refused() -> None:
    with pytest.raises(RenewalRejectedError, match="clocks disagree"):
        plan(STEADY, POLICY, Situation(now=NOW, hold="clocks disagree"), RenewalRequest.START)
    with pytest.raises(RenewalRejectedError, match="--replace-expired"):
        plan(STEADY, POLICY, Situation(now=NOW + 2 * YEAR), RenewalRequest.START)


def test_cancel() -> None:
    planned = plan(DISTRIBUTING, POLICY, Situation(now=BEGIN), RenewalRequest.CANCEL)
    stored = after(DISTRIBUTING, planned)
    # The new root stays published until the next renewal, which does not begin at once.
    assert stored[Part.ANCHORS] == DISTRIBUTING[Part.ANCHORS]
    assert not {Part.NEXT_CHAIN, Part.NEXT_KEY} & stored.keys()
    planned = plan(stored, POLICY, Situation(now=BEGIN))
    assert (planned.phase, planned.step, planned.due) == (Phase.STEADY, None, BEGIN + 7 * DAY)
    for phase, why in [
        (Phase.STEADY, "phase is steady"),
        (Phase.SIGNING, "--rollback"),
        (Phase.RETIRING, "phase is retiring"),
    ]:
        other, now = MOMENTS[phase]
        with pytest.raises(RenewalRejectedError, match=why):
            plan(other, POLICY, Situation(now=now), RenewalRequest.CANCEL)


def test_cancel_leaves_time_for_the_grace() -> None:
    late = run(STEADY, LIMIT - 3 * DAY, Step.PUBLISH, Step.NOTE)
    stored = after(late, plan(late, POLICY, Situation(now=LIMIT - 3 * DAY), RenewalRequest.CANCEL))
    assert plan(stored, POLICY, Situation(now=LIMIT - 3 * DAY)).due == LIMIT - DAY


def test_rollback() -> None:
    planned = plan(SIGNING, POLICY, Situation(now=SWITCH + HOUR), RenewalRequest.ROLLBACK)
    assert planned.step is Step.ROLLBACK
    stored = after(SIGNING, planned)
    assert (stored[Part.CHAIN], stored[Part.KEY]) == (STEADY[Part.CHAIN], STEADY[Part.KEY])
    assert stored[Part.ANCHORS] == SIGNING[Part.ANCHORS]
    assert stored.keys() == {*STEADY, Part.RECORD}
    planned = plan(stored, POLICY, Situation(now=SWITCH + HOUR))
    assert (planned.phase, planned.generation, planned.step) == (Phase.STEADY, 1, None)
    assert planned.due == SWITCH + HOUR + 7 * DAY
    # The next generation gets a number of its own.
    again = run(stored, planned.due, Step.PUBLISH, Step.NOTE)
    assert plan(run(again, planned.due + DAY, Step.SWITCH), POLICY, Situation(now=planned.due + DAY)).generation == 3


def test_rollback_elsewhere() -> None:
    assert plan(DISTRIBUTING, POLICY, Situation(now=BEGIN), RenewalRequest.ROLLBACK).step is Step.DISCARD
    with pytest.raises(RenewalRejectedError, match="phase is steady"):
        plan(STEADY, POLICY, Situation(now=NOW), RenewalRequest.ROLLBACK)
    with pytest.raises(RenewalRejectedError, match="key is erased"):
        plan(RETIRING, POLICY, Situation(now=SETTLED), RenewalRequest.ROLLBACK)


# --- what others do to the store


def with_federation(stored: Stored) -> Stored:
    """An edit by hand that keeps the generation: a foreign trust anchor."""
    foreign = certificate("Elsewhere", new_key()).der
    return {**stored, Part.ANCHORS: stored[Part.ANCHORS] + write_block("CERTIFICATE", foreign)}


@pytest.mark.parametrize("phase", Phase)
def test_an_edit_that_keeps_the_generation(phase: Phase) -> None:
    """It is noted, and times begin anew: a renewal takes longer, and no part of it is lost."""
    stored, since = MOMENTS[phase]
    now = since + HOUR
    steps = [] if phase is Phase.STEADY else [Step.NOTE]
    noted = run(with_federation(stored), now, *steps, policy=policy_in(phase))
    planned = plan(noted, policy_in(phase), Situation(now=now))
    assert planned.phase is phase
    assert planned.generation == plan(stored, POLICY, Situation(now=now)).generation
    delayed = {Phase.DISTRIBUTING: now + DAY, Phase.SIGNING: now + DAY + SKEW}
    assert planned.next_step_at == delayed.get(phase, DUE[phase][1])
    assert stored.keys() == noted.keys()


@pytest.mark.parametrize("phase", Phase)
def test_another_certificate_authority_by_hand(phase: Phase) -> None:
    """Of our own profile, as Dapr Sentry generates it. All that a renewal had stored is discarded."""
    stored, since = MOMENTS[phase]
    now = since + HOUR
    edited = {**stored, **generated(now)}
    steps = {
        Phase.STEADY: [],
        Phase.DISTRIBUTING: [Step.REJECT],
        Phase.SIGNING: [Step.DISCARD],
        Phase.RETIRING: [Step.DISCARD],
    }
    noted = run(edited, now, *steps[phase])
    planned = plan(noted, POLICY, Situation(now=now))
    assert planned.phase is Phase.STEADY
    if phase is not Phase.STEADY:  # without a record every generation is the first
        assert planned.generation == plan(stored, POLICY, Situation(now=now)).generation + 1
    private = {Part.NEXT_KEY, Part.PREVIOUS_KEY} & noted.keys()
    assert not private


@pytest.mark.parametrize("phase", Phase)
def test_a_foreign_certificate_authority_by_hand(phase: Phase) -> None:
    """It is left alone, and what a renewal had stored is discarded."""
    stored, since = MOMENTS[phase]
    foreign = parts_of(foreign_authority(since))
    edited = {**stored, **foreign}
    while (planned := plan(edited, POLICY, Situation(now=since))).step is not None:
        edited = after(edited, planned)
    assert {part: edited[part] for part in foreign} == foreign
    assert not {Part.NEXT_KEY, Part.PREVIOUS_KEY} & edited.keys()
    late = plan(edited, POLICY, Situation(now=since + 364 * DAY))
    assert (late.phase, late.next_step) == (Phase.STEADY, None if phase is not Phase.DISTRIBUTING else Step.DISCARD)
    assert late.text.startswith("not renewed: it was not generated") or phase is Phase.DISTRIBUTING


@pytest.mark.parametrize("phase", [Phase.SIGNING, Phase.RETIRING])
def test_helm_puts_the_former_generation_back(phase: Phase) -> None:
    """Taken at the start of a process, as there is no other. It is renewed anew at once."""
    stored, since = MOMENTS[phase]
    reverted = {**stored, **{part: STEADY[part] for part in (Part.ANCHORS, Part.CHAIN, Part.KEY)}}
    planned = plan(reverted, POLICY, Situation(now=since))
    assert (planned.phase, planned.generation, planned.step) == (Phase.STEADY, 1, Step.PUBLISH)
    again = run(reverted, since, Step.PUBLISH, Step.NOTE) if phase is Phase.RETIRING else after(reverted, planned)
    assert Part.NEXT_KEY in again


def test_helm_puts_the_anchors_of_before_back() -> None:
    reverted = {**DISTRIBUTING, Part.ANCHORS: STEADY[Part.ANCHORS]}
    aside = run(reverted, BEGIN, Step.REJECT, Step.PUBLISH, Step.NOTE)
    assert aside[Part.REJECTED_KEY] == DISTRIBUTING[Part.NEXT_KEY]
    assert aside[Part.NEXT_KEY] != DISTRIBUTING[Part.NEXT_KEY]
    late = plan(aside, POLICY, Situation(now=BEGIN + DAY - SECOND))
    assert late.due == BEGIN + DAY
    switched = run(aside, BEGIN + DAY, Step.SWITCH, Step.DISCARD)
    assert not {Part.REJECTED_CHAIN, Part.REJECTED_KEY} & switched.keys()


def test_expired_in_steady() -> None:
    now = NOW + YEAR + DAY
    planned = plan(STEADY, POLICY, Situation(now=now))
    assert (planned.step, planned.due) == (None, None)
    assert planned.held == "the issuer has expired, and there is no next one"
    assert promote(STEADY, POLICY, Situation(now=now)).step is None
    replaced = after(STEADY, plan(STEADY, POLICY, Situation(now=now), RenewalRequest.REPLACE_EXPIRED))
    assert bundle_of(replaced, now).anchors[1:] == bundle_of(STEADY, NOW).anchors
    planned = plan(replaced, POLICY, Situation(now=now))
    assert (planned.phase, planned.generation, planned.step) == (Phase.STEADY, 2, None)


def test_expired_in_distributing() -> None:
    now = NOW + YEAR + DAY
    for planned in (promote(DISTRIBUTING, POLICY, Situation(now=now)), plan(DISTRIBUTING, POLICY, Situation(now=now))):
        assert planned.step is Step.SWITCH
        stored = after(DISTRIBUTING, planned)
        assert bundle_of(stored, now).issuer == read_certificates(DISTRIBUTING[Part.NEXT_CHAIN])[0]
    with pytest.raises(RenewalRejectedError, match="the next one is needed"):
        plan(DISTRIBUTING, POLICY, Situation(now=now), RenewalRequest.CANCEL)
    with pytest.raises(RenewalRejectedError, match="there is a next one"):
        plan(DISTRIBUTING, POLICY, Situation(now=now), RenewalRequest.REPLACE_EXPIRED)


@pytest.mark.parametrize("phase", [Phase.SIGNING, Phase.RETIRING])
def test_the_former_issuer_expires_later(phase: Phase) -> None:
    """No client needs it: the end of the bridge is not the end of the authority."""
    stored, _ = MOMENTS[phase]
    assert promote(stored, POLICY, Situation(now=BRIDGE_END)).step is None
    assert plan(stored, POLICY, Situation(now=BRIDGE_END)).held is None


def test_promotion_at_load() -> None:
    assert promote(DISTRIBUTING, POLICY, Situation(now=SWITCH - SECOND)).step is None
    assert promote(DISTRIBUTING, POLICY, Situation(now=SWITCH)).step is Step.SWITCH
    assert promote(DISTRIBUTING, POLICY, Situation(now=LIMIT)).step is Step.SWITCH
    assert promote(STEADY, POLICY, Situation(now=LIMIT)).step is None


@pytest.mark.parametrize("phase", Phase)
def test_a_hold(phase: Phase) -> None:
    stored, due, step = DUE[phase]
    planned = plan(stored, policy_in(phase), Situation(now=due, hold="clocks disagree"))
    assert (planned.step, planned.changes, planned.held) == (None, {}, "clocks disagree")
    assert (planned.next_step, planned.next_step_at) == (step, due)
    assert planned.due == due + timedelta(minutes=10)


@pytest.mark.parametrize("phase", Phase)
def test_a_clock_that_is_put_back(phase: Phase) -> None:
    """A step is not undone, nor is one due sooner: times in the future count as now."""
    stored, _ = MOMENTS[phase]
    back = {Phase.STEADY: NOW - SKEW, Phase.DISTRIBUTING: BEGIN - 30 * DAY}.get(phase, BEGIN)
    planned = plan(stored, policy_in(phase), Situation(now=back))
    assert planned.phase is phase
    noted = after(stored, planned) if planned.step else stored
    assert {**noted, Part.RECORD: b""} == {**stored, Part.RECORD: b""}
    planned = plan(noted, policy_in(phase), Situation(now=back))
    assert planned.step is None
    assert planned.due is not None
    assert planned.due > back
    if phase is Phase.SIGNING:
        assert planned.due == back + DAY + SKEW


def test_a_clock_a_year_ahead() -> None:
    """It may bring a renewal on, but not the time that each step takes, and the bridge holds."""
    ahead = NOW + YEAR - 30 * DAY
    published = run(STEADY, ahead, Step.PUBLISH, Step.NOTE)
    assert plan(published, POLICY, Situation(now=ahead)).due == ahead + DAY


@pytest.mark.parametrize("phase", Phase)
def test_disabled(phase: Phase) -> None:
    """Nothing is begun, and what has begun comes to its end."""
    stored, due, step = DUE[phase]
    planned = plan(stored, replace(POLICY, enabled=False), Situation(now=due))
    assert planned.step is (None if phase is Phase.STEADY else step)


def test_longer_lifetimes_while_certificates_are_valid() -> None:
    longer = replace(POLICY, workload_ttl=5 * DAY)
    noted = run(SIGNING, SWITCH, Step.NOTE, policy=longer)
    assert plan(noted, longer, Situation(now=SWITCH)).due == SWITCH + 5 * DAY + SKEW
    # A replica that does not know yet, or a lifetime that is shortened again, cannot bring it forward.
    assert plan(noted, POLICY, Situation(now=SWITCH)).due == SWITCH + 5 * DAY + SKEW
    erased = run(noted, SWITCH + 5 * DAY + SKEW, Step.ERASE)
    record = read_record(erased[Part.RECORD])
    assert record is not None
    assert record.workload_ttl == DAY


def test_longer_lifetimes_bring_the_switch_forward() -> None:
    unseen = after(STEADY, plan(STEADY, POLICY, Situation(now=BEGIN)))
    longer = replace(POLICY, workload_ttl=30 * DAY, allowed_clock_skew=HOUR)
    assert plan(unseen, longer, Situation(now=BEGIN, is_published=False)).next_step is Step.NOTE
    noted = run(unseen, BEGIN, Step.NOTE, policy=longer)
    limit = NOW + YEAR - 30 * DAY - HOUR
    assert plan(noted, longer, Situation(now=limit, is_published=False)).step is Step.SWITCH


def test_lifetimes_as_long_as_the_issuer_s() -> None:
    """A renewal would be due at once, forever."""
    long = replace(POLICY, workload_ttl=2 * YEAR)
    assert plan(STEADY, long, Situation(now=NOW)).due == NOW - SKEW + (YEAR + SKEW) / 4


def test_an_older_bridge_is_cut_off_alone() -> None:
    """By default the second renewal begins minutes before the first bridge ends, and so takes that along."""
    begin = plan(RETIRING, POLICY, Situation(now=SETTLED)).next_step_at
    assert begin is not None
    switched = run(run(RETIRING, begin, Step.PUBLISH, Step.NOTE), begin + DAY, Step.SWITCH)
    assert len(read_certificates(switched[Part.CHAIN])) == 5
    later = begin + 2 * DAY + SKEW
    cut = run(switched, later, Step.ERASE, Step.CUT)
    planned = plan(cut, POLICY, Situation(now=later))
    assert len(read_certificates(cut[Part.CHAIN])) == 3
    assert (planned.phase, planned.next_step) == (Phase.RETIRING, Step.PUBLISH)
    assert Part.PREVIOUS_CHAIN in cut


def test_a_bridge_is_kept_until_it_has_expired_on_a_clock_that_lags() -> None:
    for now, length in ((BRIDGE_END - SECOND, 5), (BRIDGE_END, 3)):
        planned = plan(RETIRING, POLICY, Situation(now=now), RenewalRequest.START)
        staged = after(RETIRING, planned)
        assert len(read_certificates(staged[Part.NEXT_CHAIN])) == length


def test_an_expired_authority_is_not_cut() -> None:
    planned = plan(RETIRING, POLICY, Situation(now=NOW + 3 * YEAR))
    assert (planned.step, planned.held) == (None, "the issuer has expired, and there is no next one")
