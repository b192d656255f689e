"""All that one look has found; pure."""

from dataclasses import dataclass
from datetime import datetime

from sentry_trio.ca.bundle import fingerprint_of
from sentry_trio.ca.certificates import Certificate, fingerprint, is_self_signed, read_certificates
from sentry_trio.ca.lineage import Link, lineage
from sentry_trio.ca.verify import verify_public
from sentry_trio.errors import InvalidBundleError, SentryError
from sentry_trio.status.figures import Figures
from sentry_trio.status.health import Health
from sentry_trio.stores.public import PublicParts


@dataclass(frozen=True, slots=True)
class NotShown:
    """What could not be found out.

    Attributes:
        reason: why: one line.
        asked: whether it was asked for, and not merely looked for.
    """

    reason: str
    asked: bool = True


class HiddenError(SentryError):
    """Something cannot be found out.

    Attributes:
        not_shown: why. A right that is missing is no fault of the authority, and nothing that attention would mend.
    """

    def __init__(self, reason: str, *, forbidden: bool = False) -> None:
        super().__init__(reason)
        self.not_shown = NotShown(reason, asked=not forbidden)


@dataclass(frozen=True, slots=True)
class Replica:
    """One process.

    Attributes:
        name: of the pod, or else its address.
        health: what it says of itself.
        figures: what it counts.
    """

    name: str
    health: Health | NotShown
    figures: Figures | NotShown


@dataclass(frozen=True, slots=True)
class Stored:
    """The public parts of the trust bundle that a store holds.

    Attributes:
        place: names the store.
        fingerprint: of the bundle; None where certificates cannot be read.
        certificates: trust anchors, then the issuer chain from its upper end down.
        problem: why no run could be made of it; None where one could, as far as that shows without the key.
    """

    place: str
    fingerprint: str | None
    certificates: tuple[Link, ...]
    problem: str | None


@dataclass(frozen=True, slots=True)
class Published:
    """The trust anchors that a ConfigMap hands to the mesh.

    Attributes:
        place: names the ConfigMap.
        anchors: their fingerprints, in their order.
        problem: why there are none.
    """

    place: str
    anchors: tuple[str, ...]
    problem: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One look.

    Attributes:
        at: when, UTC.
        replicas: at least one.
        stored: the store; None where none was looked for.
        published: the ConfigMap; None where none was looked for.
        not_found: why replicas were not found by the Kubernetes API, where that was tried.
    """

    at: datetime
    replicas: tuple[Replica, ...]
    stored: Stored | NotShown | None = None
    published: Published | NotShown | None = None
    not_found: NotShown | None = None

    @property
    def reached(self) -> tuple[tuple[Replica, Health], ...]:
        """The replicas that have told of themselves."""
        return tuple((each, each.health) for each in self.replicas if isinstance(each.health, Health))


def read_stored(parts: PublicParts, place: str, now: datetime) -> Stored:
    """What a store's public parts say, be they good or not.

    Args:
        parts: as they stand in the store.
        place: names it.
        now: an aware datetime.
    """
    problem = None
    try:
        verify_public(parts.anchors, parts.chain, now)
    except InvalidBundleError as error:
        problem = str(error)
    try:
        anchors = read_certificates(parts.anchors, role="trust anchors")
        chain = _without_anchors(read_certificates(parts.chain, role="issuer chain"))
    except InvalidBundleError:
        return Stored(place, None, (), problem)
    return Stored(place, fingerprint_of(anchors, chain), lineage(anchors, chain), problem)


def _without_anchors(chain: list[Certificate]) -> list[Certificate]:
    """As verification leaves them out."""
    return [each for each in chain if not is_self_signed(each)]


def read_published(anchors: str | None, place: str) -> Published:
    """What a ConfigMap says.

    Args:
        anchors: PEM; None where it has no such key.
        place: names it.
    """
    if not anchors:
        return Published(place, (), "it has no trust anchors")
    try:
        found = read_certificates(anchors.encode(errors="replace"), role="trust anchors")
    except InvalidBundleError as error:
        return Published(place, (), str(error))
    return Published(place, tuple(fingerprint(each) for each in found))
