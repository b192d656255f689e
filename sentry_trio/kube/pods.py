"""Pods: the parts that certificates depend on, with equal values kept once."""

from collections.abc import Hashable, Mapping
from types import MappingProxyType
from typing import Final, TypeVar, cast

import msgspec

from sentry_trio.kube.resources import KubeObject, Resource
from sentry_trio.kube.sidecar_anchors import ReadFingerprints, Sidecar, SidecarReader

ANNOTATIONS: Final = "dapr.io/"
"""Annotations that begin so are kept."""


H = TypeVar("H", bound=Hashable)
V = TypeVar("V")

GENERATION: Final = 16_384
"""Values that are remembered before the older ones begin to be forgotten."""


class Container(msgspec.Struct, frozen=True):
    """A container that runs for as long as its pod.

    Attributes:
        name: its name in the pod.
        image: as the pod's author wrote it.
        digest: digest of the running image, e.g. `sha256:...`; empty if the node has not reported it.
        role: `init` for an init container that keeps running (restartPolicy Always), else `container`.
    """

    name: str
    image: str
    digest: str
    role: str


class Pod(KubeObject, frozen=True):
    """A pod. Equal parts of pods that one reader read are the same objects.

    Attributes:
        service_account: name of its service account.
        annotations: those that begin with `dapr.io/`.
        containers: init containers that keep running first, then the others, each in the order of the spec; empty if
            the reader does not read them.
        sidecar: the Dapr sidecar that runs in it; None if there is none, or the reader does not read them.
    """

    service_account: str
    annotations: Mapping[str, str]
    containers: tuple[Container, ...]
    sidecar: Sidecar | None = None


class _Metadata(msgspec.Struct):
    name: str
    namespace: str
    uid: str
    annotations: dict[str, str] | None = None


class _Container(msgspec.Struct, rename="camel"):
    name: str
    image: str = ""
    restart_policy: str | None = None


class _Spec(msgspec.Struct, rename="camel"):
    service_account_name: str = ""
    containers: list[_Container] | None = None
    init_containers: list[_Container] | None = None


class _ContainerStatus(msgspec.Struct):
    name: str
    imageID: str = ""  # noqa: N815  # the field's name in JSON, which no rule makes


class _Status(msgspec.Struct, rename="camel"):
    container_statuses: list[_ContainerStatus] | None = None
    init_container_statuses: list[_ContainerStatus] | None = None


class _Object(msgspec.Struct):
    """Fields of a pod in JSON that are read; all others are skipped without creating objects."""

    metadata: _Metadata
    spec: _Spec = msgspec.field(default_factory=_Spec)
    status: _Status = msgspec.field(default_factory=_Status)


class _LeanSpec(msgspec.Struct, rename="camel"):
    service_account_name: str = ""


class _LeanObject(msgspec.Struct):
    """The same without containers."""

    metadata: _Metadata
    spec: _LeanSpec = msgspec.field(default_factory=_LeanSpec)


_decoder: Final = msgspec.json.Decoder(_Object)
_lean_decoder: Final = msgspec.json.Decoder(_LeanObject)


class Interner:
    """Returns the same object for equal values: of ten thousand pods most have the same values as another one.

    Two generations of values are remembered. When the younger one is full, it replaces the older one, whose values are
    forgotten unless they were used meanwhile. So frequent values stay, and memory is bounded without weak references.
    A forgotten value that comes again is stored a second time.

    Args:
        generation: values in one of the two.
    """

    def __init__(self, generation: int = GENERATION) -> None:
        self._size = generation
        self._young: dict[Hashable, object] = {}
        self._old: dict[Hashable, object] = {}

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def intern(self, value: H) -> H:
        """Returns an equal value that was given before, or this one."""
        return self.intern_by_key(value, value)

    def intern_by_key(self, key: Hashable, value: V) -> V:
        """Returns the value that was given for an equal key, or this one. Keys of different kinds must differ."""
        if (found := self._young.get(key)) is not None:
            return cast("V", found)
        kept = self._old.get(key, value)
        if len(self._young) >= self._size:
            self._old, self._young = self._young, {}
        self._young[key] = kept
        return cast("V", kept)


class PodReader:
    """Reads pods, and keeps equal namespaces, accounts, annotations and containers of several pods once.

    Args:
        containers: reads the containers as well, which only certificates with container images need.
        fingerprints: reads the trust anchors of sidecars as well; None if they are not needed.
    """

    def __init__(self, *, containers: bool = False, fingerprints: ReadFingerprints | None = None) -> None:
        self._interner = Interner()
        self._sidecars = None if fingerprints is None else SidecarReader(fingerprints)
        self._decoder: msgspec.json.Decoder[_Object] | msgspec.json.Decoder[_LeanObject] = (
            _decoder if containers else _lean_decoder
        )

    def read(self, document: bytes | msgspec.Raw) -> Pod:
        """Reads the JSON of a pod.

        Raises:
            msgspec.MsgspecError: the document is not a pod.
        """
        found = self._decoder.decode(document)
        metadata, intern = found.metadata, self._interner.intern
        return Pod(
            intern(metadata.namespace),
            metadata.name,
            metadata.uid,
            intern(found.spec.service_account_name),
            self._annotations(metadata.annotations or {}),
            intern(tuple(intern(container) for container in _containers(found))) if isinstance(found, _Object) else (),
            None if self._sidecars is None else self._sidecars.read(bytes(document)),
        )

    def _annotations(self, annotations: dict[str, str]) -> Mapping[str, str]:
        kept = tuple(sorted(item for item in annotations.items() if item[0].startswith(ANNOTATIONS)))
        return self._interner.intern_by_key(("annotations", kept), MappingProxyType(dict(kept)))


def _containers(found: _Object) -> list[Container]:
    """Returns the containers in Dapr's order, without init containers that end before others begin."""
    spec, status = found.spec, found.status
    lasting = [each for each in spec.init_containers or () if each.restart_policy == "Always"]
    return [
        *_read(lasting, status.init_container_statuses, "init"),
        *_read(spec.containers or [], status.container_statuses, "container"),
    ]


def _read(containers: list[_Container], statuses: list[_ContainerStatus] | None, role: str) -> list[Container]:
    digests = {status.name: digest_of(status.imageID) for status in statuses or ()}
    return [Container(each.name, each.image, digests.get(each.name, ""), role) for each in containers]


def digest_of(image_id: str) -> str:
    """Returns the digest in a container status's imageID, whose form depends on the container runtime.

    As in Dapr's development branch: the part after the last `@`, or all of it if it is a digest alone, else nothing.
    """
    _, at, digest = image_id.rpartition("@")
    if at:
        return digest
    return image_id if image_id.startswith("sha256:") else ""


def pod_resource(*, containers: bool = False, fingerprints: ReadFingerprints | None = None) -> Resource[Pod]:
    """Returns the kind of pods, with a reader of its own; see `PodReader`."""
    return Resource("/api/v1", "pods", PodReader(containers=containers, fingerprints=fingerprints).read)
