"""Reasons of events that operators should see."""

import enum
from typing import Final


class EventReason(enum.StrEnum):
    """Reason of an event that operators should see: the reason of a Kubernetes Event."""

    GENERATED = "CertificateAuthorityGenerated"
    REPLACED = "CertificateAuthorityReplaced"
    JWT_KEYS_REPLACED = "JwtKeysReplaced"
    RELOAD_FAILED = "ReloadFailed"
    EXPIRY_NEAR = "CertificateExpiryNear"
    RENEWAL_BEGUN = "RenewalBegun"
    ISSUER_SWITCHED = "IssuerSwitched"
    OLD_KEY_ERASED = "OldKeyErased"
    ROOT_KEY_ERASED = "RootKeyErased"
    BRIDGE_ENDED = "BridgeEnded"
    RENEWAL_HELD = "RenewalHeld"
    TRUST_CUT_REFUSED = "TrustCutRefused"
    TRUST_CUT = "TrustCut"
    SIDECARS_NEED_RESTART = "SidecarsNeedRestart"
    INJECTOR_STALE = "InjectorStale"

    @property
    def type(self) -> str:
        """`Normal` or `Warning`."""
        return "Warning" if self in _WARNINGS else "Normal"


_WARNINGS: Final = frozenset(
    {
        EventReason.RELOAD_FAILED,
        EventReason.EXPIRY_NEAR,
        EventReason.ROOT_KEY_ERASED,
        EventReason.RENEWAL_HELD,
        EventReason.TRUST_CUT_REFUSED,
        EventReason.TRUST_CUT,
        EventReason.SIDECARS_NEED_RESTART,
        EventReason.INJECTOR_STALE,
    }
)
