"""Steps of a renewal: the changes of the stored parts that each makes. Pure."""

from collections.abc import Collection, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Final

import msgspec

from sentry_trio.ca.bundle import TrustBundle, verify
from sentry_trio.ca.certificates import Certificate, fingerprint, read_certificates, shown, write_certificates
from sentry_trio.ca.generate import generate
from sentry_trio.ca.generation import bridged_chain, next_bundle, roots_needed, unexpired
from sentry_trio.ca.parts import BUNDLE_AND_RENEWAL, NEXT, PREVIOUS, REJECTED, bundle_of
from sentry_trio.ca.paths import find_paths
from sentry_trio.ca.pem import tidy, without_blocks
from sentry_trio.ca.renewal_next import Next
from sentry_trio.ca.renewal_record import (
    copies_in,
    digest_of,
    with_own_root,
    with_present,
    with_published,
    write_record,
)
from sentry_trio.ca.renewal_state import State
from sentry_trio.errors import InvalidBundleError, Part

_POSTPONED: Final = timedelta(days=7)


class Draft:
    """Stored parts while steps change them.

    Args:
        state: what is stored.

    Attributes:
        text: says what was done, for people.
    """

    def __init__(self, state: State) -> None:
        self.text = "the record of renewals is written"
        self._state = state
        self._now = state.now
        self._parts = dict(state.stored)
        self._record = state.record
        # A replica that missed the bundle that cuts must accept the one after it.
        self._is_cut_accepted = state.record.accepted_cut == state.bundle.fingerprint

    def changes(self) -> Mapping[Part, bytes | None]:
        """Returns what the steps change, the record included."""
        copies = tuple(copies_in(self._parts).values())
        accepted_cut = verify(bundle_of(self._parts), self._now).fingerprint if self._is_cut_accepted else None
        record = msgspec.structs.replace(
            self._record, digest=digest_of(self._parts), copies=copies, accepted_cut=accepted_cut
        )
        self._parts[Part.RECORD] = write_record(record)
        stored = self._state.stored
        return {part: self._parts.get(part) for part in BUNDLE_AND_RENEWAL if self._parts.get(part) != stored.get(part)}

    # --- the main line

    def publish(self) -> None:
        """See `Step.PUBLISH`."""
        state, policy = self._state, self._state.policy
        new = next_bundle(
            bundle_of(self._parts),
            trust_domain=policy.trust_domain,
            namespace=policy.namespace,
            key_type=policy.key_type,
            now=self._now,
            allowed_clock_skew=policy.allowed_clock_skew,
            lifetime=policy.lifetime,
            former_roots=self._former_roots(),
            anchors_kept=policy.anchors_kept,
        )
        self._parts |= {Part.ANCHORS: new.anchors, Part.NEXT_CHAIN: new.chain, Part.NEXT_KEY: new.key}
        self._note(staged_at=self._now, published_at=None, postponed_until=None)
        made = self._publish_root()
        self.text = f"the renewal of {shown(state.bundle.issuer)!r} has begun: {shown(made)!r} is published"

    def _publish_root(self) -> Certificate:
        """Records and returns a new root, which is the first of the trust anchors."""
        bundle = self._now_present()
        root = bundle.anchors[0]
        self._record = with_published(with_own_root(self._record, fingerprint(root)), bundle, self._now)
        return root

    def switch(self) -> None:
        """See `Step.SWITCH`."""
        before, following, stored = self._state.bundle, self._state.next, self._parts
        if not self._state.are_foreign(PREVIOUS):
            self._parts |= {
                Part.PREVIOUS_ANCHORS: stored[Part.ANCHORS],
                Part.PREVIOUS_CHAIN: stored[Part.CHAIN],
                Part.PREVIOUS_KEY: stored[Part.KEY],
            }
        self._parts |= {Part.CHAIN: stored[Part.NEXT_CHAIN], Part.KEY: stored[Part.NEXT_KEY]}
        self._is_cut_accepted |= following is not None and not following.is_bridged
        self.discard(NEXT)
        bundle = self._now_present()
        self._note(switched_at=self._now, staged_at=None, published_at=None)
        self.text = f"{shown(bundle.issuer)!r} signs in place of {shown(before.issuer)!r}"

    def publish_and_switch(self) -> None:
        """See `Step.PUBLISH_AND_SWITCH`."""
        self.publish()
        text = self.text
        self.switch()
        self.text = f"{text}; {self.text}"

    def erase(self) -> None:
        """See `Step.ERASE`."""
        policy = self._state.policy
        self.discard([Part.PREVIOUS_KEY])
        self._note(workload_ttl=policy.workload_ttl, allowed_clock_skew=policy.allowed_clock_skew)
        self.text = "the previous issuer's key is erased: all certificates that it signed have expired"

    def cut(self) -> None:
        """See `Step.CUT`."""
        chain = unexpired(self._state.bundle.chain, self._now - self._state.policy.allowed_clock_skew)
        self._parts[Part.CHAIN] = write_certificates(chain)
        if len(chain) == 1:
            self.discard(PREVIOUS)
            self._note(switched_at=None)
        self._now_present()
        self.text = "the bridge from former roots has expired and is removed from the chain"

    def note(self) -> None:
        """See `Step.NOTE`: `changes` has the record, whatever the steps."""

    # --- what others leave behind

    def adopt(self, following: Next) -> None:
        """See `Step.ADOPT`."""
        state, issuer = self._state, following.bundle.issuer
        skew = state.policy.allowed_clock_skew
        chain = bridged_chain(issuer, following.root, state.bundle, now=self._now, allowed_clock_skew=skew)
        self._parts[Part.NEXT_CHAIN] = write_certificates(chain)
        self._record = with_own_root(self._record, fingerprint(following.root))
        self.text = f"the next issuer {shown(issuer)!r} is adopted: its root is bridged to the present issuer"

    def reject(self) -> None:
        """See `Step.REJECT`."""
        self.discard(REJECTED)
        is_kept = not self._state.are_foreign(REJECTED)
        for part, aside in zip(NEXT, REJECTED, strict=True):
            if part in self._parts and is_kept:
                self._parts[aside] = self._parts[part]
        self.discard(NEXT)
        self._note(rejected_at=self._now if is_kept else None, staged_at=None, published_at=None)
        done = "set aside for a day" if is_kept else "removed"
        self.text = f"the next issuer is {done}, because it does not fit: {self._state.misfit}"

    def discard(self, parts: Collection[Part]) -> None:
        """See `Step.DISCARD`."""
        for part in parts:
            self._parts.pop(part, None)
        self.text = f"removed, because they are no longer needed: {', '.join(part.value for part in parts)}"
        if not any(part in self._parts for part in REJECTED):
            self._note(rejected_at=None)

    # --- what commands ask for

    def cancel(self) -> None:
        """Drops the next pair; its root stays published until the next renewal."""
        self.discard(NEXT)
        self._postpone()
        self.text = f"the renewal is cancelled; none begins before {self._shown_postponement()}"

    def roll_back(self) -> None:
        """See `Step.ROLLBACK`; the issuer that signed until now is removed."""
        stored = self._parts
        self._parts |= {Part.CHAIN: stored[Part.PREVIOUS_CHAIN], Part.KEY: stored[Part.PREVIOUS_KEY]}
        self.discard([*NEXT, *PREVIOUS])
        bundle = self._now_present()
        self._note(switched_at=None)
        self._postpone()
        self.text = f"{shown(bundle.issuer)!r} signs again; no renewal begins before {self._shown_postponement()}"

    def _postpone(self) -> None:
        policy = self._state.policy
        limit = verify(bundle_of(self._parts), self._now).not_after - policy.workload_ttl - policy.allowed_clock_skew
        latest = max(self._now, limit - policy.grace)
        self._note(staged_at=None, published_at=None, postponed_until=min(self._now + _POSTPONED, latest))

    def _shown_postponement(self) -> str:
        return f"{self._record.postponed_until:%Y-%m-%dT%H:%M:%SZ}"

    def flatten(self, *, is_cut_accepted: bool) -> None:
        """Leaves the issuer and its own root, without the bridge and former roots of this authority."""
        self._is_cut_accepted |= is_cut_accepted
        bundle = self._state.bundle
        present = roots_needed(bundle.chain[:1], bundle.anchors, self._now)
        self._leave_out(set(self._record.own_roots) - set(map(fingerprint, present)))
        self._parts[Part.CHAIN] = write_certificates(self._state.bundle.chain[:1])
        self.discard([*NEXT, *PREVIOUS])
        bundle = self._now_present()
        self._record = with_published(self._record, bundle, self._now)
        self._note(switched_at=None, staged_at=None, published_at=None)
        self.text = "the chain is only the issuer, and former roots are no longer published"

    def distrust(self) -> None:
        """Replaces the certificate authority; no root that the present issuer has a path to stays published."""
        bundle = self._state.bundle
        paths = find_paths(bundle.issuer, bundle.chain[1:], bundle.anchors, min(self._now, bundle.not_after))
        roots = {fingerprint(path.certificates[-1]) for path in paths}
        self._leave_out(roots | set(self._record.own_roots))
        self.replace()

    def replace(self) -> None:
        """Puts a new certificate authority in the place of one that cannot have a bridge."""
        self._is_cut_accepted = True
        policy = self._state.policy
        new = generate(
            policy.trust_domain,
            policy.namespace,
            policy.key_type,
            now=self._now,
            allowed_clock_skew=policy.allowed_clock_skew,
            lifetime=policy.lifetime,
        )
        anchors = new.anchors + tidy(self._parts[Part.ANCHORS])
        self._parts |= {Part.ANCHORS: anchors, Part.CHAIN: new.chain, Part.KEY: new.key}
        self.discard([*NEXT, *PREVIOUS])
        root = self._publish_root()
        self._note(switched_at=None, staged_at=None, published_at=None, postponed_until=None)
        self.text = f"a new certificate authority, {shown(root)!r}, is in use: all sidecars must be restarted"

    def _leave_out(self, roots: Collection[str]) -> None:
        unwanted = {each.der for each in self._state.bundle.anchors if fingerprint(each) in roots}
        self._parts[Part.ANCHORS] = without_blocks(tidy(self._parts[Part.ANCHORS]), unwanted)

    # --- record

    def _former_roots(self) -> set[str]:
        """Returns the roots made here below which no certificate is valid any more."""
        state, record = self._state, self._record
        if not record.is_complete(state.now):
            return set()
        anchors, latest = state.bundle.anchors, state.now + 2 * record.leaf_lifetime
        needed = [*roots_needed(state.bundle.chain, anchors, state.bundle.not_after)]
        for each in record.in_use(state.now):
            with suppress(InvalidBundleError):  # the record may have been edited
                needed += roots_needed(read_certificates(each.chain.encode()), anchors, latest)
        return set(record.own_roots) - set(map(fingerprint, needed))

    def _now_present(self) -> TrustBundle:
        """Records the draft's issuer as the present one."""
        bundle = verify(bundle_of(self._parts), self._now)
        self._record = with_present(self._record, bundle, self._now)
        return bundle

    def _note(self, **times: datetime | timedelta | None) -> None:
        self._record = msgspec.structs.replace(self._record, **times)
