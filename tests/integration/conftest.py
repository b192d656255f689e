"""Foreign clients, built once."""

from pathlib import Path

import pytest

from tests.clients import grpc_go
from tests.go_modules import UnavailableError


@pytest.fixture(scope="session")
def load_client(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The load client of grpc-go; without Go, or its modules, tests that ask for it are skipped."""
    try:
        return grpc_go.build(tmp_path_factory.mktemp("clients"))
    except UnavailableError as error:
        pytest.skip(str(error))
