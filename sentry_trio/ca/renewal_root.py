"""Keys of roots in a plan of a renewal: read if they are needed, and written for later. Pure."""

from datetime import datetime
from functools import cached_property

import msgspec

from sentry_trio.ca.bundle import verify
from sentry_trio.ca.certificates import Certificate, fingerprint
from sentry_trio.ca.generate import NewBundle, generate
from sentry_trio.ca.keys import PrivateKey
from sentry_trio.ca.parts import bundle_parts
from sentry_trio.ca.renewal_policy import RenewalPolicy, Situation
from sentry_trio.ca.renewal_record import record_of, with_own_root, write_record
from sentry_trio.ca.renewal_state import State
from sentry_trio.ca.root_key import read_root_key, write_root_key
from sentry_trio.errors import Part, RootKeyError


class RootKeys:
    """Key of the issuer's root, and those of new roots.

    Args:
        state: state of the stored parts.
        situation: circumstances.
    """

    def __init__(self, state: State, situation: Situation) -> None:
        self._state = state
        self._situation = situation

    def problem(self) -> str | None:
        """Returns the reason why keys cannot be used or kept as configured, or None."""
        return self._why_not_kept() or self._opened[1]

    def key(self) -> PrivateKey | None:
        """Returns the key of the issuer's root; None if it is not kept or cannot be used."""
        return self._opened[0]

    @property
    def are_kept(self) -> bool:
        """True if keys of new roots can be kept and the policy keeps them."""
        return self._state.policy.keeps_root_key and self._why_not_kept() is None

    def written(self, key: PrivateKey, root: Certificate) -> bytes | None:
        """Returns the stored form of a root's key; None if it is discarded."""
        return write_root_key(key, root, self._situation.passphrase) if self.are_kept else None

    def _why_not_kept(self) -> str | None:
        if not self._state.policy.keeps_root_key:
            return None
        for part in (Part.ROOT_KEY, Part.NEXT_ROOT_KEY):
            if part in self._state.foreign:
                return f"the stored {part.value} does not name a root of this certificate authority: move it elsewhere"
        return self._situation.root_key_problem

    @cached_property
    def _opened(self) -> tuple[PrivateKey | None, str | None]:
        """Returns the key, or the reason why it cannot be used; neither if it is not kept. Decryption takes a while."""
        state, content = self._state, self._situation.offline_root_key
        if content is None and state.has_root_key and self._situation.root_key_problem is None:
            content = state.stored[Part.ROOT_KEY]
        if state.root is None or content is None:
            return None, None
        try:
            return read_root_key(content, state.root, self._situation.passphrase), None
        except RootKeyError as error:
            return None, str(error)


def new_bundle(policy: RenewalPolicy, now: datetime, *, keeps_root_key: bool) -> NewBundle:
    """Returns a new certificate authority.

    Args:
        policy: parameters.
        now: the current time, aware.
        keeps_root_key: true if the key of its root is kept, so that the root outlives its issuers.

    Raises:
        ClockError: as `generate`.
        InvalidIdentityError: as `generate`.
    """
    return generate(
        policy.trust_domain,
        policy.namespace,
        policy.key_type,
        now=now,
        allowed_clock_skew=policy.allowed_clock_skew,
        lifetime=policy.lifetime,
        root_lifetime=policy.root_lifetime if keeps_root_key else None,
    )


def new_parts(policy: RenewalPolicy, now: datetime, passphrase: bytes | None) -> dict[Part, bytes]:
    """Returns the parts of a new certificate authority.

    If the key of its root is kept, they include that key and a record: the dates of the root do not show that it was
    made here.

    Args:
        policy: parameters.
        now: the current time, aware.
        passphrase: encrypts the root's key; None to leave it unencrypted.

    Raises:
        ClockError: as `generate`.
        InvalidIdentityError: as `generate`.
    """
    new = new_bundle(policy, now, keeps_root_key=policy.keeps_root_key)
    parts = bundle_parts(new)
    if not policy.keeps_root_key:
        return parts
    bundle = verify(new, now)
    root = bundle.anchors[0]
    record = msgspec.structs.replace(
        with_own_root(record_of(parts, bundle, now), fingerprint(root)),
        workload_ttl=policy.workload_ttl,
        allowed_clock_skew=policy.allowed_clock_skew,
    )
    root_key = write_root_key(new.root_key, root, passphrase)
    return {**parts, Part.ROOT_KEY: root_key, Part.RECORD: write_record(record)}
