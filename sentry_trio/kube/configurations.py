"""Dapr's Configurations, which are looked at by their readers."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from sentry_trio.kube.resources import Resource

CONFIGURATIONS: Final = Resource("/apis/dapr.io/v1alpha1", "configurations")


@dataclass(frozen=True, slots=True)
class ConfigurationObject:
    """A Configuration.

    Attributes:
        namespace: where it is.
        name: its name.
        uid: which no other object ever has.
        spec: what it says; nothing has been checked.
    """

    namespace: str
    name: str
    uid: str
    spec: Mapping[str, Any]


class _Metadata(msgspec.Struct):
    name: str
    namespace: str
    uid: str


class _Object(msgspec.Struct):
    metadata: _Metadata
    spec: dict[str, Any] | None = None


_decoder: Final = msgspec.json.Decoder(_Object)


def read_configuration(document: bytes | msgspec.Raw) -> ConfigurationObject:
    """Reads the JSON of a Configuration.

    Raises:
        msgspec.MsgspecError: it is none.
    """
    found = _decoder.decode(document)
    metadata = found.metadata
    return ConfigurationObject(metadata.namespace, metadata.name, metadata.uid, found.spec or {})
