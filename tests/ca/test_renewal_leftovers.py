"""Renewal beside what other programs, people and crashes leave in the store; and commands that are rarely needed."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Literal

import pytest
from cryptography import x509
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import NameOID
from msgspec.structs import replace

from sentry_trio.ca.certificates import fingerprint, read_certificates, write_certificates
from sentry_trio.ca.keys import write_private_key
from sentry_trio.ca.parts import BUNDLE
from sentry_trio.ca.paths import find_paths
from sentry_trio.ca.renewal import RenewalRequest, Situation, plan, promote
from sentry_trio.ca.renewal_policy import RenewalPolicy
from sentry_trio.ca.renewal_record import read_record
from sentry_trio.ca.renewal_state import read_state
from sentry_trio.errors import InvalidBundleError, InvalidOptionsError, Part, RenewalRejectedError
from sentry_trio.renewal_status import Phase, Step
from testkit.ca import making
from testkit.ca.making import DAY, HOUR, NOW, SKEW, certificate, new_key
from testkit.ca.renewing import (
    BEGIN,
    BRIDGE_END,
    DISTRIBUTING,
    LIMIT,
    MOMENTS,
    POLICY,
    RETIRING,
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
    without,
)

pytestmark = pytest.mark.usefixtures("certificates_remembered")

NEXT, REJECTED = {Part.NEXT_CHAIN, Part.NEXT_KEY}, {Part.REJECTED_CHAIN, Part.REJECTED_KEY}


def organization(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, text, _ASN1Type.PrintableString)])


def dapr_generated(now: datetime) -> Stored:
    """A certificate authority of Dapr's profile: all roots have one name, and so have all issuers."""
    root_key, key = new_key(), new_key()
    identifiers = [x509.SubjectKeyIdentifier.from_public_key(each.public_key()) for each in (root_key, key)]
    of_root, of_issuer = ([x509.Extension(each.oid, critical=False, value=each)] for each in identifiers)
    dates = {"not_before": now - SKEW, "not_after": now + YEAR}
    root = certificate(organization("td"), root_key, more=of_root, **dates)
    issuer_name = organization("spiffe://td/ns/ns/dapr-sentry")
    issuer = certificate(issuer_name, key, organization("td"), root_key, more=of_issuer, **dates)
    return parts_of(making.stored([root], [issuer], key))


def staged_by_dapr(stored: Stored, following: Stored) -> Stored:
    """Parts that a Sentry of Dapr's pull request 10290 stores: the new root after the old one, and no bridge."""
    anchors = stored[Part.ANCHORS] + following[Part.ANCHORS]
    return {
        **stored,
        Part.ANCHORS: anchors,
        Part.NEXT_CHAIN: following[Part.CHAIN],
        Part.NEXT_KEY: following[Part.KEY],
    }


def verifies(stored: Stored, anchors: bytes, now: datetime) -> bool:
    """Returns whether a client with these trust anchors accepts what the stored issuer signs."""
    issuer, *above = read_certificates(stored[Part.CHAIN])
    try:
        return bool(find_paths(issuer, tuple(above), tuple(read_certificates(anchors)), now))
    except InvalidBundleError:
        return False


# --- next pairs of others


@pytest.mark.parametrize("first", [generated, dapr_generated])
def test_a_next_pair_of_dapr_s_renewal_is_adopted(first: Callable[[datetime], Stored]) -> None:
    current, following = first(NOW), dapr_generated(BEGIN)
    staged = staged_by_dapr(current, following)
    planned = plan(staged, POLICY, Situation(now=BEGIN))
    assert (planned.phase, planned.step, planned.bridge_end) == (Phase.DISTRIBUTING, Step.ADOPT, None)
    adopted = run(staged, BEGIN, Step.ADOPT)
    assert {part: adopted[part] for part in (*BUNDLE, Part.NEXT_KEY)} == {
        part: staged[part] for part in (*BUNDLE, Part.NEXT_KEY)
    }
    assert plan(adopted, POLICY, Situation(now=BEGIN)).bridge_end == NOW + YEAR
    switched = run(adopted, SWITCH, Step.SWITCH)
    assert plan(switched, POLICY, Situation(now=SWITCH)).phase is Phase.SIGNING
    for anchors in (current[Part.ANCHORS], following[Part.ANCHORS], staged[Part.ANCHORS]):
        assert verifies(switched, anchors, SWITCH)
    # Without the bridge the first of them would not; so it is used as it is only if there is no other issuer.
    assert promote(staged, POLICY, Situation(now=LIMIT)).step is None
    late = NOW + YEAR + DAY
    assert not verifies(after(staged, promote(staged, POLICY, Situation(now=late))), current[Part.ANCHORS], late)


