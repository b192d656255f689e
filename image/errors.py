"""Errors that keep an image from being made."""

import subprocess
from collections.abc import Mapping, Sequence


class ImageError(Exception):
    """The image cannot be made; the text is one line that says why."""


def run(command: Sequence[str], *, environ: Mapping[str, str] | None = None) -> str:
    """Runs a command; returns its standard output.

    Raises:
        ImageError: it is not there, or failed; its own last words are in the text.
    """
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environ)
    except OSError as error:
        raise ImageError(f"cannot run {command[0]}: {error.strerror}") from error
    if done.returncode != 0:
        raise ImageError(f"{' '.join(command[:4])} ... failed: {(done.stderr.strip() or done.stdout.strip())[-2000:]}")
    return done.stdout
