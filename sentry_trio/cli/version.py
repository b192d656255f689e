"""`sentry-trio version` and `--version`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from sentry_trio import __version__
from sentry_trio.settings.flags import parse_flags


@dataclass(frozen=True)
class VersionOptions:
    """No flags."""


OPTIONS: Final = VersionOptions
EXAMPLES: Final = ""


def run(arguments: Sequence[str], _environ: Mapping[str, str]) -> int:
    """Prints the version; returns the exit code."""
    parse_flags(VersionOptions, arguments)
    print(__version__)
    return 0
