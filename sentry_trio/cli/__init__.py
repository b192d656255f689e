"""The command line: `sentry-trio [serve] [flags]`, and the commands in `commands`.

Without a command it serves, with Dapr Sentry's flags, so that it can replace Sentry. Only the first argument names a
command: Dapr Sentry ignores later ones that are no flags, and so does `serve`, with a warning. Exit codes: 0 done or
shut down gracefully; 1 failed, with the reason on one line; 2 the command line is wrong; 130 interrupted. `status` also
exits with 3: something needs attention.
"""

import os
import signal
import sys
from collections.abc import Mapping, Sequence
from typing import TextIO

from sentry_trio.cli.commands import BY_NAME, SERVE, Command

_FAILED, _USAGE, _INTERRUPTED = 1, 2, 130
_VERSION_FLAGS = frozenset(("--version", "-version"))


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; returns the exit code."""
    _open_standard_streams()
    words = list(sys.argv[1:] if arguments is None else arguments)
    first = words[0] if words else ""
    if first in _VERSION_FLAGS:
        return _run(BY_NAME["version"], words[1:], os.environ)
    if not words or (first.startswith("-") and first != "-"):
        return _run(SERVE, words, os.environ)
    command = BY_NAME.get(first)
    if command is None:
        from sentry_trio.settings.suggestions import suggestion

        print(f"sentry-trio: unknown command {first!r}{suggestion(first, BY_NAME)}", file=sys.stderr)
        print("'sentry-trio --help' lists the commands", file=sys.stderr)
        return _USAGE
    return _run(command, words[1:], os.environ)


def _run(command: Command, arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    if command is SERVE:
        # Nothing is read yet that a reload could replace. Until `serve` handles the signal, it would end the process.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    module = command.load()
    try:
        try:
            code = module.run(arguments, environ)
        except SystemExit as error:  # argparse's, and rich's if a pipe is closed
            code = error.code if isinstance(error.code, int) else _FAILED
        sys.stdout.flush()
    except KeyboardInterrupt:
        return _INTERRUPTED
    except OSError as error:
        # Only standard output is left: commands report their own files. A reader that has left needs no message.
        _discard(sys.stdout)
        if not isinstance(error, BrokenPipeError):
            print(f"sentry-trio {command.name}: cannot write to standard output: {error.strerror}", file=sys.stderr)
        return _FAILED
    return code


def _open_standard_streams() -> None:
    """Opens the null device in place of standard streams that the caller has closed, as with `>&-` in a shell.

    Else the next file or socket that is opened takes their numbers.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free, which is this one
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115 - for as long as the process lives
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115


def _discard(stream: TextIO) -> None:
    """Sends what the stream still holds to the null device: its flush when Python exits would fail once more."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stream.fileno())
    os.close(null)
