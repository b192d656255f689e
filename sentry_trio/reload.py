"""Reloads of the authority: their requests, causes and duration."""

import enum
from typing import Protocol

import msgspec
import trio

from sentry_trio.errors import SentryError


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


class ReloadCause(msgspec.Struct, frozen=True):
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


class Reload(msgspec.Struct, frozen=True):
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


class ReloadRequest:
    """A reload that one or several callers have requested.

    Attributes:
        asked: set by the first of them.
    """

    def __init__(self) -> None:
        self.asked = trio.Event()
        self._causes: dict[ReloadCause, None] = {}  # in order, each once
        self._began = 0.0
        self._answered = trio.Event()
        self._error: SentryError | None = None

    def ask(self, *causes: ReloadCause) -> None:
        """Adds a caller's reasons."""
        self._causes.update(dict.fromkeys(causes))
        self.asked.set()

    def begin(self) -> None:
        """Records that the reload begins now."""
        self._began = trio.current_time()

    @property
    def reload(self) -> Reload:
        """The attempt, up to now."""
        return Reload(tuple(self._causes), trio.current_time() - self._began)

    def answer(self, error: SentryError | None = None) -> None:
        """Wakes all callers; the reload has succeeded, or failed by this error."""
        self._error = error
        self._answered.set()

    async def answered(self) -> None:
        """Waits for the answer.

        Raises:
            SentryError: the reload has failed, or the authority has stopped.
        """
        await self._answered.wait()
        if self._error is not None:
            raise self._error
