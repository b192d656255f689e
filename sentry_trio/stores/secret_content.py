"""What Secret and ConfigMap of the trust bundle hold, as the API server writes it; pure.

| key in the Secret      | what it holds                            | in the ConfigMap, too |
|------------------------|------------------------------------------|-----------------------|
| `ca.crt`               | trust anchors                            | yes                   |
| `issuer.crt`           | issuer chain, signing certificate first  | no                    |
| `issuer.key`           | issuer key                               | no                    |
| `previous-ca.crt`      | trust anchors before the last rotation   | no                    |
| `previous-issuer.crt`  | issuer chain before it                   | no                    |
| `previous-issuer.key`  | issuer key before it                     | no                    |
| `jwt.key`              | signing key of JWTs                      | no                    |
| `jwks.json`            | their public keys                        | yes                   |

All but the previous ones are Dapr Sentry's, by the base names of the configured paths; whatever else is there is left
alone, as it does, so that either may take over from the other.
"""

from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sentry_trio.ca.bundle import StoredBundle
from sentry_trio.errors import IncompleteBundleError, InvalidOptionsError, StoreError

PREVIOUS: Final = "previous-"
"""What the keys of the generation before begin with."""


class IncompleteSecretError(IncompleteBundleError):
    """Some, but not all, of the three keys are in the Secret.

    Attributes:
        missing: the keys that are not there.
        present: the keys that are.
    """

    def __init__(self, secret: str, missing: tuple[str, ...], present: tuple[str, ...]) -> None:
        super().__init__(tuple(map(Path, missing)), tuple(map(Path, present)))
        are = "is" if len(present) == 1 else "are"
        text = (
            f"incomplete trust bundle: Secret {secret} lacks {' and '.join(missing)} while {' and '.join(present)} "
            f"{are} there; put back what is missing, or remove the rest to have a new certificate authority generated"
        )
        self.args = (text,)


@dataclass(frozen=True, slots=True)
class Keys:
    """Under which keys the three parts are.

    Attributes:
        anchors: the trust anchors, in the ConfigMap as well.
        chain: the issuer chain.
        key: the issuer key.
    """

    anchors: str = "ca.crt"
    chain: str = "issuer.crt"
    key: str = "issuer.key"

    @classmethod
    def of_paths(cls, anchors: Path, chain: Path, key: Path) -> "Keys":
        """The base names of the paths that options name.

        Raises:
            InvalidOptionsError: two parts would have one key.
        """
        names = (anchors.name, chain.name, key.name)
        if len(set(names)) < len(names):
            raise InvalidOptionsError(
                "in kubernetes mode the base names of issuer CA, certificate and key file are the Secret's keys and "
                f"must differ, got {', '.join(names)}"
            )
        return cls(*names)

    @property
    def previous(self) -> "Keys":
        """The keys of the generation before."""
        return Keys(PREVIOUS + self.anchors, PREVIOUS + self.chain, PREVIOUS + self.key)


def read_bundle(secret: Mapping[str, Any], keys: Keys, *, place: str) -> StoredBundle | None:
    """The trust bundle in a Secret; a key whose value is empty is present.

    Args:
        secret: the object.
        keys: where the three parts are.
        place: names the Secret in errors.

    Returns:
        None where none of the three keys is there.

    Raises:
        IncompleteSecretError: some are there.
        StoreError: a value is not what an API server writes.
    """
    names = (keys.anchors, keys.chain, keys.key)
    present = tuple(name for name in names if name in _data(secret))
    if not present:
        return None
    if len(present) < len(names):
        raise IncompleteSecretError(place, tuple(name for name in names if name not in present), present)
    parts = read_parts(secret, names, place=place)
    return StoredBundle(*(parts[name] for name in names))


def read_parts(secret: Mapping[str, Any], names: Sequence[str], *, place: str) -> dict[str, bytes]:
    """The values of those of these keys that are in a Secret.

    Raises:
        StoreError: a value is not what an API server writes.
    """
    data = _data(secret)
    return {name: _decoded(data[name], f"{place}: {name}") for name in names if name in data}


def with_bundle(secret: Mapping[str, Any], keys: Keys, bundle: StoredBundle) -> dict[str, Any]:
    """The Secret with a trust bundle in it, and all else, its resourceVersion included, as it is."""
    return with_parts(secret, {keys.anchors: bundle.anchors, keys.chain: bundle.chain, keys.key: bundle.key})


def with_parts(secret: Mapping[str, Any], parts: Mapping[str, bytes]) -> dict[str, Any]:
    """The Secret with these values, and all else, its resourceVersion included, as it is."""
    return {**secret, "data": _data(secret) | {name: b64encode(part).decode() for name, part in parts.items()}}


def has_anchors(config_map: Mapping[str, Any], keys: Keys, anchors: bytes) -> bool:
    """Whether these trust anchors, byte by byte, are what a ConfigMap publishes.

    Dapr Sentry 1.18 replaces the whole certificate authority where they differ by as much as a space.
    """
    return has_text(config_map, keys.anchors, anchors, what="the trust anchors")


def publishes_anchors(config_map: Mapping[str, Any], keys: Keys) -> bool:
    """Whether a ConfigMap publishes any trust anchors."""
    return bool(_data(config_map).get(keys.anchors))


def with_anchors(config_map: Mapping[str, Any], keys: Keys, anchors: bytes) -> dict[str, Any]:
    """The ConfigMap with trust anchors in it, and all else, its resourceVersion included, as it is."""
    return with_text(config_map, keys.anchors, anchors, what="the trust anchors")


def has_text(config_map: Mapping[str, Any], name: str, content: bytes, *, what: str) -> bool:
    """Whether this, byte by byte, is what a ConfigMap has under a key; `what` it is, for errors.

    Raises:
        StoreError: no ConfigMap can have it.
    """
    return _data(config_map).get(name) == _text(content, what)


def with_text(config_map: Mapping[str, Any], name: str, content: bytes, *, what: str) -> dict[str, Any]:
    """The ConfigMap with this under a key, and all else, its resourceVersion included, as it is; `what`, for errors.

    Raises:
        StoreError: no ConfigMap can have it.
    """
    changed = {**config_map, "data": _data(config_map) | {name: _text(content, what)}}
    binary = dict(config_map.get("binaryData") or {})
    # A key may not be in both.
    if binary.pop(name, None) is not None:
        changed["binaryData"] = binary
    return changed


def _data(holder: Mapping[str, Any]) -> dict[str, Any]:
    return dict(holder.get("data") or {})


def _decoded(value: object, place: str) -> bytes:
    try:
        return b64decode(value if isinstance(value, str) else "?", validate=True)
    except ValueError:
        # Not from its cause: nothing of a secret's value belongs into a traceback.
        raise StoreError(f"failed to get trust bundle secret: {place}: the value is not base64") from None


def _text(content: bytes, what: str) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise StoreError(
            f"failed to update trust bundle configmap: {what} hold bytes that are no UTF-8, which a ConfigMap cannot "
            "carry: remove the comments from the PEM text"
        ) from error
