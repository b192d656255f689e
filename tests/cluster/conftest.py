"""The control plane, and its namespaces for single tests."""

from collections.abc import Iterator

import pytest

from testkit.cluster import binaries
from testkit.cluster.cluster import Cluster, running
from testkit.go_modules import UnavailableError


@pytest.fixture(scope="package")
def cluster() -> Iterator[Cluster]:
    """A control plane; each test keeps to namespaces of its own. Without Go, tests that ask for it are skipped.

    It ends with the tests of the directory, as it takes some of a processor even without requests.
    """
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
