"""Paths from the signing certificate to the trust anchors.

The rules are Go's, because Dapr's components verify our certificates with Go, with one difference. Dapr Sentry 1.18
verifies the signing certificate as the end of a path. Here it is verified as a CA with a certificate below it: path
length constraints without room for that certificate are found now, and not by every sidecar later.

Name constraints are checked for the names of certificates below, so an issuer that may not sign them is rejected when
it is loaded. Certificate policies are not evaluated.
"""

import datetime as dt
from collections.abc import Sequence

import msgspec
from cryptography.exceptions import InvalidSignature

from sentry_trio.ca.certificates import Certificate, check_signed_by, is_same_entity, shown
from sentry_trio.ca.extensions import ANY_EXTENDED_KEY_USAGE, SERVER_AUTH
from sentry_trio.ca.general_names import AlternativeNames
from sentry_trio.errors import Fault, InvalidBundleError, NotYetValidError, Part

MAX_SIGNATURE_CHECKS = 100
"""Limit of candidates in one search, as in Go: a crafted chain must not keep a start busy for long."""


class Path(msgspec.Struct, frozen=True):
    """Valid path.

    Attributes:
        certificates: certificates from the signing certificate to the anchor.
    """

    certificates: tuple[Certificate, ...]

    @property
    def not_before(self) -> dt.datetime:
        """Time from which all of them are valid."""
        return max(certificate.not_before for certificate in self.certificates)

    @property
    def not_after(self) -> dt.datetime:
        """Expiry of the first of them; it is still valid in that second."""
        return min(certificate.not_after for certificate in self.certificates)


def find_paths(
    issuer: Certificate,
    intermediates: tuple[Certificate, ...],
    anchors: tuple[Certificate, ...],
    now: dt.datetime,
    names: AlternativeNames | None = None,
    *,
    authorities_below: int = 0,
) -> list[Path]:
    """Finds all paths that are valid now for TLS servers' certificates below `issuer`.

    After `MAX_SIGNATURE_CHECKS` candidates the search ends with the paths found until then.

    Args:
        issuer: the signing certificate.
        intermediates: other certificates of the chain, in any order.
        anchors: the trust anchors.
        now: an aware datetime.
        names: names that certificates below `issuer` will have; None if no name is to be checked.
        authorities_below: number of CA certificates between `issuer` and those servers' certificates.

    Raises:
        InvalidBundleError: there is no valid path, with Go's text for the reason.
    """
    _check(issuer, authorities_below, now, Part.CHAIN)
    search = _Search(intermediates, anchors, now, authorities_below)
    search.extend((issuer,))
    if not search.found:
        raise search.refusal or InvalidBundleError(
            f"x509: certificate signed by unknown authority{search.hint}", fault=Fault.NO_PATH
        )
    usable = [path for path in search.found if all(map(_serves_tls, path.certificates))]
    if not usable:
        raise InvalidBundleError("x509: certificate specifies an incompatible key usage", fault=Fault.EKU)
    return _permitting(usable, names)


def path_end(chain: Sequence[Certificate], anchors: Sequence[Certificate], now: dt.datetime) -> dt.datetime | None:
    """Returns the end of the path that lasts longest, or None if none is valid now.

    Args:
        chain: the signing certificate first.
        anchors: the trust anchors.
        now: an aware datetime.
    """
    try:
        return max(path.not_after for path in find_paths(chain[0], tuple(chain[1:]), tuple(anchors), now))
    except InvalidBundleError:
        return None


def _permitting(paths: list[Path], names: AlternativeNames | None) -> list[Path]:
    """Returns the paths whose name constraints permit all names below them.

    Raises:
        InvalidBundleError: there is no permitted path; the text names the certificate and the name.
    """
    forbidden = {path: _why_forbidden(path, names) for path in paths}
    permitting = [path for path, why in forbidden.items() if why is None]
    if not permitting:
        why = next(why for why in forbidden.values() if why)
        raise InvalidBundleError(
            f"x509: a root or intermediate certificate is not authorized to sign for this name: {why}",
            fault=Fault.NAME_CONSTRAINTS,
        )
    return permitting


