"""Cache whose values expire."""

from typing import Generic, TypeVar

import trio

V = TypeVar("V")


class TtlCache(Generic[V]):
    """Keeps values for some seconds.

    Args:
        seconds: how long each is kept, on Trio's clock.
        limit: most values; one more evicts the oldest.
    """

    def __init__(self, *, seconds: float, limit: int) -> None:
        self._seconds = seconds
        self._limit = limit
        # In the order in which they were kept, and so in which they expire.
        self._kept: dict[bytes, tuple[float, V]] = {}

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: bytes) -> V | None:
        """Returns the value of `key`; None if there is none or it has expired."""
        found = self._kept.get(key)
        if found is None:
            return None
        until, value = found
        if trio.current_time() >= until:
            del self._kept[key]
            return None
        return value

    def put(self, key: bytes, value: V) -> None:
        """Keeps `value`, replacing any of the same key."""
        self._kept.pop(key, None)
        self._kept[key] = trio.current_time() + self._seconds, value
        if len(self._kept) > self._limit:
            del self._kept[next(iter(self._kept))]

    def remove(self, key: bytes) -> None:
        """Removes the value of `key`, if there is one."""
        self._kept.pop(key, None)
