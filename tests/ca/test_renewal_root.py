"""Renewals with the key of the root, which is kept: other issuers below it, and later another root."""

from datetime import datetime, timedelta
from typing import Literal

import pytest
from msgspec.structs import replace

from sentry_trio.ca.certificates import Certificate, fingerprint, read_certificates
from sentry_trio.ca.keys import KeyType
from sentry_trio.ca.parts import BUNDLE, ROOT_KEYS
from sentry_trio.ca.paths import find_paths
from sentry_trio.ca.renewal import Plan, RenewalRequest, Situation, plan, promote
from sentry_trio.ca.renewal_record import read_record
from sentry_trio.ca.renewal_root import new_parts
from sentry_trio.ca.root_key import named_root, read_root_key, write_root_key
from sentry_trio.errors import InvalidBundleError, Part, RenewalRejectedError
from sentry_trio.renewal_status import Phase, Step
from testkit.ca.making import DAY, NOW, SKEW
from testkit.ca.renewing import (
    POLICY,
    SECOND,
    YEAR,
    Stored,
    after,
    bundle_of,
    foreign_authority,
    parts_of,
    without,
)

pytestmark = pytest.mark.usefixtures("certificates_remembered")

KEEP = replace(POLICY, keeps_root_key=True, root_lifetime=4 * YEAR)
PASSPHRASE = b"correct horse"
FIRST = new_parts(KEEP, NOW, PASSPHRASE)
HALF = NOW - SKEW + (YEAR + SKEW) / 2
ROOT_BEGIN = NOW - SKEW + (4 * YEAR + SKEW) / 2
WEEK = 7 * DAY


def planned(stored: Stored, now: datetime, *, passphrase: bytes | None = PASSPHRASE) -> Plan:
    return plan(stored, KEEP, Situation(now=now, passphrase=passphrase))


def step(stored: Stored, now: datetime, expected: Step, *, passphrase: bytes | None = PASSPHRASE) -> Stored:
    found = planned(stored, now, passphrase=passphrase)
    assert found.step is expected, found.text
    return after(stored, found)


def asked(stored: Stored, request: RenewalRequest, now: datetime) -> Stored:
    return after(stored, plan(stored, KEEP, Situation(now=now, passphrase=PASSPHRASE), request))


def roots(stored: Stored) -> list[Certificate]:
    return list(read_certificates(stored[Part.ANCHORS]))


def named(stored: Stored) -> dict[Part, str | None]:
    return {part: named_root(stored[part]) for part in ROOT_KEYS if part in stored}


def settled(stored: Stored, now: datetime) -> tuple[Stored, datetime]:
    """Returns what is stored when the previous issuer's key is erased, and when that is."""
    due = planned(stored, now).due
    assert due is not None
    return step(stored, due, Step.ERASE), due


def idle(stored: Stored, now: datetime) -> Stored:
    """Returns what is stored when no more step is due."""
    while (found := planned(stored, now)).step is not None:
        stored = after(stored, found)
    return stored


def to_root_renewal(stored: Stored) -> Stored:
    """Returns what is stored when the renewal of the root itself begins."""
    now = NOW
    while True:
        found = planned(stored, now)
        if found.step is Step.PUBLISH:
            return after(stored, found)
        assert found.due is not None
        stored = after(stored, found)
        now = max(now, found.due)


SIGNING = step(FIRST, HALF, Step.RENEW_ISSUER)
RETIRING, SETTLED = settled(SIGNING, HALF)
DISTRIBUTING = to_root_renewal(FIRST)


def test_a_new_authority_keeps_its_root_key_and_is_recorded() -> None:
    (root,) = roots(FIRST)
    assert (root.not_after, bundle_of(FIRST, NOW).issuer.not_after) == (NOW + 4 * YEAR, NOW + YEAR)
    read_root_key(FIRST[Part.ROOT_KEY], root, PASSPHRASE)
    record = read_record(FIRST[Part.RECORD])
    assert record is not None
    assert record.own_roots == (fingerprint(root),)
    found = planned(FIRST, NOW)
    assert (found.step, found.phase, found.has_root_key, found.held) == (None, Phase.STEADY, True, None)
    assert found.next_step is Step.RENEW_ISSUER
    assert found.due == HALF
    assert new_parts(POLICY, NOW, None).keys() == {Part.ANCHORS, Part.CHAIN, Part.KEY}


