"""Reasons of events that operators should see."""

import enum


class EventReason(enum.StrEnum):
    """Reason of an event that operators should see."""

    GENERATED = "CertificateAuthorityGenerated"
    REPLACED = "CertificateAuthorityReplaced"
    JWT_KEYS_REPLACED = "JwtKeysReplaced"
    RELOAD_FAILED = "ReloadFailed"
    EXPIRY_NEAR = "CertificateExpiryNear"
    RENEWAL_BEGUN = "RenewalBegun"
    ISSUER_SWITCHED = "IssuerSwitched"
    OLD_KEY_ERASED = "OldKeyErased"
    BRIDGE_ENDED = "BridgeEnded"
    RENEWAL_HELD = "RenewalHeld"
    TRUST_CUT_REFUSED = "TrustCutRefused"
    TRUST_CUT = "TrustCut"
    SIDECARS_NEED_RESTART = "SidecarsNeedRestart"
    INJECTOR_STALE = "InjectorStale"
