"""Objects asked for one by one, where the copy of all has not got them: within a budget."""

from functools import partial
from typing import Final, Generic, TypeVar

import msgspec
import trio

from sentry_trio.errors import ApiRefusedError, ApiUnavailableError
from sentry_trio.grpc.token_bucket import TokenBucket
from sentry_trio.kube.reflector import Kind, Named, RawApi
from sentry_trio.kube.single_flight import SingleFlight

AT_ONCE: Final = 8
"""Requests under way at most; others wait for their turn."""

A_MINUTE: Final = 600
"""Requests that may be made at once, and again within a minute; who comes then is told to ask later."""

_NOT_FOUND: Final = 404

T = TypeVar("T", bound=Named)


class Live(Generic[T]):
    """Asks the API server for single objects of a kind.

    Those who ask for the same at the same time share one answer.

    Args:
        api: the API server.
        kind: what is asked for.
    """

    def __init__(self, api: RawApi, kind: Kind[T]) -> None:
        self._api = api
        self._kind = kind
        self._turns = trio.CapacityLimiter(AT_ONCE)
        self._bucket = TokenBucket(A_MINUTE)
        self._flights: SingleFlight[T | None] = SingleFlight()

    async def find(self, namespace: str, name: str) -> T | None:
        """The object of that name as it is now; None where there is none, or may be none of such a name.

        Raises:
            ApiUnavailableError: the server cannot be asked, refuses, or has been asked too often.

        Cancellation: at once.
        """
        path = self._kind.resource.object(namespace, name)
        if path is None:
            return None
        return await self._flights.run(path, partial(self._ask, path))

    async def _ask(self, path: str) -> T | None:
        if not self._bucket.spend():
            raise ApiUnavailableError(
                f"GET {path}: not asked, as {A_MINUTE} objects were asked for within a minute that were not listed"
            )
        try:
            async with self._turns:
                return self._kind.read(await self._api.get_raw(path))
        except ApiRefusedError as error:
            if error.status == _NOT_FOUND:
                return None
            # For want of a right, say: not the fault of whoever waits for the object.
            raise ApiUnavailableError(str(error)) from error
        except msgspec.MsgspecError as error:
            raise ApiUnavailableError(f"GET {path}: the answer is not what was asked for: {error}") from error
