"""Suggestions for mistyped names."""

import difflib
from collections.abc import Iterable
from typing import Final

_LONGEST: Final = 100  # characters that are compared; the time of a comparison grows with their square


def suggestion(word: str, names: Iterable[str], *, prefix: str = "") -> str:
    """Returns `; did you mean NAME?` with the name closest to `word`, or an empty text if none is close."""
    folded = {name.lower(): name for name in names}
    near = difflib.get_close_matches(word[:_LONGEST].lower(), folded, n=1)
    return f"; did you mean {prefix}{folded[near[0]]}?" if near else ""
