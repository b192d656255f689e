"""A server of the toys for tests that need no other limits."""

from collections.abc import AsyncIterator

import pytest

from testkit.grpc.toys import Served, serving


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    async with serving() as server:
        yield server
