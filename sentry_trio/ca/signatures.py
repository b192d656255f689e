"""Signatures on certificates and requests: the algorithms and rules of Go's crypto/x509.

All Dapr components verify with it. An algorithm that it does not have (SHA-224, SHA-3, Ed448, DSA) is rejected.
"""

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Final, TypeAlias

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

from sentry_trio.ca.asn1 import NULL, MalformedError, Reader, Tag, context, encode, encode_object_identifier
from sentry_trio.ca.keys import ED25519, PrivateKey, PublicKey

Hash: TypeAlias = hashes.SHA1 | hashes.SHA256 | hashes.SHA384 | hashes.SHA512

_SHA1, _SHA256, _SHA384, _SHA512 = hashes.SHA1(), hashes.SHA256(), hashes.SHA384(), hashes.SHA512()  # noqa: S303 - SHA-1 is recognised to be rejected, or allowed in requests
_RSA: dict[str, Hash] = {
    "1.2.840.113549.1.1.5": _SHA1,
    "1.3.14.3.2.29": _SHA1,
    "1.2.840.113549.1.1.11": _SHA256,
    "1.2.840.113549.1.1.12": _SHA384,
    "1.2.840.113549.1.1.13": _SHA512,
}
_ECDSA_SHA1 = ec.ECDSA(_SHA1)
_ECDSA = {
    "1.2.840.10045.4.1": _ECDSA_SHA1,
    "1.2.840.10045.4.3.2": ec.ECDSA(_SHA256),
    "1.2.840.10045.4.3.3": ec.ECDSA(_SHA384),
    "1.2.840.10045.4.3.4": ec.ECDSA(_SHA512),
}
_RSA_PSS = "1.2.840.113549.1.1.10"
_MGF1 = "1.2.840.113549.1.1.8"
_PSS_HASHES: dict[str, Hash] = {
    "2.16.840.1.101.3.4.2.1": _SHA256,
    "2.16.840.1.101.3.4.2.2": _SHA384,
    "2.16.840.1.101.3.4.2.3": _SHA512,
}
# CPU times in seconds, rounded up from measurements; that of RSA grows with the third power of the bits.
_RSA_2048_SECONDS: Final = 0.0004
_OTHER_SECONDS: Final = 0.0002
_FIELD = "the signature algorithm"
_LONGEST_REMEMBERED = 128  # octets of an algorithm identifier; with PSS it has about 70


def verify_signature(
    signed: bytes, algorithm: bytes, signature: bytes, key: PublicKey, *, allow_sha1: bool = False
) -> None:
    """Verifies a signature.

    RSA keys must have 1024 bits or more and a public exponent below 2^31. PSS is accepted only with one hash throughout
    and a salt of its length. MD5 is never accepted.

    Args:
        signed: the signed bytes.
        algorithm: the algorithm identifier with tag and length.
        signature: the signature.
        key: the signer's public key.
        allow_sha1: true to accept SHA-1. Go, and so Dapr Sentry, accepts it in requests only.

    Raises:
        InvalidSignature: it is not valid; the text has the reason.
    """
    try:
        kind, parameters = _read_algorithm(algorithm)
        if isinstance(key, ec.EllipticCurvePublicKey):
            ecdsa = _ECDSA[kind]
            _check_hash(is_sha1=ecdsa is _ECDSA_SHA1, allow_sha1=allow_sha1)
            key.verify(signature, signed, ecdsa)
        elif isinstance(key, rsa.RSAPublicKey):
            _check_strength(key)
            scheme, hashing = _rsa_scheme(kind, parameters)
            _check_hash(is_sha1=hashing is _SHA1, allow_sha1=allow_sha1)
            key.verify(signature, signed, scheme, hashing)
        else:
            _check_ed25519(kind, parameters)
            key.verify(signature, signed)
    except KeyError as error:
        raise InvalidSignature(f"signature algorithm {error.args[0]} does not fit the signer's key") from error
    except InvalidSignature as error:
        raise InvalidSignature(str(error) or "the signature does not fit the signer's key") from error
    except ValueError as error:
        raise InvalidSignature(f"the signature cannot be verified: {' '.join(str(error).split())}") from error


def signer_of(key: PrivateKey) -> Callable[[bytes], bytes]:
    """Returns a function that signs bytes with the algorithm that `algorithm_of` names."""
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key.sign
    if isinstance(key, rsa.RSAPrivateKey):
        return partial(key.sign, padding=padding.PKCS1v15(), algorithm=_SHA256)
    return partial(key.sign, signature_algorithm=_ECDSA[_ecdsa_algorithm(key)])


