"""State of a renewal, read from the stored parts. Pure."""

from collections.abc import Collection
from contextlib import suppress
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Final

import msgspec

from sentry_trio.ca.bundle import StoredBundle, TrustBundle, verify
from sentry_trio.ca.certificates import Certificate, fingerprint, is_same_entity, read_certificates
from sentry_trio.ca.generation import direct_root, is_own, unexpired
from sentry_trio.ca.parts import REJECTED, ROOT_KEYS, Parts, bundle_of
from sentry_trio.ca.renewal_next import Next, previous_issuer, read_next
from sentry_trio.ca.renewal_policy import LEAST_THRESHOLD, RenewalPolicy
from sentry_trio.ca.renewal_record import RenewalRecord, copies_in, read_record, record_of, with_own_root
from sentry_trio.ca.root_key import named_root
from sentry_trio.discreet import Discreet
from sentry_trio.errors import InvalidBundleError, Part
from sentry_trio.renewal_status import Phase

# A chain has room for seven certificates: the issuer, and two of each of three former generations.
_LONGEST_TO_RENEW: Final = 5
_SECOND: Final = timedelta(seconds=1)


class State(Discreet, frozen=True, kw_only=True):
    """Stored parts and their meaning.

    Attributes:
        stored: the parts without those in `foreign`. Not shown by `repr`.
        foreign: parts with names of a renewal's parts that others have written.
        now: the current time, aware.
        policy: parameters.
        bundle: the trust bundle; if it has expired, as it was in its last second.
        is_expired: true if it has expired.
        record: the stored record, brought up to date.
        has_record: true if a record is stored that can be read.
        is_noted: true if that record is stored, or none has to be.
        is_own: true if the issuer's root was made here.
        root: the trust anchor that has signed the issuer itself; None if there is none.
        next: the next generation; None if there is no usable one.
        misfit: reason why a stored next pair cannot be used; None if it can, or there is none.
        phase: see `Phase`.
    """

    UNSHOWN = frozenset({"stored"})

    stored: Parts
    foreign: tuple[Part, ...]
    now: datetime
    policy: RenewalPolicy
    bundle: TrustBundle
    is_expired: bool
    record: RenewalRecord
    has_record: bool
    is_noted: bool
    is_own: bool
    root: Certificate | None
    next: Next | None
    misfit: str | None
    phase: Phase

    def are_foreign(self, parts: Collection[Part]) -> bool:
        """Returns whether others have written one of these parts, so that it must not be overwritten."""
        return any(part in self.foreign for part in parts)

    @property
    def limit(self) -> datetime:
        """Latest time to switch: later certificates of the current issuer would not live as long as configured."""
        return self.bundle.not_after - self.policy.workload_ttl - self.policy.allowed_clock_skew

    @property
    def begin(self) -> datetime:
        """Time at which the renewal of the current issuer begins."""
        since, life = self.bundle.issuer.not_before, self.bundle.not_after - self.bundle.issuer.not_before
        wanted = [since + self.policy.threshold * life]
        if self.root_begin is not None:
            wanted = [min(wanted[0], self.root_begin)]
        if self.record.postponed_until is not None:
            wanted.append(self.record.postponed_until)
        if self.room is not None and not self.has_root_key:
            wanted.append(self.room)
        # Not at the limit if certificates live nearly as long as the issuer: that would be at once, and again.
        return min(max(wanted), max(self.limit, since + LEAST_THRESHOLD * life))

    def names_root(self, part: Part) -> bool:
        """Returns whether the text of a stored key names the issuer's root."""
        content = self.stored.get(part)
        return content is not None and self.root is not None and named_root(content) == fingerprint(self.root)

    @property
    def has_root_key(self) -> bool:
        """True if the key of the issuer's root is stored, the policy keeps it, and the root has not expired."""
        has_ended = self.root is None or self.root.not_after < self.now
        return self.policy.keeps_root_key and self.names_root(Part.ROOT_KEY) and not has_ended

    @property
    def idle_root_keys(self) -> tuple[Part, ...]:
        """Stored root keys that are no longer needed, or that the policy does not keep."""
        if not self.policy.keeps_root_key:
            return tuple(part for part in ROOT_KEYS if part in self.stored)
        # An edit must not lose the only key: the root may be put back among the trust anchors, or its issuer.
        is_idle = {
            Part.NEXT_ROOT_KEY: self.next is None,
            Part.PREVIOUS_ROOT_KEY: Part.PREVIOUS_KEY not in self.stored,
        }
        return tuple(part for part in is_idle if part in self.stored and is_idle[part])

    @property
    def root_begin(self) -> datetime | None:
        """Time at which the renewal of the root itself begins; None if its key is not kept.

        A root of others may have a path length, which leaves no room for a bridge.
        """
        if self.root is None or not self.has_root_key:
            return None
        constraints = self.root.extensions.basic_constraints
        if constraints is not None and constraints.path_length is not None:
            return None
        return self.root.not_before + self.policy.threshold * (self.root.not_after - self.root.not_before)

    @property
    def room(self) -> datetime | None:
        """Time at which the chain becomes short enough for another bridge; None if it is short enough now.

        A longer chain would lose its end, which clients of the first generation need.
        """
        skew = self.policy.allowed_clock_skew
        live = unexpired(self.bundle.chain, self.now - skew)
        if len(live) <= _LONGEST_TO_RENEW:
            return None
        return min(each.not_after for each in live[: _LONGEST_TO_RENEW + 1]) + skew + _SECOND

    @property
    def switch(self) -> datetime:
        """Time at which the next issuer takes over, if its root is published."""
        published = self.record.published_at
        return self.switch_at_last if published is None else min(published + self.policy.grace, self.switch_at_last)

    @property
    def switch_at_last(self) -> datetime:
        """Time at which the next issuer takes over in any case."""
        return self.limit if self.next is None else max(self.limit, self.next.bundle.not_before)

    @property
    def settled(self) -> datetime | None:
        """Time at which the last certificate of the previous issuer has expired; None if there is no previous one."""
        switched = self.record.switched_at
        return None if switched is None else switched + self.record.leaf_lifetime

    @property
    def cut(self) -> datetime:
        """Time at which a certificate after the issuer, or else the previous issuer, has expired on all clocks."""
        previous = previous_issuer(self.stored, self.bundle)
        last = self.bundle.not_after if previous is None else previous.not_after
        end = min((each.not_after for each in self.bundle.chain[1:]), default=last)
        return end + self.policy.allowed_clock_skew + _SECOND

    @property
    def bridge_end(self) -> datetime | None:
        """Last second in which clients that hold only former roots verify new certificates; None without a bridge."""
        if self.next is not None and self.next.is_bridged:
            return _bridge_end(self.next.bundle)
        is_renewed = self.phase in {Phase.SIGNING, Phase.RETIRING} and len(self.bundle.chain) > 1
        return _bridge_end(self.bundle) if is_renewed else None


