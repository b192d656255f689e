"""Time left to the certificates of a trust bundle, in the words of the original Dapr's expiry watcher."""

import datetime as dt
import enum
from collections.abc import Collection
from typing import Final

from sentry_trio.ca.bundle import TrustBundle
from sentry_trio.ca.certificates import fingerprint
from sentry_trio.ca.distinguished_names import shown_name
from sentry_trio.ca.lineage import roles_of
from sentry_trio.go_text import format_duration
from sentry_trio.renewal_status import LEFT_OVER, CertificateExpiry

WARNING_PERIOD = dt.timedelta(days=30)
"""Time before its end from which a certificate is reported as expiring, and an obstacle of its renewal."""

_SHOWN_ROLES: Final = {"anchor": "root", "former": "former root"}
_HOUR = dt.timedelta(hours=1)


class ValidityState(enum.Enum):
    """Stages of a certificate's life."""

    VALID = "valid"
    EXPIRING = "expiring"
    EXPIRED = "expired"


class ExpiryState(CertificateExpiry, frozen=True):
    """Expiry of one certificate at a moment.

    Attributes:
        remaining: time from then until its end; negative after its end.
    """

    remaining: dt.timedelta

    @property
    def needs_attention(self) -> bool:
        """True if it has expired or will soon, and is not merely left over by a renewal."""
        return self.state is not ValidityState.VALID and self.role not in LEFT_OVER

    @property
    def state(self) -> ValidityState:
        """Expired, expiring within `WARNING_PERIOD`, or valid for longer."""
        if self.remaining < dt.timedelta(0):
            return ValidityState.EXPIRED
        return ValidityState.EXPIRING if self.remaining < WARNING_PERIOD else ValidityState.VALID

    @property
    def days(self) -> int:
        """Whole days left; 0 once it has expired."""
        return self._hours_left // 24

    @property
    def hours(self) -> int:
        """Whole hours left beside the days; 0 once it has expired."""
        return self._hours_left % 24

    @property
    def message(self) -> str:
        """One line for the log, in the words of Dapr 1.8's watcher, which looked at the root only."""
        certificate = f"Dapr {_SHOWN_ROLES.get(self.role, self.role)} certificate"
        if self.state is ValidityState.EXPIRED:
            return f"{certificate} expiration warning: certificate has expired."
        if self.state is ValidityState.EXPIRING:
            return f"{certificate} expiration warning: certificate expires in {self.days} days and {self.hours} hours"
        return f"{certificate} is still valid for {format_duration(self.remaining)}"

    @property
    def _hours_left(self) -> int:
        return max(0, self.remaining // _HOUR)


def report(bundle: TrustBundle, now: dt.datetime, own_roots: Collection[str] = ()) -> tuple[ExpiryState, ...]:
    """Returns the state of every certificate: anchors first, then the chain from the issuer upwards.

    Args:
        bundle: verified credentials, which may have expired since.
        now: an aware datetime.
        own_roots: fingerprints of the roots made here.
    """
    of_anchors, of_chain = roles_of(bundle.anchors, bundle.chain, own_roots)
    certificates = (*bundle.anchors, *bundle.chain)
    return tuple(
        ExpiryState(role, shown_name(each.subject_name), fingerprint(each), each.not_after, each.not_after - now)
        for role, each in zip((*of_anchors, *of_chain), certificates, strict=True)
    )
