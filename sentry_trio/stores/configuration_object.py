"""Dapr's Configuration object, which Kubernetes mode reads instead of a configuration file."""

import json
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, Final, NoReturn

import trio
from msgspec.structs import replace

from sentry_trio.errors import ApiRejectedError, ApiUnavailableError, InvalidConfigurationError
from sentry_trio.kube.api import Api
from sentry_trio.kube.object_watch import WatchedObject, watch_objects
from sentry_trio.kube.retry import retry
from sentry_trio.settings.configuration import Configuration
from sentry_trio.settings.configuration_document import parse_configuration

DEFAULT_NAME: Final = "daprsystem"
"""Name of the object if `--config` is empty."""

# Parts that a certificate authority reads; changes of other parts cause no restart.
_SECTIONS: Final = ("mtls", "secrets")
_SMALL: Final = 4096  # bytes that are understood within some milliseconds
_NOT_PLAIN: Final = re.compile(r"[^ -#%-~]")


async def read_configuration_object(api: Api, namespace: str, name: str) -> Configuration:
    """Reads and validates a Configuration; as Dapr Sentry does it, without environment variables put in.

    Args:
        api: the API server.
        namespace: this process's own.
        name: value of `--config`; empty for `daprsystem`.

    Raises:
        InvalidConfigurationError: with Dapr's prefix `loading default config. couldn't find config name "<name>": `,
            then Dapr's reason, then what is the case: no such object, no such kind, or a rejection of the API server;
            without it, `cannot parse configuration "<name>": ` and what is wrong with the content.
        ApiUnavailableError: the same prefix; the API server is unavailable, also to further attempts.

    Cancellation: at once.
    """
    name = name or DEFAULT_NAME
    return await retry(partial(_read, api, namespace, name))


async def watch_configuration(
    api: Api,
    namespace: str,
    name: str,
    accepted: Configuration,
    changed: Callable[[], Awaitable[None]],
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> NoReturn:
    """Calls `changed` whenever a Configuration differs from `accepted`; runs until cancelled.

    Dapr Sentry 1.18 reads it once per process. An edit that changes nothing for a certificate authority (other
    sections, labels, `24h` for `1440m`) is not reported; one that makes it invalid is, once, and so is its removal.

    Args:
        api: the API server.
        namespace: this process's own.
        name: value of `--config`; empty for `daprsystem`.
        accepted: the one that was read; changes since then are reported.
        changed: as in `watch_objects`.
        task_status: started when the watch is established or was tried.

    Raises:
        Whatever `changed` raises but ApiUnavailableError, in an exception group.

    Cancellation: at once.
    """
    name = name or DEFAULT_NAME

    async def look() -> Configuration | str:
        try:
            return await _read(api, namespace, name)
        except InvalidConfigurationError as error:
            return str(error)

    known: Configuration | str = accepted
    followed = WatchedObject(_collection(namespace), name)
    await watch_objects(api, [followed], look=look, known=known, changed=changed, task_status=task_status)


async def _read(api: Api, namespace: str, name: str) -> Configuration:
    with _naming(namespace, name):
        found = await api.get(f"{_collection(namespace)}/{name}")
    document = _document(found)
    parse = partial(_parse, document, namespace, name)
    if len(document) <= _SMALL:
        return parse()
    # The largest object allowed takes seconds, and a run is serving meanwhile.
    return await trio.to_thread.run_sync(parse, abandon_on_cancel=True)


def _parse(document: bytes, namespace: str, name: str) -> Configuration:
    # The API server's document is one line, so "(line 1)" does not help people, who edit the object in many lines.
    try:
        configuration = parse_configuration(document, {}, name=name)
    except InvalidConfigurationError as error:
        reason = str(error).removesuffix(" (line 1)")
        raise type(error)(f"{reason} (Configuration {namespace}/{name})") from error
    return replace(configuration, warnings=tuple(each.replace(" (line 1)", "") for each in configuration.warnings))


@contextmanager
def _naming(namespace: str, name: str) -> Iterator[None]:
    prefix = f'loading default config. couldn\'t find config name "{name}": '
    try:
        yield
    except ApiUnavailableError as error:
        raise ApiUnavailableError(f"{prefix}{error}", retry_after=error.retry_after) from error
    except ApiRejectedError as error:
        reason = _not_found(namespace, name, error) if error.status == 404 else str(error)
        raise InvalidConfigurationError(f"{prefix}{reason}") from error


def _not_found(namespace: str, name: str, error: ApiRejectedError) -> str:
    # Dapr has one text for both; only the API server's own names the object that it has looked for.
    if f'"{name}" not found' in str(error):
        return f"config CRD not found: there is no Configuration {namespace}/{name}; create it, or install the chart"
    return "config CRD not found: Dapr's CustomResourceDefinition configurations.dapr.io is not installed"


def _collection(namespace: str) -> str:
    return f"/apis/dapr.io/v1alpha1/namespaces/{namespace}/configurations"


def _document(found: Mapping[str, Any]) -> bytes:
    """Returns the object as a file: JSON, which is YAML; escaped, so that nothing in it is a variable's name."""
    spec = found.get("spec")
    if isinstance(spec, dict):
        spec = {section: spec[section] for section in _SECTIONS if section in spec}
    text = json.dumps({"spec": spec}, ensure_ascii=False)
    return _NOT_PLAIN.sub(lambda match: f"\\U{ord(match[0]):08x}", text).encode()
