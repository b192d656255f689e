"""An OIDC server over TLS, from real files, and tokens that its key set verifies."""

import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import jwt
import trio
import trustme
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import get_default_algorithms
from msgspec.structs import replace

from sentry_trio.ca.published import PublishedKeys
from sentry_trio.component_settings import make_oidc_server
from sentry_trio.listener import Address
from sentry_trio.oidc.server import OidcServer
from sentry_trio.settings.command_line import parse_options
from sentry_trio.telemetry.metrics import Metrics
from sentry_trio.web.health import Health

AUTHORITY = trustme.CA()

SigningKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


@dataclass(frozen=True)
class Served:
    server: OidcServer
    address: Address
    health: Health
    metrics: Metrics


def write_pair(directory: Path, authority: trustme.CA = AUTHORITY) -> trustme.LeafCert:
    """A certificate for localhost and its key, each put in place by a rename."""
    identity = authority.issue_cert("localhost")
    for name, blob in (("tls.crt", identity.cert_chain_pems[0]), ("tls.key", identity.private_key_pem)):
        blob.write_to_path(str(directory / f"{name}.new"))
        (directory / f"{name}.new").replace(directory / name)
    return identity


@asynccontextmanager
async def serving(directory: Path, *flags: str, jwt_issuer: str | None = None) -> AsyncIterator[Served]:
    """A server whose TLS files are `tls.crt` and `tls.key` in the directory given."""
    files = (f"--oidc-server-tls-cert-file={directory}/tls.crt", f"--oidc-server-tls-key-file={directory}/tls.key")
    fixed = ("--oidc-enabled", "--oidc-server-listen-address=127.0.0.1", "--oidc-server-listen-port=0")
    options = replace(parse_options([*fixed, *files, *flags], {}), jwt_issuer=jwt_issuer)
    metrics, health = Metrics(), Health()
    server = make_oidc_server(options, metrics=metrics, ready=health.target("oidc-server"))
    async with trio.open_nursery() as nursery:
        yield Served(server, await nursery.start(server.serve), health, metrics)
        nursery.cancel_scope.cancel()


def made_key(algorithm: str) -> SigningKey:
    curves: dict[str, ec.EllipticCurve] = {"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1(), "ES512": ec.SECP521R1()}
    if algorithm == "EdDSA":
        return ed25519.Ed25519PrivateKey.generate()
    if algorithm in curves:
        return ec.generate_private_key(curves[algorithm])
    return rsa.generate_private_key(65537, 2048)


def published(key: SigningKey, algorithm: str, kid: str) -> PublishedKeys:
    jwk = get_default_algorithms()[algorithm].to_jwk(key.public_key(), as_dict=True)
    jwk = {name: value for name, value in jwk.items() if name != "key_ops"}
    jwks = {"keys": [{**jwk, "alg": algorithm, "kid": kid, "use": "sig"}]}
    return PublishedKeys(json.dumps(jwks, separators=(",", ":"), sort_keys=True).encode(), algorithm)


def made_token(key: SigningKey, algorithm: str, kid: str, issuer: str, **changes: object) -> str:
    """A good token but for the changes; None takes a claim out."""
    now = int(time.time())
    claims: dict[str, object] = {
        "aud": ["public"],
        "exp": now + 60,
        "iat": now,
        "iss": issuer,
        "nbf": now - 60,
        "sub": "spiffe://public/ns/default/myapp",
        "use": "sig",
    }
    claims = {name: value for name, value in (claims | changes).items() if value is not None}
    return jwt.encode(claims, key, algorithm=algorithm, headers={"kid": kid})
