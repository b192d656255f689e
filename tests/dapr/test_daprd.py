"""Real sidecars with certificates of sentry-trio, outside a cluster."""

import json
import signal
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import jwt
import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric import ec

from testkit.credentials import KubeletVolume, two_issuers
from testkit.subject import subject

from .ca_process import running_ca
from .sidecars import Address, failed_renewals, identity, name_resolution, sidecar
from .traffic import MTLS, Traffic, assert_renewed, renewed, restarts


@pytest.fixture
def credentials(tmp_path: Path) -> Path:
    path = tmp_path / "credentials"
    path.mkdir()
    return path


def settings(directory: Path, spec: dict[str, Any]) -> Path:
    """Writes a Configuration, which CAs and sidecars read alike."""
    path = directory / "configuration.yaml"
    path.write_text(yaml.safe_dump({"kind": "Configuration", "spec": spec}))
    return path


def test_calls_go_on_while_certificates_are_renewed_and_the_ca_restarts(
    daprd: Path, tmp_path: Path, credentials: Path
) -> None:
    cart, stock, late = addresses = [Address("cart"), Address("stock"), Address("late")]
    config = settings(tmp_path, {"mtls": MTLS, "nameResolution": name_resolution(addresses)})
    audit_log = tmp_path / "audit.log"
    bundles = two_issuers()
    volume = KubeletVolume(credentials, bundles[0])
    with subject(credentials, f"--config={config}", f"--audit-log={audit_log}") as ca, ExitStack() as stack:
        flags = [f"--config={config}", f"--sentry-address=127.0.0.1:{ca.grpc_port}"]
        environ = {"DAPR_TRUST_ANCHORS": bundles[0].anchors.decode()}
        start = partial(sidecar, daprd, directory=tmp_path, flags=flags, environ=environ)
        first, second = (stack.enter_context(start(each)) for each in (cart, stock))
        identities = [f"spiffe://public/ns/default/{each.app_id}" for each in (cart, stock)]
        current = 0
        with Traffic(first, second) as traffic:
            for run in restarts(lambda: renewed(audit_log, *identities)):
                if run % 2:
                    ca.process.send(signal.SIGHUP)
                else:
                    current = 1 - current
                    volume(bundles[current])
                ca.wait_for_run(run, bundles[current])
        # Sidecars keep their connections to each other: a new one shows the handshakes with renewed certificates.
        third = stack.enter_context(start(late))
        calls = [(third, cart), (third, stock), (first, late), (second, late)]
        failures = [*traffic.failures, *filter(None, (caller.call(target) for caller, target in calls))]
        failures += failed_renewals(first, second)
        assert_renewed(audit_log, *zip(identities, (first, second), strict=True))
        ca.stop()
    assert failures == []
    assert traffic.calls > run
    assert ca.complaints() == []


def test_sidecars_of_two_namespaces_get_jwts_in_a_mesh_with_its_own_trust_domain(
    ca_command: tuple[str, ...], daprd: Path, tmp_path: Path, credentials: Path
) -> None:
    cart, stock = addresses = [Address("cart", "shop"), Address("stock", "depot")]
    config = settings(tmp_path, {"nameResolution": name_resolution(addresses)})
    KubeletVolume(credentials, two_issuers()[0])
    options = ["--mode=standalone", f"--issuer-credentials={credentials}", f"--config={config}", "--jwt-enabled"]
    trust_domain = "--trust-domain=mesh.example"
    with running_ca(ca_command, tmp_path, *options, trust_domain, namespace="control") as ca, ExitStack() as stack:
        flags = [
            *(f"--config={config}", f"--sentry-address=127.0.0.1:{ca.port}"),
            *("--control-plane-trust-domain=mesh.example", "--control-plane-namespace=control"),
            "--sentry-request-jwt-audiences=bank,post",
        ]
        environ = {"DAPR_TRUST_ANCHORS": (credentials / "ca.crt").read_text()}
        first, second = (stack.enter_context(sidecar(daprd, each, tmp_path, flags, environ)) for each in (cart, stock))
        assert [first.call(stock), second.call(cart)] == ["", ""]
        for each in (first, second):
            assert (
                identity(each.serving_certificate())
                == f"spiffe://public/ns/{each.address.namespace}/{each.address.app_id}"
            )
            assert each.jwt_audiences() == ["bank", "post", "public"]


def test_a_sidecar_with_a_token_for_the_jwks_validator(
    ca_command: tuple[str, ...], daprd: Path, tmp_path: Path, credentials: Path
) -> None:
    cart = Address("cart", "shop")
    key = ec.generate_private_key(ec.SECP256R1())
    public = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(key.public_key()))
    keys, token = tmp_path / "jwks.json", tmp_path / "token"
    keys.write_text(json.dumps({"keys": [{**public, "kid": "1", "use": "sig", "alg": "ES256"}]}))
    claims = {"sub": "spiffe://public/ns/shop/cart", "aud": "spiffe://localhost/ns/default/dapr-sentry"}
    token.write_text(jwt.encode(claims | {"exp": time.time() + 600}, key, "ES256", {"kid": "1"}))
    validators = [{"name": "jwks", "options": {"source": str(keys)}}]
    config = settings(tmp_path, {"mtls": {"tokenValidators": validators}, "nameResolution": name_resolution([cart])})
    KubeletVolume(credentials, two_issuers()[0])
    options = ["--mode=standalone", f"--issuer-credentials={credentials}", f"--config={config}"]
    with running_ca(ca_command, tmp_path, *options, namespace="default") as ca:
        flags = [f"--config={config}", f"--sentry-address=127.0.0.1:{ca.port}"]
        anchors = (credentials / "ca.crt").read_text()
        environ = {"DAPR_TRUST_ANCHORS": anchors, "DAPR_SENTRY_TOKEN_FILE": str(token)}
        with sidecar(daprd, cart, tmp_path, flags, environ) as started:
            assert identity(started.serving_certificate()) == claims["sub"]
