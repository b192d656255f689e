"""How tests are distributed, Hypothesis' settings, and foreign programs that several packages of tests use."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from testkit.clients import grpc_go
from testkit.cluster import binaries
from testkit.cluster.cluster import Cluster, running
from testkit.go_modules import UnavailableError

# The same examples each time, however busy the machine is.
settings.register_profile("repeatable", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("repeatable")

_SHARED = {"cluster": "cluster", "image": "image"}
"""Directories of tests that share what takes long to start or make, with the name of their group."""


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keeps a module's tests in one worker, and all that share a control plane; the latter begin first."""
    items.sort(key=lambda item: _group(item) not in _SHARED.values())
    for item in items:
        item.add_marker(pytest.mark.xdist_group(_group(item)))


def _group(item: pytest.Item) -> str:
    inner = item.path.relative_to(Path(__file__).parent)
    return _SHARED.get(inner.parts[0], inner.as_posix())


@pytest.fixture(autouse=True)
def processes_covered(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Measures coverage in processes that tests of the command line start, and in no others: it doubles their start."""
    if "cli" not in request.path.parts:
        monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)


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
