"""Kinds of namespaced objects: their paths on the API server, and the parts of them that are kept."""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, Generic, TypeVar

import msgspec

# Kubernetes' names (RFC 1123). Any other text names no object, and must not become part of a path.
_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")


def is_name(text: str) -> bool:
    """Returns True if an object of Kubernetes may have this name."""
    return _NAME.fullmatch(text) is not None


class KubeObject(msgspec.Struct, frozen=True):
    """A namespaced object.

    Attributes:
        namespace: its namespace.
        name: its name, which a later object may have as well.
        uid: its unique ID, which no other object ever has.
    """

    namespace: str
    name: str
    uid: str


T = TypeVar("T", bound=KubeObject)


class Resource(msgspec.Struct, Generic[T], frozen=True):
    """A kind of namespaced objects.

    Attributes:
        root: path of its group and version, e.g. `/api/v1` or `/apis/dapr.io/v1alpha1`.
        plural: e.g. `pods`.
        read: parses an object's JSON; raises msgspec.MsgspecError if it is not of this kind.
    """

    root: str
    plural: str
    read: Callable[[bytes | msgspec.Raw], T]

    @property
    def path(self) -> str:
        """The path of all objects of all namespaces."""
        return f"{self.root}/{self.plural}"

    def path_of(self, namespace: str, name: str) -> str | None:
        """Returns the path of an object; None if namespace or name is invalid, so that there is no such object.

        Some names come from annotations, which must not choose a path.
        """
        if not (is_name(namespace) and is_name(name)):
            return None
        return f"{self.root}/namespaces/{namespace}/{self.plural}/{name}"


class ConfigurationObject(KubeObject, frozen=True):
    """A Configuration of Dapr.

    Attributes:
        spec: its content, not validated.
    """

    spec: Mapping[str, Any]


class _Metadata(msgspec.Struct):
    name: str
    namespace: str
    uid: str


class _Configuration(msgspec.Struct):
    metadata: _Metadata
    spec: dict[str, Any] | None = None


_decoder: Final = msgspec.json.Decoder(_Configuration)


def read_configuration(document: bytes | msgspec.Raw) -> ConfigurationObject:
    """Reads the JSON of a Configuration.

    Raises:
        msgspec.MsgspecError: the document is not a Configuration.
    """
    found = _decoder.decode(document)
    metadata = found.metadata
    return ConfigurationObject(metadata.namespace, metadata.name, metadata.uid, found.spec or {})


CONFIGURATIONS: Final = Resource("/apis/dapr.io/v1alpha1", "configurations", read_configuration)
