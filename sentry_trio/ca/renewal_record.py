"""Record of renewals: times and former generations of a certificate authority, stored beside it. Pure.

Certificates decide the phase of a renewal. The record has the times, which no certificate has, and the former
generations. It is public data. If it is missing, cannot be read, or describes other certificates than the stored ones,
only time is lost: all that it would record then counts as having happened now.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final, Literal

import msgspec

from sentry_trio.ca.bundle import TrustBundle, verify
from sentry_trio.ca.certificates import Certificate, fingerprint, has_signed, read_certificates
from sentry_trio.ca.parts import PREVIOUS, REJECTED, Parts, bundle_of
from sentry_trio.errors import InvalidBundleError, Part

FORMER_KEPT: Final = 3
"""Former generations that are kept, with or without valid certificates."""

_MOST_FORMER: Final = 8
_SETS_KEPT: Final = 8
_ROOTS_KEPT: Final = 32
_NONE: Final = timedelta()
_LONGEST: Final = timedelta(days=3653)
_HIGHEST_NUMBER: Final = 2**31
_MOST_BYTES: Final = 512 * 1024
_MOST_STORED: Final = 1000 * 1024  # of 1 MiB, the limit of a Secret, which may also have JWT keys and parts of others


class Generation(msgspec.Struct, frozen=True, kw_only=True):
    """Public part of a generation of the certificate authority: one issuer, while it signs.

    Attributes:
        number: 1 for the first.
        issuer: fingerprint of the signing certificate.
        anchors: the trust anchors, PEM, as they are now or were last.
        chain: the issuer chain, PEM, likewise.
        since: time at which it began to sign, as far as known.
        until: time at which the next one took its place; None for the current one.
        leaves_until: time at which the last certificate that it signed expires; None for the current one.
    """

    number: int
    issuer: str
    anchors: str
    chain: str
    since: datetime
    until: datetime | None = None
    leaves_until: datetime | None = None


class AnchorsPublished(msgspec.Struct, frozen=True, kw_only=True):
    """Trust anchors that were published.

    Attributes:
        anchors: all of them, PEM.
        since: time from which they were, as far as known; they were until the next ones.
    """

    anchors: str
    since: datetime


class RenewalRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Record of renewals; see the module.

    Attributes:
        digest: digest of the certificates that it describes; see `digest_of`.
        present: the current generation.
        former: generations before it, the latest last: `FORMER_KEPT`, and older ones that have valid certificates.
        own_roots: fingerprints of the roots that were made here.
        published: trust anchors that were published, the current ones last.
        workload_ttl: the longest lifetime of certificates since the issuer before the current one was settled.
        allowed_clock_skew: the largest, likewise.
        staged_at: time at which the next pair was stored.
        published_at: time at which its root was first seen to be published.
        switched_at: time at which the current issuer took the place of the one before it.
        rejected_at: time at which a next pair was rejected.
        postponed_until: time before which no renewal begins, because the last one was cancelled or rolled back.
        copies: SHA-256, in hex, of the previous and rejected parts that a renewal has stored.
        accepted_cut: fingerprint of the trust bundle that was stored although it cuts off clients; None if the stored
            one cuts off none.
        version: version of this format.
    """

    digest: str
    present: Generation
    former: tuple[Generation, ...] = ()
    own_roots: tuple[str, ...] = ()
    published: tuple[AnchorsPublished, ...] = ()
    workload_ttl: timedelta = _NONE
    allowed_clock_skew: timedelta = _NONE
    staged_at: datetime | None = None
    published_at: datetime | None = None
    switched_at: datetime | None = None
    rejected_at: datetime | None = None
    postponed_until: datetime | None = None
    copies: tuple[str, ...] = ()
    accepted_cut: str | None = None
    version: Literal[1] = 1

    @property
    def leaf_lifetime(self) -> timedelta:
        """Longest time between the signing of a certificate and its expiry on a clock that lags."""
        return self.workload_ttl + self.allowed_clock_skew

    def knows(self, bundle: TrustBundle) -> bool:
        """Returns whether the issuer is that of a recorded generation."""
        return fingerprint(bundle.issuer) in (self.present.issuer, *(each.issuer for each in self.former))

    def in_use(self, now: datetime) -> tuple[Generation, ...]:
        """Returns the former generations below which certificates may be valid.

        A replica that cannot read the store continues to sign for a while, here for the lifetime of certificates.
        """
        since = now - self.leaf_lifetime
        return tuple(each for each in self.former if each.leaves_until is None or since <= each.leaves_until)

    def is_complete(self, now: datetime) -> bool:
        """Returns false if more generations than the recorded ones may have valid certificates."""
        return len(self.in_use(now)) < _MOST_FORMER


