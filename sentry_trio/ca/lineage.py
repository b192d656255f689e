"""Signers of the certificates: the trust bundle as a tree, without keys."""

import dataclasses
import datetime as dt
from collections.abc import Sequence

from cryptography.exceptions import InvalidSignature

from sentry_trio.ca.certificates import Certificate, check_signed_by, fingerprint
from sentry_trio.ca.distinguished_names import shown_name
from sentry_trio.ca.paths import MAX_SIGNATURE_CHECKS


@dataclasses.dataclass(frozen=True, slots=True)
class Link:
    """One certificate and its signer.

    Attributes:
        role: `anchor`, `intermediate`, `issuer` or `serving`.
        subject: its subject (RFC 4514); of a serving certificate its SPIFFE ID.
        fingerprint: SHA-256 over its DER, in hexadecimal digits.
        not_before: when it begins to be valid, UTC.
        not_after: the last second in which it is valid, UTC.
        signed_by: fingerprint of the one above it; None for anchors, and where none of those at hand has signed it.
    """

    role: str
    subject: str
    fingerprint: str
    not_before: dt.datetime
    not_after: dt.datetime
    signed_by: str | None = None


def lineage(anchors: Sequence[Certificate], chain: Sequence[Certificate]) -> tuple[Link, ...]:
    """Returns the anchors, then the chain from its upper end down to the issuer; dates are not looked at.

    Of several anchors that have signed a certificate (a renewed one keeps name and key) the one that lasts longest is
    named. After as many signatures as a search for paths checks, no more are looked for.

    Args:
        anchors: the trust anchors.
        chain: the signing certificate first.
    """
    longest_first = sorted(anchors, key=lambda anchor: anchor.not_after, reverse=True)
    checks_left = MAX_SIGNATURE_CHECKS
    links = [_link("anchor", anchor, shown_name(anchor.subject_name), None) for anchor in anchors]
    for index in reversed(range(len(chain))):
        each = chain[index]
        above = [other for other in (*chain[index + 1 :], *longest_first) if other.subject == each.issuer]
        candidates = above[:checks_left]
        signer = next((other for other in candidates if _has_signed(other, each)), None)
        checks_left -= len(candidates) if signer is None else 1 + candidates.index(signer)
        links.append(_link("intermediate" if index else "issuer", each, shown_name(each.subject_name), signer))
    return tuple(links)


def serving_link(certificate: Certificate, issuer: Certificate) -> Link:
    """Returns the authority's own certificate, below the issuer that has signed it."""
    alternatives = certificate.extensions.alternative_names
    uris = alternatives.uris if alternatives else ()
    return _link("serving", certificate, " ".join(uris), issuer)


def _has_signed(signer: Certificate, certificate: Certificate) -> bool:
    try:
        check_signed_by(certificate, signer)
    except InvalidSignature:
        return False
    return True


def _link(role: str, certificate: Certificate, subject: str, above: Certificate | None) -> Link:
    return Link(
        role=role,
        subject=subject,
        fingerprint=fingerprint(certificate),
        not_before=certificate.not_before,
        not_after=certificate.not_after,
        signed_by=None if above is None else fingerprint(above),
    )
