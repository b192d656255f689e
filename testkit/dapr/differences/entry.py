"""One deliberate difference."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A behaviour in which sentry-trio differs from Dapr Sentry on purpose.

    Attributes:
        id: its name in the tests.
        dapr: the behaviour of Dapr Sentry.
        ours: the behaviour of sentry-trio.
        reason: the gain for users.
        seen: for differences that the comparison observes: regular expressions of both values by the field's name,
            itself a regular expression.
        shown: for the others: the test that shows it, as `tests/file.py::test_name`.
    """

    id: str
    dapr: str
    ours: str
    reason: str
    seen: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    shown: str = ""

    def explains(self, name: str, dapr: str, ours: str) -> bool:
        """True if this difference gives the field these two values."""
        return any(
            re.fullmatch(pattern, name)
            and re.fullmatch(theirs, dapr, re.DOTALL)
            and re.fullmatch(mine, ours, re.DOTALL)
            for pattern, (theirs, mine) in self.seen.items()
        )


REFUSED: Mapping[str, tuple[str, str]] = {"status": ("serves", "exit code 1"), "text": (r"\(absent\)", ".+")}
"""Dapr Sentry starts, and ours does not."""
TOLERATED: Mapping[str, tuple[str, str]] = {"status": ("exit code [12]", "serves"), "text": (".*", r"\(absent\)")}
"""Ours starts, and Dapr Sentry does not."""
NOT_SIGNED: Mapping[str, tuple[str, str]] = {"status": ("OK", "INVALID_ARGUMENT"), "text": (r"\(absent\)", ".+")}
"""Dapr Sentry signs, and ours does not."""
SIGNED: Mapping[str, tuple[str, str]] = {"status": ("INVALID_ARGUMENT", "OK"), "text": (".+", r"\(absent\)")}
"""Ours signs, and Dapr Sentry does not."""