def recorded_certificates(pem: str) -> tuple[Certificate, ...]:
    """Returns the certificates of a recorded text; none if it cannot be read, as the record may have been edited."""
    try:
        return tuple(read_certificates(pem.encode()))
    except InvalidBundleError:
        return ()


def recorded_bundle(record: RenewalRecord) -> tuple[tuple[Certificate, ...], tuple[Certificate, ...]] | None:
    """Returns anchors and chain of the current generation; None if either cannot be read."""
    anchors, chain = map(recorded_certificates, (record.present.anchors, record.present.chain))
    return (anchors, chain) if anchors and chain else None


def read_record(content: bytes | None) -> RenewalRecord | None:
    """Returns the record, or None if there is none that can be read."""
    if content is None:
        return None
    try:
        record = msgspec.json.decode(content, type=RenewalRecord)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, OverflowError):
        return None
    return record if _is_sane(record) else None


def _is_sane(record: RenewalRecord) -> bool:
    """Returns True if times can be compared and added to, and numbers shown: the record may have been edited."""
    generations = (record.present, *record.former)
    moments: list[datetime | None] = [each.since for each in record.published]
    for each in generations:
        moments += (each.since, each.until, each.leaves_until)
    moments += (record.staged_at, record.published_at, record.switched_at, record.rejected_at, record.postponed_until)
    return (
        all(each is None or each.tzinfo is not None for each in moments)
        and all(_NONE <= each <= _LONGEST for each in (record.workload_ttl, record.allowed_clock_skew))
        and all(0 <= each.number <= _HIGHEST_NUMBER for each in generations)
    )


def write_record(record: RenewalRecord, beside: Parts | None = None) -> bytes:
    """Returns the record as JSON; without the oldest trust anchors, if a store could not hold it.

    Args:
        record: the record.
        beside: parts that are stored together with it.
    """
    content = _as_json(record)
    most = min(_MOST_BYTES, _MOST_STORED - sum(map(len, (beside or {}).values())))
    for smaller in _with_fewer_anchors(record):
        if len(content) <= most:
            break
        content = _as_json(smaller)
    return content


def _as_json(record: RenewalRecord) -> bytes:
    return msgspec.json.format(msgspec.json.encode(record), indent=1)


def _with_fewer_anchors(record: RenewalRecord) -> Iterator[RenewalRecord]:
    """Yields the record with ever fewer trust anchors; those of former generations were published, too."""
    former = tuple(msgspec.structs.replace(each, anchors="") for each in record.former)
    for oldest in range(len(record.published) + 1):
        yield msgspec.structs.replace(record, former=former, published=record.published[oldest:])
    present = msgspec.structs.replace(record.present, anchors="")
    yield msgspec.structs.replace(record, former=former, published=(), present=present)


def digest_of(stored: Mapping[Part, bytes]) -> str:
    """Returns the SHA-256, in hex, over the stored certificates of a renewal."""
    digest = hashlib.sha256()
    for part in (Part.ANCHORS, Part.CHAIN, Part.NEXT_CHAIN):
        content = stored.get(part, b"")
        digest.update(len(content).to_bytes(8, "big"))
        digest.update(content)
    return digest.hexdigest()


def copies_in(stored: Mapping[Part, bytes]) -> dict[Part, str]:
    """Returns the SHA-256, in hex, of each stored part that a renewal has replaced or rejected."""
    return {part: hashlib.sha256(stored[part]).hexdigest() for part in (*PREVIOUS, *REJECTED) if part in stored}


def record_of(stored: Mapping[Part, bytes], bundle: TrustBundle, now: datetime) -> RenewalRecord:
    """Returns the stored record if it describes the stored parts, else one without times that keeps its history.

    Args:
        stored: all parts.
        bundle: the trust bundle in it.
        now: the current time, aware.
    """
    record = read_record(stored.get(Part.RECORD))
    digest = digest_of(stored)
    if record is None:
        present = _generation(1, bundle, now)
        return with_published(RenewalRecord(digest=digest, present=present), bundle, now)
    if record.digest == digest:
        return record
    record = msgspec.structs.replace(
        with_present(record, bundle, now), digest=digest, staged_at=None, published_at=None, switched_at=None
    )
    return with_published(record, bundle, now)


