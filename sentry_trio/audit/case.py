"""What is known of one call for a certificate, and the line that it becomes."""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from sentry_trio.audit.moments import timestamp
from sentry_trio.ca.issue import IssuedCertificate
from sentry_trio.ca.spiffe import SpiffeId
from sentry_trio.proto.sentry_pb2 import SignCertificateRequest
from sentry_trio.telemetry.metrics import Shed, SignFailure

# Characters of a text that a peer has chosen; a longer one is cut, and told by its length and its hash.
_SHOWN: Final = 200


def new_request_id() -> str:
    """What a call is named by in log lines: 16 random hexadecimal digits."""
    return os.urandom(8).hex()


@dataclass(slots=True)
class Case:
    """One call, filled in as it goes on.

    Attributes:
        caller: the other end's address as the socket names it.
        request: names the call.
        asked: its request; None where none could be read.
        validator: the kind that decides; None where none could be chosen.
        pod_uid: of the pod that the caller's token speaks for, where that was found out.
        spiffe_id: the identity in the certificate that was signed.
        issued: that certificate.
        jwts: how many JWTs go with it; None where none are issued.
        cause: why there is no certificate for the caller; None where there is.
    """

    caller: object
    request: str = field(default_factory=new_request_id)
    asked: SignCertificateRequest | None = None
    validator: SignCertificateRequest.TokenValidator | None = None
    pod_uid: str | None = None
    spiffe_id: SpiffeId | None = None
    issued: IssuedCertificate | None = None
    jwts: int | None = None
    cause: SignFailure | None = None

    @property
    def is_issued(self) -> bool:
        """Whether the caller is given a certificate."""
        return self.cause is None

    def members(self) -> dict[str, Any]:
        """What its line says. No part of token, CSR or key; every text is bounded."""
        return {
            "event": "decision",
            "request": self.request,
            "caller": shown_address(self.caller),
            "asked": None if self.asked is None else _asked(self.asked),
            "validator": None if self.validator is None else shown_validator(self.validator),
            "pod_uid": None if self.pod_uid is None else bounded(self.pod_uid),
            "outcome": "issued" if self.cause is None else "not_issued",
            "cause": None if self.cause is None else self.cause.value,
            "spiffe_id": None if self.spiffe_id is None else bounded(str(self.spiffe_id)),
            **_certificate(self.issued),
            "jwts": self.jwts,
        }


class Recorder(Protocol):
    """Keeps what was decided."""

    def record(self, case: Case) -> None:
        """Takes a decision down; neither waits nor fails."""

    async def commit(self, case: Case) -> None:
        """Takes down that a certificate is issued, and returns when it may leave.

        Raises:
            AuditUnavailableError: it must not, as no record of it can be kept now.
        """

    def shed(self, reason: Shed) -> None:
        """Counts a call that was refused unread for want of room."""

    def follow(self) -> None:
        """Goes on in a new file, where the present one was given another name."""


class Unrecorded:
    """Keeps nothing."""

    def record(self, case: Case) -> None:
        """Forgets it."""

    async def commit(self, case: Case) -> None:
        """Forgets it; the certificate may leave."""

    def shed(self, reason: Shed) -> None:
        """Forgets it."""

    def follow(self) -> None:
        """There is no file."""


def bounded(text: str) -> str:
    """A text of at most 200 characters; a longer one is its beginning, its length in bytes, and its SHA-256."""
    if len(text) <= _SHOWN:
        return text
    data = text.encode("utf-8", "surrogatepass")
    return f"{text[:_SHOWN]}... ({len(data)} bytes, SHA-256 {hashlib.sha256(data).hexdigest()})"


def shown_address(peer: object) -> str:
    """`host:port` of a socket's address; an IPv4 address that is mapped into IPv6 as what it is."""
    if not isinstance(peer, tuple) or len(peer) < 2:
        return bounded(str(peer))
    host, port = str(peer[0]).removeprefix("::ffff:"), peer[1]
    return bounded(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")


def shown_validator(kind: SignCertificateRequest.TokenValidator) -> str:
    """The name of a kind of validators, in lower case; the number of one that is not known, as the wire may bring."""
    try:
        return SignCertificateRequest.TokenValidator.Name(kind).lower()
    except ValueError:
        return str(int(kind))


def _asked(request: SignCertificateRequest) -> Mapping[str, Any]:
    return {
        "app_id": bounded(request.id),
        "namespace": bounded(request.namespace),
        "trust_domain": bounded(request.trust_domain),
        "validator": shown_validator(request.token_validator),
        "jwt_audiences": len(request.jwt_audiences),
    }


def _certificate(issued: IssuedCertificate | None) -> Mapping[str, Any]:
    if issued is None:
        return {"serial": None, "sha256": None, "not_after": None}
    return {
        "serial": f"{issued.serial_number:x}",
        "sha256": hashlib.sha256(issued.der).hexdigest(),
        "not_after": timestamp(issued.not_after),
    }
