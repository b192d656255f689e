"""A process whose issuer is not valid yet: it waits, reports that, and serves once its credentials are valid."""

import json
import signal
import subprocess
import sys
from contextlib import closing
from datetime import timedelta
from http.client import HTTPConnection
from pathlib import Path

from sentry_trio.ca.bundle import StoredBundle
from sentry_trio.ca.generate import generate
from sentry_trio.ca.keys import KeyType
from testkit.authorities import SKEW, wall_clock
from testkit.credentials import contents
from testkit.processes import sentry_process

HOUR = timedelta(hours=1)


def bundle(begin: timedelta) -> StoredBundle:
    now = wall_clock() + begin
    return generate("localhost", "default", KeyType.P256, now=now, allowed_clock_skew=SKEW, lifetime=24 * HOUR)


def put(directory: Path, stored: StoredBundle) -> None:
    for name, content in contents(stored).items():
        (directory / name).write_bytes(content)


def get(port: int, path: str) -> tuple[int, str]:
    with closing(HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode()


def status(health: int, metrics: int, directory: Path) -> str:
    replica = ("--replica", f"127.0.0.1:{health}:{metrics}", "--issuer-credentials", str(directory))
    command = [sys.executable, "-m", "sentry_trio", "status", *replica, "--json"]
    return subprocess.run(command, stdout=subprocess.PIPE, check=False, text=True).stdout


def test_an_issuer_that_is_not_valid_yet_is_waited_for(tmp_path: Path) -> None:
    put(tmp_path, bundle(HOUR))
    with sentry_process(tmp_path) as process:
        health, metrics = process.health_port(), process.metrics_port()
        process.log_until("cannot serve yet, waiting for a certificate to become valid: ")
        code, body = get(health, "/readyz?verbose")
        assert code == 503
        degraded = json.loads(body)["conditions"]["start"]
        assert degraded.startswith("cannot serve yet: ")
        assert f"(issuer chain {tmp_path / 'issuer.crt'})" in degraded
        assert get(health, "/livez")[0] == 200
        causes = {finding["cause"] for finding in json.loads(status(health, metrics, tmp_path))["findings"]}
        assert {"not_ready", "degraded"} <= causes
        process.send(signal.SIGHUP)
        process.log_until("still cannot serve: ")
        put(tmp_path, bundle(timedelta()))
        process.log_until("Running gRPC server on port ")
        process.send(signal.SIGTERM)
        assert process.exit_code() == 0
    assert [record["msg"] for record in process.records if record["level"] == "fatal"] == []
