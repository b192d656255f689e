"""Records of renewals that an operator has edited: whatever they hold, the authority goes on."""

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from unittest.mock import Mock

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sentry_trio.ca.bundle import TrustBundle
from sentry_trio.ca.certificates import fingerprint, write_certificates
from sentry_trio.ca.renewal import Situation, plan
from sentry_trio.ca.renewal_record import (
    AnchorsPublished,
    Generation,
    RenewalRecord,
    read_record,
    recorded_certificates,
    with_published,
    write_record,
)
from sentry_trio.ca.trust import trust_in_use
from sentry_trio.errors import Part
from sentry_trio.renewal_status import Phase
from sentry_trio.stores.atomic_files import LIMIT
from testkit.ca.making import DAY, NOW, SKEW, certificate, new_key
from testkit.ca.renewing import MOMENTS, POLICY, RETIRING, SETTLED, bundle_of, remembering

GOOD = json.loads(RETIRING[Part.RECORD])
NAIVE = "2027-05-26T07:48:45"
DEEP = b'{"a":' * 100_000 + b"1" + b"}" * 100_000
PLACES = [
    ("present", "since"),
    ("present", "until"),
    ("present", "leaves_until"),
    ("former", 0, "since"),
    ("former", 0, "until"),
    ("former", 0, "leaves_until"),
    ("published", 0, "since"),
    ("staged_at",),
    ("published_at",),
    ("switched_at",),
    ("rejected_at",),
    ("postponed_until",),
]
VALUES = [NAIVE, "0001-01-01T00:00:00Z", "9999-12-31T23:59:59-23:59", "P9999999999D", "-P1D", "PT1S", "\udc00", "", "x"]
ODD = st.one_of(st.sampled_from(VALUES), st.none(), st.integers(), st.floats(), st.text(max_size=5), st.just([]))


def changed(value: Any, place: tuple[str | int, ...], new: object) -> Any:
    if not place:
        return new
    copy = value.copy()
    copy[place[0]] = changed(value[place[0]] if place[1:] else None, place[1:], new)
    return copy


