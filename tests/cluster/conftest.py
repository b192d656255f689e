"""One control plane for all tests of a session; each test keeps to namespaces of its own."""

from collections.abc import Iterator

import pytest

from tests.go_modules import UnavailableError

from . import binaries
from .cluster import Cluster, running


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A control plane; without Go, or its modules, tests that ask for it are skipped."""
    try:
        built = binaries.build()
    except UnavailableError as error:
        pytest.skip(str(error))
    with running(built) as started:
        yield started


@pytest.fixture
async def namespace(cluster: Cluster) -> str:
    """A namespace that is this test's alone."""
    return await cluster.create_namespace()
