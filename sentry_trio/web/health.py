"""Readiness by named targets, and the handler that reports it: /healthz, /readyz and /livez."""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from typing import Final
from urllib.parse import unquote

import msgspec

from sentry_trio.telemetry.logs import get_logger
from sentry_trio.web.messages import Request, Response

log = get_logger("dapr.sentry")

_PATHS: Final = frozenset({"/healthz", "/readyz", "/livez"})
# Length of the longest path with every character percent-encoded. Decoding a longer one could take milliseconds, and so
# could splitting a query.
_LONGEST: Final = 3 * max(map(len, _PATHS))
_VERBOSE: Final = re.compile(r"(?:^|&)verbose(?:=|&|$)")


class Target(msgspec.Struct):
    """Condition of readiness; made by `Health.target`.

    Attributes:
        is_ready: true if the condition is met.
    """

    is_ready: bool = False


class Health:
    """Targets of this process by name, and the handler that reports them.

    `/healthz` answers as Dapr Sentry 1.18 does: 200 if every target is ready, else 503, both with an empty body and
    for every method. `/readyz` has the same status. `/livez` always answers 200. The latter two have a JSON body if
    the query has `verbose`. Every other path is 404.

    Args:
        detail: returns further members of the JSON body: e.g. run number, bundle fingerprint, outcome of the last
            restart. Values that JSON cannot encode are written as text.
        conditions: returns further targets, those of the current run, and True for each that is ready.
    """

    def __init__(
        self,
        detail: Callable[[], Mapping[str, object]] = dict,
        conditions: Callable[[], Mapping[str, bool]] = dict,
    ) -> None:
        self._detail = detail
        self._conditions = conditions
        self._targets: dict[str, Target] = {}

    def target(self, name: str) -> Target:
        """Returns the target of that name; if it is new, it is not ready."""
        return self._targets.setdefault(name, Target())

    @contextmanager
    def ready(self, name: str) -> Iterator[None]:
        """Keeps the target of that name ready while the block runs."""
        target = self.target(name)
        target.is_ready = True
        try:
            yield
        finally:
            target.is_ready = False

    @property
    def is_ready(self) -> bool:
        """True if every target is ready, or there is none."""
        return not self.unready

    @property
    def unready(self) -> tuple[str, ...]:
        """Names of the targets that are not ready, sorted."""
        return tuple(name for name, is_ready in self._states().items() if not is_ready)

    def _states(self) -> dict[str, bool]:
        states = {name: target.is_ready for name, target in self._targets.items()} | dict(self._conditions())
        return dict(sorted(states.items()))

    async def answer(self, request: Request) -> Response:
        """Answers a request, as the class describes."""
        path = unquote(request.path) if len(request.path) <= _LONGEST else ""
        if path not in _PATHS:
            return Response(404, b"404 page not found\n", {"content-type": "text/plain; charset=utf-8"})
        status = HTTPStatus.OK if path == "/livez" or self.is_ready else HTTPStatus.SERVICE_UNAVAILABLE
        if status != HTTPStatus.OK:
            log.debug("Not ready", targets=self.unready)
        if path == "/healthz" or _VERBOSE.search(request.query) is None:
            return Response(status)
        return Response(status, self._report(), {"content-type": "application/json"})

    def _report(self) -> bytes:
        report = {
            **self._detail(),
            "ready": self.is_ready,
            "targets": self._states(),
        }
        return f"{json.dumps(report, default=str, indent=2)}\n".encode()