def test_a_pair_is_bridged_again_if_the_present_issuer_has_changed() -> None:
    """Its chain has a bridge from the issuer before; its root is still published."""
    root_key, keys = new_key(), [new_key(), new_key()]
    dates = {"not_before": NOW - HOUR, "not_after": NOW + YEAR}
    root = certificate("Root", root_key, **dates)
    issuers = [certificate(f"Issuer {number}", key, "Root", root_key, **dates) for number, key in enumerate(keys)]
    any_authority = replace(POLICY, scope="any")
    first = parts_of(making.stored([root], [issuers[0]], keys[0]))
    staged = run(first, BEGIN, Step.PUBLISH, Step.NOTE, policy=any_authority)
    edited = {**staged, Part.CHAIN: write_certificates([issuers[1]]), Part.KEY: write_private_key(keys[1])}
    for policy in (any_authority, POLICY):
        adopted = run(edited, BEGIN, Step.ADOPT, policy=policy)
        switched = run(adopted, SWITCH, Step.SWITCH, policy=policy)
        assert read_certificates(switched[Part.CHAIN])[2] == issuers[1]
        assert verifies(switched, first[Part.ANCHORS], SWITCH)


def test_a_pair_that_cannot_be_bridged_waits_as_long_as_possible() -> None:
    """Its switch costs clients that hold the current root alone, who would else work until the current issuer ends."""
    root_key, key = new_key(), new_key()
    dates = {"not_before": NOW - HOUR, "not_after": NOW + YEAR}
    root = certificate("Root", root_key, **dates)
    issuer = certificate("Issuer", key, "Root", root_key, path_length=0, **dates)
    current = parts_of(making.stored([root], [issuer], key))
    any_authority = replace(POLICY, scope="any")
    planned = plan(current, any_authority, Situation(now=NOW + YEAR - DAY))
    assert (planned.step, planned.due) == (None, None)
    assert planned.text.startswith("not renewed: its issuer cannot sign another certificate authority: ")
    with pytest.raises(RenewalRejectedError, match="cannot sign another certificate authority"):
        plan(current, any_authority, Situation(now=NOW), RenewalRequest.START)
    noted = run(staged_by_dapr(current, dapr_generated(BEGIN)), BEGIN, Step.NOTE, policy=any_authority)
    planned = plan(noted, any_authority, Situation(now=SWITCH))
    assert planned.held is not None
    assert planned.held.startswith("the next issuer has no bridge, as x509: too many intermediates")
    planned = plan(noted, any_authority, Situation(now=LIMIT))
    assert planned.step is Step.SWITCH
    switched = after(noted, planned)
    assert accepted_cut(switched) == bundle_of(switched, LIMIT).fingerprint


@pytest.mark.parametrize("phase", Phase)
def test_beside_an_expired_authority_everything_stays(phase: Phase) -> None:
    """An operator may repair it with that. Only a next pair that fits is used."""
    stored = {**MOMENTS[phase][0], Part.NEXT_KEY: b"half a pair", Part.REJECTED_KEY: b"rejected"}
    torn = without(stored, Part.NEXT_CHAIN)
    planned = plan(torn, POLICY, Situation(now=NOW + 3 * YEAR))
    assert (planned.step, planned.due) == (None, None)
    assert planned.held == "the issuer has expired, and there is no next one"
    assert promote(torn, POLICY, Situation(now=NOW + 3 * YEAR)).step is None


@pytest.mark.parametrize("half", [Part.NEXT_CHAIN, Part.NEXT_KEY])
def test_half_a_pair_is_put_aside(half: Part) -> None:
    torn = without(DISTRIBUTING, half)
    now = BEGIN + HOUR
    planned = plan(torn, POLICY, Situation(now=now))
    assert planned.step is Step.REJECT
    assert f"there is no {half.value}" in planned.text
    # The renewal begins again; nothing of the current generation has changed.
    aside = run(torn, now, Step.REJECT, Step.PUBLISH, Step.NOTE)
    assert len(REJECTED & aside.keys()) == 1
    assert (aside[Part.CHAIN], aside[Part.KEY]) == (torn[Part.CHAIN], torn[Part.KEY])


def misfits() -> dict[str, Stored]:
    other = generated(BEGIN)
    return {
        "another key": {**DISTRIBUTING, Part.NEXT_KEY: other[Part.KEY]},
        "an unpublished root": {**DISTRIBUTING, Part.ANCHORS: STEADY[Part.ANCHORS]},
        "another authority": {**DISTRIBUTING, Part.NEXT_CHAIN: other[Part.CHAIN], Part.NEXT_KEY: other[Part.KEY]},
        "no certificate": {**DISTRIBUTING, Part.NEXT_CHAIN: b"garbage"},
        "no key": {**DISTRIBUTING, Part.NEXT_KEY: b""},
        "an expired one": staged_by_dapr(STEADY, dapr_generated(BEGIN - 2 * YEAR)),
        "below an intermediate": below_an_intermediate(),
    }


def below_an_intermediate() -> Stored:
    root_key, middle_key, key = new_key(), new_key(), new_key()
    dates = {"not_before": BEGIN - HOUR, "not_after": BEGIN + YEAR}
    root = certificate("Root", root_key, **dates)
    middle = certificate("Middle", middle_key, "Root", root_key, **dates)
    issuer = certificate("Issuer", key, "Middle", middle_key, **dates)
    return staged_by_dapr(STEADY, parts_of(making.stored([root], [issuer, middle], key)))