def read_state(stored: Parts, policy: RenewalPolicy, now: datetime, *, is_published: bool) -> State:
    """Reads the stored parts.

    Args:
        stored: all parts of the trust bundle, and the stored ones of its renewal.
        policy: parameters.
        now: the current time, aware.
        is_published: true if the stored trust anchors are published.

    Raises:
        InvalidBundleError: the trust bundle does not verify, for another reason than that it has expired.
    """
    bundle, is_expired = _verified_or_expired(stored, now)
    known = read_record(stored.get(Part.RECORD))
    record = record_of(stored, bundle, now)
    root = direct_root(bundle)
    named = {part: named_root(stored[part]) for part in ROOT_KEYS if part in stored}
    # A root with a kept key outlives its issuers, so its dates do not show its origin without a record.
    has_kept = root is not None and fingerprint(root) in named.values()
    own = has_kept or is_own(bundle, record.own_roots, policy.trust_domain, policy.namespace)
    if own:
        record = _with_roots_made_here(record, bundle, named.values())
        is_renewed = has_bridge(bundle) or previous_issuer(stored, bundle) is not None
        if is_renewed and not (known is not None and known.knows(bundle)):
            # The record is lost, or another program has switched. Parts beside a bridge count as a renewal's.
            record = msgspec.structs.replace(record, copies=tuple(copies_in(stored).values()))
    foreign = (
        *(part for part, digest in copies_in(stored).items() if digest not in record.copies),
        *(part for part, name in named.items() if name not in record.own_roots),
        # If others have put in another issuer, this key is needed again when they take that back.
        *((Part.ROOT_KEY,) if Part.ROOT_KEY in named and policy.keeps_root_key and not own else ()),
    )
    stored = {part: content for part, content in stored.items() if part not in foreign}
    following, misfit = read_next(stored, bundle, record, now, may_adopt=own or policy.scope == "any")
    phase = _phase(stored, bundle, following, is_own=own)
    record = _noted(record, stored, phase, policy, now, is_published=is_published)
    # Nothing is written before a first renewal begins: files with the names of its parts belong to the operator.
    has_begun = phase is not Phase.STEADY or Part.RECORD in stored
    return State(
        stored=stored,
        foreign=foreign,
        now=now,
        policy=policy,
        bundle=bundle,
        is_expired=is_expired,
        record=record,
        has_record=known is not None,
        is_noted=record == known or not has_begun,
        is_own=own,
        root=root,
        next=following,
        misfit=misfit,
        phase=phase,
    )


