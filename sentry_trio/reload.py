"""Reloads of the authority: their causes and their duration."""

import enum
from dataclasses import dataclass
from typing import Protocol


class Trigger(enum.Enum):
    """Kind of event that starts a reload; the value is its text in the log."""

    TRUST_BUNDLE = "trust bundle changed"
    CONFIGURATION = "configuration changed"
    JWT_KEY = "JWT signing key changed"
    JWT_ROTATION = "JWT signing key rotated"
    CA_RENEWAL = "step of CA renewal"
    SIGHUP = "received SIGHUP"
    ISSUER_VALID = "the issuer certificate has become valid"
    RETRY = "nothing serves yet, retrying"
    TRUST_CUT = "the rejected trust bundle cuts off other clients now, or none"
    CALLER = "requested by the embedding program"


@dataclass(frozen=True, slots=True)
class ReloadCause:
    """One reason for a reload.

    Attributes:
        trigger: kind of event.
        sources: the files or API objects that changed.
    """

    trigger: Trigger
    sources: tuple[str, ...] = ()

    def __str__(self) -> str:
        """The trigger's text, followed by the sources."""
        return ": ".join(filter(None, (self.trigger.value, ", ".join(self.sources))))


class Changed(Protocol):
    """Callback that reports a change of something that a run was made from."""

    async def __call__(self, *causes: ReloadCause) -> None:
        """Requests a reload; returns when the reload has succeeded or failed."""


@dataclass(frozen=True, slots=True)
class Reload:
    """An attempt to replace the current run.

    Attributes:
        causes: every reason that was given before it began, each once.
        seconds: time from its begin until the new run served or preparing it failed.
    """

    causes: tuple[ReloadCause, ...]
    seconds: float

    @property
    def cause(self) -> str:
        """All causes as one text for the log."""
        return "; ".join(map(str, self.causes))