@pytest.mark.parametrize("what", misfits())
def test_a_pair_that_does_not_fit_is_put_aside_for_a_day(what: str) -> None:
    stored, now = misfits()[what], BEGIN + HOUR
    off = replace(POLICY, enabled=False)
    aside = run(stored, now, Step.REJECT, policy=off)
    assert not NEXT & aside.keys()
    assert [aside[part] for part in (Part.REJECTED_CHAIN, Part.REJECTED_KEY)] == [
        stored[part] for part in (Part.NEXT_CHAIN, Part.NEXT_KEY)
    ]
    assert {part: aside[part] for part in BUNDLE} == {part: stored[part] for part in BUNDLE}
    planned = plan(aside, off, Situation(now=now))
    assert (planned.next_step, planned.due) == (Step.DISCARD, now + DAY)
    discarded = run(aside, now + DAY, Step.DISCARD, policy=off)
    assert not REJECTED & discarded.keys()


def test_a_second_pair_that_is_put_aside_takes_the_place_of_the_first() -> None:
    first = run({**STEADY, Part.NEXT_KEY: DISTRIBUTING[Part.NEXT_KEY]}, NOW, Step.REJECT)
    assert plan(first, POLICY, Situation(now=NOW)).due == NOW + DAY
    torn = {**first, Part.NEXT_CHAIN: DISTRIBUTING[Part.NEXT_CHAIN]}
    again = run(torn, NOW + HOUR, Step.REJECT)
    assert Part.REJECTED_KEY not in again
    assert plan(again, POLICY, Situation(now=NOW + HOUR)).due == NOW + HOUR + DAY


# --- files of others that have the names of parts


def strangers(current: Stored) -> Stored:
    """Parts that no renewal has stored: a pair that even fits, copies of before, and others."""
    more = (Part.PREVIOUS_ANCHORS, Part.PREVIOUS_CHAIN, Part.PREVIOUS_KEY, Part.REJECTED_CHAIN, Part.REJECTED_KEY)
    return staged_by_dapr(current, dapr_generated(BEGIN)) | dict.fromkeys(more, b"mine")


@pytest.mark.parametrize("enabled", [True, False])
@pytest.mark.parametrize("has_pair", [True, False])
def test_files_beside_a_foreign_authority_are_left_alone(has_pair: bool, enabled: bool) -> None:
    policy = replace(POLICY, enabled=enabled)
    for stored in (strangers(parts_of(foreign_authority(BEGIN))), {**STEADY, **parts_of(foreign_authority(BEGIN))}):
        kept = {**stored, Part.PREVIOUS_KEY: b"mine", Part.NEXT_KEY: b"mine"}
        kept = kept if has_pair else without(kept, *NEXT)
        for now in (BEGIN, BEGIN + 90 * DAY):
            planned = plan(kept, policy, Situation(now=now))
            assert planned.step is None
            assert planned.text.startswith(
                "not renewed: it was not generated by sentry-trio or Dapr Sentry, and --ca-renewal-scope is own; left"
            )
            assert "previous issuer key" in planned.text
            assert promote(kept, policy, Situation(now=now)).step is None


@pytest.mark.parametrize("scope", ["own", "any"])
def test_files_beside_a_managed_authority_are_left_alone(scope: Literal["own", "any"]) -> None:
    policy = replace(POLICY, scope=scope)
    for stored in (strangers(STEADY), strangers(parts_of(foreign_authority(BEGIN))), DISTRIBUTING):
        for now in (BEGIN, SWITCH, LIMIT):
            planned = plan(stored, policy, Situation(now=now, managed_by="cert-manager"))
            assert planned.step is None
            assert "; left alone: next issuer chain, next issuer key" in planned.text


def test_files_beside_an_own_authority_without_a_record_are_left_alone() -> None:
    """But for a next pair, which may be one of Dapr's."""
    stored = without(strangers(STEADY), *NEXT)
    off = replace(POLICY, enabled=False)
    assert run(stored, BEGIN, policy=off) == run(stored, BEGIN + 90 * DAY, policy=off) == stored


def test_files_with_names_of_a_rejected_pair_never_expire() -> None:
    stored = {**STEADY, Part.REJECTED_KEY: b"mine"}
    published = run(stored, BEGIN, Step.PUBLISH, Step.NOTE)
    for now in (SWITCH, SETTLED):
        planned = plan(published, POLICY, Situation(now=now, hold="a look only"))
        assert planned.next_step is Step.SWITCH
    switched = run(published, SWITCH, Step.SWITCH)
    assert run(switched, SETTLED, Step.ERASE)[Part.REJECTED_KEY] == b"mine"


