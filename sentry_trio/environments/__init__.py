"""Where an authority lives, and so where a run is made from: one module per mode.

standalone.py    files, and whoever asks is vouched for
kubernetes.py    a Secret, a Configuration object, and pods that show a token

jwt.py                           JWTs, wherever their keys are; jwt_files.py, jwt_secret.py: in either
token_validators.py, jwks.py     what a configuration adds to either
"""

import enum
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from sentry_trio.ca.bundle import TrustBundle
from sentry_trio.ca.general_names import AlternativeNames
from sentry_trio.ca.published import Jwts
from sentry_trio.ca.spiffe import dns_names, sentry_id
from sentry_trio.reload import Changed, ReloadCause, Trigger
from sentry_trio.settings.configuration import Configuration
from sentry_trio.settings.options import Options
from sentry_trio.telemetry.logs import get_logger
from sentry_trio.telemetry.metrics import Metrics
from sentry_trio.validators import Validators

_log: Final = get_logger("dapr.sentry")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ingredients:
    """What one run is made of, read and verified.

    Attributes:
        configuration: as it is now.
        bundle: the trust bundle.
        validators: who may vouch.
        watch: tells of changes of all these until cancelled; those since they were read are among them.
        chain_source: names where the issuer chain is from, for errors that show only when it is used.
        configuration_source: the same for the configuration.
        cluster_domain: returns the DNS domain that names of control-plane services end in.
        jwts: makes JWTs; None where they are off.
        targets: what else has to be ready for the process to be ready, by the names that health tells.
    """

    configuration: Configuration
    bundle: TrustBundle
    validators: Validators
    watch: Callable[[Changed], Awaitable[None]]
    chain_source: str
    configuration_source: str
    cluster_domain: Callable[[], str]
    jwts: Jwts | None = None
    targets: Mapping[str, Callable[[], bool]] = field(default_factory=dict)


class Notice(enum.Enum):
    """What whoever looks after the environment should see."""

    GENERATED = enum.auto()
    REPLACED = enum.auto()
    JWT_KEYS_REPLACED = enum.auto()
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

    async def watch_rejected(self, changed: Changed) -> None:
        """Watches what `ingredients` has read last, if it then refused the trust bundle; runs until cancelled.

        Args:
            changed: called when any of it has changed.
        """


def report_changes(metrics: Metrics, *causes: ReloadCause) -> None:
    """Logs what changed and counts new issuer credentials.

    The two lines about issuer credentials are Dapr Sentry's, which writes them for any file in their directory.
    """
    for cause in causes:
        sources = list(cause.sources)
        match cause.trigger:
            case Trigger.TRUST_BUNDLE:
                metrics.issuer_changed()
                _log.debug("Received issuer credentials changed signal", sources=sources)
                _log.warning("Issuer credentials changed; reloading", sources=sources)
            case Trigger.CONFIGURATION:
                _log.warning("Configuration changed; reloading", sources=sources)
            case Trigger.JWT_KEY:
                _log.warning("JWT signing key changed; reloading", sources=sources)
            case _:
                pass


def names_to_sign(options: Options, app_ids: Sequence[str] = ()) -> AlternativeNames:
    """Returns the names that certificates of this authority will have, so that its own name constraints are checked.

    Args:
        options: the trust domain and the namespace.
        app_ids: control-plane services whose DNS names are checked as well.
    """
    namespace = options.namespace
    names = tuple(name for each in app_ids for name in dns_names(each, namespace, namespace, ""))
    return AlternativeNames(names, (sentry_id(options.trust_domain, namespace),))
