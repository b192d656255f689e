"""Credentials, keys and requests that both programs get."""

from functools import cache
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

from sentry_trio.ca.bundle import StoredBundle
from sentry_trio.ca.generate import generate
from sentry_trio.ca.jwt_key import generate_jwt_key
from sentry_trio.ca.keys import KeyType
from sentry_trio.proto.sentry_pb2 import SignCertificateRequest
from testkit.authorities import SKEW, wall_clock
from testkit.ca.making import csr_pem

TRUST_DOMAIN = "cluster.local"
NAMESPACE = "dapr-system"


def credentials(bundle: StoredBundle) -> dict[str, bytes]:
    """The files of a trust bundle."""
    return {"ca.crt": bundle.anchors, "issuer.crt": bundle.chain, "issuer.key": bundle.key}


@cache
def good_bundle() -> StoredBundle:
    """A trust bundle that both programs accept."""
    return generate(TRUST_DOMAIN, NAMESPACE, KeyType.P256, now=wall_clock(), allowed_clock_skew=SKEW)


def jwt_files(algorithm: str = "RS256") -> dict[str, bytes]:
    """The files of a JWT signing key."""
    stored = generate_jwt_key(algorithm, None)
    return {"jwt.key": stored.key, "jwks.json": stored.jwks}


@cache
def good_csr() -> bytes:
    """A request as daprd makes them."""
    return csr_pem(ec.generate_private_key(ec.SECP256R1()))


def request(**changed: Any) -> SignCertificateRequest:
    """A request that both programs sign, with some fields changed."""
    good = {"id": "app", "namespace": "default", "certificate_signing_request": good_csr()}
    return SignCertificateRequest(**(good | changed))
