"""What is asked of the Kubernetes API server."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol


class Api(Protocol):
    """The API server, by path; answers are JSON objects.

    All methods raise ApiUnavailableError where it may pass and ApiRefusedError where it will not.
    """

    async def get(self, path: str, query: Mapping[str, str] | None = None) -> dict[str, Any]:
        """Reads an object or a list."""
        ...

    async def create(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Creates an object (POST)."""
        ...

    async def replace(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Replaces an object (PUT)."""
        ...

    def watch(
        self, path: str, query: Mapping[str, str] | None = None
    ) -> AbstractAsyncContextManager[AsyncIterator[dict[str, Any]]]:
        """The events of a list."""
        ...