def test_the_life_of_a_renewal_below_one_root() -> None:
    assert planned(FIRST, HALF - SECOND).step is None
    assert SIGNING[Part.ANCHORS] == FIRST[Part.ANCHORS]
    assert SIGNING[Part.ROOT_KEY] == FIRST[Part.ROOT_KEY]
    (issuer,) = read_certificates(SIGNING[Part.CHAIN])
    assert issuer.not_after == (HALF + YEAR).replace(microsecond=0)
    found = planned(SIGNING, HALF)
    assert (found.phase, found.generation, found.step, found.bridge_end) == (Phase.SIGNING, 2, None, None)
    assert (found.next_step, found.due) == (Step.ERASE, HALF + DAY + SKEW)
    assert {Part.PREVIOUS_CHAIN, Part.PREVIOUS_KEY} <= SIGNING.keys()

    assert Part.PREVIOUS_KEY not in RETIRING
    found = planned(RETIRING, SETTLED)
    assert (found.phase, found.step, found.bridge_end) == (Phase.RETIRING, None, None)
    off = replace(KEEP, enabled=False)
    end = NOW + YEAR + SKEW + SECOND
    assert plan(RETIRING, off, Situation(now=end - SECOND)).due == end
    steady = after(RETIRING, plan(RETIRING, off, Situation(now=end)))
    assert steady.keys() == FIRST.keys()
    assert plan(steady, off, Situation(now=end)).phase is Phase.STEADY


def test_the_next_renewal_begins_while_the_previous_issuer_is_still_valid() -> None:
    found = planned(RETIRING, SETTLED)
    assert found.next_step is Step.RENEW_ISSUER
    assert found.next_step_at is not None
    again = step(RETIRING, found.next_step_at, Step.RENEW_ISSUER)
    assert again[Part.ANCHORS] == FIRST[Part.ANCHORS]
    assert again[Part.PREVIOUS_CHAIN] == SIGNING[Part.CHAIN]
    assert planned(again, found.next_step_at).generation == 3


def test_the_root_itself_is_renewed_at_half_of_its_life() -> None:
    old, first = roots(DISTRIBUTING)[1], roots(FIRST)[0]
    assert old == first
    new = roots(DISTRIBUTING)[0]
    assert named(DISTRIBUTING) == {Part.ROOT_KEY: fingerprint(old), Part.NEXT_ROOT_KEY: fingerprint(new)}
    _, cross = read_certificates(DISTRIBUTING[Part.NEXT_CHAIN])
    assert cross.not_after == old.not_after
    assert cross.subject == new.subject
    assert cross.issuer == old.subject
    found = planned(DISTRIBUTING, ROOT_BEGIN)
    assert (found.phase, found.step, found.bridge_end) == (Phase.DISTRIBUTING, Step.NOTE, old.not_after)
    noted = after(DISTRIBUTING, found)

    switched = step(noted, ROOT_BEGIN + DAY, Step.SWITCH)
    assert named(switched) == {Part.ROOT_KEY: fingerprint(new), Part.PREVIOUS_ROOT_KEY: fingerprint(old)}
    read_root_key(switched[Part.ROOT_KEY], new, PASSPHRASE)
    chain = read_certificates(switched[Part.CHAIN])
    for anchors in ([old], [new], [new, old], [old, new]):
        assert find_paths(chain[0], tuple(chain[1:]), tuple(anchors), ROOT_BEGIN + DAY)

    retiring, end = settled(switched, ROOT_BEGIN + DAY)
    assert named(retiring) == {Part.ROOT_KEY: fingerprint(new)}
    found = planned(retiring, end)
    assert (found.phase, found.next_step, found.bridge_end) == (Phase.RETIRING, Step.RENEW_ISSUER, old.not_after)
    assert found.next_step_at is not None
    again = step(retiring, found.next_step_at, Step.RENEW_ISSUER)
    assert [each.subject for each in read_certificates(again[Part.CHAIN])[1:]] == [cross.subject]
    assert again[Part.ANCHORS] == retiring[Part.ANCHORS]


# --- commands


