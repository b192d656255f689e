"""Trust in use: issuers of valid certificates, and trust anchors that clients hold. Pure.

A new trust bundle must not break it. Clients get their trust anchors at different times, and most of them only once.
"""

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

from sentry_trio.ca.certificates import Certificate, fingerprint
from sentry_trio.ca.general_names import AlternativeNames
from sentry_trio.ca.renewal_record import RenewalRecord, recorded_certificates


class IssuerInUse(msgspec.Struct, frozen=True):
    """Issuer of valid certificates.

    Attributes:
        chain: chain of these certificates, the issuer first.
        anchors: trust anchors with which clients verify them.
        until: last second in which one of them may be valid.
    """

    chain: tuple[Certificate, ...]
    anchors: tuple[Certificate, ...]
    until: dt.datetime


class AnchorSet(msgspec.Struct, frozen=True):
    """Trust anchors that clients hold until they restart.

    Attributes:
        anchors: the anchors with known certificates.
        holders: description of the clients, for people.
    """

    anchors: tuple[Certificate, ...]
    holders: tuple[str, ...]


class Trust(msgspec.Struct, frozen=True, kw_only=True):
    """Trust in use.

    Attributes:
        anchors: the trust anchors in use.
        chain: the issuer chain in use, the issuer first.
        issuers: issuers in use, including that of `chain`.
        anchor_sets: trust anchors that clients hold.
        former: numbers of former generations by the fingerprints of their issuers.
        own_roots: fingerprints of the roots that were made here.
        leaf_lifetime: longest time between the signing of a certificate and its expiry on a clock that lags.
        grace: time for which trust anchors are published before they are needed.
        names: names of this authority's certificates, for name constraints; None if none are checked.
    """

    anchors: tuple[Certificate, ...]
    chain: tuple[Certificate, ...]
    issuers: tuple[IssuerInUse, ...]
    anchor_sets: tuple[AnchorSet, ...]
    former: Mapping[str, int]
    own_roots: frozenset[str]
    leaf_lifetime: dt.timedelta
    grace: dt.timedelta
    names: AlternativeNames | None


def trust_in_use(
    anchors: Sequence[Certificate],
    chain: Sequence[Certificate],
    record: RenewalRecord | None,
    *,
    now: dt.datetime,
    leaf_lifetime: dt.timedelta,
    grace: dt.timedelta,
    held: Mapping[frozenset[str], tuple[str, ...]] | None = None,
    roots: Iterable[Certificate] = (),
    remembered: dt.timedelta = dt.timedelta(days=365),
    names: AlternativeNames | None = None,
) -> Trust:
    """Collects the trust in use.

    Args:
        anchors: the trust anchors in use.
        chain: the issuer chain in use.
        record: the record of renewals; None if there is none.
        now: an aware datetime.
        leaf_lifetime: lifetime of workload certificates and the allowed clock skew.
        grace: time for which trust anchors are published before they are needed.
        held: fingerprints of the trust anchors that clients hold, with the clients; None if that cannot be measured.
            Clients are then assumed to hold all anchors that were published when they may have started.
        roots: certificates that clients hold, although they may be neither in use nor recorded.
        remembered: longest time for which clients run, if that cannot be measured.
        names: as in `Trust`.
    """
    lifetime = max(leaf_lifetime, record.leaf_lifetime) if record else leaf_lifetime
    issuers = [IssuerInUse(tuple(chain), tuple(anchors), now + lifetime)]
    if record:
        issuers += _recorded_issuers(record, issuers[0])
    unread = AnchorSet(tuple(anchors), ("clients that have not read the new trust anchors yet",))
    if held is not None:
        sets = _measured(held, [*anchors, *_recorded_anchors(record), *roots])
    else:
        sets = _published(record, now - remembered) if record else []
    return Trust(
        anchors=tuple(anchors),
        chain=tuple(chain),
        issuers=tuple(each for each in issuers if each.until >= now),
        anchor_sets=(unread, *sets),
        former={each.issuer: each.number for each in record.former} if record else {},
        own_roots=frozenset(record.own_roots) if record else frozenset(),
        leaf_lifetime=lifetime,
        grace=grace,
        names=names,
    )


def _recorded_issuers(record: RenewalRecord, in_use: IssuerInUse) -> Iterator[IssuerInUse]:
    for each in record.former:
        if each.leaves_until is not None and (chain := recorded_certificates(each.chain)):
            yield IssuerInUse(chain, in_use.anchors, each.leaves_until)
    # Another replica may sign with an issuer that this process has not loaded yet.
    if record.present.issuer != fingerprint(in_use.chain[0]) and (chain := recorded_certificates(record.present.chain)):
        yield IssuerInUse(chain, recorded_certificates(record.present.anchors), in_use.until)


def _recorded_anchors(record: RenewalRecord | None) -> Iterator[Certificate]:
    if record is not None:
        for pem in (*(each.anchors for each in record.published), *(each.anchors for each in record.former)):
            yield from recorded_certificates(pem)


def _measured(held: Mapping[frozenset[str], tuple[str, ...]], known: Sequence[Certificate]) -> list[AnchorSet]:
    by_fingerprint = {fingerprint(each): each for each in known}
    return [
        AnchorSet(tuple(by_fingerprint[each] for each in fingerprints if each in by_fingerprint), holders)
        for fingerprints, holders in held.items()
    ]


def _published(record: RenewalRecord, earliest: dt.datetime) -> list[AnchorSet]:
    ends = [each.since for each in record.published[1:]]
    return [
        AnchorSet(recorded_certificates(each.anchors), (f"clients that started {_period(each.since, end)}",))
        for each, end in zip(record.published, ends, strict=False)
        if end >= earliest
    ]


def _period(start: dt.datetime, end: dt.datetime) -> str:
    first, last = f"{start:%Y-%m-%d}", f"{end:%Y-%m-%d}"
    return f"on {first}" if first == last else f"from {first} to {last}"
