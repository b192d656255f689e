"""The image started by the command line of Dapr's own chart, as far as that needs no cluster: see tests/cluster."""

import json
import os
import ssl
import urllib.request
from pathlib import Path

import jwt
import pytest
import trustme

from sentry_trio.client import Authority, Workload, obtain
from testkit.authorities import LOOPBACK
from testkit.helm import dapr
from testkit.image.container import CREDENTIALS, Contained, Mount, started
from testkit.image.dockerfile import Stage

# Written last, and so in place of the chart's: what this machine needs, and no cluster.
ELSEWHERE = ("--mode=standalone", *LOOPBACK, "--log-as-json")
OIDC_ELSEWHERE = ("--oidc-server-listen-address=127.0.0.1", "--oidc-server-listen-port=0")


def _oidc(directory: Path, user: tuple[int, int]) -> tuple[Mount, ssl.SSLContext]:
    """A certificate as the chart's values name it, and what verifies it."""
    authority = trustme.CA()
    identity = authority.issue_cert("127.0.0.1")
    identity.cert_chain_pems[0].write_to_path(str(directory / "tls.crt"))
    identity.private_key_pem.write_to_path(str(directory / "tls.key"))
    for path in (directory, *directory.iterdir()):
        os.chown(path, *user)
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return Mount(directory, "/oidc"), context


def _status(process: Contained, path: str) -> int:
    """Of the health server's answer, as a kubelet would ask."""
    with urllib.request.urlopen(f"http://127.0.0.1:{process.health_port()}{path}", timeout=60) as answer:
        status: int = answer.status
    return status


def _get(process: Contained, context: ssl.SSLContext, path: str) -> dict[str, object]:
    port = process.oidc_port()
    with urllib.request.urlopen(f"https://127.0.0.1:{port}{path}", context=context, timeout=60) as answer:
        found: dict[str, object] = json.loads(answer.read())
    return found


@pytest.mark.parametrize("name", dapr.ROWS)
def test_the_image_takes_daprs_command_line(
    runnable: Stage, credentials: Path, tmp_path_factory: pytest.TempPathFactory, name: str
) -> None:
    """It gets ready, signs, and issues and publishes what the values define."""
    values = dapr.ROWS[name]
    certificate, trust = _oidc(tmp_path_factory.mktemp("oidc"), runnable.ids)
    mounts = (Mount(credentials, CREDENTIALS, is_writable=True), certificate)
    elsewhere = ELSEWHERE + (OIDC_ELSEWHERE if name == "oidc" else ())
    level = ("--log-level=info",) if name == "extra arguments" else ()  # else the port is unknown
    with started(runnable, dapr.COMMAND, *dapr.arguments(values), *elsewhere, *level, mounts=mounts) as process:
        port = int(process.log_until("Running gRPC server on port "))
        authority = Authority(
            host="127.0.0.1",
            port=port,
            trust_anchors=(credentials / dapr.anchors_name(values)).read_bytes(),
            spiffe_id=f"spiffe://{dapr.trust_domain(values)}/ns/default/dapr-sentry",
        )
        obtained = obtain(authority, Workload(app_id="shop", namespace="market", audiences=("till",)))
        assert obtained.spiffe_id == "spiffe://public/ns/market/shop"
        assert {200} == {_status(process, path) for path in ("/healthz", "/readyz")}
        assert (obtained.jwt is not None) == name.startswith(("jwt", "oidc"))
        if name == "oidc":
            assert obtained.jwt is not None
            keys = jwt.PyJWKSet.from_dict(_get(process, trust, "/mesh/jwks.json"))
            claims = jwt.decode(obtained.jwt, keys[jwt.get_unverified_header(obtained.jwt)["kid"]], audience="till")
            assert claims["iss"] == "https://sentry.example"
