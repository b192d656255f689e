"""The credentials that contenders share."""

from pathlib import Path

import pytest

from benchmarks.bench import write_credentials


@pytest.fixture
def credentials(tmp_path: Path) -> Path:
    write_credentials(tmp_path)
    return tmp_path
