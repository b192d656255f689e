"""DNS domain of the cluster's services, found as Dapr Sentry finds it: from the canonical name of the API server."""

import math
import re
import socket
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

import trio

from sentry_trio.reasons import reason_of
from sentry_trio.telemetry.logs import get_logger

API_SERVER: Final = "kubernetes.default.svc"
"""The API server's Service. The pod's search domains make a full name of it."""

_TIMEOUT: Final = 2.0
# Between two lookups while the domain is unknown: the cluster's DNS may start after this pod.
_RETRY_INTERVAL: Final = 60.0
_DOMAIN: Final = re.compile(r"[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*")

_log: Final = get_logger("dapr.sentry")


class ClusterDomain:
    """The cluster's DNS domain, kept up to date while the process runs.

    A failed lookup never replaces an answer. Until there is one, the trust domain takes its place, as in Dapr Sentry.

    Args:
        trust_domain: the fallback.
        canonical_name: looks up the canonical name of a host; raises OSError if there is none.
    """

    def __init__(self, trust_domain: str, canonical_name: Callable[[str], Awaitable[str]] | None = None) -> None:
        self._fallback = trust_domain
        self._canonical_name = canonical_name or partial(_canonical_name, limiter=trio.CapacityLimiter(1))
        self._answer: str | None = None
        self._failed = False
        self._tried = trio.Event()
        self._refresh = trio.Event()

    @property
    def current(self) -> str:
        """Returns the last answer, or the trust domain."""
        return self._answer or self._fallback

    async def keep(self) -> None:
        """Looks the domain up at once and whenever `refresh` is called, and every minute until there is an answer."""
        while True:
            self._refresh = trio.Event()
            await self._look_up()
            self._tried.set()
            with trio.move_on_after(math.inf if self._answer else _RETRY_INTERVAL):
                await self._refresh.wait()

    def refresh(self) -> None:
        """Requests a lookup; a run that starts calls it, and does not wait for the answer."""
        if self._tried.is_set():
            self._refresh.set()

    async def wait_tried(self) -> None:
        """Waits for the end of the first lookup, at most 2 s after `keep` has started it."""
        await self._tried.wait()

    async def _look_up(self) -> None:
        try:
            with trio.fail_after(_TIMEOUT):
                answer = _domain_of(await self._canonical_name(API_SERVER))
        except trio.TooSlowError:
            self._report_failure(f"lookup {API_SERVER}: no answer within {_TIMEOUT:g} s")
        except OSError as error:
            self._report_failure(f"lookup {API_SERVER}: {reason_of(error)}")
        except ValueError as error:
            self._report_failure(str(error))
        else:
            if answer != self._answer:
                _log.info(f"The cluster's DNS domain is {answer!r}")
            self._answer, self._failed = answer, False

    def _report_failure(self, why: str) -> None:
        if self._failed:
            return
        self._failed = True
        if self._answer is None:
            _log.error(f'Error getting Kubernetes cluster domain, falling back to "{self._fallback}": {why}')
        else:
            _log.warning(f'Error getting Kubernetes cluster domain, still using "{self._answer}": {why}')


def _domain_of(canonical_name: str) -> str:
    """Returns the domain in a canonical name, by Dapr's rule: without the Service's name and outer dots.

    Raises:
        ValueError: the rest is empty, or cannot end a DNS name in a certificate.
    """
    domain = canonical_name.removeprefix(API_SERVER).strip(".")
    if not _DOMAIN.fullmatch(domain):
        raise ValueError(f"could not parse cluster domain from CNAME: {canonical_name}")
    return domain


async def _canonical_name(host: str, *, limiter: trio.CapacityLimiter) -> str:
    """Looks up the canonical name of a host by the C library, which follows search domains and CNAMEs like Go's.

    A lookup cannot be cancelled: after a timeout its thread remains until the C library's own timeout. So lookups
    have a limiter of their own, and never take the threads that read files.

    Raises:
        OSError: there is none.
    """
    found = await trio.to_thread.run_sync(
        lambda: socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_CANONNAME),
        abandon_on_cancel=True,
        limiter=limiter,
    )
    return found[0][3]
