"""What Secret and ConfigMap of the trust bundle hold, as the API server writes it; pure.

| key in the Secret      | what it holds                            | in the ConfigMap, too |
|------------------------|------------------------------------------|-----------------------|
| `ca.crt`               | trust anchors                            | yes                   |
| `issuer.crt`           | issuer chain, signing certificate first  | no                    |
| `issuer.key`           | issuer key                               | no                    |
| `jwt.key`              | signing key of JWTs                      | no                    |
| `jwks.json`            | their public keys                        | yes                   |

All are Dapr Sentry's, by the base names of the configured paths, so that either may take over from the other. Whatever
else is there is left alone, and no certificate authority is generated beside other certificates and keys.
"""

from base64 import b64decode, b64encode
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sentry_trio.ca.bundle import StoredBundle
from sentry_trio.errors import IncompleteBundleError, InvalidOptionsError, StoreError

_CERT_MANAGER: Final = ("tls.crt", "tls.key")  # its names of certificate chain and private key
_PEM: Final = b"-----BEGIN "


class IncompleteSecretError(IncompleteBundleError):
    """Some, but not all, of the three keys are in the Secret.

    Attributes:
        missing: the keys that are not there.
        present: the keys that are.
    """

    def __init__(self, secret: str, missing: tuple[str, ...], present: tuple[str, ...], foreign: Sequence[str]) -> None:
        super().__init__(tuple(map(Path, missing)), tuple(map(Path, present)))
        are = "is" if len(present) == 1 else "are"
        remedy = "put back what is missing, or remove the rest to have a new certificate authority generated"
        text = (
            f"incomplete trust bundle: Secret {secret} lacks {' and '.join(missing)} while {' and '.join(present)} "
            f"{are} there; {_setting(foreign) if foreign else remedy}"
        )
        self.args = (text,)


class ForeignKeysError(StoreError):
    """The Secret has none of the three keys, but other certificates or private keys."""

    def __init__(self, secret: str, names: Sequence[str], foreign: Sequence[str]) -> None:
        super().__init__(
            f"Secret {secret} has none of {', '.join(names)}, but {_setting(foreign)}; no certificate authority is "
            "generated beside them: remove them to have one generated"
        )


def _setting(foreign: Sequence[str]) -> str:
    """Names keys that hold something else, and the flags that would use them."""
    found = f"it has {', '.join(foreign)}"
    if set(_CERT_MANAGER) <= set(foreign):
        return (
            f"{found}, as cert-manager writes them: use these with --issuer-certificate-filename=tls.crt and "
            "--issuer-key-filename=tls.key (in the chart global.issuerFilenames.cert and .key)"
        )
    return (
        f"{found}: if these are the trust bundle, name them with --issuer-ca-filename, --issuer-certificate-filename "
        "and --issuer-key-filename (in the chart global.issuerFilenames)"
    )


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
    def names(self) -> tuple[str, str, str]:
        """The three keys."""
        return self.anchors, self.chain, self.key


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
    names = keys.names
    present = tuple(name for name in names if name in _data(secret))
    if not present:
        return None
    if len(present) < len(names):
        missing = tuple(name for name in names if name not in present)
        foreign = [name for name in _CERT_MANAGER if name in _data(secret) and name not in names]
        raise IncompleteSecretError(place, missing, present, foreign)
    parts = read_parts(secret, names, place=place)
    return StoredBundle(*(parts[name] for name in names))


def check_nothing_foreign(secret: Mapping[str, Any], keys: Keys, *, beside: Collection[str], place: str) -> None:
    """Checks that a Secret without a trust bundle holds no other certificates or private keys.

    Args:
        secret: the object.
        keys: where the three parts would be.
        beside: keys that are Dapr Sentry's as well, those of JWTs.
        place: names the Secret in errors.

    Raises:
        ForeignKeysError: it does: they may be a trust bundle under other names, which a new one must not replace.
    """
    others = {name: value for name, value in _data(secret).items() if name not in (*keys.names, *beside)}
    foreign = sorted(name for name, value in others.items() if name in _CERT_MANAGER or _is_pem(value))
    if foreign:
        raise ForeignKeysError(place, keys.names, foreign)


def _is_pem(value: object) -> bool:
    try:
        return _PEM in b64decode(value) if isinstance(value, str) else False
    except ValueError:
        return False


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