def places(value: object, above: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    below = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in below:
        yield (*above, key)
        yield from places(each, (*above, key))


def written(value: object) -> bytes:
    return json.dumps(value).encode()


def use(content: bytes, phase: Phase) -> None:
    stored, now = MOMENTS[phase]
    edited = {**stored, Part.RECORD: content}
    plan(edited, POLICY, Situation(now=now))
    plan(edited, POLICY, Situation(now=now + 10 * DAY, is_published=False))
    bundle = bundle_of(stored, now)
    record, lifetime = read_record(content), DAY + SKEW
    trust_in_use(bundle.anchors, bundle.chain, record, now=now, leaf_lifetime=lifetime, grace=DAY)
    trust_in_use(bundle.anchors, bundle.chain, record, now=now, leaf_lifetime=lifetime, grace=DAY, held={})


@pytest.mark.parametrize("place", PLACES)
def test_a_time_without_zone_makes_a_record_unreadable(place: tuple[str | int, ...]) -> None:
    assert read_record(written(GOOD)) is not None
    content = written(changed(GOOD, place, NAIVE))
    assert read_record(content) is None
    use(content, Phase.RETIRING)
    assert read_record(written(changed(GOOD, place, f"{NAIVE}Z"))) is not None


@pytest.mark.parametrize("name", ["workload_ttl", "allowed_clock_skew"])
@pytest.mark.parametrize("duration", ["P999999999D", "P3660D", "-PT1S", "P99999999999999999D"])
def test_a_duration_that_cannot_be_makes_a_record_unreadable(name: str, duration: str) -> None:
    content = written(changed(GOOD, (name,), duration))
    assert read_record(content) is None
    use(content, Phase.RETIRING)


@pytest.mark.parametrize("number", [-1, 2**40, 10**400])
def test_a_number_that_cannot_be_shown_makes_a_record_unreadable(number: int) -> None:
    assert read_record(written(changed(GOOD, ("present", "number"), number))) is None


@pytest.mark.parametrize("content", [DEEP, b'{"digest":' + DEEP, b"[" * 100_000, b'{"more":' + DEEP + b"}"])
def test_a_record_that_is_nested_deeply_is_unreadable(content: bytes) -> None:
    assert read_record(content) is None
    use(content, Phase.RETIRING)


@settings(max_examples=150, derandomize=True, deadline=None)
@given(data=st.data())
def test_no_edit_of_a_record_is_fatal(data: st.DataObject) -> None:
    phase = data.draw(st.sampled_from([Phase.DISTRIBUTING, Phase.SIGNING, Phase.RETIRING]))
    record = json.loads(MOMENTS[phase][0][Part.RECORD])
    for place in data.draw(st.lists(st.sampled_from(sorted(places(record), key=str)), min_size=1, max_size=2)):
        try:
            record = changed(record, place, data.draw(ODD))
        except (KeyError, TypeError, IndexError, AttributeError):
            continue  # the first edit has taken the place away
    with remembering():
        use(written(record), phase)


def test_a_record_of_ten_years_is_read() -> None:
    record = read_record(written(changed(GOOD, ("workload_ttl",), "P3650D")))
    assert record is not None
    assert record.leaf_lifetime > timedelta(days=3650)
    assert record.present.since < SETTLED


def test_a_record_of_an_older_program_is_read() -> None:
    older = {name: value for name, value in GOOD.items() if name not in {"accepted_cut", "copies"}}
    record = read_record(written(older))
    assert record is not None
    assert (record.accepted_cut, record.copies) == (None, ())


@pytest.mark.parametrize(("size", "kept"), [(1_000, 8), (60_000, 7), (200_000, 1), (300_000, 0), (800_000, 0)])
def test_a_record_fits_into_a_store_although_many_trust_anchors_are_published(size: int, kept: int) -> None:
    record = read_record(written(GOOD))
    assert record is not None
    text, since = "x" * size, record.present.since
    former = tuple(msgspec.structs.replace(each, anchors=text) for each in record.former)
    present = msgspec.structs.replace(record.present, anchors=text)
    published = tuple(AnchorsPublished(anchors=text, since=since + number * DAY) for number in range(8))
    many = msgspec.structs.replace(record, former=former, present=present, published=published)
    content = write_record(many)
    assert len(content) <= LIMIT / 2
    found = read_record(content)
    assert found is not None
    assert found.published == published[8 - kept :]
    assert [each.chain for each in found.former] == [each.chain for each in record.former]
    assert found.present.anchors == (text if size < 500_000 else "")
    assert write_record(found) == content
    use(content, Phase.RETIRING)


def test_a_record_with_long_chains_has_no_trust_anchors() -> None:
    record = read_record(written(GOOD))
    assert record is not None
    present = msgspec.structs.replace(record.present, chain="x" * (LIMIT // 2))
    content = write_record(msgspec.structs.replace(record, present=present))
    assert len(content) < LIMIT
    found = read_record(content)
    assert found is not None
    assert (found.published, {each.anchors for each in (found.present, *found.former)}) == ((), {""})


# --- trust anchors that were published, more often than a record has room for

KEYS = [new_key() for _ in range(6)]
ANCHORS = [certificate(f"root {number}", key) for number, key in enumerate(KEYS)]
OWN = frozenset({0, 1, 2})
"""Numbers of the roots made here, of which the last has signed the issuer; others belong to other authorities."""
ISSUER = certificate("issuer", new_key(), "root 2", KEYS[2])
SETS = st.frozensets(st.integers(0, len(ANCHORS) - 1), min_size=1)


def numbers_of(anchors: str) -> frozenset[int]:
    return frozenset(map(ANCHORS.index, recorded_certificates(anchors)))


@settings(deadline=None)
@given(changes=st.lists(SETS, min_size=9, max_size=30))
def test_no_clients_are_forgotten_if_trust_anchors_change_often(changes: list[frozenset[int]]) -> None:
    present = Generation(
        number=1, issuer=fingerprint(ISSUER), anchors="", chain=write_certificates([ISSUER]).decode(), since=NOW
    )
    record = RenewalRecord(digest="", present=present, own_roots=tuple(map(fingerprint, ANCHORS[:2])))
    for day, anchors in enumerate(changes):
        pem = write_certificates([ANCHORS[number] for number in sorted(anchors)])
        record = with_published(record, Mock(spec=TrustBundle, anchors_pem=pem), NOW + day * DAY)
    assert len(record.published) <= 8
    kept = [numbers_of(each.anchors) for each in record.published]
    assert kept[-1] == changes[-1]
    ends = [each.since for each in record.published[1:]] + [NOW + len(changes) * DAY]
    for day, anchors in enumerate(changes):
        protected = [each & OWN for each, end in zip(kept, ends, strict=True) if end > NOW + day * DAY]
        assert not anchors & OWN or anchors & OWN in protected
