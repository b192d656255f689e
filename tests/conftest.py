"""Distribution of tests, Hypothesis' settings, and foreign programs that several packages of tests use."""

import gc
import os
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages
from typing import TYPE_CHECKING

import pytest
from coverage import Coverage
from hypothesis import HealthCheck, settings

import sentry_trio
from testkit.clients import grpc_go
from testkit.go_modules import UnavailableError
from testkit.go_x509 import GoX509, go_x509
from testkit.leftovers import adopt_orphans, no_processes_left
from testkit.log_capture import Line, capture_logs, logging_as_before

if TYPE_CHECKING:
    from xdist.remote import Producer

# The same examples each time, however busy the machine is.
settings.register_profile("repeatable", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("repeatable")

# What is imported to be collected stays: looking through it for garbage takes seconds, now and after.
gc.disable()

# Go's programs live shortly here: collecting garbage less often takes a third less of a processor.
os.environ.update(GOGC="400", GOMEMLIMIT="768MiB")

adopt_orphans()

_SHARED = {"tests/cluster": "cluster", "tests/image": "image"}
"""Directories of tests that share what takes long to start or make, with the name of their group."""


_UNCOVERED = {f"tests/{name}" for name in ("benchmarks", "fuzz", "helm", "image", "monitoring")}
"""Directories of tests that run, of the measured code, only what others run, too."""


def _group(node_id: str) -> str:
    """Tests of a group run in one process: those of a module, or those that share a control plane or the image."""
    module = node_id.partition("::")[0]
    return _SHARED.get(module.rpartition("/")[0], module)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: "Producer") -> object:
    # With pytest 9.2, pytest-xdist 3.8 does not see its own marks of groups.
    from xdist.scheduler import LoadScopeScheduling

    if (coverage := Coverage.current()) is not None:
        coverage.stop()  # this process only distributes tests, and tracing makes that slow

    class Groups(LoadScopeScheduling):  # type: ignore[misc]  # it has no types
        def _split_scope(self, nodeid: str) -> str:
            return _group(nodeid)

    return Groups(config, log)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """One more than processors: a fifth of the time, a test waits for a clock or another process."""
    return (os.cpu_count() or 1) + 1


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection(session: pytest.Session) -> Iterator[None]:
    """Measures what importing the package runs, and not the tests' modules: that takes them half as long again."""
    coverage = Coverage.current()
    if coverage is None or session.config.pluginmanager.hasplugin("dsession"):
        return (yield)
    for module in walk_packages(sentry_trio.__path__, "sentry_trio."):
        if not module.name.endswith("__main__"):
            import_module(module.name)
    coverage.stop()
    try:
        return (yield)
    finally:
        coverage.start()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begins with what takes longest, and marks whole directories."""
    for item in items:
        if item.nodeid.rpartition("/")[0] in _UNCOVERED:
            item.add_marker(pytest.mark.uncovered)
    items.sort(key=lambda item: _group(item.nodeid) not in _SHARED.values())


def pytest_collection_finish() -> None:
    gc.enable()
    gc.freeze()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Measures no coverage in tests that are marked so: it doubles what they take."""
    coverage = Coverage.current() if item.get_closest_marker("uncovered") else None
    if coverage is None:
        return (yield)
    coverage.stop()
    try:
        return (yield)
    finally:
        coverage.start()


@pytest.fixture(autouse=True)
def processes_ended() -> Iterator[None]:
    """Ends what a test started; programs of wider fixtures began before."""
    with no_processes_left():
        yield


@pytest.fixture(autouse=True)
def logging_restored() -> Iterator[None]:
    """Ends what a test changed of logging: a command that runs in this process sets it up for good."""
    with logging_as_before():
        yield


@pytest.fixture(autouse=True)
def processes_covered(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Measures coverage in processes that tests with that mark start, and in no others: it doubles their start."""
    if request.node.get_closest_marker("covered_processes") is None:
        monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)


@pytest.fixture
def lines() -> Iterator[list[Line]]:
    """Lines logged during a test."""
    with capture_logs() as captured:
        yield captured


@pytest.fixture(scope="session")
def load_client() -> Path:
    """The load client of grpc-go; without Go, or its modules, tests that ask for it are skipped."""
    try:
        return grpc_go.build()
    except UnavailableError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def go() -> Iterator[GoX509]:
    """Go's crypto/x509, as a running program."""
    try:
        with go_x509() as program:
            yield program
    except UnavailableError as error:
        pytest.skip(str(error))
