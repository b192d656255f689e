"""Real sidecars with certificates of sentry-trio, outside a cluster."""

import json
import re
import signal
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from threading import Event, Thread
from typing import Any, Final

import jwt
import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from tests.integration.credentials import KubeletVolume, two_issuers
from tests.integration.subject import subject

from .ca_process import running_ca
from .sidecars import Address, Sidecar, name_resolution, sidecar

# daprd accepts any lifetime. It renews at the middle of a certificate's validity, which begins a clock skew early.
LIFETIME: Final = 20  # seconds
RENEWALS: Final = 2
PACE: Final = 1.0  # seconds from one restart to the next


class Traffic:
    """Calls between two sidecars without pause, in both directions, until the block is left."""

    def __init__(self, first: Sidecar, second: Sidecar) -> None:
        self.calls = 0
        self.failures: list[str] = []
        self._over = Event()
        self._threads = [
            Thread(target=self._call, args=(caller, target.address))
            for caller, target in ((first, second), (second, first))
        ]

    def __enter__(self) -> "Traffic":
        for each in self._threads:
            each.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for each in self._threads:
            each.join()

    def _call(self, caller: Sidecar, target: Address) -> None:
        while not self._over.wait(0.02):
            if failure := caller.call(target):
                self.failures.append(failure)
            self.calls += 1


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


def issued(audit_log: Path) -> dict[str, list[str]]:
    """Returns the serial numbers in an audit log, oldest first, by SPIFFE ID."""
    found: dict[str, list[str]] = {}
    for text in audit_log.read_text().splitlines():
        line = json.loads(text)
        if line.get("outcome") == "issued":
            found.setdefault(line["spiffe_id"], []).append(line["serial"])
    return found


def test_calls_go_on_while_certificates_are_renewed_and_the_ca_restarts(
    daprd: Path, tmp_path: Path, credentials: Path
) -> None:
    cart, stock, late = addresses = [Address("cart"), Address("stock"), Address("late")]
    mtls = {"workloadCertTTL": f"{LIFETIME}s", "allowedClockSkew": "0s"}
    config = settings(tmp_path, {"mtls": mtls, "nameResolution": name_resolution(addresses)})
    audit_log = tmp_path / "audit.log"
    bundles = two_issuers()
    volume = KubeletVolume(credentials, bundles[0])
    with subject(credentials, f"--config={config}", f"--audit-log={audit_log}") as ca, ExitStack() as stack:
        flags = [f"--config={config}", f"--sentry-address=127.0.0.1:{ca.grpc_port}"]
        environ = {"DAPR_TRUST_ANCHORS": bundles[0].anchors.decode()}
        start = partial(sidecar, daprd, directory=tmp_path, flags=flags, environ=environ)
        first, second = (stack.enter_context(start(each)) for each in (cart, stock))
        run, present, due = 1, 0, time.monotonic()
        with Traffic(first, second) as traffic:
            while min(map(len, issued(audit_log).values())) <= RENEWALS:
                due += PACE
                time.sleep(max(0, due - time.monotonic()))
                run += 1
                if run % 2:
                    ca.process.send(signal.SIGHUP)
                else:
                    present = 1 - present
                    volume(bundles[present])
                ca.wait_for_run(run, bundles[present])
                assert run < 3 * RENEWALS * LIFETIME / PACE, "the sidecars do not renew their certificates"
        # Sidecars keep their connections to each other: a new one shows the handshakes with renewed certificates.
        third = stack.enter_context(start(late))
        calls = [(third, cart), (third, stock), (first, late), (second, late)]
        failures = [*traffic.failures, *filter(None, (caller.call(target) for caller, target in calls))]
        serving = [f"{each.serving_certificate().serial_number:x}" for each in (first, second)]
        ca.stop()
    assert failures == []
    assert traffic.calls > run
    serials = issued(audit_log)
    assert sorted(serials) == [f"spiffe://public/ns/default/{name}" for name in ("cart", "late", "stock")]
    assert all(len(set(each)) == len(each) for each in serials.values())
    for each, found in zip((cart, stock), serving, strict=True):
        assert found in serials[f"spiffe://public/ns/default/{each.app_id}"][RENEWALS:]
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
            log = each.log.read_text()
            assert "Successfully received JWT SVID with expiry" in log
            received = re.findall(r"per-audience JWT SVID for audience (\S+) with expiry", log)
            assert sorted(received) == ["bank", "post", "public"]


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


def identity(certificate: x509.Certificate) -> str:
    """Returns the SPIFFE ID."""
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    (found,) = names.get_values_for_type(x509.UniformResourceIdentifier)
    return found