def _with_roots_made_here(record: RenewalRecord, bundle: TrustBundle, kept: Collection[str | None]) -> RenewalRecord:
    """Returns the record with the issuer's root and the roots of stored keys, which show their origin without it."""
    root = direct_root(bundle)
    made_here = [each for each in bundle.anchors if each == root or fingerprint(each) in kept]
    for each in sorted(made_here, key=attrgetter("not_before")):
        record = with_own_root(record, fingerprint(each))
    return record


def _verified_or_expired(stored: Parts, now: datetime) -> tuple[TrustBundle, bool]:
    """Returns the trust bundle, and true if it has expired."""
    bundle = bundle_of(stored)
    try:
        return verify(bundle, now), False
    except InvalidBundleError:
        for moment in _ends_before(bundle, now):
            with suppress(InvalidBundleError):
                return verify(bundle, moment), True
        raise


def _ends_before(bundle: StoredBundle, now: datetime) -> list[datetime]:
    """Returns the ends of certificates that have expired, the latest first; none if one cannot be read."""
    with suppress(InvalidBundleError):
        certificates = (*read_certificates(bundle.chain), *read_certificates(bundle.anchors))
        return sorted({each.not_after for each in certificates if each.not_after < now}, reverse=True)
    return []


def _phase(stored: Parts, bundle: TrustBundle, following: Next | None, *, is_own: bool) -> Phase:
    if following is not None:
        return Phase.DISTRIBUTING
    is_renewed = has_bridge(bundle) if is_own else False
    if not is_renewed and previous_issuer(stored, bundle) is None:
        return Phase.STEADY
    return Phase.SIGNING if Part.PREVIOUS_KEY in stored else Phase.RETIRING


def has_bridge(bundle: TrustBundle) -> bool:
    """Returns whether a cross-certificate of the issuer's own root follows it in the chain."""
    root = direct_root(bundle)
    return root is not None and any(is_same_entity(each, root) for each in bundle.chain[1:2])


def _bridge_end(bundle: TrustBundle) -> datetime:
    return min((each.not_after for each in bundle.chain[1:3]), default=bundle.not_after)


def _noted(
    record: RenewalRecord, stored: Parts, phase: Phase, policy: RenewalPolicy, now: datetime, *, is_published: bool
) -> RenewalRecord:
    """Returns the record with all known times, without those that are over or in the future."""
    latest = now + policy.allowed_clock_skew

    def known(moment: datetime | None, *, is_needed: bool) -> datetime | None:
        if not is_needed:
            return None
        return now if moment is None or moment > latest else moment

    distributing = phase is Phase.DISTRIBUTING
    has_previous = phase in {Phase.SIGNING, Phase.RETIRING} or (distributing and Part.PREVIOUS_KEY in stored)
    has_rejected = any(part in stored for part in REJECTED)
    was_published = record.published_at is not None or is_published
    return msgspec.structs.replace(
        record,
        workload_ttl=max(record.workload_ttl, policy.workload_ttl),
        allowed_clock_skew=max(record.allowed_clock_skew, policy.allowed_clock_skew),
        staged_at=known(record.staged_at, is_needed=distributing),
        published_at=known(record.published_at, is_needed=distributing and was_published),
        switched_at=known(record.switched_at, is_needed=has_previous),
        rejected_at=known(record.rejected_at, is_needed=has_rejected),
    )
