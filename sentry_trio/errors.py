"""Errors of the domain.

Each error is raised by code that knows nothing of gRPC, of log levels or of exit codes; those who meet the outside
translate it: `service.py` into status codes, `cli` into exit codes. The text is one line, made for people.
"""

import enum
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TypeVar


class SentryError(Exception):
    """Base class of all errors of this package."""


_Entry = TypeVar("_Entry")


def entry_for(table: Mapping[type[SentryError], _Entry], error: SentryError) -> _Entry:
    """Returns the entry of an error's class in a table, or else of its nearest base class; there must be one."""
    return next(table[kind] for kind in type(error).__mro__ if kind in table)


# --- at start: an operator's input


class InvalidOptionsError(SentryError):
    """Options that contradict each other or name something that does not exist."""


class InvalidConfigurationError(SentryError):
    """A configuration that cannot be read or is invalid; the text names the field, if there is one."""


class InvalidValidatorError(InvalidConfigurationError):
    """A token validator in the configuration that can never work."""


class ListenError(SentryError):
    """An address that cannot be listened on; the text names it."""

    def __init__(self, address: str, reason: str) -> None:
        super().__init__(f"could not listen on {address}: {reason}")


class ServerTLSError(SentryError):
    """Certificate and key of an HTTP server that cannot be used; the text names the file."""


class AuditLogError(SentryError):
    """An audit log that cannot be opened or begun; the text names it."""


# --- the trust bundle and its store


class Part(enum.Enum):
    """Part of the stored credentials; the value is its name in error texts.

    The order is that in which files are replaced.
    """

    ANCHORS = "trust anchors"
    CHAIN = "issuer chain"
    KEY = "issuer key"
    ROOT_KEY = "root key"
    NEXT_CHAIN = "next issuer chain"
    NEXT_KEY = "next issuer key"
    NEXT_ROOT_KEY = "next root key"
    PREVIOUS_ANCHORS = "previous trust anchors"
    PREVIOUS_CHAIN = "previous issuer chain"
    PREVIOUS_KEY = "previous issuer key"
    PREVIOUS_ROOT_KEY = "previous root key"
    REJECTED_CHAIN = "rejected next issuer chain"
    REJECTED_KEY = "rejected next issuer key"
    RECORD = "renewal record"
    JWKS = "JWKS"
    JWT_KEY = "key"


class Fault(enum.StrEnum):
    """Kinds of faults of a trust bundle."""

    UNREADABLE = "unreadable"
    """A text that is not PEM, or content that Dapr's components cannot read."""
    FOREIGN_BLOCK = "foreign-block"
    """A PEM block among certificates that is not one."""
    NOT_SELF_SIGNED = "not-self-signed"
    """A trust anchor that has not signed itself."""
    NOT_CA = "not-ca"
    """An issuer that may not sign certificates."""
    CHAIN_ORDER = "chain-order"
    """A chain in which a certificate is not signed by the one after it, or whose issuer is self-signed."""
    KEY_MISMATCH = "key-mismatch"
    """A key that is not the issuer's."""
    NO_PATH = "no-path"
    """An issuer without a path to a trust anchor."""
    EXPIRED = "expired"
    """A path with a certificate that has expired."""
    NOT_YET_VALID = "not-yet-valid"
    """A path with a certificate that becomes valid later."""
    PATH_LENGTH = "path-length"
    """A path length that leaves no room for certificates below the issuer."""
    EKU = "eku"
    """An extended key usage that forbids certificates of TLS servers below."""
    NAME_CONSTRAINTS = "name-constraints"
    """Name constraints that forbid the names of workloads."""


class InvalidBundleError(SentryError):
    """Trust anchors, issuer chain or issuer key that are invalid or do not belong together.

    Attributes:
        parts: those at fault; two if they do not match, none if the caller has to add them.
        fault: the kind of fault; None if it is not one of the trust bundle.
    """

    def __init__(self, message: str, *parts: Part, fault: Fault | None = None) -> None:
        self.parts = parts
        self.fault = fault
        super().__init__(message)


class NotYetValidError(InvalidBundleError):
    """A certificate of the trust bundle that becomes valid later.

    Attributes:
        valid_from: first second of its validity.
    """

    def __init__(self, message: str, *parts: Part, valid_from: datetime) -> None:
        super().__init__(message, *parts, fault=Fault.NOT_YET_VALID)
        self.valid_from = valid_from


