"""Named problems that last: components set and clear them, health and metrics report them."""

from collections.abc import Callable, Mapping
from typing import Final

RESTART: Final = "restart"
"""Condition that is set while the last restart has failed."""


class Condition:
    """One problem; made by `Conditions.condition`."""

    def __init__(self, conditions: "Conditions", name: str) -> None:
        self._conditions = conditions
        self._name = name

    @property
    def message(self) -> str | None:
        """The description of the problem; None if there is no problem."""
        return self._conditions.active.get(self._name)

    def set(self, message: str) -> bool:
        """Reports the problem from now on, or replaces its description.

        Args:
            message: one line for people: the failure, its reason and the fix.

        Returns:
            True if the problem is new.
        """
        is_new = self.message is None
        self._conditions.update(self._name, message)
        return is_new

    def clear(self) -> bool:
        """Stops reporting the problem.

        Returns:
            True if there was one.
        """
        was_set = self.message is not None
        self._conditions.update(self._name, None)
        return was_set


class Conditions:
    """Problems of a running process, by name.

    Args:
        changed: called with True when the first problem is set and with False when the last one is cleared.
    """

    def __init__(self, changed: Callable[[bool], None] = lambda _degraded: None) -> None:
        self._changed = changed
        self._active: dict[str, str] = {}

    def condition(self, name: str) -> Condition:
        """Returns the condition of that name. Callers that use the same name share one condition."""
        return Condition(self, name)

    @property
    def active(self) -> Mapping[str, str]:
        """Descriptions of the current problems by name, oldest first."""
        return self._active

    @property
    def summary(self) -> str | None:
        """All current problems in one line; None if there are none."""
        return "; ".join(self._active.values()) or None

    def update(self, name: str, message: str | None) -> None:
        """Sets the condition of that name, or clears it if the message is None."""
        was_degraded = bool(self._active)
        if message is None:
            self._active.pop(name, None)
        else:
            self._active[name] = message
        if bool(self._active) != was_degraded:
            self._changed(not was_degraded)
