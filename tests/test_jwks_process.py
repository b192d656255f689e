"""A standalone process whose configuration names a jwks validator, and callers with and without a token."""

import http.client
import json
import signal
import time
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
import trustme

from sentry_trio.client import Authority, Obtained, RequestFailedError, Workload, obtain
from sentry_trio.proto.sentry_pb2 import SignCertificateRequest
from sentry_trio.validators import Kind
from testkit.jwks_server import answer, served
from testkit.processes import FAILED, Process, sentry_process
from tests.validators.jwks.test_validator import jwk, token

SET = json.dumps({"keys": [jwk("ES256")]})
PATIENCE = 60.0


def configured(directory: Path, **options: str) -> tuple[str, str]:
    path = directory / "config.yaml"
    path.write_text(json.dumps({"spec": {"mtls": {"tokenValidators": [{"name": "jwks", "options": options}]}}}))
    return "--config", str(path)


def ask(directory: Path, port: int, text: str, validator: Kind = SignCertificateRequest.JWKS) -> Obtained:
    authority = Authority(
        host="127.0.0.1",
        port=port,
        trust_anchors=(directory / "ca.crt").read_bytes(),
        spiffe_id="spiffe://localhost/ns/default/dapr-sentry",
    )
    workload = Workload(app_id="cart", namespace="shop", token=text, validator=validator)
    return obtain(authority, workload)


def good() -> str:
    now = int(time.time())
    return token(aud="spiffe://localhost/ns/default/dapr-sentry", exp=now + 60, iat=now, nbf=now)


def refusal(directory: Path, port: int, text: str, validator: Kind = SignCertificateRequest.JWKS) -> str:
    """The status and its message."""
    with pytest.raises(RequestFailedError) as caught:
        ask(directory, port, text, validator)
    return str(caught.value).partition(" answered ")[2]


def health(port: int) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status
    finally:
        connection.close()


def ports(process: Process) -> tuple[int, int]:
    healthz = process.health_port()
    return healthz, int(process.log_until("Running gRPC server on port "))


def test_callers_with_and_without_a_token(tmp_path: Path) -> None:
    with sentry_process(tmp_path, *configured(tmp_path, source=SET)) as process:
        _, port = ports(process)
        ask(tmp_path, port, good())
        assert refusal(tmp_path, port, "") == ("PermissionDenied: the request does not contain a token")
        assert refusal(tmp_path, port, good(), SignCertificateRequest.UNKNOWN) == (
            "InvalidArgument: a validator name must be specified in this environment"
        )
        assert refusal(tmp_path, port, good(), SignCertificateRequest.INSECURE).startswith("InvalidArgument: ")


def test_a_source_that_is_away_at_first(tmp_path: Path) -> None:
    """It starts, reports that it is not ready, and recovers by itself."""
    ca = trustme.CA()
    respond = [answer(500)]

    def every_report(handler: BaseHTTPRequestHandler) -> None:
        respond[0](handler)

    with served(every_report, ca=ca) as url:
        flags = configured(tmp_path, source=url, caCertificate=ca.cert_pem.bytes().decode())
        with sentry_process(tmp_path, *flags) as process:
            healthz, port = ports(process)
            assert refusal(tmp_path, port, good()) == "Unavailable: jwks validator not ready"
            assert health(healthz) == 503
            respond[0] = answer(200, SET.encode())
            process.log_until("JWKS loaded")
            assert health(healthz) == 200
            ask(tmp_path, port, good())


def test_a_file_is_watched(tmp_path: Path) -> None:
    source = tmp_path / "jwks" / "keys.json"
    source.parent.mkdir()
    with sentry_process(tmp_path, *configured(tmp_path, source=str(source))) as process:
        _, port = ports(process)
        assert refusal(tmp_path, port, good()) == "Unavailable: jwks validator not ready"
        source.write_text(SET)
        process.log_until("JWKS loaded")
        ask(tmp_path, port, good())
        source.write_text("{")
        process.log_until("failed to parse JWKS file: not JSON; the last valid key set stays in use")
        ask(tmp_path, port, good())


def test_a_restart_fetches_nothing_and_a_bad_source_changes_nothing(tmp_path: Path) -> None:
    asked: list[str] = []

    def respond(handler: BaseHTTPRequestHandler) -> None:
        asked.append(handler.path)
        kid = handler.path.removeprefix("/")
        answer(200, json.dumps({"keys": [jwk("ES256", kid=kid)]}).encode())(handler)

    now = int(time.time())
    claims: dict[str, Any] = {
        "aud": "spiffe://localhost/ns/default/dapr-sentry",
        "exp": now + 60,
        "iat": now,
        "nbf": now,
    }
    old, new = (token(headers={"kid": kid}, **claims) for kid in ("old", "new"))
    with served(respond) as url, sentry_process(tmp_path, *configured(tmp_path, source=f"{url}/old")) as process:
        _, port = ports(process)
        if "JWKS loaded" not in process.messages():
            process.log_until("JWKS loaded")
        process.send(signal.SIGHUP)
        process.log_until("Running gRPC server on port ")
        ask(tmp_path, port, old)
        assert asked == ["/old"]
        configured(tmp_path, source="nonsense")
        process.log_until(f"{FAILED}failed to init cache: failed to parse property 'location'")
        ask(tmp_path, port, old)
        configured(tmp_path, source=f"{url}/new")
        process.log_until("Running gRPC server on port ")
        ask(tmp_path, port, new)
        assert asked == ["/old", "/new"]
        assert "failed to find key" in refusal(tmp_path, port, old)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({}, "failed to init cache: property 'location' must not be empty"),
        (
            {"source": "keys"},
            (
                "failed to init cache: failed to parse property 'location': "
                "not a URL, path to local file, or JSON value (optionally base64-encoded)"
            ),
        ),
        (
            {"source": "https://127.0.0.1:1", "caCertificate": "-----BEGIN x"},
            "failed to init cache: failed to add root certificate to certificate pool",
        ),
        (
            {"source": "https://127.0.0.1:1", "caCertificate": "/nowhere"},
            "failed to init cache: failed to load CA certificate: [Errno 2] No such file or directory: '/nowhere'",
        ),
    ],
)
def test_unusable_validator_options_end_the_process(tmp_path: Path, options: dict[str, str], error: str) -> None:
    with sentry_process(tmp_path, *configured(tmp_path, **options)) as process:
        assert process.exit_code() == 1
        assert process.records[-1]["level"] == "fatal"
        assert process.messages()[-1] == f"{error} (token validator 'jwks' in {tmp_path / 'config.yaml'})"
