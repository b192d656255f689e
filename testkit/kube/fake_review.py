"""A signer of service account tokens, by a foreign library, and an API server in memory that reviews them."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import trio
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from sentry_trio.kube.keys import ClusterKeys
from sentry_trio.kube.tokens import audiences
from sentry_trio.tokens.keys import VerificationKey

ISSUER = "https://kubernetes.default.svc.cluster.local"
AUDIENCES = audiences("example.org", "dapr-system")
BORN = datetime(2026, 1, 1, tzinfo=UTC)
UID = "0c1f5bd6-6e1c-4f8f-9d57-3c9c1b6f1d11"

RSA_KEY = rsa.generate_private_key(65537, 2048)
P256_KEY = ec.generate_private_key(ec.SECP256R1())

Claims = dict[str, Any]
Status = dict[str, Any]


def wall() -> datetime:
    """A wall clock that goes with Trio's."""
    return BORN + timedelta(seconds=trio.current_time())


def claims(**changes: Any) -> Claims:
    """Claims of a kubelet's token, valid for ten minutes from BORN; a change to None leaves the claim out."""
    made = {
        "aud": [AUDIENCES[1]],
        "exp": int(BORN.timestamp()) + 600,
        "iat": int(BORN.timestamp()),
        "iss": ISSUER,
        "jti": "e8b2",
        "kubernetes.io": {
            "namespace": "shop",
            "node": {"name": "node-1", "uid": "77"},
            "pod": {"name": "cart-0", "uid": UID},
            "serviceaccount": {"name": "cart", "uid": "12"},
        },
        "nbf": int(BORN.timestamp()),
        "sub": "system:serviceaccount:shop:cart",
    } | changes
    return {name: value for name, value in made.items() if value is not None}


@dataclass(frozen=True)
class Signer:
    """A key of a cluster, private half and all."""

    key: Any = P256_KEY
    algorithm: str = "ES256"
    kid: str = "first"

    def token(self, *, headers: Mapping[str, Any] | None = None, **changes: Any) -> str:
        return self.sign(claims(**changes), headers=headers)

    def sign(self, payload: Claims, *, headers: Mapping[str, Any] | None = None) -> str:
        # Without `typ`, as API servers do; as JWS, which any claims may be signed as.
        merged = {"kid": self.kid, "typ": None} | dict(headers or {})
        return jwt.PyJWS().encode(json.dumps(payload).encode(), self.key, algorithm=self.algorithm, headers=merged)

    def jwk(self, **changes: Any) -> dict[str, Any]:
        algorithm = jwt.get_algorithm_by_name(self.algorithm)
        public = algorithm.to_jwk(self.key.public_key(), as_dict=True)
        made = {**public, "kid": self.kid, "alg": self.algorithm, "use": "sig"} | changes
        return {name: value for name, value in made.items() if value is not None}


def good(**changes: Any) -> Status:
    """The status of a review of a good token."""
    return {
        "authenticated": True,
        "audiences": [AUDIENCES[1]],
        "user": {
            "username": "system:serviceaccount:shop:cart",
            "extra": {
                "authentication.kubernetes.io/pod-name": ["cart-0"],
                "authentication.kubernetes.io/pod-uid": [UID],
            },
        },
    } | changes


@dataclass
class FakeApi:
    """An API server in memory, as far as tokens go.

    Attributes:
        status: of a review of any token, or what makes it.
        issuer: in the discovery document.
        jwks: the JWK set.
        failure: raised instead of any answer.
        delay: seconds before any answer.
        reviewed: the bodies of all reviews asked for.
        read: the paths of all that was read.
        most_at_once: reviews.
    """

    status: Status | Callable[[str], Status] = field(default_factory=good)
    issuer: Any = ISSUER
    jwks: Any = field(default_factory=lambda: [Signer().jwk()])
    failure: Exception | None = None
    delay: float = 0
    reviewed: list[Mapping[str, Any]] = field(default_factory=list)
    read: list[str] = field(default_factory=list)
    most_at_once: int = 0
    _at_once: int = 0

    async def get(self, path: str) -> dict[str, Any]:
        self.read.append(path)
        await self._answer()
        return {"/.well-known/openid-configuration": {"issuer": self.issuer}, "/openid/v1/jwks": {"keys": self.jwks}}[
            path
        ]

    async def create(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        assert path == "/apis/authentication.k8s.io/v1/tokenreviews"
        self.reviewed.append(body)
        self._at_once += 1
        self.most_at_once = max(self._at_once, self.most_at_once)
        try:
            await self._answer()
        finally:
            self._at_once -= 1
        status = self.status(body["spec"]["token"]) if callable(self.status) else self.status
        return {**body, "status": status}

    async def _answer(self) -> None:
        await trio.sleep(self.delay)
        if self.failure is not None:
            raise self.failure


class KeysReadFirst(ClusterKeys):
    """The cluster's keys without a task that keeps them: the first caller reads them."""

    async def find(self, issuer: str, kid: str) -> VerificationKey | None:
        if not self.ready:
            await self.refresh()
        return await super().find(issuer, kid)
