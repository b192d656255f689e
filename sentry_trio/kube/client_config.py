"""What is used of kubernetes_asyncio: how it reads kubeconfigs and the credentials of a pod.

Its packages import every model and API on the way to any of their modules: a third of a second of CPU and 35 MB more
than what is used needs. So the two packages are stood in for while the few modules are imported; afterwards nothing of
it remains in `sys.modules`, and who imports the library elsewhere gets it whole.
"""

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Final, Protocol

_LIBRARY: Final = "kubernetes_asyncio"
_CLIENT: Final = f"{_LIBRARY}.client"


class Configuration(Protocol):
    """Where the API server is and who we are to it, as the library's loaders find out."""

    host: str
    ssl_ca_cert: str | None
    cert_file: str | None
    key_file: str | None
    verify_ssl: bool
    tls_server_name: str | None
    proxy: str | None
    api_key: dict[str, str]

    async def get_api_key_with_prefix(self, identifier: str) -> str | None:
        """The value of the Authorization header, read anew where that is due. asyncio-flavoured."""


class KubeconfigLoader(Protocol):
    """Reads a kubeconfig, and runs the plugin that it may name."""

    async def load_and_set(self, client_configuration: Configuration) -> None:
        """Puts into the configuration what holds now; tokens that have not expired are kept. asyncio-flavoured."""


@dataclass(frozen=True, slots=True)
class Library:
    """The parts of kubernetes_asyncio that are used.

    Attributes:
        client: the module `client.configuration`.
        in_cluster: the module `config.incluster_config`.
        kubeconfig: the module `config.kube_config`.
        error: what its loaders raise, beside much else.
    """

    client: Any
    in_cluster: Any
    kubeconfig: Any
    error: type[Exception]


def load() -> Library:
    """Imports the parts. Blocks for some 50 ms; to be called once, before anything is served."""
    with _without_models():
        configuration = importlib.import_module(f"{_CLIENT}.configuration")
        client = sys.modules[_CLIENT]
        if not hasattr(client, "Configuration"):
            # Its loaders name both, and make only the former.
            vars(client).update(Configuration=configuration.Configuration, ApiClient=object)
        return Library(
            configuration,
            importlib.import_module(f"{_LIBRARY}.config.incluster_config"),
            importlib.import_module(f"{_LIBRARY}.config.kube_config"),
            importlib.import_module(f"{_LIBRARY}.config.config_exception").ConfigException,
        )


@contextmanager
def _without_models() -> Iterator[None]:
    if _LIBRARY in sys.modules:  # somebody has paid for it
        yield
        return
    try:
        for package in (_LIBRARY, _CLIENT):
            sys.modules[package] = _not_run(package)
        yield
    finally:
        for name in [name for name in sys.modules if name.partition(".")[0] == _LIBRARY]:
            del sys.modules[name]


def _not_run(package: str) -> ModuleType:
    """A package whose modules can be imported, but whose own code has not been run."""
    spec = importlib.util.find_spec(package)
    if spec is None:
        raise ModuleNotFoundError(f"No module named {package!r}", name=package)
    return importlib.util.module_from_spec(spec)
