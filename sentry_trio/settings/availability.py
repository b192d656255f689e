"""What this release does not have yet. Starting without a feature that was asked for would be a silent lie."""

from collections.abc import Collection
from typing import Final

from sentry_trio.errors import NotAvailableError

TO_COME: Final = ("--jwt-enabled in Kubernetes mode",)


def require(feature: str, *, hint: str = "", to_come: Collection[str] = TO_COME) -> None:
    """Refuse `feature` if it is still to come.

    Args:
        feature: what was asked for, spelled as in `TO_COME`.
        hint: what the operator can do, or why the feature was chosen.
        to_come: what is not there yet.

    Raises:
        NotAvailableError: one line naming the feature.
    """
    if feature in to_come:
        raise NotAvailableError(f"{feature} is not available in this release" + (f": {hint}" if hint else ""))