def with_present(record: RenewalRecord, bundle: TrustBundle, now: datetime) -> RenewalRecord:
    """Returns the record with this as the current generation; one that was there before gets its old number."""
    issuer, old = fingerprint(bundle.issuer), record.present
    if issuer == old.issuer:
        present = msgspec.structs.replace(_generation(old.number, bundle, now), since=old.since)
        return msgspec.structs.replace(record, present=present)
    known = {each.issuer: each.number for each in record.former}
    number = known.get(issuer, max((old.number, *known.values())) + 1)
    closed = msgspec.structs.replace(old, until=now, leaves_until=now + record.leaf_lifetime)
    former = tuple(each for each in (*record.former, closed) if each.issuer != issuer)
    record = msgspec.structs.replace(record, present=_generation(number, bundle, now), former=former)
    kept = (*record.in_use(now), *former[-FORMER_KEPT:])
    former = tuple(each for each in former if each in kept)
    return msgspec.structs.replace(record, former=former[-_MOST_FORMER:])


def restored(backup: Parts, stored: Parts, now: datetime) -> dict[Part, bytes]:
    """Returns a backup with a record by which the processes that use the stored trust bundle accept it.

    Args:
        backup: all parts.
        stored: the stored parts that it replaces, complete or not.
        now: the current time, aware.
    """
    bundle, replaced = _verified(backup, now), _verified(stored, now)
    known = read_record(stored.get(Part.RECORD)) if replaced is None else record_of(stored, replaced, now)
    if bundle is None or known is None or (replaced is not None and replaced.fingerprint == bundle.fingerprint):
        return dict(backup)
    record = record_of(backup, bundle, now)
    present = msgspec.structs.replace(known.present, until=now, leaves_until=now + known.leaf_lifetime)
    # The issuer in use may be a former one of the backup that a rollback has put back: it signed until now.
    before = [each for each in record.former if each.issuer != present.issuer]
    in_backup = {record.present.issuer, *(each.issuer for each in before)}
    later = [each for each in (*known.former, present) if each.issuer not in in_backup]
    former = (*before, *later)[-_MOST_FORMER:]
    record = msgspec.structs.replace(record, former=former, accepted_cut=bundle.fingerprint)
    return {**backup, Part.RECORD: write_record(record)}


def _verified(parts: Parts, now: datetime) -> TrustBundle | None:
    try:
        return verify(bundle_of(parts), now)
    except (InvalidBundleError, KeyError):
        return None


def with_published(record: RenewalRecord, bundle: TrustBundle, now: datetime) -> RenewalRecord:
    """Returns the record with these trust anchors as the published ones."""
    anchors = bundle.anchors_pem.decode()
    if record.published and record.published[-1].anchors == anchors:
        return record
    published = (*record.published[-_SETS_KEPT:], AnchorsPublished(anchors=anchors, since=now))
    if len(published) > _SETS_KEPT:
        left_out = _least_needed(record, published)
        published = published[:left_out] + published[left_out + 1 :]
    return msgspec.structs.replace(record, published=published)


def _least_needed(record: RenewalRecord, published: Sequence[AnchorsPublished]) -> int:
    """Returns the index of a set that is not needed, or else of the oldest.

    Only those trust anchors of a set count with which certificates of this authority may verify. A set without them has
    no clients to protect, and clients of a set are protected by a later one with the same.
    """
    generations = (record.present, *record.former)
    chains = [each for generation in generations for each in recorded_certificates(generation.chain)]

    def roots(anchors: str) -> frozenset[str]:
        certificates = recorded_certificates(anchors)
        named = {fingerprint(each) for each in certificates if any(has_signed(each, signed) for signed in chains)}
        return frozenset(named.union(set(map(fingerprint, certificates)).intersection(record.own_roots)))

    sets = [roots(each.anchors) for each in published]
    unneeded = (index for index, each in enumerate(sets[:-1]) if not each or each in sets[index + 1 :])
    return next(unneeded, 0)


def with_own_root(record: RenewalRecord, root: str) -> RenewalRecord:
    """Returns the record with the fingerprint of a root that was made here."""
    if root in record.own_roots:
        return record
    return msgspec.structs.replace(record, own_roots=(*record.own_roots, root)[-_ROOTS_KEPT:])


def _generation(number: int, bundle: TrustBundle, now: datetime) -> Generation:
    return Generation(
        number=number,
        issuer=fingerprint(bundle.issuer),
        anchors=bundle.anchors_pem.decode(),
        chain=bundle.chain_pem.decode(),
        since=now,
    )
