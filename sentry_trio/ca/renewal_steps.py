"""Steps of a renewal: the changes of the stored parts that each makes. Pure."""

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta

import msgspec

from sentry_trio.ca.bundle import TrustBundle, verify
from sentry_trio.ca.certificates import Certificate, fingerprint, shown, write_certificates
from sentry_trio.ca.generate import NewBundle, make_issuer
from sentry_trio.ca.generation import as_signer, bridged_chain, next_bundle, roots_needed, unexpired
from sentry_trio.ca.keys import write_private_key
from sentry_trio.ca.parts import BUNDLE_AND_RENEWAL, NEXT, PREVIOUS, REJECTED, bundle_of
from sentry_trio.ca.pem import is_encrypted
from sentry_trio.ca.renewal_next import Next
from sentry_trio.ca.renewal_record import (
    copies_in,
    digest_of,
    recorded_certificates,
    with_own_root,
    with_present,
    with_published,
    write_record,
)
from sentry_trio.ca.renewal_root import RootKeys, new_bundle
from sentry_trio.ca.renewal_state import State
from sentry_trio.errors import Part


class Draft:
    """Stored parts while steps change them.

    Args:
        state: state of the stored parts.
        root_keys: root keys that are kept.

    Attributes:
        text: description of the steps, for people.
    """

    def __init__(self, state: State, root_keys: RootKeys) -> None:
        self._root_keys = root_keys
        self.text = "the record of renewals is written"
        self._state = state
        self._now = state.now
        self._parts = dict(state.stored)
        self._record = state.record
        # A replica that missed the bundle that cuts must accept the one after it.
        self._is_cut_accepted = state.record.accepted_cut == state.bundle.fingerprint

    def changes(self) -> Mapping[Part, bytes | None]:
        """Returns the changes of the steps, the record included."""
        copies = tuple(copies_in(self._parts).values())
        accepted_cut = verify(bundle_of(self._parts), self._now).fingerprint if self._is_cut_accepted else None
        record = msgspec.structs.replace(
            self._record, digest=digest_of(self._parts), copies=copies, accepted_cut=accepted_cut
        )
        self._parts.pop(Part.RECORD, None)
        self._parts[Part.RECORD] = write_record(record, self._parts)
        stored = self._state.stored
        return {part: self._parts.get(part) for part in BUNDLE_AND_RENEWAL if self._parts.get(part) != stored.get(part)}

    # --- the main line

    def publish(self) -> None:
        """See `Step.PUBLISH`."""
        state, policy = self._state, self._state.policy
        new = next_bundle(
            bundle_of(self._parts),
            new_bundle(policy, self._now, keeps_root_key=self._root_keys.are_kept),
            now=self._now,
            allowed_clock_skew=policy.allowed_clock_skew,
            former_roots=self._former_roots(),
            anchors_kept=policy.anchors_kept,
            root_key=self._root_keys.key(),
        )
        self._parts |= {Part.ANCHORS: new.anchors, Part.NEXT_CHAIN: new.chain, Part.NEXT_KEY: new.key}
        self._keep_root_key(Part.NEXT_ROOT_KEY, new)
        self._note(staged_at=self._now, published_at=None, postponed_until=None)
        made = self._publish_root()
        self.text = f"the renewal of {shown(state.bundle.issuer)!r} has begun: {shown(made)!r} is published"
        if problem := self._root_keys.problem():
            self.text += f", although a root key is to be kept: {problem}"

    def _keep_root_key(self, part: Part, new: NewBundle) -> None:
        self._parts.pop(part, None)
        content = self._root_keys.written(new.root_key, new.root)
        if content is not None:
            self._parts[part] = content

    def _publish_root(self) -> Certificate:
        """Records and returns a new root, which is the first of the trust anchors."""
        bundle = self._now_present()
        root = bundle.anchors[0]
        self._record = with_published(with_own_root(self._record, fingerprint(root)), bundle, self._now)
        return root

    def switch(self) -> None:
        """See `Step.SWITCH`."""
        before, following, stored = self._state.bundle, self._state.next, self._parts
        self._keep_previous()
        if not self._state.are_foreign(PREVIOUS):
            self._move(Part.ROOT_KEY, Part.PREVIOUS_ROOT_KEY)
        self._move(Part.NEXT_ROOT_KEY, Part.ROOT_KEY)
        self._parts |= {Part.CHAIN: stored[Part.NEXT_CHAIN], Part.KEY: stored[Part.NEXT_KEY]}
        self._is_cut_accepted |= following is not None and not following.is_bridged
        self.discard(NEXT)
        bundle = self._now_present()
        self._note(switched_at=self._now, staged_at=None, published_at=None)
        self.text = f"{shown(bundle.issuer)!r} signs in place of {shown(before.issuer)!r}"

    def _keep_previous(self) -> None:
        """Keeps the current bundle for a rollback, unless others have written parts with these names."""
        stored = self._parts
        if not self._state.are_foreign(PREVIOUS):
            self._parts |= {
                Part.PREVIOUS_ANCHORS: stored[Part.ANCHORS],
                Part.PREVIOUS_CHAIN: stored[Part.CHAIN],
                Part.PREVIOUS_KEY: stored[Part.KEY],
            }

    def _move(self, source: Part, target: Part) -> None:
        """Renames a root key; if there is none, drops the former key with the new name."""
        self._parts.pop(target, None)
        content = self._parts.pop(source, None)
        if content is not None and not self._state.are_foreign([target]):
            self._parts[target] = content

    def renew_issuer(self) -> None:
        """See `Step.RENEW_ISSUER`."""
        state, policy, key = self._state, self._state.policy, self._root_keys.key()
        assert state.root is not None and key is not None  # noqa: S101, PT018  # checked by the schedule
        begin = self._now - policy.allowed_clock_skew
        if state.is_expired:
            # The clock may be ahead, because it is not compared at a start: valid also after it is corrected.
            begin = min(begin, state.bundle.issuer.not_before)
        issuer, issuer_key = make_issuer(
            policy.trust_domain,
            policy.namespace,
            policy.key_type,
            as_signer(state.root, key),
            (begin, min(self._now + policy.lifetime, state.root.not_after)),
        )
        self._keep_previous()
        self._parts.pop(Part.PREVIOUS_ROOT_KEY, None)  # of another root, if an issuer has expired soon after a switch
        above = unexpired(state.bundle.chain[1:], self._now - policy.allowed_clock_skew)
        chain = write_certificates([issuer, *above])
        self._parts |= {Part.CHAIN: chain, Part.KEY: write_private_key(issuer_key)}
        self.seal()
        self._now_present()
        self._note(switched_at=self._now, postponed_until=None)
        self.text = f"{shown(issuer)!r} signs in place of {shown(state.bundle.issuer)!r}, below the same root"

    def seal(self) -> None:
        """Encrypts a stored root key that was written before there was a passphrase."""
        root, key, stored = self._state.root, self._root_keys.key(), self._parts.get(Part.ROOT_KEY)
        if root is None or key is None or stored is None or is_encrypted(stored):
            return
        if content := self._root_keys.written(key, root):
            self._parts[Part.ROOT_KEY] = content
            self.text = "the root key is encrypted"

    def publish_and_switch(self) -> None:
        """See `Step.PUBLISH_AND_SWITCH`."""
        self.publish()
        text = self.text
        self.switch()
        self.text = f"{text}; {self.text}"

    def erase(self) -> None:
        """See `Step.ERASE`."""
        policy = self._state.policy
        self.discard([Part.PREVIOUS_KEY, Part.PREVIOUS_ROOT_KEY])
        self._note(workload_ttl=policy.workload_ttl, allowed_clock_skew=policy.allowed_clock_skew)
        self.text = "the previous issuer's key is erased: all certificates that it signed have expired"

    def discard_root_keys(self, idle: Collection[Part]) -> None:
        """Erases unused root keys; another program may have switched to a root with one of them."""
        state = self._state
        kept = [self._parts[part] for part in idle if state.names_root(part)]
        self.discard(idle)
        if state.policy.keeps_root_key and kept:
            self._parts[Part.ROOT_KEY] = kept[0]
        elif not state.policy.keeps_root_key and state.names_root(Part.ROOT_KEY):
            self.text = "the root key is erased, because --ca-root-key is discard"

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
        """See `Step.NOTE`: `changes` has the record after any steps."""

    # --- parts of other programs

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

    # --- record

    def _former_roots(self) -> set[str]:
        """Returns the roots made here without valid certificates."""
        state, record = self._state, self._record
        if not record.is_complete(state.now):
            return set()
        anchors, latest = state.bundle.anchors, state.now + 2 * record.leaf_lifetime
        needed = [*roots_needed(state.bundle.chain, anchors, state.bundle.not_after)]
        for each in record.in_use(state.now):
            needed += roots_needed(recorded_certificates(each.chain), anchors, latest)
        return set(record.own_roots) - set(map(fingerprint, needed))

    def _now_present(self) -> TrustBundle:
        """Records the draft's issuer as the current one."""
        bundle = verify(bundle_of(self._parts), self._now)
        self._record = with_present(self._record, bundle, self._now)
        return bundle

    def _note(self, **times: datetime | timedelta | None) -> None:
        self._record = msgspec.structs.replace(self._record, **times)
