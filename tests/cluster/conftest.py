"""Namespaces of the control plane's for single tests."""

import pytest

from testkit.cluster.cluster import Cluster


@pytest.fixture
async def namespace(cluster: Cluster) -> str:
    """A namespace that is this test's alone."""
    return await cluster.create_namespace()
