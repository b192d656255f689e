"""What is known of the cluster: its pods and Dapr's Configurations, by name."""

from collections.abc import Mapping
from typing import Any, Final, NoReturn

import trio

from sentry_trio.conditions import Conditions
from sentry_trio.kube.configurations import CONFIGURATIONS, read_configuration
from sentry_trio.kube.live import Live
from sentry_trio.kube.pods import PODS, Pod, PodReader
from sentry_trio.kube.reflector import PAGE, Kind, RawApi, Reflector

ENABLED: Final = "dapr.io/enabled"
"""Annotation by which a pod asks Dapr's injector for a sidecar."""

_TRUE: Final = frozenset({"y", "yes", "true", "t", "on", "1"})  # as Dapr reads it, in any case

REMEMBERED: Final = 4096
"""Pods that are remembered to be gone."""


class Index:
    """The pods and Configurations of all namespaces, kept by `keep`.

    What is not in it is asked for: a pod that has just begun asks for its certificate before the watch has told of it.

    Args:
        api: the API server.
        page: objects in one answer at most while they are listed.
        conditions: `pods` and `configurations` are set while these cannot be followed.
        containers: reads the containers of pods as well.
    """

    def __init__(
        self, api: RawApi, *, page: int = PAGE, conditions: Conditions | None = None, containers: bool = False
    ) -> None:
        problems = conditions or Conditions()
        pods = Kind(PODS, PodReader(containers=containers).read)
        configurations = Kind(CONFIGURATIONS, read_configuration)
        self._gone = _Gone(REMEMBERED)
        self._pods = Reflector(api, pods, deleted=self._gone.add, page=page, condition=problems.condition("pods"))
        self._live_pods = Live(api, pods)
        self._configurations = Reflector(api, configurations, page=page, condition=problems.condition("configurations"))
        self._live_configurations = Live(api, configurations)

    @property
    def ready(self) -> bool:
        """Whether everything there is has been seen once."""
        return self._pods.ready and self._configurations.ready

    @property
    def sidecars(self) -> int:
        """The number of pods that have a Dapr sidecar by their annotations."""
        return sum(1 for pod in self._pods if pod.annotations.get(ENABLED, "").strip().lower() in _TRUE)

    async def wait_ready(self) -> None:
        """Returns as soon as it is ready. Cancellation: at once."""
        await self._pods.wait_ready()
        await self._configurations.wait_ready()

    async def pod(self, namespace: str, name: str, *, uid: str | None = None) -> Pod | None:
        """The pod of that name; None where there is none.

        With a UID, the pod that has both: None is final then, and each UID that is not there costs the API server one
        request, however often it is asked for. A later pod of the same name does not hide that the index is behind.

        Raises:
            ApiUnavailableError: it is not in the index, and the API server cannot be asked now, or was asked too often.

        Cancellation: at once.
        """
        known = self._pods.get(namespace, name)
        if known is not None and uid in {None, known.uid}:
            return known
        if uid is not None and uid in self._gone:
            return None
        found = await self._live_pods.find(namespace, name)
        if uid is None or (found is not None and found.uid == uid):
            return found
        self._gone.add_uid(uid)
        return None

    async def configuration(self, namespace: str, name: str) -> Mapping[str, Any] | None:
        """The `spec` of the Configuration of that name; None where there is none.

        Raises:
            ApiUnavailableError: as `pod`.

        Cancellation: at once.
        """
        found = self._configurations.get(namespace, name) or await self._live_configurations.find(namespace, name)
        return None if found is None else found.spec

    async def keep(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> NoReturn:
        """Keeps the index up to date; runs until cancelled, whatever the API server does. See Reflector.keep.

        Args:
            task_status: started once everything has been listed.

        Cancellation: at once.
        """
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._pods.keep)
            nursery.start_soon(self._configurations.keep)
            await self.wait_ready()
            task_status.started()
        raise AssertionError("keeping never ends")  # for the type checker, which knows that nurseries may swallow


class _Gone:
    """UIDs of objects that were there and never will be again; the latest of them."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._uids: dict[str, None] = {}

    def __contains__(self, uid: str) -> bool:
        return uid in self._uids

    def add(self, pod: Pod) -> None:
        self.add_uid(pod.uid)

    def add_uid(self, uid: str) -> None:
        self._uids[uid] = None
        if len(self._uids) > self._limit:
            del self._uids[next(iter(self._uids))]
