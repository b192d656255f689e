"""Requests to the Kubernetes API server."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from sentry_trio.kube.watch_stream import Event


class ReadApi(Protocol):
    """Reading requests to the API server, by path.

    All methods raise ApiUnavailableError for failures that may pass and ApiRejectedError for all others.
    """

    async def get(self, path: str, query: Mapping[str, str] | None = None) -> dict[str, Any]:
        """Reads an object or a list, which is a JSON object."""
        ...

    async def get_raw(self, path: str, query: Mapping[str, str] | None = None) -> bytes:
        """Reads an object, a list or the answer of a pod, undecoded."""
        ...


class WatchApi(ReadApi, Protocol):
    """Requests that follow a list."""

    def watch(
        self, path: str, query: Mapping[str, str] | None = None
    ) -> AbstractAsyncContextManager[AsyncIterator[Event]]:
        """Watches a list."""
        ...


class Api(WatchApi, Protocol):
    """Requests to the API server, by path; answers are JSON objects."""

    async def create(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Creates an object (POST)."""
        ...

    async def replace(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Replaces an object (PUT)."""
        ...
