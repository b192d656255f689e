"""`sentry-trio version` and `--version`."""

from argparse import ArgumentParser
from collections.abc import Mapping, Sequence

from sentry_trio import __version__


def parser() -> ArgumentParser:
    """The parser of the command's arguments, of which there are none."""
    return ArgumentParser(prog="sentry-trio version", description="Print the version.")


def run(arguments: Sequence[str], _environ: Mapping[str, str]) -> int:
    """Prints the version; returns the exit code."""
    parser().parse_args(arguments)
    print(__version__)
    return 0
