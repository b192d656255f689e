"""Answers that are good for a while."""

from typing import Generic, TypeVar

import trio

V = TypeVar("V")


class TtlCache(Generic[V]):
    """Keeps values for some seconds, by keys that tell nothing.

    Args:
        seconds: how long each is kept, on Trio's clock.
        limit: how many there may be; one more, and the one that was kept first has to go.
    """

    def __init__(self, *, seconds: float, limit: int) -> None:
        self._seconds = seconds
        self._limit = limit
        # In the order in which they were kept, which is that in which they go.
        self._kept: dict[bytes, tuple[float, V]] = {}

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: bytes) -> V | None:
        """What was kept under `key`, if that was not too long ago."""
        found = self._kept.get(key)
        if found is None:
            return None
        until, value = found
        if trio.current_time() >= until:
            del self._kept[key]
            return None
        return value

    def keep(self, key: bytes, value: V) -> None:
        """Keeps `value` from now on, whatever was kept under `key` before."""
        self._kept.pop(key, None)
        self._kept[key] = trio.current_time() + self._seconds, value
        if len(self._kept) > self._limit:
            del self._kept[next(iter(self._kept))]

    def forget(self, key: bytes) -> None:
        """Keeps nothing under `key` any more."""
        self._kept.pop(key, None)
