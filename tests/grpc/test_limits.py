"""Validation of a server's limits."""

import math

import msgspec
import pytest

from sentry_trio.grpc import Limits


def test_defaults_of_flags() -> None:
    limits = Limits()
    assert limits.message_bytes == 4_194_304
    assert limits.unread_bytes == 2 * limits.message_bytes
    with pytest.raises(AttributeError):
        limits.streams = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    "name", [field.name for field in msgspec.structs.fields(Limits) if field.name != "drain_timeout"]
)
@pytest.mark.parametrize("value", [0, -1, math.nan])
def test_limits_are_positive(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{name} must be positive, got {value}"):
        Limits(**{name: value})  # type: ignore[arg-type]


def test_draining_may_take_no_time() -> None:
    assert Limits(drain_timeout=0).drain_timeout == 0
    with pytest.raises(ValueError, match="drain_timeout must be positive, got -1"):
        Limits(drain_timeout=-1)


def test_a_message_must_fit_its_prefix_and_the_bound_on_unread_bytes() -> None:
    assert Limits(message_bytes=100, unread_bytes=105).unread_bytes == 105
    with pytest.raises(ValueError, match="unread_bytes must have room for one message"):
        Limits(message_bytes=100, unread_bytes=104)
    with pytest.raises(ValueError, match="message_bytes must be below 2\\^32, got 4294967296"):
        Limits(message_bytes=2**32, unread_bytes=2**33)