class TrustCutError(InvalidBundleError):
    """A valid trust bundle that would cut off clients of the one in use.

    Attributes:
        reasons: kinds and subjects of the findings, without the times and names in the text.
    """

    def __init__(self, message: str, *parts: Part, reasons: frozenset[tuple[str, str]]) -> None:
        super().__init__(message, *parts)
        self.reasons = reasons


class ClockError(SentryError):
    """A system clock that is evidently wrong."""


class StoreError(SentryError):
    """Credentials that could not be read or written."""


class UnreadablePartError(StoreError):
    """A part that exists and cannot be read; the text names its file."""


class IncompleteBundleError(StoreError):
    """Some, but not all, of anchors, chain and key exist: regenerating would destroy the rest.

    Attributes:
        missing: the files that are not there.
        present: the files that are.
    """

    def __init__(self, missing: tuple[Path, ...], present: tuple[Path, ...]) -> None:
        self.missing = missing
        self.present = present
        exist = "exists" if len(present) == 1 else "exist"
        super().__init__(
            f"incomplete trust bundle: {_listed(missing)} missing while {_listed(present)} {exist}; "
            "restore the missing parts, or move the others away so that a new certificate authority is generated"
        )


def _listed(paths: tuple[Path, ...]) -> str:
    return " and ".join(str(path) for path in paths)


class RootKeyError(SentryError):
    """A root key that is kept but cannot be used; the text has the reason."""


class RenewalRejectedError(SentryError):
    """A command about the renewal of the certificate authority cannot be executed now; the text has the reason."""


# --- a request


class InvalidIdentityError(SentryError):
    """A trust domain or SPIFFE ID that breaks the SPIFFE ID specification."""


class InvalidRequestError(SentryError):
    """A request over a limit that applies to every caller."""


class InvalidCSRError(SentryError):
    """A certificate signing request that cannot be read, or whose signature is not that of its own key."""


class ValidatorRequiredError(SentryError):
    """No validator was named and this environment has no default."""

    def __init__(self) -> None:
        super().__init__("a validator name must be specified in this environment")


class ValidatorNotEnabledError(SentryError):
    """A validator was named that this environment does not have."""

    def __init__(self) -> None:
        super().__init__("the requested validator is not enabled")


class NotPermittedError(SentryError):
    """A validator rejects the caller.

    Attributes:
        pod_uid: UID of the caller's pod, if it is known.
    """

    pod_uid: str | None = None


class MalformedRequestError(NotPermittedError):
    """A validator rejects a request that no caller may make, such as one without an app ID.

    Dapr Sentry answers PermissionDenied, as to callers that are not permitted.
    """


class ValidatorNotReadyError(SentryError):
    """A validator cannot decide now; the text is returned to the caller."""


# --- signing


class IssuerNotValidError(SentryError):
    """Issuer, or all its paths to the anchors, that have expired or are not valid yet: it could sign nothing valid."""


class SigningError(SentryError):
    """A certificate that could not be signed, or failed the check after it; it was not sent."""


class UnservableIssuerError(SigningError):
    """TLS libraries refuse to serve a certificate of the issuer, e.g. because its RSA key is too short."""


class JwtError(SentryError):
    """A JWT could not be made."""


class AuditUnavailableError(SentryError):
    """A certificate was made but is not sent, because its audit record cannot be written now."""

    def __init__(self) -> None:
        super().__init__("the audit log cannot be written now, try again")


class ApiUnavailableError(SentryError):
    """The Kubernetes API server cannot be reached, is overloaded, failing or slow: a retry may succeed.

    Attributes:
        retry_after: seconds to wait before the next attempt, from the server; None if it sent none.
    """

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class ApiUnreachableError(ApiUnavailableError):
    """The Kubernetes API server did not answer: no connection, or no answer in time."""


class ApiRejectedError(SentryError):
    """The Kubernetes API server rejects a request; a retry is useless.

    Attributes:
        status: HTTP status.
        reason: Kubernetes' own, e.g. `NotFound`, `Forbidden`, `Conflict`, `Expired`.
    """

    def __init__(self, message: str, *, status: int, reason: str) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
