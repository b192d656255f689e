"""Number of times that daprd requests a certificate, by the status of the answer; the documentation states it."""

import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
import yaml
from grpclib.const import Status

from testkit.ca.making import DAY

from .renewing import wait_until
from .scripted_ca import Answer, scripted_ca
from .sidecars import Address, name_resolution, sidecar

ATTEMPTS = 5
RETRIED = {Status.UNAVAILABLE, Status.RESOURCE_EXHAUSTED, Status.CANCELLED, Status.DEADLINE_EXCEEDED}
SHORT = timedelta(seconds=6)  # renewed at half of it


@pytest.mark.parametrize("status", [each for each in Status if each is not Status.OK])
def test_the_first_request_is_retried_by_status_and_daprd_exits(daprd: Path, tmp_path: Path, status: Status) -> None:
    requests = Counter[str]()

    def reject(app_id: str) -> Status:
        requests[app_id] += 1
        return status

    with scripted_ca(tmp_path, reject) as ca:
        address = f"--sentry-address=127.0.0.1:{ca.port}"
        command = [str(daprd), "--app-id=cart", "--enable-mtls=true", "--enable-metrics=false", address]
        environ = {"NAMESPACE": "default", "DAPR_TRUST_ANCHORS": ca.anchors}
        done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "failed to retrieve the initial identity: error from sentry SignCertificate" in done.stdout
    assert requests == {"cart": ATTEMPTS if status in RETRIED else 1}


def test_a_failed_renewal_is_repeated_after_10_s(daprd: Path, tmp_path: Path) -> None:
    addresses = [Address("rejected"), Address("unavailable")]
    rejections = {"rejected": [Status.PERMISSION_DENIED], "unavailable": [Status.UNAVAILABLE] * ATTEMPTS}
    answers: dict[str, Iterator[Answer]] = {
        app_id: iter([SHORT, *statuses, DAY]) for app_id, statuses in rejections.items()
    }
    config = tmp_path / "configuration.yaml"
    config.write_text(yaml.safe_dump({"kind": "Configuration", "spec": {"nameResolution": name_resolution(addresses)}}))
    with scripted_ca(tmp_path, lambda app_id: next(answers[app_id])) as ca, ExitStack() as stack:
        flags = [f"--config={config}", f"--sentry-address=127.0.0.1:{ca.port}"]
        environ = {"DAPR_TRUST_ANCHORS": ca.anchors}
        started = [stack.enter_context(sidecar(daprd, each, tmp_path, flags, environ)) for each in addresses]
        for each in started:
            wait_until(partial(_is_renewed, each.log))
            assert each.log.read_text().count("Error renewing identity, trying again in 10 seconds") == 1
    assert [list(each) for each in answers.values()] == [[], []]


def _is_renewed(log: Path) -> bool:
    return "Successfully renewed workload identity" in log.read_text()
