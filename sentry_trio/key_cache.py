"""Keys of a source, kept up to date."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Final, Generic, NoReturn, TypeVar

import trio

K = TypeVar("K")

PAUSE: Final = 10.0
"""Least seconds between two readings because of unknown keys, however many tokens name some."""

PATIENCE: Final = 5.0
"""Seconds that a caller with an unknown key waits for a reading."""


class KeyCache(ABC, Generic[K]):
    """Reads a set of keys when it is due, and once more if a token names a key that is not in it.

    Only `keep` reads, so that a cancelled caller does not end a read for the others.

    Attributes:
        keys: the last good set, by key ID; None if there is none yet.
    """

    def __init__(self) -> None:
        self.keys: Mapping[str, K] | None = None
        self._read_at = -math.inf
        self._reading = trio.Lock()
        self._wanted = trio.Event()
        self._read = trio.Event()

    @abstractmethod
    async def _load(self) -> float:
        """Reads the set once, within a time of its own; sets `keys`, or logs the failure.

        Returns:
            The seconds until it is due again.
        """

    @property
    def ready(self) -> bool:
        """True once a set was read."""
        return self.keys is not None

    async def wait_tried(self) -> None:
        """Returns once the source was read, successfully or not."""
        if self._read_at == -math.inf:
            await self._read.wait()

    async def wait_ready(self) -> None:
        """Returns once a set was read."""
        while self.keys is None:
            await self._read.wait()

    async def lookup(self, kid: str) -> K | None:
        """Returns the key with this ID; None if there is none.

        An unknown key may be new: the set is read again, one reading for all that wait, at most every 10 s.

        Raises:
            trio.TooSlowError: the key is unknown, and the reading takes more than 5 s.

        Cancellation: at once; the reading continues.
        """
        key = (self.keys or {}).get(kid)
        if key is not None:
            return key
        under_way = self._reading.locked()
        if under_way or trio.current_time() >= self._read_at + PAUSE:
            # Not during a reading: callers at the right times would make the readings follow each other.
            if not under_way:
                self._wanted.set()
            with trio.fail_after(PATIENCE):
                await self._read.wait()
        return (self.keys or {}).get(kid)

    def read_soon(self) -> None:
        """Makes `keep` read the set, and once more after a reading under way: the source may have changed since."""
        self._wanted.set()

    async def keep(self) -> NoReturn:
        """Reads the set now and whenever it is due; runs until cancelled.

        Cancellation: at once.
        """
        while True:
            self._wanted = trio.Event()
            pause = await self.refresh()
            with trio.move_on_after(pause):
                await self._wanted.wait()

    async def refresh(self) -> float:
        """Reads the set once; returns the seconds until it is due again.

        Cancellation: at once, and nothing has changed.
        """
        async with self._reading:
            pause = await self._load()
            self._read_at = trio.current_time()
            read, self._read = self._read, trio.Event()
            read.set()
            return pause