def test_copies_of_others_are_not_overwritten() -> None:
    """The switch waits, and at last stores no way back."""
    published = run({**STEADY, Part.PREVIOUS_KEY: b"mine"}, BEGIN, Step.PUBLISH, Step.NOTE)
    held = "no renewal has stored these parts, which it needs to write: previous issuer key; move them elsewhere"
    for now in (BEGIN, SWITCH):
        planned = plan(published, POLICY, Situation(now=now))
        assert (planned.step, planned.held, planned.next_step_at) == (None, held, SWITCH)
        assert promote(published, POLICY, Situation(now=now)).step is None
    assert plan(without(published, Part.PREVIOUS_KEY), POLICY, Situation(now=SWITCH)).step is Step.SWITCH
    assert promote(published, POLICY, Situation(now=LIMIT)).step is Step.SWITCH
    switched = run(published, LIMIT, Step.SWITCH)
    assert switched.keys() == {*STEADY, Part.RECORD, Part.PREVIOUS_KEY}
    assert switched[Part.PREVIOUS_KEY] == b"mine"
    planned = plan(switched, POLICY, Situation(now=LIMIT))
    assert (planned.phase, planned.text) == (Phase.RETIRING, "no step is due; left alone: previous issuer key")


def test_rejected_pairs_of_others_are_not_overwritten() -> None:
    torn = run({**without(DISTRIBUTING, Part.NEXT_KEY), Part.REJECTED_KEY: b"mine"}, BEGIN, Step.NOTE)
    planned = plan(torn, POLICY, Situation(now=SWITCH))
    assert planned.step is None
    assert planned.held is not None
    assert planned.held.endswith("which it needs to write: rejected next issuer key; move them elsewhere")
    off = replace(POLICY, enabled=False)
    dropped = run(torn, LIMIT, Step.REJECT, policy=off)
    assert dropped.keys() == {*STEADY, Part.RECORD, Part.REJECTED_KEY}
    assert dropped[Part.REJECTED_KEY] == b"mine"


def test_copies_that_others_have_changed_are_not_removed() -> None:
    off = replace(POLICY, enabled=False)
    changed = {**SIGNING, Part.PREVIOUS_CHAIN: b"mine"}
    with pytest.raises(RenewalRejectedError, match="the store has no previous issuer chain"):
        plan(changed, POLICY, Situation(now=SWITCH), RenewalRequest.ROLLBACK)
    erased = run(changed, SETTLED, Step.ERASE)
    cut = run(erased, BRIDGE_END, Step.CUT, policy=off)
    assert cut.keys() == {*STEADY, Part.RECORD, Part.PREVIOUS_CHAIN}
    assert cut[Part.PREVIOUS_CHAIN] == b"mine"


def test_a_pair_in_use_is_discarded() -> None:
    """Dapr's renewal removes it in a second write, which a crash may have prevented. No copy of the key is kept."""
    following = {part: DISTRIBUTING[part] for part in NEXT}
    promoted = {**DISTRIBUTING, Part.CHAIN: following[Part.NEXT_CHAIN], Part.KEY: following[Part.NEXT_KEY]}
    assert plan(promoted, POLICY, Situation(now=SWITCH)).phase is Phase.RETIRING
    discarded = run(promoted, SWITCH, Step.DISCARD)
    assert not (NEXT | REJECTED) & discarded.keys()


def test_a_pair_beside_a_previous_one() -> None:
    """The previous key is erased in time, and the pair is used in time."""
    following = staged_by_dapr(SIGNING, dapr_generated(SWITCH))
    adopted = run(following, SWITCH, Step.ADOPT)
    planned = plan(adopted, POLICY, Situation(now=SWITCH))
    assert (planned.phase, planned.next_step, planned.due) == (Phase.DISTRIBUTING, Step.SWITCH, SWITCH + DAY)
    stuck = plan(adopted, POLICY, Situation(now=SETTLED + HOUR, is_published=False))
    assert stuck.step is Step.ERASE


@pytest.mark.parametrize("phase", [Phase.SIGNING, Phase.RETIRING])
def test_dapr_promotes_the_pair_itself(phase: Phase) -> None:
    """The old key is gone then, so there is no way back, and nothing to erase."""
    stored = {
        **without(DISTRIBUTING, *NEXT),
        Part.CHAIN: DISTRIBUTING[Part.NEXT_CHAIN],
        Part.KEY: DISTRIBUTING[Part.NEXT_KEY],
    }
    if phase is Phase.SIGNING:
        stored |= {part: SIGNING[part] for part in (Part.PREVIOUS_ANCHORS, Part.PREVIOUS_CHAIN, Part.PREVIOUS_KEY)}
    noted = run(stored, SWITCH, Step.NOTE)
    planned = plan(noted, POLICY, Situation(now=SWITCH))
    assert (planned.phase, planned.generation) == (phase, 2)
    record = read_record(noted[Part.RECORD])
    assert record is not None
    assert [each.number for each in record.former] == [1]
    assert record.former[0].leaves_until == SWITCH + DAY + SKEW


# --- roots that live certificates and clients need

LONE = replace(POLICY, anchors_kept=0)


def promoted_by_dapr(stored: Stored) -> Stored:
    """Parts that a Sentry of Dapr's pull request 10290 stores when it switches by its own clock: no way back."""
    switched = {Part.CHAIN: stored[Part.NEXT_CHAIN], Part.KEY: stored[Part.NEXT_KEY]}
    return without({**stored, **switched}, *NEXT)


