"""Trust anchors that Dapr's injector has given to a pod's sidecar."""

import hashlib
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Final, TypeAlias
from weakref import WeakValueDictionary

import msgspec

from sentry_trio.discreet import Discreet

ReadFingerprints: TypeAlias = Callable[[str], frozenset[str]]
"""Returns the fingerprints of the certificates in a PEM text; none if it cannot be read."""

MAX_TEXT: Final = 65_536
"""Characters of trust anchors that are read; longer ones count as none."""

MAX_KNOWN: Final = 1024
"""Texts of trust anchors that are remembered by their hash."""

MAX_KEPT: Final = 256
"""Sets of trust anchors whose text is kept. Certificates of further sets are known only while they are published."""

_CONTAINER: Final = "daprd"
_TEXT: Final = "DAPR_TRUST_ANCHORS"
_FILE: Final = "DAPR_TRUST_ANCHORS_FILE"
_ENDED: Final = frozenset({"Succeeded", "Failed"})


class SidecarAnchors(Discreet, frozen=True, weakref=True):
    """Trust anchors of a sidecar.

    Attributes:
        fingerprints: SHA-256 of the roots in its environment, which never change while the pod lives.
        follows_file: it reads them from a mounted file instead, and notices changes.
        text: these roots, PEM, as one of the sidecars with equal roots has them; empty if there are too many sets.
    """

    UNSHOWN = frozenset({"text"})

    fingerprints: frozenset[str]
    follows_file: bool = False
    text: str = ""

    def __eq__(self, other: object) -> bool:
        return self.identity == other.identity if isinstance(other, SidecarAnchors) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.identity)

    @property
    def identity(self) -> tuple[frozenset[str], bool]:
        """Fields to compare: all except the text."""
        return self.fingerprints, self.follows_file


class Sidecar(msgspec.Struct, frozen=True):
    """Sidecar of a running pod.

    Attributes:
        anchors: those that it was given; equal ones of one reader are the same object.
        created: time at which the pod was created, in seconds since 1970.
    """

    anchors: SidecarAnchors
    created: int


class _Variable(msgspec.Struct):
    name: str
    value: str = ""


class _Mount(msgspec.Struct, rename="camel"):
    mount_path: str = ""


class _Container(msgspec.Struct, rename="camel"):
    name: str
    env: list[_Variable] | None = None
    volume_mounts: list[_Mount] | None = None
    restart_policy: str | None = None


class _Spec(msgspec.Struct, rename="camel"):
    containers: list[_Container] | None = None
    init_containers: list[_Container] | None = None


class _Metadata(msgspec.Struct, rename="camel"):
    creation_timestamp: datetime


class _Status(msgspec.Struct):
    phase: str = ""


class _Object(msgspec.Struct):
    metadata: _Metadata
    spec: _Spec
    status: _Status = msgspec.field(default_factory=_Status)


_decoder: Final = msgspec.json.Decoder(_Object)


class SidecarReader:
    """Reads the sidecars of pods, and keeps equal anchors of several once.

    Args:
        fingerprints: reads certificates.
    """

    def __init__(self, fingerprints: ReadFingerprints) -> None:
        self._fingerprints = fingerprints
        self._known: dict[bytes, frozenset[str]] = {}
        # Texts are long, so they are kept only as long as a pod has them.
        self._kept: WeakValueDictionary[tuple[frozenset[str], bool], SidecarAnchors] = WeakValueDictionary()

    def read(self, document: bytes) -> Sidecar | None:
        """Reads the JSON of a pod; None if it has no sidecar, has ended, or is malformed.

        Nothing is raised: a malformed part must not hide the pod from authentication.
        """
        if b'"daprd"' not in document:
            return None
        try:
            found = _decoder.decode(document)
        except msgspec.MsgspecError:
            return None
        container = _sidecar(found.spec)
        if container is None or found.status.phase in _ENDED:
            return None
        return Sidecar(self._anchors(container), int(found.metadata.creation_timestamp.timestamp()))

    def _anchors(self, container: _Container) -> SidecarAnchors:
        variables = {each.name: each.value for each in container.env or ()}
        file = variables.get(_FILE)
        if file and _is_mounted(file, container.volume_mounts or ()):
            return self._kept_once(SidecarAnchors(frozenset(), follows_file=True))
        text = variables.get(_TEXT, "")
        fingerprints = self._fingerprints_of(text)
        is_kept = fingerprints and len(self._kept) < MAX_KEPT
        return self._kept_once(SidecarAnchors(fingerprints, text=text if is_kept else ""))

    def _fingerprints_of(self, text: str) -> frozenset[str]:
        """Reads a text once; of ten thousand pods nearly all have the same."""
        if len(text) > MAX_TEXT:
            return frozenset()
        key = hashlib.sha256(text.encode(errors="replace")).digest()
        known = self._known.get(key)
        if known is None:
            if len(self._known) >= MAX_KNOWN:
                self._known.clear()
            known = self._known[key] = self._fingerprints(text)
        return known

    def _kept_once(self, anchors: SidecarAnchors) -> SidecarAnchors:
        return self._kept.setdefault(anchors.identity, anchors)


def _sidecar(spec: _Spec) -> _Container | None:
    lasting = [each for each in spec.init_containers or () if each.restart_policy == "Always"]
    return next((each for each in (*lasting, *(spec.containers or ())) if each.name == _CONTAINER), None)


def _is_mounted(file: str, mounts: Iterable[_Mount]) -> bool:
    return any(each.mount_path and file.startswith(f"{each.mount_path.rstrip('/')}/") for each in mounts)
