"""Roles and signers of the certificates of a trust bundle: the bundle as a tree, without keys."""

import datetime as dt
from collections.abc import Collection, Iterable, Sequence

import msgspec

from sentry_trio.ca.certificates import Certificate, fingerprint, has_signed, is_same_entity
from sentry_trio.ca.distinguished_names import shown_name
from sentry_trio.ca.paths import MAX_SIGNATURE_CHECKS, path_end


class Link(msgspec.Struct, frozen=True):
    """Certificate and its signer.

    Attributes:
        role: one of `roles_of`, or `serving`.
        subject: its subject (RFC 4514); of a serving certificate its SPIFFE ID.
        fingerprint: SHA-256 over its DER, in hexadecimal digits.
        not_before: first second of its validity, UTC.
        not_after: last second of its validity, UTC.
        signed_by: fingerprint of the certificate above it; None for anchors, and if no known one has signed it.
    """

    role: str
    subject: str
    fingerprint: str
    not_before: dt.datetime
    not_after: dt.datetime
    signed_by: str | None = None


def roles_of(
    anchors: Sequence[Certificate], chain: Sequence[Certificate], own_roots: Collection[str] = ()
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Returns the roles of the anchors and of the chain.

    Certificates of former generations have roles of their own, because their expiry has no effect. `former` anchors are
    roots made here that a newer one has replaced. The `bridge` is the part of the chain from the first
    cross-certificate of an anchor on; it serves clients that do not know that anchor yet. The others are `anchor`,
    `issuer` and `intermediate`.

    Args:
        anchors: the trust anchors.
        chain: the signing certificate first.
        own_roots: fingerprints of the roots made here.
    """
    crosses = [any(is_same_entity(each, anchor) for anchor in anchors) for each in chain[1:]]
    bridge = crosses.index(True) + 1 if True in crosses else len(chain)
    top = chain[bridge - 1]
    candidates = [each for each in anchors if each.subject == top.issuer][:MAX_SIGNATURE_CHECKS]
    roots = [each for each in candidates if has_signed(each, top)]
    newest = max((each.not_before for each in roots), default=None)

    def is_former(anchor: Certificate) -> bool:
        return (
            newest is not None
            and anchor.not_before < newest
            and anchor not in roots
            and fingerprint(anchor) in own_roots
        )

    of_anchors = tuple("former" if is_former(each) else "anchor" for each in anchors)
    return of_anchors, ("issuer", *("bridge" if index >= bridge else "intermediate" for index in range(1, len(chain))))


def root_ends(
    anchors: Sequence[Certificate], chain: Sequence[Certificate], own_roots: Iterable[str], now: dt.datetime
) -> dict[str, dt.datetime]:
    """Returns the times from which clients with only one root made here reject certificates of the chain's issuer.

    Args:
        anchors: the trust anchors.
        chain: the signing certificate first.
        own_roots: fingerprints of the roots made here.
        now: the current time, aware; also the result for roots with which nothing verifies now.
    """
    known = {fingerprint(each): (each,) for each in anchors}
    return {root: path_end(chain, known.get(root, ()), now) or now for root in own_roots}


def lineage(
    anchors: Sequence[Certificate], chain: Sequence[Certificate], own_roots: Collection[str] = ()
) -> tuple[Link, ...]:
    """Returns the anchors, then the chain from its upper end down to the issuer; dates are ignored.

    If there are several signers (a renewed anchor keeps name and key, and a cross-certificate has those of an anchor),
    the anchor that lasts longest is named. The number of checked signatures is limited as in a search for paths.

    Args:
        anchors: the trust anchors.
        chain: the signing certificate first.
        own_roots: fingerprints of the roots made here.
    """
    longest_first = sorted(anchors, key=lambda anchor: anchor.not_after, reverse=True)
    checks_left = MAX_SIGNATURE_CHECKS
    of_anchors, of_chain = roles_of(anchors, chain, own_roots)
    links = [
        _link(role, anchor, shown_name(anchor.subject_name), None)
        for role, anchor in zip(of_anchors, anchors, strict=True)
    ]
    for index in reversed(range(len(chain))):
        each = chain[index]
        above = [other for other in (*longest_first, *chain[index + 1 :]) if other.subject == each.issuer]
        candidates = above[:checks_left]
        signer = next((other for other in candidates if has_signed(other, each)), None)
        checks_left -= len(candidates) if signer is None else 1 + candidates.index(signer)
        links.append(_link(of_chain[index], each, shown_name(each.subject_name), signer))
    return tuple(links)


def serving_link(certificate: Certificate, issuer: Certificate) -> Link:
    """Returns the authority's own certificate, below the issuer that has signed it."""
    alternatives = certificate.extensions.alternative_names
    uris = alternatives.uris if alternatives else ()
    return _link("serving", certificate, " ".join(uris), issuer)


def _link(role: str, certificate: Certificate, subject: str, above: Certificate | None) -> Link:
    return Link(
        role=role,
        subject=subject,
        fingerprint=fingerprint(certificate),
        not_before=certificate.not_before,
        not_after=certificate.not_after,
        signed_by=None if above is None else fingerprint(above),
    )
