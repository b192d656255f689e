"""Fixtures of the core's tests: Go's crypto/x509, as a running program."""

from collections.abc import Iterator

import pytest

from testkit.go_modules import UnavailableError
from testkit.go_x509 import GoX509, go_x509


@pytest.fixture(scope="package")
def go() -> Iterator[GoX509]:
    try:
        with go_x509() as program:
            yield program
    except UnavailableError as error:
        pytest.skip(str(error))
