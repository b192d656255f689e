"""API server and credentials of this process: a pod's own credentials, or a kubeconfig, by kubernetes_asyncio.

Its packages import every model and API on the way to any of their modules: a third of a second of CPU and 35 MB more
than the configuration needs. So stand-ins take the place of its two packages while these few modules are imported.
Afterwards they are removed from `sys.modules`, and other imports of the library get the real packages.
"""

import asyncio
import importlib
import importlib.util
import ssl
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, Final, NamedTuple, Protocol

import yaml

from sentry_trio.errors import InvalidConfigurationError
from sentry_trio.telemetry.logs import get_logger

SERVICE_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_REFRESH: Final = (
    60.0  # seconds that a kubeconfig's credentials are used without a check; kubernetes_asyncio does the same
)
_PLUGIN_TIMEOUT: Final = 30.0  # seconds

# Raised by the library's loaders for invalid files; some of its checks are assertions.
_UNREADABLE: Final = (OSError, ValueError, TypeError, KeyError, AttributeError, AssertionError, yaml.YAMLError)

_log: Final = get_logger("dapr.sentry.kubernetes")
_LIBRARY: Final = "kubernetes_asyncio"
_CLIENT: Final = f"{_LIBRARY}.client"


class ApiConfiguration(Protocol):
    """URL of and credentials for the API server, as loaded by the library."""

    host: str
    ssl_ca_cert: str | None
    cert_file: str | None
    key_file: str | None
    verify_ssl: bool
    tls_server_name: str | None
    proxy: str | None
    api_key: dict[str, str]

    async def get_api_key_with_prefix(self, identifier: str) -> str | None:
        """Returns the value of the Authorization header, read again if due. asyncio-flavoured."""


class Library(NamedTuple):
    """Parts of kubernetes_asyncio.

    Attributes:
        configuration: the module `client.configuration`.
        in_cluster: the module `config.incluster_config`.
        kubeconfig: the module `config.kube_config`.
        error: raised by its loaders, among others.
    """

    configuration: Any
    in_cluster: Any
    kubeconfig: Any
    error: type[Exception]


class Credentials:
    """Credentials for an API server. Its asyncio-flavoured methods run in the loop that it was loaded in.

    Args:
        configuration: as loaded.
        renew: loads the current credentials into the configuration; None if the configuration does so itself.
        broken: errors of loading unusable files.
    """

    def __init__(
        self,
        configuration: ApiConfiguration,
        renew: Callable[[], Awaitable[None]] | None,
        broken: tuple[type[Exception], ...],
    ) -> None:
        self._configuration = configuration
        self._renew = renew
        self._broken = broken
        self._turn = asyncio.Lock()
        self._fresh_until = _now() + _REFRESH

    @property
    def server(self) -> str:
        """The URL of the API server, without a slash at its end."""
        return self._configuration.host.rstrip("/")

    @property
    def server_name(self) -> str | None:
        """Name to verify in the server's certificate, if not its host."""
        return self._configuration.tls_server_name

    @property
    def proxy(self) -> str | None:
        """The URL of a kubeconfig's proxy. Proxies of the environment are not used."""
        return self._configuration.proxy

    def tls_context(self) -> ssl.SSLContext:
        """Makes a TLS context with certificate authorities and client certificate from the current files.

        Raises:
            InvalidConfigurationError: they are not certificates or keys.
        """
        configuration = self._configuration
        try:
            context = ssl.create_default_context(cafile=configuration.ssl_ca_cert)
            if configuration.cert_file:
                context.load_cert_chain(configuration.cert_file, configuration.key_file)
        except (OSError, ValueError) as error:
            raise InvalidConfigurationError(
                f"cannot use the certificates or keys for the Kubernetes API server {self.server}: {error}"
            ) from error
        # Python 3.13 requires extensions that certificates of many clusters lack, e.g. an authority key identifier.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        if not configuration.verify_ssl:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context

    async def authorization(self) -> str | None:
        """Returns the Authorization header of the next request; None with a client certificate or no credentials.

        asyncio-flavoured. A pod's token is read again each minute, since it is rotated; a kubeconfig's plugin is run
        again when its token is about to expire. If that fails, the current token stays in use.

        Cancellation: at once.
        """
        if self._renew is not None and _now() >= self._fresh_until:
            await self._refresh(self._renew)
        try:
            value = await self._configuration.get_api_key_with_prefix("BearerToken")
        except self._broken as error:
            _log.warning(f"cannot reload the token for the Kubernetes API server: {error}")
            value = self._configuration.api_key.get("BearerToken")
        return value.strip() if value else None

    async def _refresh(self, renew: Callable[[], Awaitable[None]]) -> None:
        async with self._turn:
            if _now() < self._fresh_until:
                return
            try:
                async with asyncio.timeout(_PLUGIN_TIMEOUT):
                    await renew()
            except self._broken as error:
                _log.warning(f"cannot renew the credentials for the Kubernetes API server: {error}")
            self._fresh_until = _now() + _REFRESH


