"""Equal values kept once."""

from sentry_trio.kube.pods import Interner


def made(number: int) -> tuple[int, str]:
    """Equal for equal numbers, and never the same."""
    return number, f"value {number}"


def test_equal_values_are_one() -> None:
    interner = Interner()
    first = made(1)
    assert interner.intern(first) is first
    assert interner.intern(made(1)) is first
    assert interner.intern(made(2)) is not first
    assert interner.intern_by_key("key", first) is first
    assert interner.intern_by_key("key", made(3)) is first


def test_remembered_values_are_bounded() -> None:
    interner = Interner(10)
    for number in range(1000):
        interner.intern(made(number))
        assert len(interner) <= 20


def test_frequent_values_are_remembered() -> None:
    interner = Interner(10)
    first = interner.intern(made(0))
    for number in range(1, 1000):
        interner.intern(made(number))
        assert interner.intern(made(0)) is first
