"""Signatures on certificates and requests: which algorithms count, by the rules of Go's crypto/x509.

All Dapr components verify with it. An algorithm that it does not have (SHA-224, SHA-3, Ed448, DSA) is no signature.
"""

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.x509.oid import PublicKeyAlgorithmOID, SignatureAlgorithmOID

from sentry_trio.ca.der import UNREADABLE, reason, request_key_algorithm
from sentry_trio.ca.keys import CURVES, PublicKey

_SHA1_OF_ISO = x509.ObjectIdentifier("1.3.14.3.2.29")
_PSS_KEY = bytes.fromhex("06092a864886f70d01010a")  # 1.2.840.113549.1.1.10
_RSA: dict[x509.ObjectIdentifier, hashes.HashAlgorithm] = {
    SignatureAlgorithmOID.RSA_WITH_SHA1: hashes.SHA1(),  # noqa: S303 - recognised to be refused, or allowed in requests
    _SHA1_OF_ISO: hashes.SHA1(),  # noqa: S303 - as above
    SignatureAlgorithmOID.RSA_WITH_SHA256: hashes.SHA256(),
    SignatureAlgorithmOID.RSA_WITH_SHA384: hashes.SHA384(),
    SignatureAlgorithmOID.RSA_WITH_SHA512: hashes.SHA512(),
}
_ECDSA: dict[x509.ObjectIdentifier, hashes.HashAlgorithm] = {
    SignatureAlgorithmOID.ECDSA_WITH_SHA1: hashes.SHA1(),  # noqa: S303 - as above
    SignatureAlgorithmOID.ECDSA_WITH_SHA256: hashes.SHA256(),
    SignatureAlgorithmOID.ECDSA_WITH_SHA384: hashes.SHA384(),
    SignatureAlgorithmOID.ECDSA_WITH_SHA512: hashes.SHA512(),
}
_EDDSA = {SignatureAlgorithmOID.ED25519: None}
_PSS_HASHES = (hashes.SHA256, hashes.SHA384, hashes.SHA512)

Signed = x509.Certificate | x509.CertificateSigningRequest


def public_key(holder: Signed) -> PublicKey:
    """The public key of a certificate or request, if it is of a kind that Go verifies with.

    Raises:
        UnsupportedAlgorithm: it is not RSA, ECDSA on a NIST curve or Ed25519; or it is RSA bound to PSS.
        ValueError: it cannot be read.
    """
    key = holder.public_key()
    if isinstance(key, rsa.RSAPublicKey) and _is_bound_to_pss(holder):
        raise UnsupportedAlgorithm("RSA keys bound to PSS are not supported")
    if isinstance(key, rsa.RSAPublicKey | ed25519.Ed25519PublicKey):
        return key
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, CURVES):
        return key
    raise UnsupportedAlgorithm("only RSA, Ed25519 and ECDSA keys on P-224, P-256, P-384 and P-521 are supported")


def verify_signature(signed: Signed, key: PublicKey, *, allow_sha1: bool = False) -> None:
    """Verify the signature on a certificate or request under a key.

    RSA keys must have 1024 bits or more and a public exponent below 2^31; PSS counts only with a salt as long as the
    hash. MD5 never counts.

    Args:
        signed: the certificate or request.
        key: whose signature it should be.
        allow_sha1: whether SHA-1 counts. Go, and so Dapr Sentry, lets it count in requests only.

    Raises:
        InvalidSignature: it is not valid; the text says why, where more is known than that it does not fit.
    """
    oid = signed.signature_algorithm_oid
    try:
        if isinstance(key, rsa.RSAPublicKey):
            _check_strength(key)
            scheme, algorithm = _rsa_scheme(signed)
            _check_hash(algorithm, allow_sha1=allow_sha1)
            key.verify(signed.signature, _body(signed), scheme, algorithm)
        elif isinstance(key, ec.EllipticCurvePublicKey):
            _check_hash(_ECDSA[oid], allow_sha1=allow_sha1)
            key.verify(signed.signature, _body(signed), ec.ECDSA(_ECDSA[oid]))
        else:
            _ = _EDDSA[oid]
            key.verify(signed.signature, _body(signed))
    except KeyError as error:
        raise InvalidSignature(f"signature algorithm {oid.dotted_string} is not one for the signer's key") from error
    except InvalidSignature as error:
        why = reason(error) if error.args else "the signature does not fit the signer's key"
        raise InvalidSignature(why) from error
    except UNREADABLE as error:
        raise InvalidSignature(f"the signature cannot be verified: {reason(error)}") from error


def _is_bound_to_pss(holder: Signed) -> bool:
    if isinstance(holder, x509.Certificate):
        return holder.public_key_algorithm_oid == PublicKeyAlgorithmOID.RSASSA_PSS
    return request_key_algorithm(holder) == _PSS_KEY


def _body(signed: Signed) -> bytes:
    return signed.tbs_certificate_bytes if isinstance(signed, x509.Certificate) else signed.tbs_certrequest_bytes


def _check_strength(key: rsa.RSAPublicKey) -> None:
    if key.key_size < 1024:
        raise InvalidSignature("the signer's RSA key has less than 1024 bits")
    if not 1 < key.public_numbers().e < 2**31:
        raise InvalidSignature("the signer's RSA key has a public exponent out of bounds")


def _check_hash(algorithm: hashes.HashAlgorithm, *, allow_sha1: bool) -> None:
    if isinstance(algorithm, hashes.SHA1) and not allow_sha1:
        raise InvalidSignature("signatures over SHA-1 are insecure")


def _rsa_scheme(signed: Signed) -> tuple[padding.AsymmetricPadding, hashes.HashAlgorithm]:
    if signed.signature_algorithm_oid != SignatureAlgorithmOID.RSASSA_PSS:
        return padding.PKCS1v15(), _RSA[signed.signature_algorithm_oid]
    algorithm = signed.signature_hash_algorithm
    if not isinstance(algorithm, _PSS_HASHES):
        raise InvalidSignature("PSS is supported with SHA-256, SHA-384 and SHA-512 only")
    scheme = padding.PSS(padding.MGF1(algorithm), algorithm.digest_size)
    if signed.signature_algorithm_parameters != scheme:
        raise InvalidSignature("PSS is supported with one hash throughout and a salt as long as it only")
    return scheme, algorithm
