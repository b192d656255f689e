"""Certificate signing requests (PKCS#10), accepted and refused as Dapr Sentry does."""

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

from sentry_trio.ca.der import element_end, parsing, request_key_algorithm
from sentry_trio.ca.keys import PublicKey
from sentry_trio.ca.pem import first_block
from sentry_trio.ca.signatures import public_key, verify_signature
from sentry_trio.errors import InvalidCSRError

# Old clients send their request as CERTIFICATE; Dapr Sentry 1.18 still takes it.
_LABELS = frozenset({"CERTIFICATE REQUEST", "CERTIFICATE"})
_FAILED = "failed to parse certificate signing request: "
_EC_KEY = bytes.fromhex("06072a8648ce3d0201")  # 1.2.840.10045.2.1


def read_csr(pem: bytes) -> x509.CertificateSigningRequest:
    """Read the first PEM block as a request and verify that its signature is that of its own key.

    Nothing but the public key is taken from a request, so its subject and its attributes are not looked at. RSA from
    1024 bits, ECDSA on P-224 to P-521 and Ed25519 are accepted, SHA-1 too: Dapr Sentry 1.18 does so, and what is
    signed for the client does not depend on it.

    Raises:
        InvalidCSRError: with Dapr Sentry's texts: `invalid certificate signing request`, `failed to parse certificate
            signing request: <reason>`, `invalid signature`.
    """
    block = first_block(pem)
    if block is None or block.label not in _LABELS:
        raise InvalidCSRError("invalid certificate signing request")
    with parsing(_unreadable):
        if element_end(block.der) < len(block.der):
            raise InvalidCSRError(f"{_FAILED}asn1: syntax error: trailing data")
        csr = x509.load_der_x509_csr(block.der)
        key = _key(csr)
        if key is None:
            raise InvalidCSRError("invalid signature")
        try:
            verify_signature(csr, key, allow_sha1=True)
        except InvalidSignature as error:
            raise InvalidCSRError("invalid signature") from error
    return csr


def _unreadable(why: str) -> InvalidCSRError:
    return InvalidCSRError(f"{_FAILED}{why}")


def _key(csr: x509.CertificateSigningRequest) -> PublicKey | None:
    """The key, or None if it is of an unknown kind: as in Go, such a request can be read but not verified."""
    try:
        return public_key(csr)
    except UnsupportedAlgorithm as error:
        if request_key_algorithm(csr) == _EC_KEY:
            raise ValueError("x509: unsupported elliptic curve") from error
        return None
