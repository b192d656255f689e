"""Index of the cluster's pods and Dapr's Configurations, by name."""

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any, Final, Generic, NoReturn, TypeVar

import msgspec
import trio

from sentry_trio.conditions import Conditions
from sentry_trio.errors import ApiRejectedError, ApiUnavailableError
from sentry_trio.grpc.token_bucket import TokenBucket
from sentry_trio.kube.api import WatchApi
from sentry_trio.kube.pods import Pod, pod_resource
from sentry_trio.kube.reflector import Reflector
from sentry_trio.kube.resources import CONFIGURATIONS, KubeObject, Resource
from sentry_trio.kube.sidecar_anchors import ReadFingerprints
from sentry_trio.kube.single_flight import SingleFlight

ENABLED: Final = "dapr.io/enabled"
"""Annotation by which a pod asks Dapr's injector for a sidecar."""

_TRUE: Final = frozenset({"y", "yes", "true", "t", "on", "1"})  # as Dapr reads it, in any case

REMEMBERED: Final = 4096
"""Deleted pods whose UIDs are remembered."""

CONCURRENCY: Final = 8
"""Most lookups of one kind at the same time; others wait."""

PER_MINUTE: Final = 600
"""Lookups of one kind that may be made at once, and again within a minute; more fail with ApiUnavailableError."""

_NOT_FOUND: Final = 404

T = TypeVar("T", bound=KubeObject)


class DirectLookup(Generic[T]):
    """Reads single objects of a kind that the copy of all does not have, within a budget.

    Calls for the same object at the same time share one request.

    Args:
        api: the API server.
        resource: kind of the objects.
    """

    def __init__(self, api: WatchApi, resource: Resource[T]) -> None:
        self._api = api
        self._resource = resource
        self._turns = trio.CapacityLimiter(CONCURRENCY)
        self._bucket = TokenBucket(PER_MINUTE)
        self._single_flight: SingleFlight[T | None] = SingleFlight()

    async def find(self, namespace: str, name: str) -> T | None:
        """Returns the current object of that name; None if there is none, or the name is invalid.

        Raises:
            ApiUnavailableError: the server cannot be reached, rejects the request, or has had too many requests.

        Cancellation: at once.
        """
        path = self._resource.path_of(namespace, name)
        if path is None:
            return None
        return await self._single_flight.run(path, partial(self._ask, path))

    async def _ask(self, path: str) -> T | None:
        if not self._bucket.spend():
            raise ApiUnavailableError(
                f"GET {path}: not requested: {PER_MINUTE} objects that were not in the index have been requested "
                "within a minute"
            )
        try:
            async with self._turns:
                return self._resource.read(await self._api.get_raw(path))
        except ApiRejectedError as error:
            if error.status == _NOT_FOUND:
                return None
            # A missing permission, for example: not the fault of the caller that waits for the object.
            raise ApiUnavailableError(str(error)) from error
        except msgspec.MsgspecError as error:
            raise ApiUnavailableError(f"GET {path}: unexpected response: {error}") from error


class Index:
    """The pods and Configurations of all namespaces, kept by `keep`.

    Other objects are read from the API server: a new pod asks for its certificate before the watch reports the pod.

    Args:
        api: the API server.
        conditions: `pods` and `configurations` are set while these cannot be followed.
        containers: reads the containers of pods as well.
        fingerprints: reads the trust anchors of sidecars as well.
    """

    def __init__(
        self,
        api: WatchApi,
        *,
        conditions: Conditions | None = None,
        containers: bool = False,
        fingerprints: ReadFingerprints | None = None,
    ) -> None:
        problems = conditions or Conditions()
        pods = pod_resource(containers=containers, fingerprints=fingerprints)
        self._gone: dict[str, None] = {}  # UIDs, oldest first
        self._pods = Reflector(
            api, pods, deleted=lambda pod: self._remember(pod.uid), condition=problems.condition("pods")
        )
        self._pod_lookup = DirectLookup(api, pods)
        self._configurations = Reflector(api, CONFIGURATIONS, condition=problems.condition("configurations"))
        self._configuration_lookup = DirectLookup(api, CONFIGURATIONS)

    @property
    def ready(self) -> bool:
        """True if every existing object has been seen once."""
        return self._pods.ready and self._configurations.ready

    @property
    def pods(self) -> Iterable[Pod]:
        """All pods that are known now."""
        return self._pods

    @property
    def sidecars(self) -> int:
        """The number of pods that have a Dapr sidecar by their annotations."""
        return sum(1 for pod in self._pods if pod.annotations.get(ENABLED, "").strip().lower() in _TRUE)

    async def wait_ready(self) -> None:
        """Returns as soon as it is ready. Cancellation: at once."""
        await self._pods.wait_ready()
        await self._configurations.wait_ready()

    async def pod(self, namespace: str, name: str, *, uid: str | None = None) -> Pod | None:
        """Returns the pod of that name; None if there is none.

        With a UID, the pod that has both: None is final then, and each UID that does not exist costs the API server
        one request, however often it is looked up. A later pod of the same name does not hide that the index is behind.

        Raises:
            ApiUnavailableError: it is not in the index, and the API server cannot be reached or has had too many
                requests.

        Cancellation: at once.
        """
        known = self._pods.get(namespace, name)
        if known is not None and uid in {None, known.uid}:
            return known
        if uid is not None and uid in self._gone:
            return None
        found = await self._pod_lookup.find(namespace, name)
        if uid is None or (found is not None and found.uid == uid):
            return found
        self._remember(uid)
        return None

    async def configuration(self, namespace: str, name: str) -> Mapping[str, Any] | None:
        """Returns the `spec` of the Configuration of that name; None if there is none.

        Raises:
            ApiUnavailableError: as `pod`.

        Cancellation: at once.
        """
        found = self._configurations.get(namespace, name) or await self._configuration_lookup.find(namespace, name)
        return None if found is None else found.spec

    async def keep(self) -> NoReturn:
        """Keeps the index up to date; runs until cancelled, also without the API server. See Reflector.keep.

        Cancellation: at once.
        """
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._pods.keep)
            nursery.start_soon(self._configurations.keep)
        raise AssertionError("keeping never ends")  # for the type checker, which knows that nurseries may swallow

    def _remember(self, uid: str) -> None:
        self._gone[uid] = None
        if len(self._gone) > REMEMBERED:
            del self._gone[next(iter(self._gone))]
