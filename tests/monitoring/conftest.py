"""One Prometheus for all tests of a session."""

import pytest

from tests.go_modules import UnavailableError

from . import binaries
from .binaries import Binaries


@pytest.fixture(scope="session")
def built() -> Binaries:
    """prometheus and promtool; without Go, or its modules, tests that ask for them are skipped."""
    try:
        return binaries.build()
    except UnavailableError as error:
        pytest.skip(str(error))
