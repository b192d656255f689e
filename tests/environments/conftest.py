"""Runs in virtual time read the same certificates thousands of times."""

from collections.abc import Iterator

import pytest

from testkit.ca.renewing import remembering


@pytest.fixture(autouse=True)
def certificates_remembered() -> Iterator[None]:
    with remembering():
        yield