def test_a_root_stays_published_while_certificates_below_it_are_valid() -> None:
    """However soon the next renewal begins: Dapr's own may switch at once, and keeps no previous key."""
    stored = run(promoted_by_dapr(DISTRIBUTING), BEGIN, Step.NOTE, policy=LONE)
    for now, is_needed in ((BEGIN, True), (BEGIN + 2 * DAY, True), (BEGIN + 2 * DAY + HOUR, False)):
        planned = plan(stored, LONE, Situation(now=now), RenewalRequest.START)
        assert planned.step is Step.PUBLISH
        anchors = after(stored, planned)[Part.ANCHORS]
        assert verifies(STEADY, anchors, now) is is_needed
        assert verifies(stored, anchors, now)


def test_the_root_of_a_generation_that_was_taken_back_stays_published() -> None:
    """Its certificates outlive their bridge, as the generation before is about to expire."""
    staged = run(staged_by_dapr(STEADY, dapr_generated(LIMIT)), LIMIT - HOUR, Step.ADOPT, policy=LONE)
    switched = run(staged, LIMIT, Step.SWITCH, policy=LONE)
    now = LIMIT + HOUR
    reverted = {**switched, **{part: staged[part] for part in BUNDLE}}
    renewed = after(reverted, plan(reverted, LONE, Situation(now=now)))
    assert renewed[Part.KEY] not in (staged[Part.KEY], switched[Part.KEY])
    assert verifies(switched, renewed[Part.ANCHORS], now + DAY)


def test_roots_of_many_generations_within_hours_stay_published() -> None:
    """Of more generations with valid certificates than a record holds, none loses its root."""
    stored, now, generations = STEADY, NOW, [STEADY]
    for _ in range(12):
        staged = after(stored, plan(stored, LONE, Situation(now=now), RenewalRequest.START))
        assert all(verifies(each, staged[Part.ANCHORS], now) for each in generations)
        promoted = promoted_by_dapr(staged)
        # A chain with bridges soon has no room for another one.
        promoted[Part.CHAIN] = write_certificates(read_certificates(promoted[Part.CHAIN])[:1])
        now += HOUR
        stored = run(promoted, now, Step.NOTE, policy=LONE)
        generations.append(stored)
    rested = now + 3 * DAY
    planned = plan(stored, LONE, Situation(now=rested), RenewalRequest.START)
    assert len(read_certificates(after(stored, planned)[Part.ANCHORS])) == 2
    record = read_record(stored[Part.RECORD])
    assert record is not None
    assert len(record.former) == 8


def test_a_renewal_waits_for_room_in_the_chain() -> None:
    """A longer chain would lose its end, with which clients of the first generation verify."""
    stored, now = STEADY, NOW
    for _ in range(3):
        staged = after(stored, plan(stored, POLICY, Situation(now=now), RenewalRequest.START))
        now += HOUR
        stored = run(promoted_by_dapr(staged), now, Step.NOTE)
    assert len(read_certificates(stored[Part.CHAIN])) == 7
    with pytest.raises(RenewalRejectedError, match="the chain has no room for another one before 2027-11-22T"):
        plan(stored, POLICY, Situation(now=now), RenewalRequest.START)
    # A pair of others gets its bridge when there is room, and at last in any case.
    staged = run(staged_by_dapr(stored, dapr_generated(now)), now, Step.NOTE)
    planned = plan(staged, POLICY, Situation(now=now + 2 * DAY))
    assert (planned.step, planned.next_step) == (None, Step.SWITCH)
    assert planned.held is not None
    assert planned.held.startswith("the next issuer has no bridge, as the chain has no room for another one before")
    assert verifies(stored, STEADY[Part.ANCHORS], now)
    late = read_certificates(stored[Part.CHAIN])[0].not_after - DAY - SKEW
    assert plan(staged, POLICY, Situation(now=late)).step is Step.ADOPT


def test_trust_anchors_of_before_are_put_back_alone() -> None:
    """The current root is not among them. Its certificates verify along the bridge, whose root is kept."""
    reverted = {**RETIRING, Part.ANCHORS: STEADY[Part.ANCHORS]}
    noted = run(reverted, SETTLED, Step.DISCARD, policy=LONE)
    planned = plan(noted, LONE, Situation(now=SETTLED))
    assert planned.next_step is Step.PUBLISH
    assert planned.due is not None
    published = run(noted, planned.due, Step.PUBLISH, Step.NOTE, policy=LONE)
    assert verifies(RETIRING, published[Part.ANCHORS], planned.due)
    # Clients that hold the current root lose nothing, though the path to the stored anchors ends before.
    following = {Part.CHAIN: published[Part.NEXT_CHAIN]}
    assert verifies(following, RETIRING[Part.ANCHORS], bundle_of(RETIRING, SETTLED).not_after)


# --- records


def foreign_record() -> bytes:
    other = run(generated(BEGIN), BEGIN + YEAR - 30 * DAY, Step.PUBLISH, Step.NOTE)
    return other[Part.RECORD]


