"""The image, and what is mounted into its containers."""

import os
from pathlib import Path

import pytest

from testkit.image import made
from testkit.image.dockerfile import Stage, UnavailableError


@pytest.fixture(scope="session")
def image() -> Stage:
    try:
        return made.image()
    except UnavailableError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def runnable() -> Stage:
    try:
        return made.runnable()
    except UnavailableError as error:
        pytest.skip(str(error))


@pytest.fixture
def credentials(tmp_path: Path, runnable: Stage) -> Path:
    """An empty directory that is the container's."""
    directory = tmp_path / "credentials"
    directory.mkdir(mode=0o700)
    os.chown(directory, *runnable.ids)
    return directory
