"""Locks between the processes of a test run, for work that two of them should not do at once."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_LOCKS: Final = Path(__file__).parents[1] / "build" / "locks"


@contextmanager
def exclusively(name: str) -> Iterator[None]:
    """Holds the lock of this name for the block; blocks until no other process does. It ends with its process."""
    _LOCKS.mkdir(parents=True, exist_ok=True)
    with (_LOCKS / name).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