def signing_seconds(key: PrivateKey) -> float:
    """Returns the approximate CPU time of a signature, in seconds.

    A thread does not help against long ones: OpenSSL is called with Python's global lock held.
    """
    if isinstance(key, rsa.RSAPrivateKey):
        return _RSA_2048_SECONDS * (key.key_size / 2048) ** 3
    return _OTHER_SECONDS


def algorithm_of(key: PrivateKey) -> bytes:
    """Returns the algorithm identifier with which a key signs certificates, as Go chooses it, with tag and length."""
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return encode(Tag.SEQUENCE, encode_object_identifier(ED25519))
    if isinstance(key, rsa.RSAPrivateKey):
        return encode(Tag.SEQUENCE, encode_object_identifier("1.2.840.113549.1.1.11"), NULL)
    return encode(Tag.SEQUENCE, encode_object_identifier(_ecdsa_algorithm(key)))


def _ecdsa_algorithm(key: ec.EllipticCurvePrivateKey) -> str:
    if key.curve.key_size <= 256:
        return "1.2.840.10045.4.3.2"
    return "1.2.840.10045.4.3.3" if key.curve.key_size == 384 else "1.2.840.10045.4.3.4"


def _read_algorithm(identifier: bytes) -> tuple[str, bytes]:
    """Returns object identifier and parameters; the latter are empty if there are none."""
    # The bytes are untrusted, so nothing longer than the identifiers in use is kept in memory.
    return _remembered(identifier) if len(identifier) <= _LONGEST_REMEMBERED else _split(identifier)


def _split(identifier: bytes) -> tuple[str, bytes]:
    reader = Reader(identifier).inside(_FIELD)
    return reader.algorithm(_FIELD), reader.element(_FIELD) if reader else b""


_remembered = lru_cache(maxsize=64)(_split)


def _check_ed25519(kind: str, parameters: bytes) -> None:
    if kind != ED25519 or parameters:
        raise InvalidSignature(f"signature algorithm {kind} does not fit the signer's key")


def _check_strength(key: rsa.RSAPublicKey) -> None:
    if key.key_size < 1024:
        raise InvalidSignature("the signer's RSA key has less than 1024 bits")
    if not 1 < key.public_numbers().e < 2**31:
        raise InvalidSignature("the signer's RSA key has a public exponent out of bounds")


def _check_hash(*, is_sha1: bool, allow_sha1: bool) -> None:
    if is_sha1 and not allow_sha1:
        raise InvalidSignature("signatures over SHA-1 are insecure")


def _rsa_scheme(kind: str, parameters: bytes) -> tuple[padding.AsymmetricPadding, Hash]:
    if kind != _RSA_PSS:
        return padding.PKCS1v15(), _RSA[kind]
    try:
        hashing = _PSS_HASHES[_read_pss_parameters(parameters)]
    except (KeyError, MalformedError) as error:
        raise InvalidSignature(
            "PSS is supported only with one of SHA-256, SHA-384 and SHA-512 throughout and a salt of its length"
        ) from error
    return padding.PSS(padding.MGF1(hashing), hashing.digest_size), hashing


def _read_pss_parameters(der: bytes) -> str:
    """Returns the hash's object identifier if the mask has the same hash and the salt its length (RFC 4055, 3.1).

    Raises:
        MalformedError: the parameters differ, or leave one of these to its default, SHA-1.
    """
    parameters = Reader(der).inside("the PSS parameters")
    hashing = _read_hash(parameters.inside("the PSS hash", context(0, constructed=True)).element("the PSS hash"))
    mask = parameters.inside("the PSS mask", context(1, constructed=True)).inside("the PSS mask")
    if mask.algorithm("the PSS mask") != _MGF1 or _read_hash(mask.element("the PSS mask hash")) != hashing:
        raise MalformedError("the PSS mask has another hash")
    salt = parameters.inside("the PSS salt length", context(2, constructed=True)).integer("the PSS salt length")
    if hashing in _PSS_HASHES and salt != _PSS_HASHES[hashing].digest_size:
        raise MalformedError("the PSS salt has another length than the hash")
    trailer = context(3, constructed=True)
    if parameters.next_is(trailer) and parameters.inside("the PSS trailer", trailer).integer("the PSS trailer") != 1:
        raise MalformedError("the PSS trailer is unknown")
    return hashing


def _read_hash(identifier: bytes) -> str:
    kind, parameters = _read_algorithm(identifier)
    if parameters not in (b"", NULL):
        raise MalformedError("the hash has parameters")
    return kind
