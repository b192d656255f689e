"""What may be told of a stored trust bundle: trust anchors and issuer chain, read without the key beside them."""

from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import trio

from sentry_trio.errors import StoreError
from sentry_trio.stores.disk import LIMIT, Disk, Trouble
from sentry_trio.stores.secret_content import Keys

_PASSES: Final = 5  # readings, of which two in a row have to agree


@dataclass(frozen=True, slots=True)
class PublicParts:
    """Two PEM texts as they stand in the store, unread.

    Attributes:
        anchors: the trust anchors.
        chain: the issuer chain, signing certificate first.
    """

    anchors: bytes
    chain: bytes


async def read_public_files(anchors: Path, chain: Path) -> PublicParts:
    """Reads the two files; the issuer key is not opened, and nothing is written or put right.

    They are read until two readings agree, so that an exchange of all files is not caught half-way.

    Raises:
        StoreError: a file is missing, cannot be read or is larger than 1 MiB, or they keep changing.

    Cancellation: at once; a reading under way in its thread is left to end by itself.
    """
    return await trio.to_thread.run_sync(_read_settled, anchors, chain, abandon_on_cancel=True)


def _read_settled(anchors: Path, chain: Path) -> PublicParts:
    previous = None
    for _ in range(_PASSES):
        current = PublicParts(_read(anchors), _read(chain))
        if current == previous:
            return current
        previous = current
    raise StoreError(f"the files keep changing while they are read: {anchors}, {chain}")


def _read(path: Path) -> bytes:
    content = Disk().read(path)
    if content is None:
        raise StoreError(f"{path}: no such file")
    if isinstance(content, Trouble):
        raise StoreError(f"{path}: {content.reason}")
    return content


def public_parts(secret: Mapping[str, Any], keys: Keys, *, place: str) -> PublicParts:
    """The public parts of a Secret as the API server tells it, key included; that is neither decoded nor kept.

    Args:
        secret: the object.
        keys: under which keys the parts are.
        place: names the Secret in errors.

    Raises:
        StoreError: a part is missing, is larger than 1 MiB, or is not what an API server writes.
    """
    data = secret.get("data") or {}
    missing = [name for name in (keys.anchors, keys.chain) if name not in data]
    if missing:
        raise StoreError(f"Secret {place} has no {' and no '.join(missing)}")
    return PublicParts(_decoded(data, keys.anchors, place), _decoded(data, keys.chain, place))


def _decoded(data: Mapping[str, Any], name: str, place: str) -> bytes:
    try:
        content = b64decode(data[name], validate=True)
    except (ValueError, TypeError) as error:
        raise StoreError(f"Secret {place}: {name}: the value is not base64") from error
    if len(content) > LIMIT:
        raise StoreError(f"Secret {place}: {name}: larger than {LIMIT} bytes")
    return content
