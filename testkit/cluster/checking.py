"""Token checkers on a real API server, with no more permissions than the chart grants."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jwt

from sentry_trio.grpc.admission import Network
from sentry_trio.kube.session import Session, open_session
from sentry_trio.kube.token_review import TokenReviewer
from sentry_trio.kube.tokens import TokenChecker, audiences
from sentry_trio.kube.verifier import LocalVerifier
from testkit.authorities import wall_clock
from testkit.kube.fake_review import KeysReadFirst

from . import manifests
from .admin import Manifest
from .cluster import Cluster

AUDIENCES = audiences("example.org", "dapr-system")
REVIEWS = manifests.rule(["create"], ["tokenreviews"], group="authentication.k8s.io")


@asynccontextmanager
async def session_of(
    cluster: Cluster,
    namespace: str,
    tmp_path: Path,
    *,
    rights: tuple[Manifest, ...] = (REVIEWS,),
    url: str | None = None,
) -> AsyncIterator[Session]:
    """The session of a new service account with these permissions everywhere."""
    name = "dapr-sentry"
    token = await cluster.account_with(namespace, name, rights, everywhere=True)
    kubeconfig = cluster.write_kubeconfig(tmp_path / name, {"token": token}, url=url)
    async with open_session(kubeconfig=kubeconfig, environ={}, service_account=tmp_path / "no-pod") as session:
        yield session


@dataclass(frozen=True)
class Checkers:
    """Both ways to check a token, over one session."""

    session: Session
    reviewer: TokenReviewer
    verifier: LocalVerifier

    def of(self, mode: str) -> TokenChecker:
        return self.reviewer if mode == "review" else self.verifier


class NoReviewer:
    """Fails if a review is requested."""

    async def check(self, token: str, network: Network) -> Any:
        raise AssertionError("to be decided without a review")


def checkers_over(session: Session) -> Checkers:
    reviewer = TokenReviewer(session.create, AUDIENCES, now=wall_clock)
    return Checkers(
        session, reviewer, LocalVerifier(KeysReadFirst(session.get), NoReviewer(), AUDIENCES, now=wall_clock)
    )


@dataclass(frozen=True)
class Shop:
    """A pod of the service account cart, which tokens are made for."""

    cluster: Cluster
    namespace: str
    pod: Manifest

    async def token(self, **settings: Any) -> str:
        given: dict[str, Any] = {"audiences": AUDIENCES[1:], "seconds": 600, "pod": self.pod} | settings
        return await self.cluster.create_token(self.namespace, "cart", **given)


def resigned(cluster: Cluster, token: str, *, key: Any = None, **changes: Any) -> str:
    """A token with other claims, signed by the cluster's own key, or another."""
    payload = jwt.decode(token, options={"verify_signature": False}) | changes
    kid = jwt.get_unverified_header(token)["kid"]
    own = (cluster._directory / "service-accounts.key").read_bytes()
    return jwt.encode(payload, key or own, algorithm="RS256", headers={"kid": kid, "typ": None})