def test_rollback_below_one_root() -> None:
    back = asked(SIGNING, RenewalRequest.ROLLBACK, HALF)
    assert {part: back[part] for part in (Part.ANCHORS, Part.CHAIN, Part.KEY, Part.ROOT_KEY)} == without(
        FIRST, Part.RECORD
    )
    assert not {Part.PREVIOUS_CHAIN, Part.PREVIOUS_KEY} & back.keys()
    found = planned(back, HALF)
    assert (found.phase, found.generation, found.next_step_at) == (Phase.STEADY, 1, HALF + WEEK)


def test_rollback_and_cancel_of_a_renewal_of_the_root_keep_the_old_key() -> None:
    old = fingerprint(roots(FIRST)[0])
    noted = step(DISTRIBUTING, ROOT_BEGIN, Step.NOTE)
    cancelled = asked(noted, RenewalRequest.CANCEL, ROOT_BEGIN)
    assert named(cancelled) == {Part.ROOT_KEY: old}
    assert planned(cancelled, ROOT_BEGIN).step in {None, Step.NOTE}
    switched = step(noted, ROOT_BEGIN + DAY, Step.SWITCH)
    back = asked(switched, RenewalRequest.ROLLBACK, ROOT_BEGIN + DAY)
    assert named(back) == {Part.ROOT_KEY: old}
    assert planned(back, ROOT_BEGIN + DAY).step in {None, Step.NOTE}


def test_start_and_distrust() -> None:
    started = asked(FIRST, RenewalRequest.START, NOW)
    assert started[Part.ANCHORS] == FIRST[Part.ANCHORS]
    assert started[Part.CHAIN] != FIRST[Part.CHAIN]
    replaced = asked(SIGNING, RenewalRequest.DISTRUST, HALF)
    (root,) = roots(replaced)
    assert named(replaced) == {Part.ROOT_KEY: fingerprint(root)}
    read_root_key(replaced[Part.ROOT_KEY], root, PASSPHRASE)


@pytest.mark.parametrize("request_", [RenewalRequest.START, RenewalRequest.DISTRUST])
def test_commands_without_the_passphrase(request_: RenewalRequest) -> None:
    situation = Situation(now=NOW, root_key_problem="cannot read the passphrase file")
    with pytest.raises(RenewalRejectedError, match="cannot read the passphrase file; with --ca-root-key=discard"):
        plan(FIRST, KEEP, situation, request_)


def offline() -> tuple[Stored, bytes]:
    return without(FIRST, Part.ROOT_KEY, Part.RECORD), FIRST[Part.ROOT_KEY]


def test_an_offline_root_key_makes_another_issuer() -> None:
    stored, key = offline()
    assert plan(stored, POLICY, Situation(now=HALF)).text.startswith("not renewed: it was not generated by")
    situation = Situation(now=HALF, passphrase=PASSPHRASE, offline_root_key=key)
    signing = after(stored, plan(stored, POLICY, situation, RenewalRequest.RENEW_ISSUER))
    assert signing[Part.ANCHORS] == stored[Part.ANCHORS]
    assert not set(ROOT_KEYS) & signing.keys()
    found = plan(signing, POLICY, Situation(now=HALF))
    assert (found.phase, found.step, found.next_step) == (Phase.SIGNING, None, Step.ERASE)
    back = after(signing, plan(signing, POLICY, Situation(now=HALF), RenewalRequest.ROLLBACK))
    assert back[Part.CHAIN] == stored[Part.CHAIN]
    erased = after(signing, plan(signing, POLICY, Situation(now=HALF + DAY + SKEW)))
    assert plan(erased, POLICY, Situation(now=HALF + DAY + SKEW)).phase is Phase.RETIRING


def test_an_offline_root_key_that_does_not_fit() -> None:
    stored, key = offline()
    (root,) = roots(stored)
    other = bundle_of(stored, NOW).key
    for content, passphrase in ((key, b"battery"), (write_root_key(other, root, None), None)):
        situation = Situation(now=HALF, passphrase=passphrase, offline_root_key=content)
        with pytest.raises(RenewalRejectedError, match=r"passphrase is wrong|not that of the root"):
            plan(stored, POLICY, situation, RenewalRequest.RENEW_ISSUER)
    with pytest.raises(RenewalRejectedError, match="the phase is signing"):
        plan(SIGNING, KEEP, Situation(now=HALF, offline_root_key=key), RenewalRequest.RENEW_ISSUER)
    # A root that lives no longer than its issuer.
    short = new_parts(replace(KEEP, root_lifetime=YEAR), NOW, None)
    situation = Situation(now=NOW, offline_root_key=short[Part.ROOT_KEY])
    with pytest.raises(RenewalRejectedError, match="the root expires at"):
        plan(short, KEEP, situation, RenewalRequest.RENEW_ISSUER)


