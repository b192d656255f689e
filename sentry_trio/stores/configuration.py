"""Configuration file of standalone mode; `settings` parses it."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Final

import trio

from sentry_trio.errors import InvalidConfigurationError
from sentry_trio.settings.configuration import Configuration, parse_configuration
from sentry_trio.stores.atomic_files import FileOperations
from sentry_trio.telemetry.logs import get_logger

_log: Final = get_logger("dapr.sentry")


async def read_configuration(name: str, environ: Mapping[str, str], *, required: bool) -> Configuration:
    """Reads and validates the configuration file.

    Dapr Sentry 1.18 does not start without one, although its message mentions defaults; here they are used, and that
    is logged, if no file was asked for.

    Args:
        name: path of the file.
        environ: values of `$NAME` in it.
        required: the operator has named it, so its absence is an error.

    Raises:
        InvalidConfigurationError: the file cannot be read or parsed; the text names it.
    """
    content = await trio.to_thread.run_sync(FileOperations().read, Path(name), abandon_on_cancel=True)
    if isinstance(content, bytes):
        # In a thread: the largest file allowed takes seconds, and a run is serving meanwhile.
        parse = partial(parse_configuration, content, environ, name=name)
        return await trio.to_thread.run_sync(parse, abandon_on_cancel=True)
    if content is None and not required:
        _log.info(f"no configuration file {name!r}: starting with defaults")
        return Configuration()
    if content is not None:
        raise InvalidConfigurationError(f'cannot read configuration "{name}": {content.reason}')
    raise InvalidConfigurationError(
        f'loading default config. couldn\'t find config name "{name}": stat {name}: no such file or directory'
    )