def neighbouring_record(phase: Phase) -> bytes:
    """The record of the generation before or after that of a phase."""
    return (SIGNING if phase is Phase.DISTRIBUTING else DISTRIBUTING)[Part.RECORD]


def garbled_records(phase: Phase = Phase.SIGNING) -> dict[str, bytes | None]:
    good = SIGNING[Part.RECORD]
    return {
        "missing": None,
        "empty": b"",
        "no JSON": b"\xff{",
        "a list": b"[]",
        "another version": good.replace(b'"version": 1', b'"version": 2'),
        "a time without zone": good.replace(b'Z"', b'"'),
        "cut short": good[: len(good) // 2],
        "of another authority": foreign_record(),
        "of another generation": neighbouring_record(phase),
    }


@pytest.mark.parametrize("phase", [Phase.DISTRIBUTING, Phase.SIGNING, Phase.RETIRING])
@pytest.mark.parametrize("what", garbled_records())
def test_a_record_that_is_of_no_use(what: str, phase: Phase) -> None:
    """The phase follows from certificates; times that the record would hold count as now."""
    stored, since = MOMENTS[phase]
    now, record = since + HOUR, garbled_records(phase)[what]
    bare = without(stored, Part.RECORD)
    noted = run(bare if record is None else {**bare, Part.RECORD: record}, now, Step.NOTE)
    planned = plan(noted, POLICY, Situation(now=now))
    assert planned.phase is phase
    waits = {Phase.DISTRIBUTING: DAY, Phase.SIGNING: DAY + SKEW}
    if phase in waits:
        assert planned.due == now + waits[phase]
    assert {**noted, Part.RECORD: b""} == {**stored, Part.RECORD: b""}


@pytest.mark.parametrize("size", [200, 250, 300, 400, 450])
def test_a_renewal_fits_into_a_secret_although_many_trust_anchors_are_published(size: int) -> None:
    filler = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), bytes(size * 1024 * 3 // 40))
    more = [x509.Extension(filler.oid, False, filler)]
    others = [certificate(f"other {number}", new_key(), not_after=NOW + YEAR, more=more) for number in range(10)]
    stored = generated()
    stored[Part.ANCHORS] += write_certificates(others)
    assert len(stored[Part.ANCHORS]) > size * 1024
    stored = run(stored, BEGIN, Step.PUBLISH, Step.NOTE)
    stored = run(stored, BEGIN + DAY, Step.SWITCH)
    assert Part.PREVIOUS_KEY in stored
    assert sum(map(len, stored.values())) < 2**20
    assert read_record(stored[Part.RECORD]) is not None
    settled = run(stored, BEGIN + 3 * DAY, Step.ERASE)
    assert Part.PREVIOUS_KEY not in settled


def test_a_record_keeps_three_former_generations() -> None:
    stored, now = STEADY, NOW
    for _ in range(5):
        now += 200 * DAY
        stored = run(stored, now, Step.PUBLISH, Step.NOTE)
        now += 2 * DAY
        stored = run(stored, now, Step.SWITCH)
        now += 2 * DAY
        stored = run(stored, now, Step.ERASE)
    record = read_record(stored[Part.RECORD])
    assert record is not None
    assert [each.number for each in (*record.former, record.present)] == [3, 4, 5, 6]
    assert record.present.issuer == fingerprint(bundle_of(stored, now).issuer)
    assert record.present.anchors == record.published[-1].anchors
    assert len(record.own_roots) == 6
    # The new root and the current one, and two former ones.
    assert len(bundle_of(stored, now).anchors) == 4
    assert len(stored[Part.RECORD]) < 64 * 1024


# --- whose


def test_a_foreign_authority_is_renewed_if_asked_for() -> None:
    current = parts_of(foreign_authority(NOW))
    planned = plan(current, POLICY, Situation(now=BEGIN))
    assert (planned.step, planned.due) == (None, None)
    assert (
        planned.text == "not renewed: it was not generated by sentry-trio or Dapr Sentry, and --ca-renewal-scope is own"
    )
    any_authority = replace(POLICY, scope="any")
    published = run(current, BEGIN, Step.PUBLISH, Step.NOTE, policy=any_authority)
    # What has begun is brought to its end, and from then on it is ours.
    switched = run(published, SWITCH, Step.SWITCH)
    assert verifies(switched, current[Part.ANCHORS], SWITCH)
    retiring = run(switched, SETTLED, Step.ERASE)
    assert plan(retiring, POLICY, Situation(now=SETTLED)).next_step is Step.PUBLISH


def test_a_managed_authority_is_left_alone() -> None:
    planned = plan(STEADY, POLICY, Situation(now=BEGIN, managed_by="cert-manager"))
    assert (planned.step, planned.due, planned.text) == (None, None, "not renewed: cert-manager manages it")
    switched = run(DISTRIBUTING, SWITCH, Step.SWITCH)
    for stored, now in ((switched, SETTLED), (RETIRING, BRIDGE_END)):
        planned = plan(stored, replace(POLICY, enabled=False), Situation(now=now, managed_by="cert-manager"))
        assert (planned.step, planned.due) == (None, None)
        assert "; left alone: previous trust anchors, previous issuer chain" in planned.text


@pytest.mark.parametrize("command", RenewalRequest)
@pytest.mark.parametrize("phase", Phase)
def test_a_managed_authority_follows_no_command(phase: Phase, command: RenewalRequest) -> None:
    stored, now = MOMENTS[phase]
    with pytest.raises(RenewalRejectedError, match="cert-manager manages the trust bundle and would revert"):
        plan(stored, POLICY, Situation(now=now, managed_by="cert-manager"), command)


def test_no_more_generations_than_a_chain_has_room_for() -> None:
    """A fourth former generation waits until the first of the others has expired; the last moment is another matter."""
    eager = replace(POLICY, threshold=0.25, lifetime=YEAR)
    stored, now = STEADY, NOW
    for _ in range(3):
        due = plan(stored, eager, Situation(now=now)).due
        assert due is not None
        stored, now = run(stored, due, Step.PUBLISH, Step.NOTE, policy=eager), due
        stored = run(stored, now + DAY, Step.SWITCH, policy=eager)
        stored, now = run(stored, now + 3 * DAY, Step.ERASE, policy=eager), now + 3 * DAY
    hurried = replace(eager, threshold=0.01)
    chain = read_certificates(stored[Part.CHAIN])
    assert len(chain) == 7
    planned = plan(stored, hurried, Situation(now=now))
    assert (planned.next_step, planned.next_step_at) == (Step.PUBLISH, chain[5].not_after + SKEW + timedelta(seconds=1))


# --- commands


def accepted_cut(stored: Stored) -> str | None:
    record = read_record(stored[Part.RECORD])
    assert record is not None
    return record.accepted_cut


@pytest.mark.parametrize("phase", [Phase.DISTRIBUTING, Phase.SIGNING, Phase.RETIRING])
def test_a_step_that_cuts_off_no_client_accepts_no_cut(phase: Phase) -> None:
    assert accepted_cut(MOMENTS[phase][0]) is None


@pytest.mark.parametrize(
    ("asked", "now", "is_confirmed", "is_accepted"),
    [
        (RenewalRequest.DISTRUST, SETTLED, False, True),
        (RenewalRequest.REPLACE_EXPIRED, NOW + 3 * YEAR, False, True),
        (RenewalRequest.FLATTEN, SETTLED, True, True),
        (RenewalRequest.FLATTEN, SETTLED, False, False),
    ],
)
def test_a_command_that_cuts_names_the_bundle_in_the_record(
    asked: RenewalRequest, now: datetime, *, is_confirmed: bool, is_accepted: bool
) -> None:
    situation = Situation(now=now, is_cut_accepted=is_confirmed)
    cut = after(RETIRING, plan(RETIRING, POLICY, situation, asked))
    assert (accepted_cut(cut) == bundle_of(cut, now).fingerprint) is is_accepted
    next_one = after(cut, plan(cut, POLICY, Situation(now=now), RenewalRequest.START))
    assert (accepted_cut(next_one) == bundle_of(next_one, now).fingerprint) is is_accepted


def test_an_accepted_cut_does_not_cover_an_edit() -> None:
    cut = after(RETIRING, plan(RETIRING, POLICY, Situation(now=SETTLED), RenewalRequest.DISTRUST))
    edited = {**cut, Part.ANCHORS: cut[Part.ANCHORS] + write_certificates([certificate("Elsewhere", new_key())])}
    assert accepted_cut(run(edited, SETTLED, Step.NOTE)) is None


def test_flatten() -> None:
    flat = after(RETIRING, plan(RETIRING, POLICY, Situation(now=SETTLED), RenewalRequest.FLATTEN))
    assert len(read_certificates(flat[Part.CHAIN])) == len(read_certificates(flat[Part.ANCHORS])) == 1
    assert flat.keys() == {*STEADY, Part.RECORD}
    assert plan(flat, POLICY, Situation(now=SETTLED)).phase is Phase.STEADY
    staged = after(DISTRIBUTING, plan(DISTRIBUTING, POLICY, Situation(now=BEGIN), RenewalRequest.FLATTEN))
    assert {part: staged[part] for part in BUNDLE} == {part: STEADY[part] for part in BUNDLE}
    with pytest.raises(RenewalRejectedError, match="valid until 2027-05-26T07:48:45Z"):
        plan(SIGNING, POLICY, Situation(now=SWITCH), RenewalRequest.FLATTEN)
    with pytest.raises(RenewalRejectedError, match="no path"):
        plan(STEADY, POLICY, Situation(now=NOW + 2 * YEAR), RenewalRequest.FLATTEN)


@pytest.mark.parametrize("phase", Phase)
def test_distrust(phase: Phase) -> None:
    stored, since = MOMENTS[phase]
    foreign = certificate("Elsewhere", new_key())
    federated = {**stored, Part.ANCHORS: stored[Part.ANCHORS] + write_certificates([foreign])}
    cut = after(federated, plan(federated, POLICY, Situation(now=since), RenewalRequest.DISTRUST))
    bundle = bundle_of(cut, since)
    assert bundle.anchors[1:] == (foreign,)
    assert not set(bundle.anchors[:1]) & set(bundle_of(stored, since).anchors)
    assert cut.keys() == {*STEADY, Part.RECORD}
    assert plan(cut, POLICY, Situation(now=since)).phase is Phase.STEADY


@pytest.mark.parametrize("phase", Phase)
def test_distrust_of_an_issuer_that_is_not_valid_yet(phase: Phase) -> None:
    """It was made while the clock was ahead."""
    stored, now = MOMENTS[phase][0], NOW - DAY if phase is Phase.STEADY else NOW + DAY
    cut = after(stored, plan(stored, POLICY, Situation(now=now), RenewalRequest.DISTRUST))
    bundle = bundle_of(cut, now)
    assert len(bundle.anchors) == 1
    assert accepted_cut(cut) == bundle.fingerprint
    assert cut.keys() == {*STEADY, Part.RECORD}
    assert plan(cut, POLICY, Situation(now=now)).phase is Phase.STEADY


def test_an_issuer_that_is_not_valid_yet_is_not_replaced_as_expired() -> None:
    """The text names the commands that help."""
    with pytest.raises(RenewalRejectedError, match=r"not valid before 2027-05-2.*rollback', or '--distrust'"):
        plan(SIGNING, POLICY, Situation(now=NOW + DAY), RenewalRequest.REPLACE_EXPIRED)


def test_a_rollback_needs_the_whole_previous_generation() -> None:
    torn = without(SIGNING, Part.PREVIOUS_CHAIN)
    with pytest.raises(RenewalRejectedError, match="the store has no previous issuer chain"):
        plan(torn, POLICY, Situation(now=SWITCH), RenewalRequest.ROLLBACK)
    unpublished = {**SIGNING, Part.ANCHORS: write_certificates(read_certificates(SIGNING[Part.ANCHORS])[:1])}
    with pytest.raises(RenewalRejectedError, match="rollback cannot be executed: failed to verify"):
        plan(unpublished, POLICY, Situation(now=SWITCH), RenewalRequest.ROLLBACK)


def test_a_rollback_leaves_no_pair_of_the_issuer_that_it_takes_back() -> None:
    """Dapr's renewal removes it in a second write. It would take over again."""
    promoted = {**SIGNING, Part.NEXT_CHAIN: SIGNING[Part.CHAIN], Part.NEXT_KEY: SIGNING[Part.KEY]}
    stored = after(promoted, plan(promoted, POLICY, Situation(now=SWITCH), RenewalRequest.ROLLBACK))
    assert stored.keys() == {*STEADY, Part.RECORD}


def test_an_issuer_that_has_not_expired_is_not_replaced() -> None:
    with pytest.raises(RenewalRejectedError, match="has not expired"):
        plan(STEADY, POLICY, Situation(now=NOW), RenewalRequest.REPLACE_EXPIRED)


# --- limits


def test_a_bundle_that_is_not_valid_is_not_planned() -> None:
    with pytest.raises(InvalidBundleError, match="not yet valid"):
        plan(STEADY, POLICY, Situation(now=NOW - DAY))
    with pytest.raises(InvalidBundleError, match="issuer key does not match"):
        plan({**STEADY, Part.KEY: generated()[Part.KEY]}, POLICY, Situation(now=NOW))


def test_the_end_of_time() -> None:
    endless = replace(POLICY, grace=timedelta(days=3_000_000))
    with pytest.raises(InvalidBundleError, match=r"cannot plan the renewal of the certificate authority: .*; set the"):
        plan(DISTRIBUTING, endless, Situation(now=BEGIN))


def test_plans_and_states_do_not_show_keys() -> None:
    assert "PRIVATE" not in repr(plan(STEADY, POLICY, Situation(now=BEGIN)))
    assert "PRIVATE" not in repr(read_state(SIGNING, POLICY, SWITCH, is_published=True))


@pytest.mark.parametrize(
    ("differences", "flag"),
    [
        ({"threshold": 0.2}, "--ca-renewal-threshold"),
        ({"grace": 183 * DAY}, "--trust-anchor-propagation-grace"),
        ({"workload_ttl": 182 * DAY}, "workloadCertTTL"),
        ({"lifetime": 4 * DAY + HOUR}, "--ca-ttl"),
    ],
)
def test_parameters_that_leave_no_time(differences: dict[str, float | timedelta], flag: str) -> None:
    wrong = replace(POLICY, **differences)
    with pytest.raises(InvalidOptionsError, match=flag):
        wrong.check()
    replace(wrong, enabled=False).check()


def test_parameters_that_do() -> None:
    RenewalPolicy(
        trust_domain="td", namespace="ns", key_type=POLICY.key_type, workload_ttl=DAY, allowed_clock_skew=SKEW
    ).check()
    minutes = timedelta(minutes=10)
    replace(POLICY, lifetime=HOUR, grace=minutes, workload_ttl=minutes, allowed_clock_skew=timedelta()).check()