def _now() -> float:
    return asyncio.get_running_loop().time()


async def load_credentials(
    *,
    kubeconfig: Path | None,
    environ: Mapping[str, str],
    service_account: Path,
) -> Credentials:
    """Loads a pod's own credentials or, if there are none, a kubeconfig. asyncio-flavoured.

    Dapr Sentry 1.18 tries them in that order, and ends if both fail.

    Args:
        kubeconfig: read outside a pod; its plugin runs for 30 s at most.
        environ: `KUBERNETES_SERVICE_HOST` and `KUBERNETES_SERVICE_PORT` name the API server in a pod.
        service_account: directory of a pod's token and of the certificate authority of the cluster.

    Raises:
        InvalidConfigurationError: there are none, or they cannot be used.

    Cancellation: at once.
    """
    library = import_library()
    configuration: ApiConfiguration = library.configuration.Configuration()
    try:
        library.in_cluster.load_incluster_config(
            client_configuration=configuration,
            token_filename=str(service_account / "token"),
            cert_filename=str(service_account / "ca.crt"),
            environ=environ,
        )
    except library.error as error:
        if kubeconfig is None:
            raise InvalidConfigurationError(
                f"no Kubernetes API server is configured: this process does not run in a pod ({_sentence(error)}), "
                "and there is no kubeconfig; set --kubeconfig"
            ) from error
        return await _load_kubeconfig(library, configuration, kubeconfig)
    return Credentials(configuration, None, (library.error, OSError))


async def _load_kubeconfig(library: Library, configuration: ApiConfiguration, path: Path) -> Credentials:
    broken = (library.error, *_UNREADABLE)
    try:
        # The library only warns of a missing file.
        path.open().close()
        async with asyncio.timeout(_PLUGIN_TIMEOUT):
            loader = await library.kubeconfig.load_kube_config(
                config_file=str(path), client_configuration=configuration
            )
    except TimeoutError as error:
        raise InvalidConfigurationError(
            f"cannot use the kubeconfig {path}: its credential plugin did not finish within {_PLUGIN_TIMEOUT:g} s"
        ) from error
    except broken as error:
        raise InvalidConfigurationError(f"cannot use the kubeconfig {path}: {_reason(error, path)}") from error
    return Credentials(configuration, lambda: loader.load_and_set(configuration), broken)


def _reason(error: Exception, path: Path) -> str:
    """Returns the reason why a kubeconfig cannot be used; the library's own texts describe its code."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror if error.filename in {None, str(path)} else f"{error.filename}: {error.strerror}"
    if isinstance(error, UnicodeDecodeError):
        return "not UTF-8 text"
    if isinstance(error, AttributeError | KeyError | TypeError) or not str(error):
        return "not a kubeconfig"
    return _sentence(error)


def _sentence(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")


def import_library() -> Library:
    """Imports the parts. Blocks for some 50 ms; called once, before anything is served."""
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
    if _LIBRARY in sys.modules:  # already imported
        yield
        return
    try:
        for package in (_LIBRARY, _CLIENT):
            sys.modules[package] = _unexecuted(package)
        yield
    finally:
        for name in [name for name in sys.modules if name.partition(".")[0] == _LIBRARY]:
            del sys.modules[name]


def _unexecuted(package: str) -> ModuleType:
    """Returns a package whose modules can be imported without running its own code."""
    spec = importlib.util.find_spec(package)
    if spec is None:
        raise ModuleNotFoundError(f"No module named {package!r}", name=package)
    return importlib.util.module_from_spec(spec)
