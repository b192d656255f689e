"""The load client and the credentials that contenders share."""

from pathlib import Path

import pytest

from benchmarks.bench import write_credentials
from tests.integration.conftest import load_client

__all__ = ["credentials", "load_client"]


@pytest.fixture
def credentials(tmp_path: Path) -> Path:
    write_credentials(tmp_path)
    return tmp_path
