"""Certificate signing requests (PKCS#10), accepted and rejected as Dapr Sentry does."""

from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import rsa

from sentry_trio.ca.asn1 import MalformedError, Reader, Tag
from sentry_trio.ca.keys import read_public_key
from sentry_trio.ca.parsing import parsing
from sentry_trio.ca.pem import first_block
from sentry_trio.ca.signatures import verify_signature
from sentry_trio.errors import InvalidCSRError

# Old clients send their request as CERTIFICATE; Dapr Sentry 1.18 still accepts it.
_LABELS = frozenset({"CERTIFICATE REQUEST", "CERTIFICATE"})
# Go's TLS accepts no certificate with a longer one, and verifying a signature takes up to 3 ms with one of 16,384.
_LONGEST_RSA_BITS: Final = 8192


def read_csr(pem: bytes) -> bytes:
    """Reads the first PEM block as a request and verifies its signature with its own key (RFC 2986, 4).

    Only the public key is used, so subject and attributes are not checked: some requests that Dapr Sentry 1.18 rejects
    are accepted. Keys may be RSA of 1024 to 8192 bits, ECDSA on P-224 to P-521, and Ed25519. SHA-1 is accepted, as by
    Dapr Sentry 1.18: the signed certificate does not depend on it.

    Returns:
        The SubjectPublicKeyInfo of the request, in the one encoding that DER has for it.

    Raises:
        InvalidCSRError: with Dapr Sentry's texts: `invalid certificate signing request`, `failed to parse certificate
            signing request: <reason>`, `invalid signature`.
    """
    block = first_block(pem)
    if block is None or block.label not in _LABELS:
        raise InvalidCSRError("invalid certificate signing request")
    with parsing(_unreadable):
        signed, algorithm, signature, info = _split(block.der)
        key, canonical = read_public_key(info)
        if key is None:
            raise InvalidCSRError("invalid signature")
        if isinstance(key, rsa.RSAPublicKey) and key.key_size > _LONGEST_RSA_BITS:
            raise MalformedError(f"its RSA key has {key.key_size} bits; at most {_LONGEST_RSA_BITS} are possible")
        try:
            verify_signature(signed, algorithm, signature, key, allow_sha1=True)
        except InvalidSignature as error:
            raise InvalidCSRError("invalid signature") from error
        return canonical


def _unreadable(why: str) -> InvalidCSRError:
    return InvalidCSRError(f"failed to parse certificate signing request: {why}")


def _split(der: bytes) -> tuple[bytes, bytes, bytes, bytes]:
    """Returns the signed part, the algorithm, the signature and the public key, unread."""
    outer = Reader(der)
    request = outer.inside("the request")
    if outer:
        raise MalformedError("asn1: syntax error: trailing data")
    signed = request.element("certificationRequestInfo", Tag.SEQUENCE)
    algorithm = request.element("signatureAlgorithm", Tag.SEQUENCE)
    signature = request.octets_of_bits("the signature")
    fields = Reader(signed).inside("certificationRequestInfo")
    fields.integer("version")
    fields.element("subject", Tag.SEQUENCE)
    info = fields.element("subjectPKInfo", Tag.SEQUENCE)
    return signed, algorithm, signature, info
