"""The command line: `sentry-trio [serve] [flags]`, and the commands in `commands`.

Without a command it serves, with Dapr Sentry's flags, so that it can replace Sentry. Only the first argument names a
command: Dapr Sentry ignores later arguments that are not flags, and so does `serve`, with a warning. Exit codes: 0
done or shut down gracefully; 1 failed, with the reason on one line; 2 the command line is wrong;
130 interrupted. `status` and `ca` also exit with 3: something needs attention.
"""

import os
import signal
import sys
from collections.abc import Mapping, Sequence
from typing import TextIO

from sentry_trio.cli.commands import BY_NAME, SERVE, Command
from sentry_trio.errors import InvalidOptionsError
from sentry_trio.settings.flags import HelpRequested
from sentry_trio.settings.suggestions import suggestion

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
        print(f"sentry-trio: unknown command {first!r}{suggestion(first, BY_NAME)}", file=sys.stderr)
        print("'sentry-trio --help' lists the commands", file=sys.stderr)
        return _USAGE
    return _run(command, words[1:], os.environ)


def _run(command: Command, arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    if command is SERVE:
        # Nothing is read yet that a reload could replace. Until `serve` handles the signal, it would end the process.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        code = _run_or_explain(command, arguments, environ)
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


def _run_or_explain(command: Command, arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    """Runs a command, or prints its help text or usage."""
    try:
        return command.load().run(arguments, environ)
    except HelpRequested:
        from sentry_trio.cli.help import help_text

        print(help_text(command), end="")
        return 0
    except InvalidOptionsError as error:
        from sentry_trio.cli.help import usage

        print(f"{usage(command)}\nsentry-trio {command.name}: error: {error}", file=sys.stderr)
        return _USAGE
    except SystemExit as error:  # rich's if a pipe is closed
        return error.code if isinstance(error.code, int) else _FAILED


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
    """Redirects the stream to the null device: its flush when Python exits would fail again."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stream.fileno())
    os.close(null)
