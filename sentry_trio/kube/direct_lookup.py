"""Reads single objects that the copy of all does not have, within a budget."""

from functools import partial
from typing import Final, Generic, TypeVar

import msgspec
import trio

from sentry_trio.errors import ApiRefusedError, ApiUnavailableError
from sentry_trio.grpc.token_bucket import TokenBucket
from sentry_trio.kube.api import ReadApi
from sentry_trio.kube.resources import KubeObject, Resource
from sentry_trio.kube.single_flight import SingleFlight

CONCURRENCY: Final = 8
"""Most requests at the same time; others wait."""

PER_MINUTE: Final = 600
"""Requests that may be made at once, and again within a minute; more fail with ApiUnavailableError."""

_NOT_FOUND: Final = 404

T = TypeVar("T", bound=KubeObject)


class DirectLookup(Generic[T]):
    """Reads single objects of a kind from the API server.

    Calls for the same object at the same time share one request.

    Args:
        api: the API server.
        resource: kind of the objects.
    """

    def __init__(self, api: ReadApi, resource: Resource[T]) -> None:
        self._api = api
        self._resource = resource
        self._turns = trio.CapacityLimiter(CONCURRENCY)
        self._bucket = TokenBucket(PER_MINUTE)
        self._single_flight: SingleFlight[T | None] = SingleFlight()

    async def find(self, namespace: str, name: str) -> T | None:
        """Returns the present object of that name; None if there is none, or the name is invalid.

        Raises:
            ApiUnavailableError: the server cannot be asked, refuses, or has been asked too often.

        Cancellation: at once.
        """
        path = self._resource.path_of(namespace, name)
        if path is None:
            return None
        return await self._single_flight.run(path, partial(self._ask, path))

    async def _ask(self, path: str) -> T | None:
        if not self._bucket.spend():
            raise ApiUnavailableError(
                f"GET {path}: not asked, as {PER_MINUTE} objects were asked for within a minute that were not listed"
            )
        try:
            async with self._turns:
                return self._resource.read(await self._api.get_raw(path))
        except ApiRefusedError as error:
            if error.status == _NOT_FOUND:
                return None
            # A missing permission, for example: not the fault of the caller that waits for the object.
            raise ApiUnavailableError(str(error)) from error
        except msgspec.MsgspecError as error:
            raise ApiUnavailableError(f"GET {path}: the answer is not what was asked for: {error}") from error
