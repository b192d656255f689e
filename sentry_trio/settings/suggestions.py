"""Suggestions for mistyped names."""

import difflib
from collections.abc import Iterable


def suggestion(word: str, names: Iterable[str], *, prefix: str = "") -> str:
    """Returns `; did you mean NAME?` with the name closest to `word`, or an empty text if none is close."""
    near = difflib.get_close_matches(word, names, n=1)
    return f"; did you mean {prefix}{near[0]}?" if near else ""
