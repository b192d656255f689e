"""Decompression in parts, beside Python's gzip, and its price."""

import gzip
from itertools import pairwise

import pytest
from grpclib.const import Status
from grpclib.exceptions import GRPCError
from hypothesis import given, settings
from hypothesis import strategies as st

from sentry_trio.grpc.cpu_budget import COMPRESSED_BYTES, INFLATED_BYTES
from sentry_trio.grpc.inflation import Inflation
from testkit.deflate import empty_blocks

_MIB = 1024 * 1024
_PIECE = 10  # a little more than the price of what is passed to zlib at a time


def _prices(inflation: Inflation, work: float) -> list[float]:
    """Decompresses in parts; returns the price before the first and after each."""
    prices = [inflation.work]
    while not inflation.done:
        inflation.proceed(work)
        prices.append(inflation.work)
    return prices


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=5000), st.integers(1, 50), st.integers(0, 9), st.floats(0.01, 100))
def test_any_message_in_parts_of_any_size(unit: bytes, times: int, level: int, work: float) -> None:
    message = unit * times
    inflation = Inflation(gzip.compress(message, level), len(message))
    _prices(inflation, work)
    assert inflation.message == message


@pytest.mark.parametrize(
    ("compressed", "price"),
    [
        pytest.param(gzip.compress(bytes(_MIB)), _MIB / INFLATED_BYTES, id="many bytes from few"),
        pytest.param(empty_blocks(64 * 1024), 64 * 1024 / COMPRESSED_BYTES, id="no bytes from many"),
    ],
)
def test_a_part_has_the_price_that_it_may_have(compressed: bytes, price: float) -> None:
    inflation = Inflation(compressed, _MIB)
    prices = _prices(inflation, 20)
    assert inflation.message == gzip.decompress(compressed)
    assert price <= inflation.work <= price + 5
    assert max(after - before for before, after in pairwise(prices)) <= 20 + _PIECE


@pytest.mark.parametrize(
    ("compressed", "status"),
    [
        pytest.param(gzip.compress(bytes(_MIB + 1)), Status.RESOURCE_EXHAUSTED, id="too long"),
        pytest.param(empty_blocks(64 * 1024)[:-8] + b"\1" * 8, Status.INTERNAL, id="invalid at its end"),
    ],
)
def test_work_on_a_rejected_message_has_a_price(compressed: bytes, status: Status) -> None:
    inflation = Inflation(compressed, _MIB)
    with pytest.raises(GRPCError) as raised:
        inflation.proceed(1_000_000)
    assert raised.value.status is status
    assert inflation.work >= 128


def test_memory_is_counted() -> None:
    compressed = gzip.compress(bytes(_MIB))
    inflation = Inflation(compressed, _MIB)
    inflation.proceed(10)
    assert inflation.held == len(compressed) + len(inflation.message) + 40 * 1024
    assert 10 * INFLATED_BYTES <= len(inflation.message) < 11 * INFLATED_BYTES
