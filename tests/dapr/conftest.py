"""Fixtures with Dapr's programs; without Go or its modules, tests that need them are skipped with the reason."""

from pathlib import Path

import pytest

from tests.go_modules import UnavailableError

from . import binaries
from .binaries import Program
from .ca_process import OURS


def built(program: Program) -> Path:
    """Builds a program of Dapr's, or skips the test."""
    try:
        return binaries.build(program)
    except UnavailableError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def dapr_sentry() -> Path:
    """Dapr Sentry."""
    return built("sentry")


@pytest.fixture(scope="session")
def daprd() -> Path:
    """Dapr's sidecar."""
    return built("daprd")


@pytest.fixture(scope="session")
def dapr_operator() -> Path:
    """Dapr's operator."""
    return built("operator")


@pytest.fixture(scope="session")
def dapr_injector() -> Path:
    """Dapr's sidecar injector."""
    return built("injector")


@pytest.fixture(scope="session")
def dapr_placement() -> Path:
    """Dapr's placement service."""
    return built("placement")


@pytest.fixture(params=["ours", "dapr"])
def ca_command(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """The command of a CA: first sentry-trio, then Dapr Sentry as the reference."""
    return OURS if request.param == "ours" else (str(built("sentry")),)
