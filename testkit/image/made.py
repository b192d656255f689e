"""One image for all tests of a session, in all directories; it takes some 30 s."""

import platform
import tempfile
from functools import cache
from pathlib import Path
from typing import Final

from testkit.locks import exclusively

from . import container
from .dockerfile import Stage, UnavailableError, build
from .layers import LAYERS

EPOCH: Final = 1_700_000_000


@cache
def _made() -> tuple[Stage | str, object]:
    if platform.libc_ver()[0] != "glibc":
        return "an image is made on Linux with glibc, and this is something else", None
    LAYERS.mkdir(parents=True, exist_ok=True)
    # Removed when the interpreter ends; beside the layers, so that files can be linked.
    directory = tempfile.TemporaryDirectory(prefix="image-", dir=LAYERS.parent)
    try:
        with exclusively("image"):
            return build(Path(directory.name), SOURCE_DATE_EPOCH=str(EPOCH)), directory
    except UnavailableError as error:
        return str(error), None


def image() -> Stage:
    """Result of the Dockerfile's steps.

    Raises:
        UnavailableError: it is not made for this machine, or the packages of the lock file cannot be had.
    """
    made, _ = _made()
    if isinstance(made, str):
        raise UnavailableError(made)
    return made


def runnable() -> Stage:
    """The image, where this machine can run it as a container would.

    Raises:
        UnavailableError: as for `image`, or it cannot.
    """
    lacks = container.missing()
    if lacks is not None:
        raise UnavailableError(lacks)
    return image()
