"""One Prometheus for all tests of a session."""

import pytest

from testkit.go_modules import UnavailableError
from testkit.monitoring import binaries
from testkit.monitoring.binaries import Binaries


@pytest.fixture(scope="session")
def built() -> Binaries:
    """prometheus and promtool; without Go, or its modules, tests that ask for them are skipped."""
    try:
        return binaries.build()
    except UnavailableError as error:
        pytest.skip(str(error))
