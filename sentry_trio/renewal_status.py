"""State of certificates, and of the renewal of CA and JWT keys, for people and metrics."""

import enum
from collections.abc import Mapping
from datetime import datetime
from typing import Final, Literal

import msgspec

JwtKeyState = Literal["noted", "published", "signing", "gone"]
"""State of a JWT signing key: it is rotated from now on, published, in use, or no longer published."""

RenewalScope = Literal["own", "any"]
"""Certificate authorities that are renewed: those made here, or also those that others made."""


class Phase(enum.StrEnum):
    """Phase of a renewal."""

    STEADY = "steady"
    DISTRIBUTING = "distributing"
    SIGNING = "signing"
    RETIRING = "retiring"


class Step(enum.StrEnum):
    """Steps of a renewal."""

    PUBLISH = "publish"
    """Stores the next generation and publishes its root."""
    SWITCH = "switch"
    """Makes the next issuer the current one."""
    PUBLISH_AND_SWITCH = "publish-and-switch"
    """Both at once: it is too late for more, or a command says so."""
    ADOPT = "adopt"
    """Adds the bridge to a next pair that another program has stored."""
    RENEW_ISSUER = "renew-issuer"
    """Makes another issuer with the key of the root, which is kept; it signs at once."""
    NOTE = "note"
    """Writes the record alone."""
    ERASE = "erase"
    """Erases the previous issuer's key."""
    CUT = "cut"
    """Cuts a bridge that has expired off the chain."""
    REJECT = "reject"
    """Puts a next pair aside that does not fit."""
    DISCARD = "discard"
    """Removes parts that nothing needs any more."""
    ROLLBACK = "rollback"
    """Makes the previous issuer the current one again."""


STEP_TEXTS: Final[Mapping[str, str]] = {
    Step.PUBLISH: "publish the next root",
    Step.SWITCH: "let the next issuer sign",
    Step.PUBLISH_AND_SWITCH: "publish the next root and let its issuer sign",
    Step.ADOPT: "add the bridge to the next issuer of another program",
    Step.RENEW_ISSUER: "make another issuer below the same root",
    Step.NOTE: "record the times of the renewal",
    Step.ERASE: "erase the previous issuer's key",
    Step.CUT: "remove the expired bridge from the chain",
    Step.REJECT: "set a next issuer aside that cannot be used",
    Step.DISCARD: "erase what is no longer needed",
    Step.ROLLBACK: "let the previous issuer sign again",
}
"""Steps for people."""


class HoldReason(enum.StrEnum):
    """Reason why a step that is due is not taken."""

    CLOCK = "clock"
    """The clock was set, or differs from the API server's."""
    CONFIG_MAP = "config_map"
    """The ConfigMap does not hold the stored trust anchors."""
    STORE = "store"
    """The store cannot be read or written."""
    READ_ONLY = "read_only"
    """The store is never writable for this process."""
    ROOT_KEY = "root_key"
    """The key of the root, which is kept, cannot be used."""
    BUNDLE = "bundle"
    """The trust bundle cannot be renewed; see the message."""


class AnchorsHeld(enum.StrEnum):
    """Trust anchors that a sidecar holds."""

    CURRENT = "current"
    """The newest root made here is among them."""
    FORMER = "former"
    """Of the roots made here, only older ones: it works until the bridge ends."""
    NONE = "none"
    """No root made here."""
    FILE = "file"
    """It reads them from a mounted file, and so follows each change."""


class CertificateRole(enum.StrEnum):
    """Role of a certificate in the trust bundle."""

    ANCHOR = "anchor"
    INTERMEDIATE = "intermediate"
    ISSUER = "issuer"
    BRIDGE = "bridge"
    FORMER = "former"


LEFT_OVER: Final = frozenset({CertificateRole.BRIDGE, CertificateRole.FORMER})
"""Roles of certificates that a renewal has left over: they expire without a loss."""


class CertificateExpiry(msgspec.Struct, frozen=True):
    """End of one certificate of the trust bundle.

    Attributes:
        role: a value of `CertificateRole`.
        subject: its subject (RFC 4514).
        fingerprint: SHA-256 over its DER, in hexadecimal digits.
        not_after: the last second in which it is valid; aware.
    """

    role: str
    subject: str
    fingerprint: str
    not_after: datetime


class RenewalStatus(msgspec.Struct, frozen=True, kw_only=True):
    """State of CA renewal, for people and metrics; `/readyz?verbose` shows it.

    Attributes:
        phase: a value of `Phase`.
        generation: number of the certificate authority; 1 for the first.
        next_step: the next step, a value of `Step`; None if none is planned.
        next_step_at: time at which that is due; in the past if it is held.
        bridge_end: time at which the first sidecars with only former roots stop working; the same if none is known.
            None if there is no bridge.
        held: reason why a due step is not taken; None if none is held.
        held_reason: a value of `HoldReason`.
        sidecars: number of sidecars by the anchors that they hold, by the values of `AnchorsHeld`; None if unknown.
        injector_stale: true if new pods do not get the newest root; None if unknown.
        has_root_key: true if the private key of the issuer's root is stored.
    """

    phase: str
    generation: int
    next_step: str | None = None
    next_step_at: datetime | None = None
    bridge_end: datetime | None = None
    held: str | None = None
    held_reason: str | None = None
    sidecars: Mapping[str, int] | None = None
    injector_stale: bool | None = None
    has_root_key: bool = False
