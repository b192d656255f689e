"""Trust bundle: as stored, and as verified, in Dapr Sentry's order and words."""

import datetime as dt
import hashlib
import itertools
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from cryptography.exceptions import InvalidSignature

from sentry_trio.ca.certificates import (
    Certificate,
    check_signed_by,
    is_self_signed,
    read_certificates,
    why_no_issuer,
    write_certificates,
)
from sentry_trio.ca.general_names import AlternativeNames
from sentry_trio.ca.keys import PrivateKey, public_key_info, read_private_key
from sentry_trio.ca.parsing import parsing
from sentry_trio.ca.paths import Path, find_paths
from sentry_trio.discreet import Discreet
from sentry_trio.errors import Fault, InvalidBundleError, Part


class StoredBundle(Discreet, frozen=True):
    """The three PEM texts as they are stored, not parsed.

    Attributes:
        anchors: the trust anchors.
        chain: the issuer chain, signing certificate first.
        key: the signing certificate's private key; not shown by `repr`.
    """

    UNSHOWN = frozenset({"key"})

    anchors: bytes
    chain: bytes
    key: bytes


class TrustBundle(Discreet, frozen=True):
    """Credentials that make a certificate authority; made and checked by `verify.verify`.

    Attributes:
        anchors: the trust anchors, all self-signed.
        chain: the signing certificate, then those above it, without self-signed ones.
        key: the signing certificate's private key; not shown by `repr`.
        anchors_pem: the anchors re-encoded, without comments, as clients get them.
        chain_pem: the chain re-encoded; it is appended to each issued certificate.
        not_before: begin of the time in which certificates of the issuer verify.
        not_after: end of that time: the last end of a path to an anchor.
    """

    UNSHOWN = frozenset({"key"})

    anchors: tuple[Certificate, ...]
    chain: tuple[Certificate, ...]
    key: PrivateKey
    anchors_pem: bytes
    chain_pem: bytes
    not_before: dt.datetime
    not_after: dt.datetime

    @property
    def issuer(self) -> Certificate:
        """The signing certificate."""
        return self.chain[0]

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the DER of anchors and chain, in hexadecimal digits; names the bundle in logs and health."""
        return fingerprint_of(self.anchors, self.chain)


def fingerprint_of(anchors: Iterable[Certificate], chain: Iterable[Certificate]) -> str:
    """Returns the fingerprint of the trust bundle with these anchors and chain; see `TrustBundle.fingerprint`."""
    digest = hashlib.sha256()
    for certificate in (*anchors, *chain):
        digest.update(certificate.der)
    return digest.hexdigest()


def verify(stored: StoredBundle, now: dt.datetime, names: AlternativeNames | None = None) -> TrustBundle:
    """Reads and verifies a trust bundle.

    Dapr Sentry 1.18 accepts a signing certificate that is marked as CA or has keyCertSign. No certificate of an issuer
    without both would verify, so both are required here.

    Args:
        stored: the stored bundle.
        now: an aware datetime; all certificates on a path must be valid then.
        names: names that certificates of this authority will have, which name constraints must permit; None to check
            none.

    Raises:
        InvalidBundleError: `failed to verify CA bundle: <reason>`, with Dapr Sentry's text for the reason; `parts`
            names the faulty parts, at least one.
    """
    with _blaming(Part.ANCHORS):
        anchors = _read_anchors(stored.anchors)
    with _blaming(Part.CHAIN):
        chain = _read_chain(stored.chain)
    with _blaming(Part.KEY):
        key = read_private_key(stored.key)
    with _blaming(Part.CHAIN, Part.KEY):
        _check_key(key, chain[0])
    paths = _paths(anchors, chain, now, names)
    longest = max(paths, key=lambda path: (path.not_after, -path.not_before.timestamp()))
    return TrustBundle(
        anchors=anchors,
        chain=chain,
        key=key,
        anchors_pem=write_certificates(anchors),
        chain_pem=write_certificates(chain),
        not_before=longest.not_before,
        not_after=longest.not_after,
    )


def verify_public(anchors_pem: bytes, chain_pem: bytes, now: dt.datetime) -> None:
    """Verifies a trust bundle without its key, for observers that may not read the key.

    Args:
        anchors_pem: the trust anchors.
        chain_pem: the issuer chain, signing certificate first.
        now: an aware datetime.

    Raises:
        InvalidBundleError: as `verify`.
    """
    with _blaming(Part.ANCHORS):
        anchors = _read_anchors(anchors_pem)
    with _blaming(Part.CHAIN):
        chain = _read_chain(chain_pem)
    _paths(anchors, chain, now)


def _paths(
    anchors: tuple[Certificate, ...],
    chain: tuple[Certificate, ...],
    now: dt.datetime,
    names: AlternativeNames | None = None,
) -> list[Path]:
    with _blaming(Part.CHAIN, Part.ANCHORS, step="issuer chain does not belong to trust anchors: "):
        return find_paths(chain[0], chain[1:], anchors, now, names)


@contextmanager
def _blaming(*parts: Part, step: str = "") -> Iterator[None]:
    """Adds the faulty parts of the bundle to an error in the block, unless the error names them already."""
    try:
        with parsing(InvalidBundleError):
            yield
    except InvalidBundleError as error:
        text = f"failed to verify CA bundle: {step}{error}"
        raise InvalidBundleError(text, *(error.parts or parts), fault=error.fault or Fault.UNREADABLE) from error


def _read_anchors(pem: bytes) -> tuple[Certificate, ...]:
    try:
        anchors = read_certificates(pem, role="trust anchors")
    except InvalidBundleError as error:
        raise InvalidBundleError(f"failed to decode trust anchors: {error}", fault=error.fault) from error
    for anchor in anchors:
        try:
            check_signed_by(anchor, anchor)
        except InvalidSignature as error:
            text = f"certificate in trust anchor is not self-signed: {error}"
            raise InvalidBundleError(text, fault=Fault.NOT_SELF_SIGNED) from error
    return tuple(anchors)


def _read_chain(pem: bytes) -> tuple[Certificate, ...]:
    """Reads the chain; self-signed certificates are left out, as clients get the trust anchors separately."""
    chain = read_certificates(pem, role="issuer chain")
    for number, (child, parent) in enumerate(itertools.pairwise(chain), start=1):
        try:
            check_signed_by(child, parent)
        except InvalidSignature as error:
            raise InvalidBundleError(
                f"certificate chain is not valid: certificate {number} is not signed by the one after it: {error}",
                fault=Fault.CHAIN_ORDER,
            ) from error
    _check_issuer(chain[0])
    kept = tuple(certificate for certificate in chain if not is_self_signed(certificate))
    if not kept:
        raise InvalidBundleError("issuer chain is empty after re-encoding", fault=Fault.CHAIN_ORDER)
    if kept[0] is not chain[0]:
        text = "the signing certificate, first in the issuer chain, is self-signed"
        raise InvalidBundleError(text, fault=Fault.CHAIN_ORDER)
    return kept


def _check_issuer(issuer: Certificate) -> None:
    why = why_no_issuer(issuer)
    if why is None and issuer.extensions.basic_constraints is None:
        why = "it is of X.509 version 1, which has no CA certificates"
    if why is not None:
        text = f"intermediate certificate is not valid for signing: {why}"
        raise InvalidBundleError(text, fault=Fault.NOT_CA)


def _check_key(key: PrivateKey, issuer: Certificate) -> None:
    if issuer.public_key is None or public_key_info(key.public_key()) != public_key_info(issuer.public_key):
        raise InvalidBundleError("issuer key does not match issuer certificate", fault=Fault.KEY_MISMATCH)
