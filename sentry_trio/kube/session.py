"""The session with the API server: one asyncio loop in this process, one HTTP client, requests as Trio sees them.

Everything asyncio of the Kubernetes client ends here. JSON is msgspec's; there are no models.
"""

import warnings
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, TypeVar

import aiohttp
import msgspec
import trio

from sentry_trio.conditions import Condition
from sentry_trio.errors import ApiRejectedError, ApiUnavailableError, ApiUnreachableError, InvalidConfigurationError
from sentry_trio.kube.api_errors import event_error
from sentry_trio.kube.client_config import SERVICE_ACCOUNT, load_credentials
from sentry_trio.kube.reachability import Reachability
from sentry_trio.kube.transport import ApiRequest, Query, Transport, read_some
from sentry_trio.kube.watch_stream import Event, EventLines

with warnings.catch_warnings():
    # It derives from a class that Python 3.12 deprecates and 3.14, which is not supported, removes.
    warnings.simplefilter("ignore", DeprecationWarning)
    import trio_asyncio  # type: ignore[import-untyped]  # it has no types

T = TypeVar("T")

TIMEOUT: Final = 10.0
"""Seconds for a request and its answer, and for a watch to be agreed to."""

SILENCE: Final = 300.0
"""Seconds without a word after which a watch is taken as cut; ask the API server, by `timeoutSeconds`, for less."""

_CLOSING: Final = 5.0  # seconds
_json: Final = msgspec.json.Decoder(dict[str, Any])


class Session:
    """Requests to the API server; an Api. Made by `open_session`; any number of tasks may use it at once.

    All requests and watches raise these errors:

    - ApiUnavailableError: overload (429), a fault of the server (5xx), an answer that is cut, too long or of another
      form; its subclass ApiUnreachableError: there is no connection, or no answer in time.
    - ApiRejectedError: every other answer that is not a success, e.g. 401, 403, 404, 409, 410, 422.

    The texts name the request and carry the server's own words, which for missing permissions name verb and resource.
    Nothing is retried here. Cancellation: at once; a change may or may not have been made by then.

    Args:
        loop: the asyncio loop, of trio-asyncio.
        transport: transport of that loop.
        reachability: notified of each answer and each failure to get one.
    """

    def __init__(self, loop: Any, transport: Transport, reachability: Reachability) -> None:
        self._loop = loop
        self._transport = transport
        self._reachability = reachability

    @property
    def server(self) -> str:
        """URL of the API server, for texts."""
        return self._transport.server

    @property
    def clock_offset(self) -> timedelta | None:
        """Time by which the server's clock is ahead of this machine's, by its last answer; None if unknown."""
        return self._transport.clock_offset

    async def get(self, path: str, query: Query | None = None) -> dict[str, Any]:
        """Reads an object or a list."""
        return await self._request(ApiRequest("GET", path, query or {}))

    async def get_raw(self, path: str, query: Query | None = None) -> bytes:
        """Reads an object or a list as JSON, undecoded, for callers that need little of it."""
        return await self._exchange(ApiRequest("GET", path, query or {}))

    async def create(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Creates an object or a review (POST)."""
        return await self._request(ApiRequest("POST", path, {}, msgspec.json.encode(body)))

    async def replace(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Replaces an object (PUT); with an outdated resourceVersion that is rejected with 409."""
        return await self._request(ApiRequest("PUT", path, {}, msgspec.json.encode(body)))

    @asynccontextmanager
    async def watch(self, path: str, query: Query | None = None) -> AsyncIterator[AsyncIterator[Event]]:
        """Watches a list: yields, once the server has agreed, an iterator of its events.

        It ends when the server ends the watch, as it does after a while. An event of the type ERROR is raised as the
        error in its Status: ApiRejectedError with the status 410 if the resourceVersion is too old. A watch that is
        cut, or silent for `SILENCE`, raises ApiUnavailableError.

        Args:
            path: path of a list.
            query: e.g. `resourceVersion`, `timeoutSeconds`; `watch` is added.
        """
        request = ApiRequest("GET", path, {**(query or {}), "watch": "true"})
        with self._observed(), _deadline(TIMEOUT, request):
            response = await _run(self._loop, self._transport.open(request))
        try:
            async with aclosing(self._events(response, request)) as events:
                yield events
        finally:
            response.close()

    async def _events(self, response: aiohttp.ClientResponse, request: ApiRequest) -> AsyncGenerator[Event]:
        lines = EventLines()
        while True:
            with _deadline(SILENCE, request):
                chunk = await _run(self._loop, read_some(response, request))
            if not chunk:
                return
            for event in lines.feed(chunk):
                if event.type == "ERROR":
                    raise event_error(repr(request), event.object)
                yield event

    async def _request(self, request: ApiRequest) -> dict[str, Any]:
        answer = await self._exchange(request)
        try:
            return _json.decode(answer)
        except msgspec.MsgspecError as error:
            raise ApiUnavailableError(f"{request!r}: the response is not a JSON object: {error}") from error

    async def _exchange(self, request: ApiRequest) -> bytes:
        with self._observed(), _deadline(TIMEOUT, request):
            return await _run(self._loop, self._transport.exchange(request))

    @contextmanager
    def _observed(self) -> Iterator[None]:
        try:
            yield
        except ApiUnreachableError as error:
            self._reachability.failed(error)
            raise
        except (ApiUnavailableError, ApiRejectedError):
            self._reachability.answered()
            raise
        else:
            self._reachability.answered()


async def _run(loop: Any, coroutine: Coroutine[Any, Any, T]) -> T:
    """Runs a coroutine as an asyncio task. Cancellation: the task is cancelled, and its end is waited for."""
    result: T = await loop.run_aio_coroutine(coroutine)
    return result


@contextmanager
def _deadline(seconds: float, request: ApiRequest) -> Iterator[None]:
    try:
        with trio.fail_after(seconds):
            yield
    except trio.TooSlowError as error:
        raise ApiUnreachableError(f"{request!r}: no answer within {seconds:g} s") from error


@asynccontextmanager
async def open_session(
    *,
    kubeconfig: Path | None = None,
    environ: Mapping[str, str],
    service_account: Path = SERVICE_ACCOUNT,
    condition: Condition | None = None,
) -> AsyncIterator[Session]:
    """Opens the session with the API server, once per process: with a pod's own credentials, else with a kubeconfig.

    No request is sent yet. Errors of the block are raised in exception groups, as from a nursery. Other tasks that use
    the session must end before the block.

    Args:
        kubeconfig: read outside a pod.
        environ: names the API server in a pod.
        service_account: directory of a pod's token and certificate authority.
        condition: set while the server does not answer.

    Raises:
        InvalidConfigurationError: there are no credentials, or they cannot be used.

    Cancellation: at once; connections are closed within 5 s.
    """
    failure: InvalidConfigurationError | None = None
    async with trio_asyncio.open_loop() as loop:
        try:
            credentials = await _run(
                loop, load_credentials(kubeconfig=kubeconfig, environ=environ, service_account=service_account)
            )
            transport = await _run(loop, Transport.opened(credentials))
        except InvalidConfigurationError as error:
            failure = error
        else:
            try:
                yield Session(loop, transport, Reachability(condition))
            finally:
                with trio.move_on_after(_CLOSING, shield=True):
                    await _run(loop, transport.close())
    if failure is not None:
        # Not from within the loop, which would wrap it in groups.
        raise failure
