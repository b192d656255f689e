"""Plans of many renewals read the same certificates hundreds of times."""

from collections.abc import Iterator

import pytest

from testkit.ca.renewing import remembering


@pytest.fixture
def certificates_remembered() -> Iterator[None]:
    with remembering():
        yield