# --- keys that cannot be used


def damaged(stored: Stored) -> Stored:
    name, _, pem = stored[Part.ROOT_KEY].partition(b"\n")
    return {**stored, Part.ROOT_KEY: name + b"\n" + pem[:-60]}


@pytest.mark.parametrize(
    ("stored", "passphrase", "held"),
    [
        (FIRST, b"battery", "the root key cannot be used: the passphrase is wrong"),
        (FIRST, None, "the root key is encrypted: set --ca-root-key-passphrase-file"),
        (damaged(FIRST), PASSPHRASE, "the root key cannot be used: the passphrase is wrong, or the key is damaged"),
        ({**FIRST, Part.ROOT_KEY: b"mine"}, PASSPHRASE, "the stored root key does not name a root"),
    ],
)
def test_a_key_that_cannot_be_used_holds_the_renewal_for_a_week(
    stored: Stored, passphrase: bytes | None, held: str
) -> None:
    for now in (HALF + SECOND, HALF + WEEK - SECOND):
        found = planned(stored, now, passphrase=passphrase)
        assert found.step is None
        assert found.held is not None
        assert found.held.startswith(held)
        assert found.next_step_at is not None
        assert found.next_step_at <= now
    found = planned(stored, HALF + WEEK + SECOND, passphrase=passphrase)
    assert found.step is Step.PUBLISH
    assert f", although a root key is to be kept: {held}" in found.text
    published = after(stored, found)
    # The current issuer has signed the new root, as if no key were kept.
    assert len(read_certificates(published[Part.NEXT_CHAIN])) == 3
    now = HALF + WEEK + SECOND
    switched = after(published, planned(published, now, passphrase=passphrase))  # the note
    switched = step(switched, now + DAY, Step.SWITCH, passphrase=passphrase)
    if stored[Part.ROOT_KEY] == b"mine":
        assert switched[Part.ROOT_KEY] == b"mine"
        assert not set(ROOT_KEYS[1:]) & switched.keys()
    else:
        new = roots(switched)[0]
        assert named(switched)[Part.ROOT_KEY] == fingerprint(new)
        read_root_key(switched[Part.ROOT_KEY], new, passphrase)


def test_a_passphrase_that_cannot_be_read() -> None:
    situation = Situation(now=NOW, root_key_problem="no such file")
    found = plan(FIRST, KEEP, situation)
    assert (found.step, found.held) == (None, "no such file")
    late = replace(situation, now=HALF + WEEK + SECOND)
    published = after(FIRST, plan(FIRST, KEEP, late))
    assert Part.NEXT_ROOT_KEY not in published
    assert roots(published)[0].not_after == (late.now + YEAR).replace(microsecond=0)


def test_the_wait_ends_before_the_last_moment() -> None:
    short = replace(KEEP, lifetime=6 * DAY, threshold=0.5)
    stored = new_parts(short, NOW, PASSPHRASE)
    begin = plan(stored, short, Situation(now=NOW)).due
    assert begin is not None
    wrong = Situation(now=begin, passphrase=b"battery")
    assert plan(stored, short, wrong).held is not None
    late = replace(wrong, now=begin + short.lifetime / 20)
    assert plan(stored, short, late).step is Step.PUBLISH


# --- switching the flag, other programs, and what is left over


