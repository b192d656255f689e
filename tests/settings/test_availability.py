"""What is still to come is refused by name, all else passes."""

import pytest

from sentry_trio.errors import NotAvailableError
from sentry_trio.settings.availability import TO_COME, require


@pytest.mark.parametrize("feature", TO_COME)
def test_features_to_come(feature: str) -> None:
    with pytest.raises(NotAvailableError) as caught:
        require(feature)
    assert str(caught.value) == f"{feature} is not available in this release"


def test_a_hint_follows() -> None:
    with pytest.raises(NotAvailableError, match=r"^x is not available in this release: use y$"):
        require("x", hint="use y", to_come=("x",))


def test_what_has_come_passes() -> None:
    require("x", to_come=())
