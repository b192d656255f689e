"""One helm for all tests of a session."""

import pytest

from testkit.go_modules import UnavailableError
from testkit.helm import chart
from testkit.helm.chart import Helm


@pytest.fixture(scope="session")
def helm(tmp_path_factory: pytest.TempPathFactory) -> Helm:
    """helm without a cluster; without Go, or its modules, tests that ask for it are skipped."""
    try:
        binary = chart.build()
    except UnavailableError as error:
        pytest.skip(str(error))
    return Helm(binary, tmp_path_factory.mktemp("helm"))
