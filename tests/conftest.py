"""Foreign programs that several packages of tests use, started or built once a session."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from testkit.clients import grpc_go
from testkit.cluster import binaries
from testkit.cluster.cluster import Cluster, running
from testkit.go_modules import UnavailableError


@pytest.fixture(scope="session")
def load_client(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The load client of grpc-go; without Go, or its modules, tests that ask for it are skipped."""
    try:
        return grpc_go.build(tmp_path_factory.mktemp("clients"))
    except UnavailableError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A control plane; each test keeps to namespaces of its own. Without Go, tests that ask for it are skipped."""
    try:
        built = binaries.build()
    except UnavailableError as error:
        pytest.skip(str(error))
    with running(built) as started:
        yield started
