"""Dapr's own chart of 1.18.1, in Go's module cache."""

import json
from functools import cache
from pathlib import Path
from typing import Final

from tests.go_modules import GoModule, UnavailableError

_MODULE: Final = Path(__file__).parents[1] / "dapr"  # which pins the version of Dapr


@cache
def find_chart() -> Path | None:
    """The directory of Dapr's chart in Go's module cache; None if it cannot be had."""
    try:
        module = GoModule(_MODULE, "Dapr's chart", ("mod", "download", "github.com/dapr/dapr")).fetched()
    except UnavailableError:
        return None
    found: str = json.loads(module.run("list", "-m", "-json", "github.com/dapr/dapr").stdout)["Dir"]
    return Path(found) / "charts" / "dapr"
