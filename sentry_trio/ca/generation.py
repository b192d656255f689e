"""Next generation of a certificate authority: a new root that the current issuer cross-signs, and a new issuer.

Clients get their trust anchors at different times, so two clients may hold different ones. Certificates of the new
issuer I2 are served with the chain `[I2, R2x, I1]`. R2x holds subject and key of the new root R2 and is signed by the
current issuer I1. A client that holds only the current root verifies I2, R2x, I1, R1; one that holds only R2 verifies
I2, R2. R2 and not I2 is cross-signed because Dapr Sentry requires a chain in which each certificate signs the one
before it.
"""

import datetime as dt
from collections.abc import Collection, Sequence
from itertools import takewhile
from typing import Final

import msgspec

from sentry_trio.ca.bundle import StoredBundle, TrustBundle, verify
from sentry_trio.ca.certificates import Certificate, fingerprint, has_signed, write_certificates
from sentry_trio.ca.compose import organization
from sentry_trio.ca.distinguished_names import ORGANIZATION, first_value
from sentry_trio.ca.extensions import (
    AUTHORITY_KEY_IDENTIFIER,
    BASIC_CONSTRAINTS,
    KEY_USAGE,
    SUBJECT_ALTERNATIVE_NAME,
    SUBJECT_KEY_IDENTIFIER,
)
from sentry_trio.ca.general_names import AlternativeNames
from sentry_trio.ca.generate import NewBundle, Signer, authority_name, certify
from sentry_trio.ca.keys import PrivateKey
from sentry_trio.ca.paths import find_paths
from sentry_trio.ca.pem import tidy, without_blocks
from sentry_trio.ca.spiffe import parse_trust_domain, sentry_id
from sentry_trio.errors import InvalidBundleError, InvalidIdentityError

MAX_CHAIN: Final = 7
"""Largest number of certificates in an issuer chain: 4 KB in each answer, enough for three former generations."""

_ADDED: Final = 2
_SAME_DATES: Final = dt.timedelta(hours=1)
_REQUIRED: Final = frozenset({KEY_USAGE, BASIC_CONSTRAINTS, SUBJECT_KEY_IDENTIFIER})
_FORMER_NAMES: Final = AlternativeNames(dns_names=("cluster.local",), is_empty=False)
"""Names of each issuer that Dapr Sentry 1.12 generated, whatever its trust domain."""


def next_bundle(
    stored: StoredBundle,
    new: NewBundle,
    *,
    now: dt.datetime,
    allowed_clock_skew: dt.timedelta,
    former_roots: Collection[str],
    anchors_kept: int,
    root_key: PrivateKey | None = None,
) -> NewBundle:
    """Returns the bundle of the next generation: its anchors, the chain of its issuer, and the issuer's key.

    The new root comes first among the anchors, because `dapr mtls expiry` looks at the first only. The text behind it
    is unchanged except for removed former roots.

    Args:
        stored: the current bundle.
        new: root and issuer from `generate`.
        now: an aware datetime.
        allowed_clock_skew: time before `now` at which the cross-certificate's validity begins; it ends with the last
            path of the current issuer.
        former_roots: fingerprints of former roots of this authority without valid certificates.
        anchors_kept: number of former roots that stay, the newest first.
        root_key: key of the current root, which then signs the cross-certificate: its validity ends with the current
            root, and the chain is shorter. None if the current issuer signs it.

    Raises:
        InvalidBundleError: the current bundle does not verify, or its issuer cannot sign another CA.
    """
    present = verify(stored, now)
    chain = bridged_chain(
        new.issuer, new.root, present, now=now, allowed_clock_skew=allowed_clock_skew, root_key=root_key
    )
    dropped = _dropped(present, former_roots, anchors_kept)
    anchors = new.anchors + without_blocks(tidy(stored.anchors), dropped)
    return msgspec.structs.replace(new, anchors=anchors, chain=write_certificates(chain))


def bridged_chain(
    issuer: Certificate,
    root: Certificate,
    present: TrustBundle,
    *,
    now: dt.datetime,
    allowed_clock_skew: dt.timedelta,
    root_key: PrivateKey | None = None,
) -> tuple[Certificate, ...]:
    """Returns the chain of a next issuer: with a cross-certificate of its root, and the current chain behind it.

    Args:
        issuer: the next issuer.
        root: the trust anchor that has signed it.
        present: the bundle in use, whose issuer signs the cross-certificate.
        now: an aware datetime.
        allowed_clock_skew: time before `now` at which the cross-certificate's validity begins.
        root_key: key of the current root, which then signs in place of the issuer; None if it is not kept.

    Raises:
        InvalidBundleError: as `bridge_end`.
    """
    present_root = None if root_key is None else direct_root(present)
    if root_key is None or present_root is None:
        signer, end = as_signer(present.issuer, present.key), _cross_end(present, now)
        above = present.chain
    else:
        signer, end = as_signer(present_root, root_key), present_root.not_after
        above = present.chain[1:]
    cross = certify(
        root.subject,
        root.public_key_info,
        signer,
        (now - allowed_clock_skew, end),
        crl_sign=False,
        identifier=root.extensions.subject_key_identifier,
    )
    return (issuer, cross, *unexpired(above, now - allowed_clock_skew))[:MAX_CHAIN]


def as_signer(certificate: Certificate, key: PrivateKey) -> Signer:
    """Returns a root or issuer as the signer of other certificates."""
    return Signer(certificate.subject, key, certificate.extensions.subject_key_identifier)


