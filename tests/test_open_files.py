"""Shares of the limit on open files: health answers although the gRPC port takes all that it may have."""

import resource
import socket
from contextlib import ExitStack
from pathlib import Path

import pytest

from sentry_trio import open_files
from testkit.subject import subject


@pytest.mark.parametrize(
    ("limit", "http", "grpc"),
    [(64, 8, 8), (1024, 62, 806), (20_000, 1248, 16_224), (resource.RLIM_INFINITY, 134_217_726, 1_744_830_438)],
)
def test_the_shares(limit: int, http: int, grpc: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (limit, limit))
    assert (open_files.http_share(), open_files.grpc_share()) == (http, grpc)


@pytest.mark.parametrize("attacked", ["grpc_port", "health_port"])
def test_silent_connections_leave_health_its_descriptors(attacked: str, tmp_path: Path) -> None:
    """200 of them where 64 files may be open: each probe is answered, and warnings give the reason, once each."""
    with subject(tmp_path, open_files=64) as target, ExitStack() as opened:
        for _ in range(200):
            silent = opened.enter_context(socket.socket())
            silent.setblocking(False)
            silent.connect_ex(("127.0.0.1", getattr(target, attacked)))
        for _ in range(50):
            target.state()  # answered, and ready
        opened.close()
        target.stop()
        complaints = target.complaints()
    assert "--max-connections 2000: the limit of 64 open files allows only 8 gRPC connections" in complaints[0]
    assert len(complaints) == len(set(complaints)) <= 2, complaints
    assert not any("cannot accept" in text for text in complaints)
