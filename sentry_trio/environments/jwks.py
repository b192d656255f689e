"""A key set from the source that the options of the jwks validator name, and its refreshes."""

import math
import stat
from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path

import trio

from sentry_trio.errors import InvalidValidatorError
from sentry_trio.settings.configuration import JwksOptions
from sentry_trio.stores.atomic_files import FileOperations, Unreadable
from sentry_trio.telemetry.metrics import Metrics
from sentry_trio.validators.jwks.keyset import KeySet, SourceError
from sentry_trio.validators.jwks.sources import file_source, inline_source, url_source
from sentry_trio.watchers.config import watch_config
from sentry_trio.watchers.content import ContentTracker


def open_key_set(
    options: JwksOptions, *, metrics: Metrics, now: Callable[[], datetime]
) -> tuple[KeySet, Callable[[], Awaitable[None]]]:
    """Returns the key set of a validator, and a function that keeps it up to date until cancelled.

    The source is a URL, else a file that exists or an absolute path, else the set itself, as in Dapr Sentry 1.18.
    There a path without a file is invalid. Here the file may appear later.

    Raises:
        InvalidValidatorError: no key set can ever be read from the source; with Dapr's prefix `failed to init cache: `.
    """
    source = options.source
    if not source:
        raise InvalidValidatorError("failed to init cache: property 'location' must not be empty")
    if source.startswith(("https://", "http://")):
        url = url_source(
            source,
            ca_certificate=options.ca_certificate,
            timeout=options.request_timeout.total_seconds(),
            now=now,
        )
        keys = KeySet(url, interval=options.min_refresh_interval.total_seconds(), metrics=metrics)
        return keys, keys.keep
    if _is_path(source):
        path = Path(source)
        keys = KeySet(file_source(path, _read), interval=math.inf, metrics=metrics)
        return keys, lambda: _keep_file(keys, path)
    keys = KeySet(inline_source(source), interval=math.inf, metrics=metrics)
    return keys, keys.keep


def _is_path(source: str) -> bool:
    path = Path(source)
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        # The file may appear, or become readable. JSON does not begin with a slash, nor does base64 of JSON.
        return path.is_absolute()
    except (OSError, ValueError):  # too long for a path, or a character that none has
        return False
    return not stat.S_ISDIR(mode)


async def _keep_file(keys: KeySet, path: Path) -> None:
    async def changed(_paths: frozenset[Path]) -> None:
        keys.read_soon()

    tracker = await ContentTracker.start([path])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(keys.keep)
        await watch_config(tracker, changed=changed)


async def _read(path: Path) -> bytes:
    content = await trio.to_thread.run_sync(FileOperations().read, path, abandon_on_cancel=True)
    if isinstance(content, bytes):
        return content
    reason = content.reason if isinstance(content, Unreadable) else "no such file or directory"
    raise SourceError(f"failed to read JWKS file: open {path}: {reason}")