def test_discard_erases_the_key() -> None:
    for before, now in ((FIRST, NOW), (SIGNING, HALF), (RETIRING, SETTLED), (DISTRIBUTING, ROOT_BEGIN)):
        stored = before
        found = plan(stored, POLICY, Situation(now=now))
        while found.step is not Step.DISCARD:
            assert found.step is Step.NOTE
            stored = after(stored, found)
            found = plan(stored, POLICY, Situation(now=now))
        assert found.text == "the root key is erased, because --ca-root-key is discard"
        erased = after(stored, found)
        assert not set(ROOT_KEYS) & erased.keys()
        assert without(stored, *ROOT_KEYS, Part.RECORD) == without(erased, Part.RECORD)
    # It goes on as any other authority.
    erased = after(FIRST, plan(FIRST, POLICY, Situation(now=NOW)))
    assert plan(erased, POLICY, Situation(now=HALF + SECOND)).step is Step.PUBLISH


def test_keep_takes_effect_at_the_next_renewal() -> None:
    stored = new_parts(POLICY, NOW, None)
    found = planned(stored, NOW)
    assert (found.step, found.held, found.has_root_key, found.next_step) == (None, None, False, Step.PUBLISH)
    published = step(stored, HALF + SECOND, Step.PUBLISH)
    new = roots(published)[0]
    assert named(published) == {Part.NEXT_ROOT_KEY: fingerprint(new)}
    assert new.not_after == (HALF + SECOND + 4 * YEAR).replace(microsecond=0)
    noted = step(published, HALF + SECOND, Step.NOTE)
    switched = step(noted, HALF + 2 * DAY, Step.SWITCH)
    assert named(switched) == {Part.ROOT_KEY: fingerprint(new)}
    retiring, now = settled(switched, HALF + 2 * DAY)
    found = planned(retiring, now)
    assert found.next_step is Step.RENEW_ISSUER
    # The bridge from the root without a key stays as long as it is valid.
    early = asked(retiring, RenewalRequest.START, now)
    assert read_certificates(early[Part.CHAIN])[1:] == read_certificates(retiring[Part.CHAIN])[1:]


def test_another_program_switches_to_the_next_root() -> None:
    noted = step(DISTRIBUTING, ROOT_BEGIN, Step.NOTE)
    taken = {**noted, Part.CHAIN: noted[Part.NEXT_CHAIN], Part.KEY: noted[Part.NEXT_KEY]}
    new = roots(taken)[0]
    now = ROOT_BEGIN + DAY
    for before in (taken, without(taken, Part.NEXT_CHAIN, Part.NEXT_KEY)):
        stored = before
        for _ in range(4):
            found = planned(stored, now)
            if found.step is None:
                break
            stored = after(stored, found)
        assert named(stored) == {Part.ROOT_KEY: fingerprint(new)}
        assert found.phase is Phase.RETIRING


def test_a_former_generation_that_is_put_back_leaves_the_key_of_the_other_root_until_it_is_renewed() -> None:
    switched = step(step(DISTRIBUTING, ROOT_BEGIN, Step.NOTE), ROOT_BEGIN + DAY, Step.SWITCH)
    retiring, now = settled(switched, ROOT_BEGIN + DAY)
    issuer = (Part.CHAIN, Part.KEY)
    put_back = {**retiring, **{part: DISTRIBUTING[part] for part in issuer}}
    # The later generation, put back again, is renewed below its root.
    off = replace(KEEP, enabled=False)
    again = {**after(put_back, plan(put_back, off, Situation(now=now))), **{part: retiring[part] for part in issuer}}
    assert planned(again, now).has_root_key
    # A third generation takes the place of both.
    third = idle(put_back, now)
    now = planned(third, now).due or now
    third = idle(third, now)
    assert planned(third, now).phase is Phase.DISTRIBUTING
    assert named(third)[Part.ROOT_KEY] == fingerprint(roots(retiring)[0])
    third = step(third, now + DAY, Step.SWITCH)
    third, now = settled(third, now + DAY)
    assert named(third) == {Part.ROOT_KEY: fingerprint(roots(third)[0])}


@pytest.mark.parametrize("is_recorded", [True, False])
def test_a_former_generation_that_is_put_back_soon_is_renewed_below_its_root(*, is_recorded: bool) -> None:
    now = ROOT_BEGIN + DAY
    switched = step(step(DISTRIBUTING, ROOT_BEGIN, Step.NOTE), now, Step.SWITCH)
    former = named(switched)[Part.PREVIOUS_ROOT_KEY]
    put_back = {**switched, **{part: DISTRIBUTING[part] for part in (Part.CHAIN, Part.KEY)}}
    put_back = put_back if is_recorded else without(put_back, Part.RECORD)
    while (found := planned(put_back, now)).step is not None:
        put_back = after(put_back, found)
        assert former in named(put_back).values()
    assert named(put_back)[Part.ROOT_KEY] == former


