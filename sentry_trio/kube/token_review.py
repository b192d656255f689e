"""Token reviews by the API server, and their cache."""

import math
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import datetime
from functools import partial
from hashlib import sha256
from typing import Any, Final, Generic, NoReturn, TypeVar
from weakref import WeakValueDictionary

import trio

from sentry_trio.conditions import Condition, Conditions
from sentry_trio.errors import ApiRejectedError, ApiUnavailableError, ApiUnreachableError, NotPermittedError
from sentry_trio.grpc.admission import Network
from sentry_trio.kube.single_flight import SingleFlight
from sentry_trio.kube.tokens import Caller, caller_of, encode_token, read_claims, read_subject, wrong_audience
from sentry_trio.telemetry.logs import get_logger

V = TypeVar("V")

PATH: Final = "/apis/authentication.k8s.io/v1/tokenreviews"

ACCEPTED_SECONDS: Final = 30.0
"""Seconds to cache an accepted token, if it lasts that long; an API server itself caches it for 10 s."""

REFUSED_SECONDS: Final = 5.0
"""Seconds to cache a rejected token: an immediate retry needs no other review."""

CONCURRENCY: Final = 64
"""Most reviews at the same time; others wait."""

CONCURRENCY_PER_PEER: Final = CONCURRENCY // 2
"""Of these, for one peer. Its further calls wait among themselves, so that other peers' calls find places."""

PATIENCE: Final = 5.0
"""Seconds that a call waits for a place, as long as in the gRPC server's queue."""

PROBE: Final = 300.0
"""Seconds without a review after which an invalid token is reviewed, to notice that reviews fail."""

PROBE_FAILING: Final = 30.0
"""The same while reviews fail, to notice that they succeed again."""

_PROBE_TOKEN: Final = "probe"  # noqa: S105  # no token: it is reviewed because it is invalid

# Bad request, too large, not processable: errors of the token. Other rejections concern this process, e.g. missing
# permissions: not the caller's fault, and an operator may fix them.
_TOKEN_ERRORS: Final = frozenset({400, 413, 422})

_log: Final = get_logger("dapr.sentry.identity.kubernetes")


class TtlCache(Generic[V]):
    """Keeps values for some seconds.

    Args:
        seconds: time for which each is kept, on Trio's clock.
        limit: most values; one more evicts the oldest.
    """

    def __init__(self, *, seconds: float, limit: int) -> None:
        self._seconds = seconds
        self._limit = limit
        # In the order in which they were kept, and so in which they expire.
        self._kept: dict[bytes, tuple[float, V]] = {}

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: bytes) -> V | None:
        """Returns the value of `key`; None if there is none or it has expired."""
        found = self._kept.get(key)
        if found is None:
            return None
        until, value = found
        if trio.current_time() >= until:
            del self._kept[key]
            return None
        return value

    def put(self, key: bytes, value: V) -> None:
        """Keeps `value`, replacing any of the same key."""
        self._kept.pop(key, None)
        self._kept[key] = trio.current_time() + self._seconds, value
        if len(self._kept) > self._limit:
            del self._kept[next(iter(self._kept))]

    def remove(self, key: bytes) -> None:
        """Removes the value of `key`, if there is one."""
        self._kept.pop(key, None)


