"""Attribution of samples."""

from pathlib import Path

import pytest

from benchmarks.contenders import OURS
from benchmarks.measure import Measure
from benchmarks.profiling import group_of, profile
from benchmarks.sampler import Stack

SITE = "/venv/lib/python3.11/site-packages"
HANDLER = ("/repo/sentry_trio/service.py", "CertificateService.SignCertificate")


@pytest.mark.parametrize(
    ("stack", "group"),
    [
        ((("/usr/lib/python3.11/ssl.py", "SSLObject.do_handshake"),), "TLS handshake"),
        ((("/usr/lib/python3.11/ssl.py", "SSLObject.write"),), "TLS records"),
        ((("/repo/sentry_trio/grpc/tls.py", "TLSTransport.send_at_once"),), "socket calls"),
        ((("/repo/sentry_trio/grpc/connection.py", "Connection.serve"),), "our grpc/"),
        (((f"{SITE}/h2/connection.py", "H2Connection.receive_data"),), "h2, hpack, hyperframe"),
        (((f"{SITE}/trio/_core/_run.py", "unrolled_run"),), "trio"),
        ((HANDLER,), "service, protobuf"),
        ((("<string>", "__init__"), ("/repo/sentry_trio/ca/issue.py", "Issuer.issue"), HANDLER), "signing core"),
        ((("/usr/lib/python3.11/contextlib.py", "contextmanager"), HANDLER), "service, protobuf"),
        ((("/usr/lib/python3.11/enum.py", "Flag.__and__"),), "other"),
        ((), "other"),
    ],
)
def test_a_sample_falls_to_the_innermost_frame_that_is_known(stack: Stack, group: str) -> None:
    assert group_of(stack) == group


def test_a_process_is_sampled(load_client: Path, credentials: Path) -> None:
    measure = Measure(load_client, credentials, seconds=0, workers=2)
    profiles = profile(measure, [OURS], seconds=1)
    assert [each.kind for each in profiles] == ["kept", "new"]
    for each in profiles:
        assert each.samples > 10
        assert sum(each.groups.values()) == pytest.approx(1)
        assert each.groups["signing core"] > 0
    assert profiles[1].groups["TLS handshake"] > 0.02
