"""Inputs of a run, and the sources that they are read from."""

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from typing import Final, Protocol

import msgspec

from sentry_trio.ca.bundle import TrustBundle
from sentry_trio.ca.parts import BUNDLE, JWT_KEYS, Parts
from sentry_trio.ca.published import Jwts
from sentry_trio.discreet import Discreet
from sentry_trio.errors import Part
from sentry_trio.go_text import format_duration
from sentry_trio.reload import Changed, ReloadCause, Trigger
from sentry_trio.settings.configuration import Configuration
from sentry_trio.stores.part_store import PartStore
from sentry_trio.telemetry.logs import get_logger
from sentry_trio.telemetry.metrics import Metrics
from sentry_trio.validators import Validators

_log: Final = get_logger("dapr.sentry")


class RunInputs(Discreet, frozen=True, kw_only=True):
    """Everything that one run is made of, read and verified.

    Attributes:
        configuration: the current configuration.
        bundle: the trust bundle.
        validators: authenticate callers.
        watch: reports changes of all these until cancelled, including those since they were read.
        request_arrived: called for every signing request.
        chain_source: place of the issuer chain, for errors that occur only when it is used.
        configuration_source: place of the configuration, for the same reason.
        cluster_domain: returns the DNS domain that names of control-plane services end in.
        jwts: makes JWTs; None if they are off.
        targets: further readiness targets, by the names that health reports.
        own_roots: fingerprints of the roots made here.
    """

    UNSHOWN = frozenset({"watch", "request_arrived"})

    configuration: Configuration
    bundle: TrustBundle
    validators: Validators
    watch: Callable[[Changed], Awaitable[None]]
    request_arrived: Callable[[], None]
    chain_source: str
    configuration_source: str
    cluster_domain: Callable[[], str]
    jwts: Jwts | None
    targets: Mapping[str, Callable[[], bool]]
    own_roots: Collection[str]


class Watch(Protocol):
    """Watch of the sources of one run."""

    async def __call__(self, stored: Parts, configuration: Configuration, changed: Changed, *, in_use: bool) -> None:
        """Calls `changed` whenever a source no longer holds these parts or this configuration, until cancelled.

        Args:
            stored: the parts that were read.
            configuration: the configuration that was read.
            changed: requests a reload.
            in_use: false if no run was made of them.
        """


class Sources(msgspec.Struct, frozen=True):
    """Sources that one run is read from.

    Attributes:
        store: the credentials.
        watch: reports changes of them.
    """

    store: PartStore
    watch: Watch


def causes_of(changed: Collection[Part], store: PartStore) -> list[ReloadCause]:
    """Returns the causes of a reload for changed parts of a store; none for those that only renewal uses."""
    groups = {Trigger.TRUST_BUNDLE: BUNDLE, Trigger.JWT_KEY: JWT_KEYS}
    return [
        ReloadCause(trigger, store.sources([part for part in parts if part in changed]))
        for trigger, parts in groups.items()
        if not set(parts).isdisjoint(changed)
    ]


def report_changes(causes: Iterable[ReloadCause], metrics: Metrics) -> None:
    """Logs changes and counts new issuer credentials.

    The two lines about issuer credentials are Dapr Sentry's, which writes them for any file in their directory.
    """
    for cause in causes:
        sources = list(cause.sources)
        if cause.trigger is Trigger.TRUST_BUNDLE:
            metrics.issuer_changes.inc()
            _log.debug("Received issuer credentials changed signal", sources=sources)
            _log.warning("Issuer credentials changed; reloading", sources=sources)
        elif cause.trigger is Trigger.JWT_KEY:
            _log.warning("JWT signing key changed; reloading", sources=sources)
        else:
            _log.warning("Configuration changed; reloading", sources=sources)


def warn_of_settings(configuration: Configuration, name: str, trust_domain: str) -> None:
    """Warns of settings that have no effect, and of lifetimes up to the clock skew."""
    for warning in configuration.warnings:
        _log.warning(f"{name or 'Configuration'}: {warning}")
    named = configuration.control_plane_trust_domain
    if named not in {None, trust_domain}:
        _log.warning(
            f"{name}: spec.mtls.controlPlaneTrustDomain {named!r} has no effect, the trust domain is "
            f"{trust_domain!r}: change --trust-domain and start a new process"
        )
    if configuration.renews_without_pause:
        lifetime, skew = configuration.workload_cert_ttl, configuration.allowed_clock_skew
        _log.warning(
            f"{name}: spec.mtls.workloadCertTTL {format_duration(lifetime)} is not longer than "
            f"allowedClockSkew {format_duration(skew)}, so sidecars request certificates without pause: they renew at "
            "the middle of a certificate's validity, which begins the skew before now; make the lifetime longer or the "
            "skew shorter"
        )
