"""The command line in this process: a process of its own takes a second to start."""

import signal
import subprocess
from contextlib import redirect_stderr, redirect_stdout
from tempfile import TemporaryFile

from sentry_trio.cli import main


def run_command(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs a command that ends by itself; returns its exit code and output."""
    hangup = signal.getsignal(signal.SIGHUP)  # which `serve` ignores at first
    with TemporaryFile("w+") as output, TemporaryFile("w+") as errors:
        try:
            with redirect_stdout(output), redirect_stderr(errors):
                code = main(arguments)
        finally:
            signal.signal(signal.SIGHUP, hangup)
        output.seek(0)
        errors.seek(0)
        return subprocess.CompletedProcess(["sentry-trio", *arguments], code, output.read(), errors.read())
