"""Every contender does the work that it is measured by."""

from pathlib import Path

import pytest
from cryptography import x509

from benchmarks.contenders import SERVERS, Contender, serving
from benchmarks.contenders.bare import service
from benchmarks.findings import KINDS, Kind
from benchmarks.measure import CallsFailedError, Measure, machine_seconds, usage
from benchmarks.processes import StartError, started
from benchmarks.startup import measure_starts
from sentry_trio.proto.sentry_pb2 import SignCertificateRequest, SignCertificateResponse
from testkit.authorities import made_csr
from testkit.grpc.in_memory import InMemoryStream


# Programs that take minutes to build are tested in tests/dapr, next to their comparison.
@pytest.mark.soak
@pytest.mark.parametrize(
    "contender", [each for each in SERVERS if each.build is None], ids=lambda contender: contender.name
)
def test_every_server_answers_the_load_client(contender: Contender, load_client: Path, credentials: Path) -> None:
    assert_answers(contender, load_client, credentials)


def assert_answers(contender: Contender, load_client: Path, credentials: Path) -> None:
    measure = Measure(load_client, credentials, seconds=0.1, workers=2)
    with started(contender, credentials) as program:
        for kind in KINDS:
            found = measure.server(program.pid, program.port, kind)
            assert found.calls > 0
            assert 0 <= found.cpu_seconds <= found.seconds * 2 + 0.1
            assert found.rss_kib > 10_000


@pytest.mark.parametrize("kind", KINDS)
def test_the_floor_measures_itself(kind: Kind, credentials: Path) -> None:
    found = Measure(Path(), credentials, seconds=0.1, workers=1).floor(kind)
    assert found.calls > 0
    assert 0 < found.cpu_seconds < found.seconds


def test_failing_calls_are_no_measurement(load_client: Path, credentials: Path) -> None:
    measure = Measure(load_client, credentials, seconds=0.1, workers=1)
    with started(SERVERS[0], credentials) as program, pytest.raises(CallsFailedError, match="refused"):
        measure.server(program.pid, 1, "new")


def test_a_program_that_ends_before_it_serves(tmp_path: Path) -> None:
    hopeless = Contender("hopeless", "", ("-c", "print('no port today')"))
    reported = "hopeless does not come to serve; it said: no port today"
    with pytest.raises(StartError, match=reported), started(hopeless, tmp_path):
        pytest.fail("it was taken for a server")


def test_starts(credentials: Path) -> None:
    found = measure_starts(credentials, 1)
    assert 0 < found.starts[0].cpu_seconds < 10 * found.starts[0].wall_seconds
    assert found.modules > 100
    assert "trio" in found.import_ms


def test_usage_is_of_the_process() -> None:
    before, machine_before = usage("self"), machine_seconds()
    while usage("self").cpu_seconds < before.cpu_seconds + 0.05:
        pass
    after = machine_seconds()
    assert after.all > machine_before.all
    assert after.busy > machine_before.busy


async def test_the_signing_core_answers_as_the_service_does(credentials: Path) -> None:
    issuer = serving.read_issuer(credentials)
    request = SignCertificateRequest(
        id="dapr-scheduler", namespace="default", trust_domain="localhost", certificate_signing_request=made_csr()
    )
    stream = InMemoryStream(request)
    await service(issuer).SignCertificate(stream)
    assert stream.answer is not None
    assert _shape(serving.Signer(issuer).sign(request)) == _shape(stream.answer)


def _shape(response: SignCertificateResponse) -> tuple[object, ...]:
    leaf, *chain = x509.load_pem_x509_certificates(response.workload_certificate)
    lifetime = leaf.not_valid_after_utc - leaf.not_valid_before_utc
    return lifetime, leaf.public_key(), list(leaf.extensions), chain, list(response.trust_chain_certificates)