class TokenReviewer:
    """Requests token reviews from the API server (TokenReview, authentication.k8s.io/v1).

    Reviews are concurrent up to a limit, one for each token of a peer; one peer has at most half of the places. Their
    rate is not limited; Dapr Sentry 1.18 limits it to 5 a second until its first reload. Answers are kept for a
    while, under a hash of the token; failures to reach the API server are not.

    Args:
        create: creates a review and returns it with its status; raises as `Api.create`.
        audiences: a token must be for one of them.
        now: the wall clock; aware.
        condition: set while reviews fail.
        kept: number of good answers that are kept. As many bad ones are kept apart, so that they evict no good one.
    """

    def __init__(
        self,
        create: Callable[[str, Mapping[str, Any]], Awaitable[dict[str, Any]]],
        audiences: Sequence[str],
        *,
        now: Callable[[], datetime],
        condition: Condition | None = None,
        kept: int = 10_000,
    ) -> None:
        self._create = create
        self._audiences = tuple(audiences)
        self._now = now
        self._places = trio.CapacityLimiter(CONCURRENCY)
        # Each is kept by the calls that use it: peers without any leave nothing behind.
        self._places_by_peer: WeakValueDictionary[Network, trio.CapacityLimiter] = WeakValueDictionary()
        self._single_flight = SingleFlight[Caller | str]()
        self._accepted = TtlCache[Caller](seconds=ACCEPTED_SECONDS, limit=kept)
        self._refused = TtlCache[str](seconds=REFUSED_SECONDS, limit=kept)
        self._condition = condition or Conditions().condition("token-reviews")
        self._asked_at = -math.inf

    async def keep(self) -> NoReturn:
        """Reviews an invalid token whenever no other was reviewed for a while; runs until cancelled.

        A failure or a recovery of reviews is noticed before a pod requests one.

        Cancellation: at once.
        """
        while True:
            interval = PROBE if self._condition.message is None else PROBE_FAILING
            await trio.sleep(interval)
            if trio.current_time() - self._asked_at >= interval:
                with suppress(NotPermittedError, ApiUnavailableError):
                    await self._ask(_PROBE_TOKEN)

    async def check(self, token: str, network: Network) -> Caller:
        """Returns the caller that the token authenticates.

        Args:
            token: of the request.
            network: identifies the peer.

        Raises:
            NotPermittedError: in Dapr Sentry 1.18's order and words, see `_verdict`; its text is sent to the caller.
            ApiUnavailableError: `token review failed: ` and the reason, or no place became free within 5 s.

        Cancellation: at once; for others that wait for the same review, it is repeated.
        """
        encoded = encode_token(token)
        key = sha256(encoded).digest()
        verdict = self._known(key)
        if verdict is None:
            # No peer waits for the place of another that has got hold of its token.
            flight = network, key
            verdict = await self._single_flight.run(flight, partial(self._review, key, token, encoded, network))
        if isinstance(verdict, str):
            raise NotPermittedError(verdict)
        return verdict

    def _known(self, key: bytes) -> Caller | str | None:
        accepted = self._accepted.get(key)
        if accepted is None:
            return self._refused.get(key)
        # By the wall clock, because Trio's clock stops while a machine is suspended.
        if accepted.expires_at is not None and accepted.expires_at <= self._now():
            self._accepted.remove(key)
            return None
        return accepted

    async def _review(self, key: bytes, token: str, encoded: bytes, network: Network) -> Caller | str:
        verdict: Caller | str
        try:
            async with self._place(network):
                status = await self._ask(token)
            verdict = self._verdict(status, encoded)
            self._accepted.put(key, verdict)
        except NotPermittedError as error:
            verdict = str(error)
            self._refused.put(key, verdict)
        return verdict

    @asynccontextmanager
    async def _place(self, network: Network) -> AsyncIterator[None]:
        """Takes a place for a review, which the block makes.

        Raises:
            ApiUnavailableError: none became free in time.
        """
        of_peer = self._places_by_peer.get(network)
        if of_peer is None:
            of_peer = self._places_by_peer[network] = trio.CapacityLimiter(CONCURRENCY_PER_PEER)
        async with AsyncExitStack() as places:
            try:
                with trio.fail_after(PATIENCE):
                    await places.enter_async_context(of_peer)
                    await places.enter_async_context(self._places)
            except trio.TooSlowError:
                raise ApiUnavailableError(f"token not reviewed: other reviews took more than {PATIENCE:g} s") from None
            yield

    async def _ask(self, token: str) -> Mapping[str, Any]:
        """Returns the status of a review.

        Raises:
            NotPermittedError: the API server does not review such a token.
            ApiUnavailableError: it is unavailable.
        """
        review = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": {"token": token, "audiences": list(self._audiences)},
        }
        self._asked_at = trio.current_time()
        try:
            answer = await self._create(PATH, review)
        except (ApiRejectedError, ApiUnavailableError) as error:
            failed = f"token review failed: {error}"
            if isinstance(error, ApiRejectedError) and error.status in _TOKEN_ERRORS:
                raise NotPermittedError(failed) from error
            # The session reports a server that does not answer at all.
            if not isinstance(error, ApiUnreachableError) and self._condition.set(failed):
                _log.warning(failed)
            raise ApiUnavailableError(failed) from error
        if self._condition.clear():
            _log.info("token reviews succeed again")
        status = answer.get("status")
        return status if isinstance(status, dict) else {}

    def _verdict(self, status: Mapping[str, Any], encoded: bytes) -> Caller:
        """Returns the caller of a token, given the status of its review.

        Raises:
            NotPermittedError: whichever comes first of `invalid token: <error>`, `authentication failed`, that the
                audiences are none of ours or not named, `provided
                token is not a properly structured service account token`, `failed to parse Kubernetes token: <error>`
                and `kubernetes.io/pod/name claim is missing from Kubernetes token`.
        """
        if error := status.get("error"):
            raise NotPermittedError(f"invalid token: {error}")
        if status.get("authenticated") is not True:
            raise NotPermittedError("authentication failed")
        found = _texts(status.get("audiences"))
        if not found:
            # The API server or its authenticator has ignored spec.audiences: the token may be for any audience.
            raise NotPermittedError(
                "invalid token: the TokenReview answer names no audiences, so the token cannot be checked for "
                f"{' or '.join(self._audiences)}"
            )
        if not set(self._audiences).intersection(found):
            raise wrong_audience(self._audiences)
        user = status.get("user")
        user = user if isinstance(user, dict) else {}
        namespace, service_account = read_subject(str(user.get("username", "")))
        caller = caller_of(read_claims(encoded), namespace, service_account)
        _check_pod(user.get("extra"), caller)
        return caller


def _check_pod(extra: object, caller: Caller) -> None:
    """Compares the pod that a token claims with the pod that the API server found, if it reports one.

    Raises:
        NotPermittedError: they differ.
    """
    extra = extra if isinstance(extra, dict) else {}
    for key, claimed in (("pod-name", caller.pod_name), ("pod-uid", caller.pod_uid)):
        found = _texts(extra.get(f"authentication.kubernetes.io/{key}"))
        if found and found != [claimed]:
            raise NotPermittedError("invalid token: it is bound to a different pod")


def _texts(value: object) -> list[str]:
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []
