"""A decision on one certificate request, and the members of its audit line."""

import hashlib
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from sentry_trio.ca.issue import IssuedCertificate
from sentry_trio.ca.spiffe import SpiffeId
from sentry_trio.go_text import join_host_port
from sentry_trio.grpc.observer import Shed
from sentry_trio.proto.sentry_pb2 import SignCertificateRequest
from sentry_trio.telemetry.metrics import SignFailure

# Characters of a text that a peer has chosen; a longer one is cut, with its length and its hash.
_MAX_TEXT: Final = 200


class Decision(msgspec.Struct):
    """One call and its outcome, completed during the call.

    Attributes:
        caller: the peer's address as the socket names it.
        request_id: names the call in log lines: 16 random hexadecimal digits.
        request: as received; None if it could not be read.
        validator: kind of the chosen validator; None if none could be chosen.
        pod_uid: UID of the pod that the caller's token authenticates, if known.
        spiffe_id: the identity in the certificate.
        issued: the certificate.
        jwts: number of JWTs issued with it; None if JWTs are off.
        cause: reason why no certificate was issued; None if one was.
    """

    caller: object
    request_id: str = msgspec.field(default_factory=lambda: os.urandom(8).hex())
    request: SignCertificateRequest | None = None
    validator: SignCertificateRequest.TokenValidator | None = None
    pod_uid: str | None = None
    spiffe_id: SpiffeId | None = None
    issued: IssuedCertificate | None = None
    jwts: int | None = None
    cause: SignFailure | None = None

    def members(self) -> dict[str, Any]:
        """Members of the audit line. They contain no token, CSR or key; every text is bounded."""
        return {
            "event": "decision",
            "request": self.request_id,
            "caller": format_address(self.caller),
            "asked": None if self.request is None else _request_members(self.request),
            "validator": None if self.validator is None else _validator_name(self.validator),
            "pod_uid": None if self.pod_uid is None else bounded(self.pod_uid),
            "outcome": "issued" if self.cause is None else "not_issued",
            "cause": None if self.cause is None else self.cause.value,
            "spiffe_id": None if self.spiffe_id is None else bounded(str(self.spiffe_id)),
            **_certificate_members(self.issued),
            "jwts": self.jwts,
        }


class Recorder:
    """Records decisions. This one, for a process without an audit log, drops them; the audit log overrides it."""

    def record(self, decision: Decision) -> None:
        """Records a decision; neither waits nor fails."""

    async def commit(self, decision: Decision) -> None:
        """Records that a certificate is issued, and returns when it may be sent.

        Raises:
            AuditUnavailableError: it must not be sent, because it cannot be recorded now.
        """

    def shed(self, reason: Shed) -> None:
        """Counts a call that was rejected unread because the server was overloaded."""

    def follow(self) -> None:
        """Continues in a new file if the current one was renamed."""


def timestamp(moment: datetime) -> str:
    """A time in RFC 3339, in UTC, to the microsecond."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def bounded(text: str) -> str:
    """A text of at most 200 characters; a longer one is cut, followed by its length in bytes and its SHA-256."""
    if len(text) <= _MAX_TEXT:
        return text
    data = text.encode("utf-8", "surrogatepass")
    return f"{text[:_MAX_TEXT]}... ({len(data)} bytes, SHA-256 {hashlib.sha256(data).hexdigest()})"


def format_address(peer: object) -> str:
    """`host:port` of a socket's address; an IPv4 address mapped into IPv6 is written as IPv4."""
    if not isinstance(peer, tuple) or len(peer) < 2:
        return bounded(str(peer))
    return bounded(join_host_port(str(peer[0]).removeprefix("::ffff:"), peer[1]))


def _validator_name(kind: SignCertificateRequest.TokenValidator) -> str:
    try:
        return SignCertificateRequest.TokenValidator.Name(kind).lower()
    except ValueError:
        return str(int(kind))  # the wire may bring any number


def _request_members(request: SignCertificateRequest) -> Mapping[str, Any]:
    return {
        "app_id": bounded(request.id),
        "namespace": bounded(request.namespace),
        "trust_domain": bounded(request.trust_domain),
        "validator": _validator_name(request.token_validator),
        "jwt_audiences": len(request.jwt_audiences),
    }


def _certificate_members(issued: IssuedCertificate | None) -> Mapping[str, Any]:
    if issued is None:
        return {"serial": None, "sha256": None, "not_after": None}
    return {
        "serial": f"{issued.serial_number:x}",
        "sha256": hashlib.sha256(issued.der).hexdigest(),
        "not_after": timestamp(issued.not_after),
    }