@pytest.mark.parametrize("scope", ["own", "any"])
@pytest.mark.parametrize("is_recorded", [True, False])
@pytest.mark.parametrize("phase", [Phase.STEADY, Phase.SIGNING, Phase.RETIRING])
def test_another_issuer_that_is_put_in_leaves_the_root_key(
    phase: Phase, *, is_recorded: bool, scope: Literal["own", "any"]
) -> None:
    """Its renewal does, too; the issuer that is put back is renewed below its root."""
    policy = replace(KEEP, scope=scope)
    before, now = {Phase.STEADY: (FIRST, NOW), Phase.SIGNING: (SIGNING, HALF), Phase.RETIRING: (RETIRING, SETTLED)}[
        phase
    ]
    before = before if is_recorded else without(before, Part.RECORD)
    stored, end = {**before, **parts_of(foreign_authority(now))}, now + YEAR - DAY
    situation = Situation(now=now, passphrase=PASSPHRASE)
    problem = "the stored root key does not name a root of this certificate authority: move it elsewhere"
    found = plan(stored, policy, replace(situation, root_key_problem=problem))
    assert Part.ROOT_KEY in found.stray_keys
    while now < end:
        found = plan(stored, policy, replace(situation, now=now))
        stored = after(stored, found)
        assert stored[Part.ROOT_KEY] == FIRST[Part.ROOT_KEY]
        now = now if found.step is not None else max(found.due or end, now + DAY)
    assert len(roots(stored)) == (1 if scope == "own" else 2)
    put_back = {**stored, **{part: before[part] for part in BUNDLE}}
    found = planned(idle(put_back, HALF + WEEK), HALF + WEEK)
    assert found.has_root_key
    if phase is Phase.STEADY and scope == "own":
        assert Step.RENEW_ISSUER in {planned(put_back, HALF + WEEK).step, planned(put_back, HALF + WEEK).next_step}


@pytest.mark.parametrize("is_restored", [Part.ROOT_KEY, Part.RECORD])
def test_the_loss_of_both_the_root_key_and_the_record_is_reported(is_restored: Part) -> None:
    """Nothing else shows that the authority was made here."""
    lost = without(SIGNING, Part.ROOT_KEY, Part.RECORD)
    found = planned(lost, HALF)
    assert (found.step, found.next_step, found.due) == (None, None, None)
    assert (found.held or "").startswith("--ca-root-key is keep, but neither a root key nor a renewal record shows")
    for quiet in (
        plan(lost, replace(KEEP, enabled=False), Situation(now=HALF)),
        plan(lost, replace(KEEP, scope="any"), Situation(now=HALF)),
        plan(lost, KEEP, Situation(now=HALF, managed_by="cert-manager")),
    ):
        assert quiet.held is None
    restored = {**lost, is_restored: SIGNING[is_restored]}
    assert planned(idle(restored, HALF), HALF).next_step is Step.ERASE


def test_a_root_key_of_others_is_left_alone() -> None:
    stored = {**new_parts(POLICY, NOW, None), Part.ROOT_KEY: b"-----BEGIN mine"}
    assert plan(stored, POLICY, Situation(now=NOW)).step is None
    assert plan(stored, POLICY, Situation(now=NOW)).text == "no step is due; left alone: root key"
    published = after(stored, plan(stored, POLICY, Situation(now=HALF + SECOND)))
    assert published[Part.ROOT_KEY] == stored[Part.ROOT_KEY]
    assert Part.NEXT_KEY in published


def test_without_a_record_the_key_shows_the_origin_of_the_root() -> None:
    bare = without(FIRST, Part.RECORD)
    assert planned(bare, NOW).next_step is Step.RENEW_ISSUER
    assert planned(without(FIRST, Part.ROOT_KEY), NOW).next_step is Step.PUBLISH
    signing = without(SIGNING, Part.RECORD)
    found = planned(signing, HALF)
    assert (found.phase, found.step) == (Phase.SIGNING, Step.NOTE)


