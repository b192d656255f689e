"""The trust bundle: what is kept in the store, and what it is once verified."""

import dataclasses
import datetime as dt
import hashlib
from collections.abc import Iterable

from sentry_trio.ca.certificates import Certificate
from sentry_trio.ca.keys import PrivateKey


@dataclasses.dataclass(frozen=True, slots=True)
class StoredBundle:
    """The three PEM texts as they stand in the store, unread.

    Attributes:
        anchors: the trust anchors.
        chain: the issuer chain, signing certificate first.
        key: the signing certificate's private key; not shown by `repr`.
    """

    anchors: bytes
    chain: bytes
    key: bytes = dataclasses.field(repr=False)


@dataclasses.dataclass(frozen=True, slots=True)
class TrustBundle:
    """Credentials that make a certificate authority; `verify.verify` makes it and has checked all that is said here.

    Attributes:
        anchors: the trust anchors, all self-signed.
        chain: the signing certificate, then those above it; self-signed ones are left out.
        key: the signing certificate's private key; not shown by `repr`.
        anchors_pem: the anchors written anew, without comments; what clients are given.
        chain_pem: the chain written anew; it follows each certificate that is issued.
        not_before: when what the issuer signs begins to verify.
        not_after: when it ceases to: the end of that path to an anchor which lasts longest.
    """

    anchors: tuple[Certificate, ...]
    chain: tuple[Certificate, ...]
    key: PrivateKey = dataclasses.field(repr=False)
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
    """The fingerprint of the trust bundle that is made of these; see `TrustBundle.fingerprint`."""
    digest = hashlib.sha256()
    for certificate in (*anchors, *chain):
        digest.update(certificate.der)
    return digest.hexdigest()
