"""The OIDC server: it listens from before the first run until after the last, and serves the runs' documents."""

from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path
from typing import Final

import trio

from sentry_trio.ca.published import PublishedKeys
from sentry_trio.errors import ServerTLSError
from sentry_trio.go_text import quote
from sentry_trio.listener import Address
from sentry_trio.oidc.hosts import Hosts
from sentry_trio.oidc.pages import OidcPages, OidcRules
from sentry_trio.oidc.tls_files import TLSFiles
from sentry_trio.oidc.urls import checked_issuer, checked_jwks_uri, keeps_discovery_rules, path_prefix
from sentry_trio.telemetry.logs import get_logger
from sentry_trio.telemetry.metrics import Metrics
from sentry_trio.watchers.config import watch_config
from sentry_trio.watchers.content import ContentTracker
from sentry_trio.web.health import Target
from sentry_trio.web.server import serve_http

REMINDER: Final = 5.0
"""Seconds between two warnings that files are waited for."""

_log: Final = get_logger("dapr.sentry.server.oidc.http")
_sentry_log: Final = get_logger("dapr.sentry")


class OidcServer:
    """Serves discovery and key set over HTTP, with TLS or without.

    With TLS it is not ready, and closes connections at once, until certificate and key exist: they may be written
    by a process that starts later. Then a change of the files affects new connections; a pair that cannot be
    used changes nothing, is logged and counted. Dapr Sentry 1.18 restarts as a whole for every change, and ends.

    Args:
        rules: configuration of the answers.
        files: certificate and key; None for HTTP without TLS.
        address: address to listen on.
        metrics: counts requests and changed files.
        ready: the target by which health knows this server.

    Attributes:
        port: the bound port; None before it serves.
    """

    def __init__(
        self, rules: OidcRules, files: TLSFiles | None, address: Address, *, metrics: Metrics, ready: Target
    ) -> None:
        self._hosts = rules.hosts
        self._files = files
        self._address = address
        self._metrics = metrics
        self._ready = ready
        self._pages = OidcPages(rules, metrics)
        self.port: int | None = None

    def publish(self, keys: PublishedKeys | None) -> None:
        """Serves these keys from the next request on, also over connections that are open; None: there are none."""
        self._pages.keys = keys

    async def serve(self, *, task_status: trio.TaskStatus[Address] = trio.TASK_STATUS_IGNORED) -> None:
        """Serves until cancelled.

        Args:
            task_status: started with the bound address once connections are accepted; files may still be waited for.

        Raises:
            ListenError: the address cannot be listened on.
            ServerTLSError: certificate and key are there at the start and cannot be used. These are raised in an
                exception group.

        Cancellation: requests under way get 5 s to end, as in Dapr Sentry 1.18.
        """
        host, port = self._address.host, self._address.port
        _sentry_log.info(f"Starting OIDC HTTP server on port {port}")
        _log_hosts(self._hosts.allowed)
        files = self._files
        async with trio.open_nursery() as nursery:
            if files is not None:
                await nursery.start(self._follow, files)
            provider = None if files is None else lambda: files.context
            evicted = partial(self._metrics.http_connection_evicted, "oidc")
            serve = partial(serve_http, self._pages.answer, host=host, port=port, tls=provider, count_evicted=evicted)
            address = await nursery.start(serve)
            kind = " (insecure)" if files is None else ""
            _log.info(f"Starting OIDC HTTP server{kind} on {address}")
            if files is None:
                self._ready.is_ready = True
            self.port = address.port
            task_status.started(address)
            try:
                await trio.sleep_forever()
            finally:
                _log.info("Shutting down OIDC HTTP server")

    async def _follow(self, files: TLSFiles, *, task_status: trio.TaskStatus[None]) -> None:
        """Keeps the files in use that are there, until cancelled; started when they have been looked at once."""
        # Before they are read: the watcher then sees changes during the read.
        tracker = await ContentTracker.start(files.paths)
        missing = await files.load()
        async with trio.open_nursery() as nursery:
            waiting = trio.CancelScope()
            if missing:
                nursery.start_soon(_remind, files.paths, waiting)
            else:
                _log_loaded(files)
                self._ready.is_ready = True
            task_status.started()
            await watch_config(tracker, changed=partial(self._reload, files, waiting.cancel))

    async def _reload(self, files: TLSFiles, found: Callable[[], None], _changed: frozenset[Path]) -> None:
        trouble = await _trouble_with(files)
        if trouble is None:
            found()
            self._metrics.oidc_tls_reloaded()
            self._ready.is_ready = True
            _log_loaded(files)
        else:
            self._metrics.oidc_tls_failed()
            consequence = (
                "waiting for valid files" if files.context is None else "still using the previous certificate and key"
            )
            _log.error(f"{trouble}; {consequence}")


def make_rules(jwt_issuer: str | None, jwks_uri: str | None, prefix: str | None, hosts: Hosts) -> OidcRules:
    """Checks the values of flags, and makes the configuration of the answers of them.

    Raises:
        InvalidOptionsError: issuer or URI is not a URL.
    """
    issuer = checked_issuer(jwt_issuer)
    if issuer is not None and not keeps_discovery_rules(issuer):
        _log.warning(
            f"--jwt-issuer {quote(issuer)} is not an https URL without query and fragment: relying parties that follow "
            "OpenID Connect Discovery reject it"
        )
    return OidcRules(issuer=issuer, jwks_uri=checked_jwks_uri(jwks_uri), prefix=path_prefix(prefix), hosts=hosts)


def _log_hosts(allowed: Collection[str]) -> None:
    if allowed:
        _log.info(f"OIDC server will only accept requests for hosts: [{' '.join(allowed)}]")
    else:
        _log.info("OIDC server will accept requests for any host")


def _log_loaded(files: TLSFiles) -> None:
    certificate, key = files.paths
    _log.info(f"Loaded TLS certificate from {certificate} and key from {key}")


async def _trouble_with(files: TLSFiles) -> str | None:
    try:
        missing = await files.load()
    except ServerTLSError as error:
        return str(error)
    return f"failed to load TLS certificate and key: missing: {_listed(missing)}" if missing else None


async def _remind(paths: tuple[Path, ...], waiting: trio.CancelScope) -> None:
    with waiting:
        while True:
            _log.warning(f"Waiting for TLS certificate and key files to be available: {_listed(paths)}")
            await trio.sleep(REMINDER)


def _listed(paths: tuple[Path, ...]) -> str:
    return ", ".join(map(str, paths))