@pytest.mark.parametrize("phase", [Phase.DISTRIBUTING, Phase.SIGNING])
def test_without_a_record_no_key_of_a_root_outlives_the_renewal_of_that_root(phase: Phase) -> None:
    old, now = fingerprint(roots(FIRST)[0]), ROOT_BEGIN
    stored = step(DISTRIBUTING, now, Step.NOTE)
    if phase is Phase.SIGNING:
        now += DAY
        stored = step(stored, now, Step.SWITCH)
        assert named(stored)[Part.PREVIOUS_ROOT_KEY] == old
    stored = without(stored, Part.RECORD)
    new = roots(stored)[0]
    found = planned(stored, now)
    while found.phase is not Phase.RETIRING:
        assert "left alone" not in found.text
        stored = after(stored, found)
        found = planned(stored, now)
        if found.step is None:
            assert found.due is not None
            now = found.due
            found = planned(stored, now)
    assert named(stored) == {Part.ROOT_KEY: fingerprint(new)}
    record = read_record(stored[Part.RECORD])
    assert record is not None
    assert record.own_roots == (old, fingerprint(new))


def test_a_next_root_key_of_others_is_not_overwritten() -> None:
    stored = {**new_parts(POLICY, NOW, None), Part.NEXT_ROOT_KEY: b"mine"}
    now = HALF + SECOND
    assert planned(stored, now).held == (
        "the stored next root key does not name a root of this certificate authority: move it elsewhere"
    )
    published = step(stored, now + WEEK, Step.PUBLISH)
    assert published[Part.NEXT_ROOT_KEY] == b"mine"
    noted = step(published, now + WEEK, Step.NOTE)
    assert step(noted, now + WEEK + DAY, Step.SWITCH)[Part.NEXT_ROOT_KEY] == b"mine"


def test_a_key_that_is_not_encrypted_is_as_soon_as_there_is_a_passphrase() -> None:
    (root,) = roots(FIRST)
    plain = {**FIRST, Part.ROOT_KEY: write_root_key(read_root_key(FIRST[Part.ROOT_KEY], root, PASSPHRASE), root, None)}
    assert step(plain, HALF, Step.RENEW_ISSUER, passphrase=None)[Part.ROOT_KEY] == plain[Part.ROOT_KEY]
    assert planned(plain, NOW).step is None
    seals = Situation(now=NOW, passphrase=PASSPHRASE, seals_root_keys=True)
    assert plan(plain, KEEP, replace(seals, root_key_problem="no such file")).step is None
    noted = after(plain, plan(plain, KEEP, seals))
    assert plan(noted, KEEP, seals).step is None
    for sealed in (noted[Part.ROOT_KEY], step(plain, HALF, Step.RENEW_ISSUER)[Part.ROOT_KEY]):
        assert b"ENCRYPTED" in sealed
        read_root_key(sealed, root, PASSPHRASE)


# --- an issuer that has expired


def test_an_issuer_that_has_expired_is_renewed_when_the_store_is_read() -> None:
    now = NOW + YEAR + 9 * DAY
    situation = Situation(now=now, passphrase=PASSPHRASE)
    with pytest.raises(InvalidBundleError):
        bundle_of(FIRST, now)
    found = promote(FIRST, KEEP, situation)
    assert found.step is Step.RENEW_ISSUER
    renewed = after(FIRST, found)
    assert bundle_of(renewed, now).issuer.not_after == (now + YEAR).replace(microsecond=0)
    assert renewed[Part.ANCHORS] == FIRST[Part.ANCHORS]
    for wrong, why in (
        (replace(situation, passphrase=b"battery"), "the root key cannot be used: the passphrase is wrong"),
        (replace(situation, root_key_problem="no file"), "no file"),
    ):
        found = promote(FIRST, KEEP, wrong)
        assert found.step is None
        assert (found.held or "").startswith(f"the issuer has expired, and {why}")
    assert promote(FIRST, replace(KEEP, enabled=False), situation).step is None
    assert promote(FIRST, POLICY, situation).step is None
    assert asked(FIRST, RenewalRequest.START, now)[Part.CHAIN] != FIRST[Part.CHAIN]


