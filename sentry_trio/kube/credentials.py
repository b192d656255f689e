"""Where the API server is and who we are to it: a pod's own credentials, or a kubeconfig."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Final

import yaml

from sentry_trio.errors import InvalidConfigurationError
from sentry_trio.kube.client_config import Configuration, KubeconfigLoader, Library
from sentry_trio.telemetry.logs import get_logger

SERVICE_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_REFRESH: Final = 60.0  # seconds that a kubeconfig's credentials are taken as fresh; kubernetes_asyncio's own habit
_PLUGIN_TIMEOUT: Final = 30.0  # seconds

# What the library's loaders raise for files that are not what they should be; assertions stand in it for checks.
_UNREADABLE: Final = (OSError, ValueError, TypeError, KeyError, AttributeError, AssertionError, yaml.YAMLError)

_log: Final = get_logger("dapr.sentry.kubernetes")


class Credentials:
    """Who we are to an API server. Both asyncio-flavoured methods run in the loop that it was loaded in.

    Args:
        configuration: as it was loaded.
        renew: loads into the configuration what holds by now; None where the configuration does so itself.
        broken: what loading raises if the files do not serve any more.
    """

    def __init__(
        self,
        configuration: Configuration,
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
        """What the server's certificate is checked for, if not for its host."""
        return self._configuration.tls_server_name

    @property
    def proxy(self) -> str | None:
        """The URL of a proxy on the way, of a kubeconfig. Proxies of the environment are not used."""
        return self._configuration.proxy

    def tls_context(self) -> ssl.SSLContext:
        """What the server is recognised by and shown, from the files as they are now.

        Raises:
            InvalidConfigurationError: they are no certificates or keys.
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
        # Python 3.13 asks for what certificates of many a cluster lack, e.g. an authority key identifier.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        if not configuration.verify_ssl:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context

    async def authorization(self) -> str | None:
        """The Authorization header of the next request; None where a client certificate or nothing says who we are.

        asyncio-flavoured. A pod's token is read again each minute, since it is rotated; a kubeconfig's plugin is asked
        again when its token is about to expire. If that fails, the token at hand is used for as long as it serves.

        Cancellation: at once.
        """
        if self._renew is not None and _now() >= self._fresh_until:
            await self._refresh(self._renew)
        try:
            value = await self._configuration.get_api_key_with_prefix("BearerToken")
        except self._broken as error:
            _log.warning(f"cannot read the token for the Kubernetes API server again: {error}")
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
    library: Library,
    *,
    kubeconfig: Path | None,
    environ: Mapping[str, str],
    service_account: Path = SERVICE_ACCOUNT,
) -> Credentials:
    """Loads a pod's own credentials or, where there are none, a kubeconfig. asyncio-flavoured.

    Dapr Sentry 1.18 tries them in that order, and a failure of both is the end of the process.

    Args:
        library: what loads.
        kubeconfig: read if this is no pod; its plugin is run, for 30 s at most.
        environ: `KUBERNETES_SERVICE_HOST` and `KUBERNETES_SERVICE_PORT` name the API server in a pod.
        service_account: where a pod has its token and the certificate authority of the cluster.

    Raises:
        InvalidConfigurationError: there are none, or they cannot be used.

    Cancellation: at once.
    """
    configuration: Configuration = library.client.Configuration()
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
                f"there is no Kubernetes API server to talk to: this is no pod ({_sentence(error)}), and no kubeconfig "
                "is named; name one with --kubeconfig"
            ) from error
        return await _load_kubeconfig(library, configuration, kubeconfig)
    return Credentials(configuration, None, (library.error, OSError))


async def _load_kubeconfig(library: Library, configuration: Configuration, path: Path) -> Credentials:
    broken = (library.error, *_UNREADABLE)
    try:
        # The library only warns of a file that is not there.
        path.open().close()
        async with asyncio.timeout(_PLUGIN_TIMEOUT):
            loader: KubeconfigLoader = await library.kubeconfig.load_kube_config(
                config_file=str(path), client_configuration=configuration
            )
    except TimeoutError as error:
        raise InvalidConfigurationError(
            f"cannot use the kubeconfig {path}: its plugin has not answered within {_PLUGIN_TIMEOUT:g} s"
        ) from error
    except broken as error:
        raise InvalidConfigurationError(f"cannot use the kubeconfig {path}: {_reason(error, path)}") from error
    return Credentials(configuration, lambda: loader.load_and_set(configuration), broken)


def _reason(error: Exception, path: Path) -> str:
    """Returns the reason why a kubeconfig cannot be used; the library's own texts describe its code."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror if error.filename in {None, str(path)} else f"{error.filename}: {error.strerror}"
    if isinstance(error, UnicodeDecodeError):
        return "it is not text in UTF-8"
    if isinstance(error, AttributeError | KeyError | TypeError) or not str(error):
        return "it is not a kubeconfig"
    return _sentence(error)


def _sentence(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")
