"""`sentry-trio version` and `--version`."""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from sentry_trio import __version__
from sentry_trio.settings.flags import parse_flags


class VersionOptions(msgspec.Struct, frozen=True):
    """No flags."""


OPTIONS: Final = VersionOptions
EXAMPLES: Final = ""


def run(arguments: Sequence[str], _environ: Mapping[str, str]) -> int:
    """Prints the version; returns the exit code."""
    parse_flags(VersionOptions, arguments)
    print(__version__)
    return 0