def test_a_clock_that_was_ahead_when_a_process_started_does_no_harm() -> None:
    now, wrong = NOW + DAY, NOW + YEAR + 9 * DAY
    renewed = after(FIRST, promote(FIRST, KEEP, Situation(now=wrong, passphrase=PASSPHRASE)))
    assert bundle_of(renewed, now).issuer.not_before == bundle_of(FIRST, now).issuer.not_before
    assert planned(renewed, now).phase is Phase.SIGNING
    # If it was right, the next issuer, whose life is not counted from so early, follows in time.
    retiring, end = settled(renewed, wrong)
    again = step(retiring, end, Step.RENEW_ISSUER)
    assert bundle_of(again, end).issuer.not_before == (end - SKEW).replace(microsecond=0)
    retiring, end = settled(again, end)
    assert planned(retiring, end).step is None


def test_rollback_from_an_issuer_that_is_not_valid_yet() -> None:
    """The clock was ahead, but not so far that the issuer before had expired."""
    now = NOW + DAY
    with pytest.raises(InvalidBundleError, match="not yet valid"):
        planned(SIGNING, now)
    back = asked(SIGNING, RenewalRequest.ROLLBACK, now)
    assert back[Part.CHAIN] == FIRST[Part.CHAIN]
    found = planned(back, now)
    assert (found.phase, found.step, found.has_root_key) == (Phase.STEADY, None, True)
    for stored in (without(SIGNING, Part.PREVIOUS_KEY), {**SIGNING, Part.KEY: FIRST[Part.KEY]}):
        with pytest.raises((InvalidBundleError, RenewalRejectedError)):
            asked(stored, RenewalRequest.ROLLBACK, now)


def test_an_issuer_that_has_expired_soon_after_a_renewal_is_renewed() -> None:
    """The process has not run since, so the key of the issuer before is still stored."""
    now = HALF + YEAR + 9 * DAY
    found = promote(SIGNING, KEEP, Situation(now=now, passphrase=PASSPHRASE))
    assert (found.phase, found.step) == (Phase.SIGNING, Step.RENEW_ISSUER)
    assert asked(SIGNING, RenewalRequest.START, now)[Part.CHAIN] != SIGNING[Part.CHAIN]
    # After a switch to another root, the key of the root before is stored, too.
    switched = step(step(DISTRIBUTING, ROOT_BEGIN, Step.NOTE), ROOT_BEGIN + DAY, Step.SWITCH)
    now = ROOT_BEGIN + YEAR + 9 * DAY
    renewed = after(switched, promote(switched, KEEP, Situation(now=now, passphrase=PASSPHRASE)))
    assert bundle_of(renewed, now).issuer.not_after == (now + YEAR).replace(microsecond=0)
    assert named(renewed) == {Part.ROOT_KEY: fingerprint(roots(switched)[0])}


def test_a_root_that_has_expired_makes_no_issuer() -> None:
    now = NOW + 5 * YEAR
    for found in (planned(FIRST, now), promote(FIRST, KEEP, Situation(now=now, passphrase=PASSPHRASE))):
        assert (found.step, found.held) == (None, "the issuer has expired, and there is no next one")
    with pytest.raises(RenewalRejectedError, match="--replace-expired"):
        asked(FIRST, RenewalRequest.START, now)
    with pytest.raises(RenewalRejectedError, match="the root has expired"):
        asked(FIRST, RenewalRequest.RENEW_ISSUER, now)
    assert len(roots(asked(FIRST, RenewalRequest.REPLACE_EXPIRED, now))) == 2


@pytest.mark.parametrize("key_type", KeyType)
def test_kinds_of_keys(key_type: KeyType) -> None:
    policy = replace(KEEP, key_type=key_type, lifetime=9 * DAY, root_lifetime=10 * DAY)
    stored = new_parts(policy, NOW, None)
    found = plan(stored, policy, Situation(now=NOW + 9 * DAY / 2 + timedelta(hours=1)))
    assert found.step is Step.RENEW_ISSUER
    assert bundle_of(after(stored, found), NOW + 5 * DAY).issuer.not_after == NOW + 10 * DAY


def test_keys_are_not_shown() -> None:
    situation = Situation(now=NOW, passphrase=b"secret", offline_root_key=b"secret")
    assert "secret" not in repr(situation)
    assert "PRIVATE" not in repr(planned(FIRST, HALF + SECOND))
