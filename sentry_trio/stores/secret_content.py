"""Content of the Secret and the ConfigMap of the trust bundle, as the API server writes it; pure.

| key in the Secret      | part                                     | in the ConfigMap, too |
|------------------------|------------------------------------------|-----------------------|
| `ca.crt`               | trust anchors                            | yes                   |
| `issuer.crt`           | issuer chain, signing certificate first  | no                    |
| `issuer.key`           | issuer key                               | no                    |
| `jwt.key`              | signing key of JWTs                      | no                    |
| `jwks.json`            | their public keys                        | unless withdrawn      |

All are Dapr Sentry's, by the base names of the configured paths, so that either may take over from the other. All other
keys are left alone, and no certificate authority is generated beside other certificates and keys.
"""

from base64 import b64decode, b64encode
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

import msgspec

from sentry_trio.ca.parts import BUNDLE, BUNDLE_AND_RENEWAL, JWT_KEYS, Changes
from sentry_trio.ca.pem import tidy
from sentry_trio.errors import IncompleteBundleError, InvalidOptionsError, Part, StoreError
from sentry_trio.stores.atomic_files import LIMIT
from sentry_trio.stores.part_store import RENEWAL_NAMES, PublicParts

Names: TypeAlias = Mapping[Part, str]
"""Keys of the Secret by part."""

_CERT_MANAGER: Final = ("tls.crt", "tls.key")  # its names of certificate chain and private key
_PEM: Final = b"-----BEGIN "


class Publication(msgspec.Struct, frozen=True):
    """A part that the ConfigMap publishes.

    Attributes:
        what: names it in logs and errors.
        condition: set while it cannot be repaired.
        with_parts: the parts of the Secret that it belongs to: it is published only if the Secret holds these.
    """

    what: str
    condition: str
    with_parts: Collection[Part]


PUBLISHED: Final = {
    Part.ANCHORS: Publication("the trust anchors", "config-map", BUNDLE),
    Part.JWKS: Publication("the public keys", "config-map-jwks", JWT_KEYS),
}
"""The parts that the ConfigMap publishes."""


class IncompleteSecretError(IncompleteBundleError):
    """Some, but not all, of the trust bundle's keys are in the Secret.

    Attributes:
        missing: the keys that are not there.
        present: the keys that are.
    """

    def __init__(self, secret: str, missing: tuple[str, ...], present: tuple[str, ...], foreign: Sequence[str]) -> None:
        super().__init__(tuple(map(Path, missing)), tuple(map(Path, present)))
        are = "is" if len(present) == 1 else "are"
        remedy = "restore the missing keys, or remove the others so that a new certificate authority is generated"
        text = (
            f"incomplete trust bundle: Secret {secret} lacks {' and '.join(missing)} while {' and '.join(present)} "
            f"{are} there; {_setting(foreign) if foreign else remedy}"
        )
        self.args = (text,)


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


def names_of_paths(paths: Mapping[Part, Path], *, with_jwt: bool) -> dict[Part, str]:
    """Returns the keys of the Secret: the base names of the paths that options name.

    Args:
        paths: path of each part.
        with_jwt: JWTs are enabled, so that their keys must differ, too.

    Raises:
        InvalidOptionsError: two parts would have one key.
    """
    names = {part: RENEWAL_NAMES.get(part, path.name) for part, path in paths.items()}
    bundle = [names[part] for part in BUNDLE]
    if len(set(bundle)) < len(bundle):
        raise InvalidOptionsError(
            "in kubernetes mode the base names of issuer CA, certificate and key file are the Secret's keys and "
            f"must differ, got {', '.join(bundle)}"
        )
    if taken := set(bundle) & set(RENEWAL_NAMES.values()):
        raise InvalidOptionsError(
            "in kubernetes mode the base names of issuer CA, certificate and key file are the Secret's keys, and "
            f"renewal needs {', '.join(sorted(taken))} for itself: choose another name"
        )
    if with_jwt and len(set(names.values())) < len(names):
        raise InvalidOptionsError(
            "in kubernetes mode the base names of JWT key and JWKS file are the Secret's keys and must differ from "
            f"each other and from {', '.join(bundle)}, got {', '.join(names[part] for part in reversed(JWT_KEYS))}"
        )
    return names


