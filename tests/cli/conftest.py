"""Processes for the tests of the command line."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from testkit.processes import Process, sentry_process

Start = Callable[..., Process]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts `python -m sentry_trio` with credentials in `tmp_path`; whatever is left is killed in the end."""
    with ExitStack() as processes:
        yield lambda *flags: processes.enter_context(sentry_process(tmp_path, *flags))