def bridge_end(present: TrustBundle, now: dt.datetime) -> dt.datetime:
    """Returns the last second in which a root cross-signed by the current issuer would verify.

    Raises:
        InvalidBundleError: no path of the issuer has room for two more CA certificates below it, or none is valid now,
            or the chain above it is too long to be served with two more certificates.
    """
    above = present.chain[1 : MAX_CHAIN - _ADDED]
    paths = find_paths(present.issuer, above, present.anchors, now, authorities_below=_ADDED)
    return max(path.not_after for path in paths)


def _cross_end(present: TrustBundle, now: dt.datetime) -> dt.datetime:
    """Returns the end of a cross-certificate. Clients may hold the issuer's root although it is not published now."""
    end = bridge_end(present, now)
    has_root = any(has_signed(anchor, present.issuer) for anchor in present.anchors)
    return end if has_root else present.issuer.not_after


def bridge_impossible(present: TrustBundle, now: dt.datetime) -> str | None:
    """Returns the reason why the current issuer cannot sign a cross-certificate for a new root, or None."""
    try:
        bridge_end(present, now)
    except InvalidBundleError as error:
        return str(error)
    return None


def unexpired(chain: Sequence[Certificate], now: dt.datetime) -> tuple[Certificate, ...]:
    """Returns the lower part of a chain, up to the first certificate that has expired: no path leads through that."""
    return tuple(takewhile(lambda each: now <= each.not_after, chain))


def direct_root(bundle: TrustBundle) -> Certificate | None:
    """Returns the trust anchor that has signed the issuer itself, or None."""
    return next((each for each in bundle.anchors if has_signed(each, bundle.issuer)), None)


def roots_needed(
    chain: Sequence[Certificate], anchors: Sequence[Certificate], until: dt.datetime
) -> tuple[Certificate, ...]:
    """Returns the nearest trust anchors with which certificates below a chain verify until then.

    Args:
        chain: the issuer first.
        anchors: the trust anchors.
        until: an aware datetime.
    """
    needed: list[Certificate] = []
    for each in chain:
        signers = [anchor for anchor in anchors if has_signed(anchor, each)]
        needed += signers
        if any(anchor.not_after >= until for anchor in signers):
            break
    return tuple(needed)


def _dropped(present: TrustBundle, former_roots: Collection[str], anchors_kept: int) -> frozenset[bytes]:
    """Returns the DER of the former roots that are no longer published; never of a root of the current issuer."""
    needed = roots_needed(present.chain, present.anchors, present.not_after)
    former = [each for each in present.anchors if fingerprint(each) in former_roots and each not in needed]
    newest_first = sorted(former, key=lambda each: each.not_before, reverse=True)
    return frozenset(each.der for each in newest_first[anchors_kept:])


def is_own(bundle: TrustBundle, own_roots: Collection[str], trust_domain: str, namespace: str) -> bool:
    """Returns whether the issuer's root was made here or by Dapr Sentry: it is recorded, or of the exact profile.

    Args:
        bundle: the bundle in use.
        own_roots: fingerprints of roots made here.
        trust_domain: as for `generate`.
        namespace: as for `generate`.
    """
    # If trust anchors were put back, only a former root may be left at the end of a bridge.
    nearest = roots_needed(bundle.chain, bundle.anchors, bundle.not_before)
    identity = sentry_id(parse_trust_domain(trust_domain), namespace)
    return any(fingerprint(root) in own_roots for root in nearest) or generated_for(bundle) == identity


def generated_for(bundle: TrustBundle) -> str | None:
    """Returns the SPIFFE ID that sentry-trio or Dapr Sentry generated a CA for; None if others made it."""
    trust_domain, namespace = identity_of(bundle.issuer)
    if trust_domain is None or namespace is None:
        return None
    identity = sentry_id(trust_domain, namespace)
    is_generated = _has_profile(bundle.issuer, identity, "issuer") and any(
        has_signed(root, bundle.issuer)
        and _has_profile(root, trust_domain, "root")
        and _have_same_dates(root, bundle.issuer)
        for root in bundle.anchors
    )
    return identity if is_generated else None


def identity_of(issuer: Certificate) -> tuple[str | None, str | None]:
    """Returns trust domain and namespace in the subject of an issuer that this program or Dapr Sentry has made."""
    identity = first_value(issuer.subject_name, ORGANIZATION) or ""
    if not identity.startswith("spiffe://"):
        return None, None
    words = identity.split("/")
    try:
        return parse_trust_domain(identity), words[4] if len(words) > 4 else None
    except InvalidIdentityError:
        return None, None


def _has_profile(certificate: Certificate, organization_text: str, kind: str) -> bool:
    """Returns whether subject and extensions are those of `generate` or Dapr Sentry 1.12 to 1.18."""
    key, extensions = certificate.public_key, certificate.extensions
    constraints = extensions.basic_constraints
    optional = {AUTHORITY_KEY_IDENTIFIER}
    if kind == "issuer" and extensions.alternative_names == _FORMER_NAMES:
        optional.add(SUBJECT_ALTERNATIVE_NAME)
    return (
        key is not None
        and certificate.subject in (organization(organization_text), authority_name(organization_text, kind, key))
        and extensions.present - optional == _REQUIRED
        and constraints is not None
        and constraints.path_length is None
    )


def _have_same_dates(root: Certificate, issuer: Certificate) -> bool:
    return (
        abs(root.not_before - issuer.not_before) <= _SAME_DATES
        and abs(root.not_after - issuer.not_after) <= _SAME_DATES
    )
