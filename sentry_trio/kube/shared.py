"""Equal values kept once: of ten thousand pods most say the same as another one does."""

from collections.abc import Hashable
from typing import Final, TypeVar, cast

H = TypeVar("H", bound=Hashable)
V = TypeVar("V")

GENERATION: Final = 16_384
"""Values that are remembered before the older ones begin to be forgotten."""


class Shared:
    """Finds the value that was equal, if there was one lately.

    Two generations of values are remembered, and those of the older one that were not asked for while the younger one
    filled are forgotten: a value that is used often stays, and what is remembered stays bounded without looking
    through what uses it. What was forgotten is merely kept twice from then on.

    Args:
        generation: values in one of the two.
    """

    def __init__(self, generation: int = GENERATION) -> None:
        self._size = generation
        self._young: dict[Hashable, object] = {}
        self._old: dict[Hashable, object] = {}

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def one(self, value: H) -> H:
        """An equal value that was given before, or this one."""
        return self.keyed(value, value)

    def keyed(self, key: Hashable, value: V) -> V:
        """The value that was given for an equal key before, or this one. Keys of different kinds must differ."""
        if (found := self._young.get(key)) is not None:
            return cast("V", found)
        kept = self._old.get(key, value)
        if len(self._young) >= self._size:
            self._old, self._young = self._young, {}
        self._young[key] = kept
        return cast("V", kept)