def _why_forbidden(path: Path, names: AlternativeNames | None) -> str | None:
    below = [names] if names else []
    for certificate in path.certificates:
        if constraints := certificate.extensions.name_constraints:
            for each in below:
                if why := constraints.why_forbidden(each.dns_names, each.uris):
                    return f'{why} (name constraints of "{shown(certificate)}")'
        if certificate.extensions.alternative_names:
            below.append(certificate.extensions.alternative_names)
    return None


class _Search:
    """Depth first, anchors before intermediates; remembers the first rejection, as the reason if nothing is found."""

    def __init__(
        self,
        intermediates: tuple[Certificate, ...],
        anchors: tuple[Certificate, ...],
        now: dt.datetime,
        authorities_below: int,
    ) -> None:
        self.found: list[Path] = []
        self.refusal: InvalidBundleError | None = None
        self.hint = ""
        self._now = now
        self._authorities_below = authorities_below
        self._checks = 0
        self._candidates = [(each.subject, each, True) for each in anchors]
        self._candidates += [(each.subject, each, False) for each in intermediates]

    def extend(self, path: tuple[Certificate, ...]) -> None:
        wanted = path[-1].issuer
        for subject, candidate, is_anchor in self._candidates:
            if subject != wanted:
                continue
            self._checks += 1
            if self._checks > MAX_SIGNATURE_CHECKS:
                limit = "x509: signature check attempts limit reached while verifying the chain"
                self.refusal = self.refusal or InvalidBundleError(limit, fault=Fault.NO_PATH)
                return
            if any(is_same_entity(candidate, each) for each in path):
                continue
            if not self._fits(path, candidate, is_anchor=is_anchor):
                continue
            if is_anchor:
                self.found.append(Path((*path, candidate)))
            else:
                self.extend((*path, candidate))

    def _fits(self, path: tuple[Certificate, ...], candidate: Certificate, *, is_anchor: bool) -> bool:
        try:
            check_signed_by(path[-1], candidate)
        except InvalidSignature as error:
            self.hint = self.hint or (
                f' (possibly because of "{error}" while trying to verify candidate authority certificate '
                f'"{shown(candidate)}")'
            )
            return False
        try:
            below = len(path) + self._authorities_below
            _check(candidate, below, self._now, Part.ANCHORS if is_anchor else Part.CHAIN)
            if not is_anchor:
                _check_marked_as_ca(candidate)
        except InvalidBundleError as error:
            self.refusal = self.refusal or error
            return False
        return True


def _check(certificate: Certificate, authorities_below: int, now: dt.datetime, part: Part) -> None:
    for oid in certificate.extensions.unhandled_critical:
        raise InvalidBundleError(f"x509: unhandled critical extension {oid}", part, fault=Fault.NO_PATH)
    if now < certificate.not_before:
        text = _wrong_time(now, "before", certificate.not_before)
        raise NotYetValidError(text, part, valid_from=certificate.not_before)
    if now > certificate.not_after:
        raise InvalidBundleError(_wrong_time(now, "after", certificate.not_after), part, fault=Fault.EXPIRED)
    constraints = certificate.extensions.basic_constraints
    if constraints is not None and constraints.path_length is not None and authorities_below > constraints.path_length:
        raise InvalidBundleError("x509: too many intermediates for path length constraint", fault=Fault.PATH_LENGTH)


def _check_marked_as_ca(intermediate: Certificate) -> None:
    """Checks that an intermediate is marked as CA; an anchor of version 1 need not be."""
    if intermediate.extensions.basic_constraints is None:
        raise InvalidBundleError("x509: certificate is not authorized to sign other certificates", fault=Fault.NO_PATH)


def _wrong_time(now: dt.datetime, relation: str, limit: dt.datetime) -> str:
    return (
        "x509: certificate has expired or is not yet valid: "
        f"current time {now.astimezone(dt.UTC):%Y-%m-%dT%H:%M:%SZ} is {relation} {limit:%Y-%m-%dT%H:%M:%SZ}"
    )


def _serves_tls(certificate: Certificate) -> bool:
    """Returns whether extended key usage, which Go nests from the anchor down, permits serverAuth."""
    usages = certificate.extensions.extended_key_usage
    return usages is None or SERVER_AUTH in usages or ANY_EXTENDED_KEY_USAGE in usages
