"""Equal values kept once."""

from sentry_trio.kube.shared import Shared


def made(number: int) -> tuple[int, str]:
    """Equal for equal numbers, and never the same."""
    return number, f"value {number}"


def test_equal_values_are_one() -> None:
    shared = Shared()
    first = made(1)
    assert shared.one(first) is first
    assert shared.one(made(1)) is first
    assert shared.one(made(2)) is not first
    assert shared.keyed("key", first) is first
    assert shared.keyed("key", made(3)) is first


def test_what_is_remembered_is_bounded() -> None:
    shared = Shared(10)
    for number in range(1000):
        shared.one(made(number))
        assert len(shared) <= 20


def test_what_is_asked_for_often_is_remembered() -> None:
    shared = Shared(10)
    first = shared.one(made(0))
    for number in range(1, 1000):
        shared.one(made(number))
        assert shared.one(made(0)) is first
