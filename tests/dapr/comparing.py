"""Comparison of the behaviour of Dapr Sentry and sentry-trio with the same input.

An observation is a set of named texts. Each text that differs must be explained by an entry of the list of differences
that the case names, and each entry named must explain one: a difference that is gone fails as well.
"""

from collections.abc import Collection, Mapping
from typing import Final

from testkit.dapr.differences import BY_ID

Fields = Mapping[str, str]

ABSENT: Final = "(absent)"
_OUTCOME: Final = ("status", "text")


Seen = Mapping[str, tuple[str, ...]]
"""Names of the cases that show a difference, by the difference's ID."""


def shown_by(seen: Seen, case: str) -> tuple[str, ...]:
    """The IDs of the differences that a case shows."""
    return tuple(identity for identity, cases in seen.items() if case in cases)


def compare(dapr: Fields, ours: Fields, *, differs: Collection[str] = (), may_differ: Collection[str] = ()) -> None:
    """Compares two observations.

    Args:
        dapr: Dapr Sentry's.
        ours: sentry-trio's.
        differs: IDs of the differences that must be seen.
        may_differ: IDs of differences that may be seen, for generated inputs.
    """
    if dapr.get("status") != ours.get("status"):
        # The rest has no counterpart.
        dapr, ours = ({name: fields[name] for name in _OUTCOME if name in fields} for fields in (dapr, ours))
    found = {
        name: (dapr.get(name, ABSENT), ours.get(name, ABSENT))
        for name in sorted({*dapr, *ours})
        if dapr.get(name) != ours.get(name)
    }
    entries = [BY_ID[identity] for identity in (*differs, *may_differ)]
    unlisted = {
        name: values for name, values in found.items() if not any(entry.explains(name, *values) for entry in entries)
    }
    shown = "\n".join(
        f"  {name}:\n    Dapr: {theirs!r}\n    ours: {mine!r}" for name, (theirs, mine) in unlisted.items()
    )
    assert not unlisted, f"differences that are not listed, or not named by this case:\n{shown}"
    stale = [
        identity
        for identity in differs
        if not any(BY_ID[identity].explains(name, *values) for name, values in found.items())
    ]
    assert not stale, f"listed differences that are not seen any more: {stale}"
