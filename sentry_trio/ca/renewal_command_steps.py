"""Steps of commands: the changes of the stored parts that each makes. Pure."""

from collections.abc import Collection
from datetime import timedelta
from typing import Final

from sentry_trio.ca.bundle import verify
from sentry_trio.ca.certificates import fingerprint, shown, write_certificates
from sentry_trio.ca.generation import roots_needed
from sentry_trio.ca.parts import NEXT, PREVIOUS, ROOT_KEYS, bundle_of
from sentry_trio.ca.paths import find_paths
from sentry_trio.ca.pem import tidy, without_blocks
from sentry_trio.ca.renewal_record import with_published
from sentry_trio.ca.renewal_root import new_bundle
from sentry_trio.ca.renewal_steps import Draft
from sentry_trio.errors import Part

_POSTPONED: Final = timedelta(days=7)


class CommandDraft(Draft):
    """Stored parts while steps change them, including those of commands; see `Draft`."""

    def cancel(self) -> None:
        """Drops the next pair; its root stays published until the next renewal."""
        self.discard([*NEXT, Part.NEXT_ROOT_KEY])
        self._postpone()
        self.text = f"the renewal is cancelled; none begins before {self._shown_postponement()}"

    def roll_back(self) -> None:
        """See `Step.ROLLBACK`; the issuer that signed until now is removed."""
        stored = self._parts
        self._parts |= {Part.CHAIN: stored[Part.PREVIOUS_CHAIN], Part.KEY: stored[Part.PREVIOUS_KEY]}
        if Part.PREVIOUS_ROOT_KEY in stored:
            self._move(Part.PREVIOUS_ROOT_KEY, Part.ROOT_KEY)
        self.discard([*NEXT, *PREVIOUS, Part.NEXT_ROOT_KEY])
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
        self.discard([*NEXT, *PREVIOUS, Part.NEXT_ROOT_KEY, Part.PREVIOUS_ROOT_KEY])
        bundle = self._now_present()
        self._record = with_published(self._record, bundle, self._now)
        self._note(switched_at=None, staged_at=None, published_at=None)
        self.text = "the chain is only the issuer, and former roots are no longer published"

    def distrust(self) -> None:
        """Replaces the certificate authority; removes all roots to which the current issuer has a path."""
        bundle = self._state.bundle
        moment = max(bundle.not_before, min(self._now, bundle.not_after))
        paths = find_paths(bundle.issuer, bundle.chain[1:], bundle.anchors, moment)
        roots = {fingerprint(path.certificates[-1]) for path in paths}
        self._leave_out(roots | set(self._record.own_roots))
        self.replace()

    def replace(self) -> None:
        """Replaces a certificate authority that cannot have a bridge."""
        self._is_cut_accepted = True
        new = new_bundle(self._state.policy, self._now, keeps_root_key=self._root_keys.are_kept)
        anchors = new.anchors + tidy(self._parts[Part.ANCHORS])
        self._parts |= {Part.ANCHORS: anchors, Part.CHAIN: new.chain, Part.KEY: new.key}
        self.discard([*NEXT, *PREVIOUS, *ROOT_KEYS])
        self._keep_root_key(Part.ROOT_KEY, new)
        root = self._publish_root()
        self._note(switched_at=None, staged_at=None, published_at=None, postponed_until=None)
        self.text = f"a new certificate authority, {shown(root)!r}, is in use: all sidecars must be restarted"

    def _leave_out(self, roots: Collection[str]) -> None:
        unwanted = {each.der for each in self._state.bundle.anchors if fingerprint(each) in roots}
        self._parts[Part.ANCHORS] = without_blocks(tidy(self._parts[Part.ANCHORS]), unwanted)