def data_of(holder: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the values of a Secret or a ConfigMap by key."""
    return dict(holder.get("data") or {})


def read_parts(secret: Mapping[str, Any], names: Names, *, place: str) -> dict[Part, bytes]:
    """Returns those of the named parts that are in a Secret; one with an empty value is present.

    Args:
        secret: the object.
        names: key of each part to read.
        place: names the Secret in errors.

    Raises:
        StoreError: a value is not what an API server writes.
    """
    data = data_of(secret)
    return {part: _decoded(data[name], f"{place}: {name}") for part, name in names.items() if name in data}


def read_bundle(secret: Mapping[str, Any], names: Names, *, place: str) -> dict[Part, bytes]:
    """Returns the parts of the trust bundle and of its renewal in a Secret, or nothing if it has none of them.

    Raises:
        IncompleteSecretError: it has some of them, but not all of the trust bundle.
        StoreError: a value is not what an API server writes; or it has none of them, but other certificates or private
            keys, which may be a trust bundle under other names.
    """
    data, wanted = data_of(secret), [names[part] for part in BUNDLE]
    kept = {part: name for part, name in names.items() if part in BUNDLE_AND_RENEWAL}
    present = tuple(name for name in kept.values() if name in data)
    missing = tuple(name for name in wanted if name not in data)
    if not present:
        check_nothing_foreign(secret, names, place=place)
    elif missing:
        foreign = [name for name in _CERT_MANAGER if name in data and name not in wanted]
        raise IncompleteSecretError(place, missing, present, foreign)
    return read_parts(secret, kept, place=place)


def check_nothing_foreign(secret: Mapping[str, Any], names: Names, *, place: str) -> None:
    """Checks that a Secret without a trust bundle holds no other certificates or private keys than those of JWTs.

    Raises:
        StoreError: it does: they may be a trust bundle under other names, which a new one must not replace.
    """
    others = {name: value for name, value in data_of(secret).items() if name not in names.values()}
    foreign = sorted(name for name, value in others.items() if name in _CERT_MANAGER or _is_pem(value))
    if foreign:
        raise StoreError(
            f"Secret {place} has none of {', '.join(names[part] for part in BUNDLE)}, but {_setting(foreign)}; no "
            "certificate authority is generated beside them: remove them if one should be generated"
        )


def _is_pem(value: object) -> bool:
    try:
        return _PEM in b64decode(value) if isinstance(value, str) else False
    except ValueError:
        return False


def with_changes(secret: Mapping[str, Any], names: Names, changes: Changes) -> dict[str, Any]:
    """Returns the Secret with these parts changed, and all else, its resourceVersion included, as it is."""
    data = data_of(secret)
    for part, content in changes.items():
        if content is None:
            data.pop(names[part], None)
        else:
            data[names[part]] = encoded(content)
    return {**secret, "data": data}


def encoded(content: bytes) -> str:
    """Returns the value of a Secret's key that holds this."""
    return b64encode(content).decode()


def published_text(part: Part, content: bytes) -> str:
    """Returns the value of the ConfigMap's key that publishes a part: byte by byte, but trust anchors as `tidy` does.

    Dapr Sentry 1.18 replaces the whole certificate authority if the trust anchors there differ by as much as a space.

    Raises:
        StoreError: no ConfigMap can hold it.
    """
    try:
        return (tidy(content) if part is Part.ANCHORS else content).decode()
    except UnicodeDecodeError as error:
        raise StoreError(
            f"failed to update trust bundle configmap: {PUBLISHED[part].what} are not UTF-8, which a ConfigMap cannot "
            "carry: remove the comments from the PEM text"
        ) from error


def managed_by(secret: Mapping[str, Any]) -> str | None:
    """Returns the program or chart that writes the Secret's certificates, as far as it says so; None if it does not."""
    metadata = secret.get("metadata") or {}
    annotations = metadata.get("annotations") or {}
    if any(name.startswith("cert-manager.io/") for name in annotations):
        return "cert-manager"
    if "sentry-trio/values" in annotations:
        return "values of the Helm chart"
    owners = metadata.get("ownerReferences") or []
    return next((f"{owner.get('kind')} {owner.get('name')}" for owner in owners), None)


def with_text(config_map: Mapping[str, Any], name: str, text: str | None) -> dict[str, Any]:
    """Returns the ConfigMap with this under a key, or without it, and all else as it is, also its resourceVersion."""
    data = {key: value for key, value in data_of(config_map).items() if key != name}
    changed = {**config_map, "data": data if text is None else data | {name: text}}
    binary = dict(config_map.get("binaryData") or {})
    # A key may not be in both.
    if binary.pop(name, None) is not None:
        changed["binaryData"] = binary
    return changed


def public_parts(secret: Mapping[str, Any], anchors: str, chain: str, *, place: str) -> PublicParts:
    """Returns the public parts of a Secret; its issuer key is neither decoded nor kept.

    Args:
        secret: the object.
        anchors: the trust anchors' key.
        chain: the issuer chain's key.
        place: names the Secret in errors.

    Raises:
        StoreError: a part is missing, is larger than 1 MiB, or is not what an API server writes.
    """
    data = data_of(secret)
    if missing := [name for name in (anchors, chain) if name not in data]:
        raise StoreError(f"Secret {place} has no {' and no '.join(missing)}")
    return PublicParts(_public(data, anchors, place), _public(data, chain, place))


def _public(data: Mapping[str, Any], name: str, place: str) -> bytes:
    try:
        content = b64decode(data[name], validate=True)
    except (ValueError, TypeError) as error:
        raise StoreError(f"Secret {place}: {name}: the value is not base64") from error
    if len(content) > LIMIT:
        raise StoreError(f"Secret {place}: {name}: larger than {LIMIT} bytes")
    return content


def _decoded(value: object, place: str) -> bytes:
    try:
        return b64decode(value if isinstance(value, str) else "?", validate=True)
    except ValueError:
        # Not from its cause: nothing of a secret's value belongs into a traceback.
        raise StoreError(f"failed to get trust bundle secret: {place}: the value is not base64") from None
