"""SignCertificate: the JWTs beside certificates."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from testkit.authorities import SKEW

from .asking import Client, clients, replies_or_outcomes, reply_fields
from .comparing import Seen, compare, shown_by
from .inputs import NAMESPACE, credentials, good_bundle, jwt_files, request
from .servers import Setting, pair

Clients = tuple[Client, Client]


@pytest.fixture(scope="module")
def both(dapr_sentry: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clients]:
    setting = Setting(
        files=credentials(good_bundle()) | jwt_files(),
        flags=("--enable-metrics=false", "--jwt-enabled"),
        environment={"NAMESPACE": NAMESPACE},
    )
    with pair(dapr_sentry, setting, tmp_path_factory.mktemp("jwt")) as servers, clients(servers) as connected:
        yield connected


AUDIENCES: dict[str, dict[str, Any]] = {
    "none": {},
    "one": {"jwt_audiences": ["a"]},
    "several": {"jwt_audiences": ["b", "a", "https://c.example/d?e=f&g"]},
    "twice the same": {"jwt_audiences": ["a", "b", "a"]},
    "the trust domain": {"jwt_audiences": ["public", "a"]},
    "an empty one": {"jwt_audiences": [""]},
    "other alphabets and escapes": {"jwt_audiences": ["é", "<&>", "\u2028", '"\\\n', "\U0001f600"]},
    "sixteen": {"jwt_audiences": [f"a{number}" for number in range(16)]},
    "seventeen": {"jwt_audiences": [f"a{number}" for number in range(17)]},
    "of a trust domain": {"jwt_audiences": ["a"], "trust_domain": "mesh.example"},
    "of a control-plane service": {"jwt_audiences": ["a"], "id": "dapr-operator", "namespace": NAMESPACE},
    "of a request that is refused": {"jwt_audiences": ["a"], "id": ""},
}


@pytest.mark.parametrize("name", AUDIENCES)
def test_audiences(both: Clients, name: str) -> None:
    asked = request(**AUDIENCES[name])
    dapr, ours = (reply_fields(client.ask(asked), SKEW) for client in both)
    compare(dapr, ours, differs=shown_by(SEEN, name))


@dataclass(frozen=True)
class Signing:
    algorithm: str
    flags: tuple[str, ...] = ()


SIGNINGS = {
    **{
        name: Signing(name)
        for name in ("RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
    },
    "issuer": Signing("ES256", ("--jwt-issuer", "https://issuer.example/a")),
    "empty issuer": Signing("ES256", ("--jwt-issuer=",)),
    "short lifetime": Signing("ES256", ("--jwt-ttl", "90s")),
    "lifetime of zero": Signing("ES256", ("--jwt-ttl", "0")),
    "negative lifetime": Signing("ES256", ("--jwt-ttl=-1h",)),
    "longer than the certificate": Signing("ES256", ("--jwt-ttl", "48h")),
    "key ID that the set lacks": Signing("ES256", ("--jwt-key-id", "mine")),
    "unknown algorithm": Signing("ES256", ("--jwt-signing-algorithm", "ES1024")),
    "algorithm that does not fit": Signing("ES256", ("--jwt-signing-algorithm", "ES384")),
    "algorithm of another kind": Signing("RS256", ("--jwt-signing-algorithm", "ES256")),
    "no algorithm": Signing("RS256", ("--jwt-signing-algorithm", "")),
}


SEEN: Seen = {
    "jwt-audiences": ("seventeen",),
    "jwt-empty-issuer": ("empty issuer",),
    "jwt-ttl": ("lifetime of zero", "negative lifetime"),
    "jwt-lifetime": ("longer than the certificate",),
    "start-error-texts": (
        "key ID that the set lacks",
        "algorithm that does not fit",
        "algorithm of another kind",
    ),
    "invalid-values": ("unknown algorithm", "no algorithm"),
}


@pytest.mark.parametrize("name", SIGNINGS)
def test_signing(dapr_sentry: Path, tmp_path: Path, name: str) -> None:
    case = SIGNINGS[name]
    setting = Setting(
        files=credentials(good_bundle()) | jwt_files(case.algorithm),
        flags=("--enable-metrics=false", "--jwt-enabled", "--jwt-signing-algorithm", case.algorithm, *case.flags),
    )
    with pair(dapr_sentry, setting, tmp_path) as servers:
        dapr, ours = replies_or_outcomes(servers, request(jwt_audiences=["a"]), SKEW)
        compare(dapr, ours, differs=shown_by(SEEN, name))
