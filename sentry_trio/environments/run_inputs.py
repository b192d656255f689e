"""Inputs of a run, and the sources that they are read from."""

from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from sentry_trio.ca.bundle import TrustBundle
from sentry_trio.ca.parts import BUNDLE, JWT_KEYS, Parts
from sentry_trio.ca.published import Jwts
from sentry_trio.errors import Part
from sentry_trio.reload import Changed, ReloadCause, Trigger
from sentry_trio.settings.configuration import Configuration
from sentry_trio.settings.options import Options
from sentry_trio.stores.part_store import PartStore, bundle_paths
from sentry_trio.validators import Validators


@dataclass(frozen=True, slots=True, kw_only=True)
class RunInputs:
    """Everything that one run is made of, read and verified.

    Attributes:
        configuration: as it is now.
        bundle: the trust bundle.
        validators: authenticate callers.
        watch: reports changes of all these until cancelled, including those since they were read.
        request_arrived: called for every signing request.
        chain_source: names where the issuer chain is from, for errors that show only when it is used.
        configuration_source: the same for the configuration.
        cluster_domain: returns the DNS domain that names of control-plane services end in.
        jwts: makes JWTs; None if they are off.
        targets: what else has to be ready for the process to be ready, by the names that health reports.
        own_roots: fingerprints of the roots made here.
    """

    configuration: Configuration
    bundle: TrustBundle
    validators: Validators
    watch: Callable[[Changed], Awaitable[None]] = field(repr=False)
    request_arrived: Callable[[], None] = field(repr=False)
    chain_source: str
    configuration_source: str
    cluster_domain: Callable[[], str]
    jwts: Jwts | None = None
    targets: Mapping[str, Callable[[], bool]] = field(default_factory=dict)
    own_roots: Collection[str] = ()


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


@dataclass(frozen=True, slots=True)
class Sources:
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


def part_paths(options: Options) -> dict[Part, Path]:
    """Returns the path of each part; in Kubernetes mode its base name is the part's key in the Secret.

    An absolute name is as it is, any other is below the credentials' directory.
    """
    directory = options.issuer_credentials
    paths = bundle_paths(
        directory,
        anchors=options.issuer_ca_filename,
        chain=options.issuer_certificate_filename,
        key=options.issuer_key_filename,
    )
    # Dapr Sentry replaces a relative name by `jwt.key` or `jwks.json`.
    return {**paths, Part.JWT_KEY: directory / options.jwt_key_filename, Part.JWKS: directory / options.jwks_filename}
