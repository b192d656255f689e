"""Records that do not show all their fields."""

from typing import Any, ClassVar

import msgspec


class Discreet(msgspec.Struct, frozen=True):
    """A record whose text, in a log or an error, leaves out fields that are secret or long.

    Attributes:
        UNSHOWN: names of these fields.
    """

    UNSHOWN: ClassVar[frozenset[str]]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self.__rich_repr__())})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """Returns the other fields, by which rich shows a record."""
        return [(name, getattr(self, name)) for name in self.__struct_fields__ if name not in self.UNSHOWN]
