"""Where an authority lives, and so where a run is made from: one module per mode.

standalone.py    files, and whoever asks is vouched for
kubernetes.py    a Secret, a Configuration object, and pods that show a token

jwt.py                           JWTs, wherever their keys are; jwt_files.py, jwt_secret.py: in either
token_validators.py, jwks.py     what a configuration adds to either
"""

import enum
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from sentry_trio.ca.bundle import TrustBundle
from sentry_trio.ca.jwts import Jwts
from sentry_trio.settings.configuration import Configuration
from sentry_trio.validators import Validators

Changed = Callable[[], Awaitable[None]]
"""Awaited when something that a run was made from has changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ingredients:
    """What one run is made of, read and verified.

    Attributes:
        configuration: as it is now.
        bundle: the trust bundle.
        validators: who may vouch.
        watch: tells of changes of all these until cancelled; those since they were read are among them.
        origin: names where they are from, for errors that show only when they are used.
        jwts: makes JWTs; None where they are off.
        targets: what else has to be ready for the process to be ready, by the names that health tells.
    """

    configuration: Configuration
    bundle: TrustBundle
    validators: Validators
    watch: Callable[[Changed], Awaitable[None]]
    origin: str
    jwts: Jwts | None = None
    targets: Mapping[str, Callable[[], bool]] = field(default_factory=dict)


class Notice(enum.Enum):
    """What whoever looks after the environment should see."""

    GENERATED = enum.auto()
    REPLACED = enum.auto()
    RELOAD_FAILED = enum.auto()
    EXPIRY_NEAR = enum.auto()


class Environment(Protocol):
    """Where an authority lives. It outlives the runs."""

    def tell(self, notice: Notice, message: str) -> None:
        """Tells of something where operators look, beside the log; neither waits nor fails."""

    async def ingredients(self, *, may_generate: bool) -> Ingredients:
        """Reads anew what a run is made of, or generates credentials where there are none.

        Args:
            may_generate: whether an empty store is filled; only the first run of a process may do that, as an emptied
                one is a mistake that must not cost the authority its keys.

        Raises:
            SentryError: what keeps a run from being.

        Cancellation: at once, but for a write of generated credentials, which is finished.
        """
