"""Parameters and circumstances of CA renewal. Pure."""

from datetime import datetime, timedelta
from typing import Final

import msgspec

from sentry_trio.ca.keys import KeyType
from sentry_trio.discreet import Discreet
from sentry_trio.errors import InvalidOptionsError
from sentry_trio.renewal_status import RenewalScope

LEAST_THRESHOLD: Final = 0.25
"""Smallest share of an issuer's lifetime after which its renewal begins."""

DEFAULT_GRACE: Final = timedelta(hours=24)
"""Default time for which a new root is published before its issuer signs."""

LEAST_GRACE: Final = timedelta(minutes=10)
"""Time after the publication of a root before which the grace does not end early.

By then Dapr's injector and control plane have read the mounted ConfigMap, which takes 90 s, and new pods show if the
injector has missed it.
"""


class RenewalPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """Parameters of renewal.

    Attributes:
        trust_domain: as for `generate`.
        namespace: as for `generate`.
        key_type: kind of new keys.
        workload_ttl: lifetime of workload certificates.
        allowed_clock_skew: tolerated difference between clocks.
        enabled: false to begin no renewal; a renewal in progress is completed.
        threshold: share of the issuer's lifetime after which its renewal begins.
        lifetime: lifetime of a new root and issuer.
        grace: time for which a new root is published before its issuer signs.
        grace_may_end_early: true if its issuer may sign as soon as all sidecars hold it, but not before `LEAST_GRACE`.
        scope: certificate authorities that are renewed: those made here, or also those that others made.
        anchors_kept: number of former roots that stay published.
        keeps_root_key: true to keep the key of a new root, and to renew issuers with it.
        root_lifetime: lifetime of a new root whose key is kept.
    """

    trust_domain: str
    namespace: str
    key_type: KeyType
    workload_ttl: timedelta
    allowed_clock_skew: timedelta
    enabled: bool = True
    threshold: float = 0.5
    lifetime: timedelta = timedelta(days=365)
    grace: timedelta = DEFAULT_GRACE
    grace_may_end_early: bool = False
    scope: RenewalScope = "own"
    anchors_kept: int = 2
    keeps_root_key: bool = False
    root_lifetime: timedelta = timedelta(days=3650)

    def check(self) -> None:
        """Checks that a renewal ends before the certificate authority does.

        Raises:
            InvalidOptionsError: it ends later; the text names the flags.
        """
        if not self.enabled:
            return
        if self.threshold < LEAST_THRESHOLD:
            raise InvalidOptionsError(
                f"--ca-renewal-threshold must be at least {LEAST_THRESHOLD}, got {self.threshold}: certificates are "
                "served with the chains of three former generations at most"
            )
        left = (1 - self.threshold) * self.lifetime
        margin = min(timedelta(hours=1), self.lifetime / 10)
        needed = self.grace + self.workload_ttl + self.allowed_clock_skew + margin
        if left <= needed:
            raise InvalidOptionsError(
                f"--ca-ttl {_hours(self.lifetime)} and --ca-renewal-threshold {self.threshold} leave {_hours(left)} "
                "for a renewal, but --trust-anchor-propagation-grace, workloadCertTTL and allowedClockSkew need more "
                f"than {_hours(needed)}"
            )


class Situation(Discreet, frozen=True, kw_only=True):
    """Circumstances that the stored parts do not show.

    Attributes:
        now: the current time, aware.
        is_published: true if clients that follow the trust anchors get the stored ones; always true for files.
        held_by_all: fingerprint of the root that all sidecars are known to hold; None if there is none.
        hold: reason why no step may be taken now, e.g. because clocks disagree; None if there is none.
        undone_at: time at which others put back the trust bundle from before a renewal had begun; None if they did not.
        managed_by: name of a program that manages the trust bundle, e.g. `cert-manager`; None if there is none.
        is_cut_accepted: true if a command may cut off clients, which is otherwise rejected.
        passphrase: encrypts root keys that are kept; None if they are not encrypted. Not shown by `repr`.
        seals_root_keys: true if there is a passphrase, even if it is not read yet.
        root_key_problem: reason why root keys cannot be used, e.g. because the passphrase cannot be read; None if there
            is none, or if it is not known.
        offline_root_key: key of the issuer's root that a command brings, PEM. Not shown by `repr`.
    """

    UNSHOWN = frozenset({"passphrase", "offline_root_key"})

    now: datetime
    is_published: bool = True
    held_by_all: str | None = None
    hold: str | None = None
    undone_at: datetime | None = None
    managed_by: str | None = None
    is_cut_accepted: bool = False
    passphrase: bytes | None = None
    seals_root_keys: bool = False
    root_key_problem: str | None = None
    offline_root_key: bytes | None = None


def _hours(duration: timedelta) -> str:
    return f"{duration / timedelta(hours=1):g}h"
