"""What a replica says of itself under `/livez?verbose`; pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Final

import msgspec

from sentry_trio.ca.lineage import Link

_Time = Annotated[datetime, msgspec.Meta(tz=True)]
_MOST: Final = 1000  # targets, and certificates: more than any trust bundle that can be read


class NotOursError(ValueError):
    """An answer that no sentry-trio has given; the text says what it is not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """One replica, as it tells it. What it does not tell, as a release before this one, is None or empty.

    Attributes:
        ready: whether every target is.
        targets: what has to be ready, and whether each is.
        run: which run serves; 0 before the first.
        bundle: fingerprint of the trust bundle in use.
        degraded: the problems that last, in one line; None if there are none.
        last_restart: `succeeded` or `failed`.
        last_restart_at: when.
        loaded_at: when this run's trust bundle was read.
        started_at: when the process began.
        version: of sentry-trio.
        mode: `standalone` or `kubernetes`.
        certificates: trust anchors, issuer chain from its upper end down, serving certificate.
    """

    ready: bool
    targets: Mapping[str, bool]
    run: int
    bundle: str | None
    degraded: str | None
    last_restart: str | None = None
    last_restart_at: datetime | None = None
    loaded_at: datetime | None = None
    started_at: datetime | None = None
    version: str | None = None
    mode: str | None = None
    certificates: tuple[Link, ...] = ()

    @property
    def anchors(self) -> tuple[str, ...]:
        """Fingerprints of the trust anchors in use, in their order."""
        return tuple(link.fingerprint for link in self.certificates if link.role == "anchor")

    @property
    def unready(self) -> tuple[str, ...]:
        """The targets that are not ready."""
        return tuple(name for name, is_ready in self.targets.items() if not is_ready)


class _Certificate(msgspec.Struct, frozen=True):
    role: str
    subject: str
    fingerprint: str
    not_before: _Time
    not_after: _Time
    signed_by: str | None = None


class _Report(msgspec.Struct, frozen=True):
    ready: bool
    targets: Annotated[dict[str, bool], msgspec.Meta(max_length=_MOST)]
    run: Annotated[int, msgspec.Meta(ge=0)]
    bundle: str | None
    degraded: str | None
    last_restart: str | None = None
    last_restart_at: _Time | None = None
    loaded_at: _Time | None = None
    started_at: _Time | None = None
    version: str | None = None
    mode: str | None = None
    certificates: Annotated[list[_Certificate], msgspec.Meta(max_length=_MOST)] = msgspec.field(default_factory=list)


_decoder: Final = msgspec.json.Decoder(_Report)


def read_health(body: bytes) -> Health:
    """The report that a body holds; what is not known of it is passed over.

    Raises:
        NotOursError: it holds none.
    """
    try:
        said = _decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise NotOursError(f"no health report of sentry-trio: {error}") from error
    try:
        links = tuple(Link(**_fields(each)) for each in said.certificates)
        return Health(**(_fields(said) | {"certificates": links}))
    except OverflowError as error:
        raise NotOursError("no health report of sentry-trio: a time that no calendar has") from error


def _fields(said: msgspec.Struct) -> dict[str, Any]:
    """By name; times in UTC."""
    found = {name: getattr(said, name) for name in said.__struct_fields__}
    return {name: each.astimezone(UTC) if isinstance(each, datetime) else each for name, each in found.items()}
