"""Readiness by named targets, and the HTTP app that tells it: /healthz, /readyz and /livez."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from sentry_trio.telemetry.logs import get_logger
from sentry_trio.web.asgi import Receive, Scope, Send, answer, is_asked

log = get_logger("dapr.sentry")

_OK: Final = 200
_NOT_FOUND: Final = 404
_UNAVAILABLE: Final = 503


class Target:
    """One thing that must be ready for the process to be ready. Not ready at first; made by Health.target."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._said_so = False
        self._holders = 0

    @property
    def is_ready(self) -> bool:
        """Whether `ready` was called last, or a `holding` block is being run."""
        return self._said_so or self._holders > 0

    def ready(self) -> None:
        """Say that it is ready, until `not_ready`."""
        self._said_so = True

    def not_ready(self) -> None:
        """Take back what `ready` said; blocks that are being run still hold."""
        self._said_so = False

    @contextmanager
    def holding(self) -> Iterator[None]:
        """Ready for as long as the block runs, or another such block does.

        Blocks are counted since at a restart two runs overlap: the old one, which drains, must not take the readiness
        of the new one away when it ends.
        """
        self._holders += 1
        try:
            yield
        finally:
            self._holders -= 1


class Health:
    """The targets of this process by name; an ASGI app.

    `/healthz` answers as Dapr Sentry 1.18 does: 200 when every target is ready, else 503, both with an empty body,
    whatever the method. `/readyz` has the same verdict. `/livez` answers 200 for as long as the process answers at all.
    The latter two have a JSON body if asked with `?verbose`. Every other path is 404.

    Args:
        detail: asked for what a verbose answer says besides: e.g. run number, bundle fingerprint, outcome of the last
            restart. What JSON has not is shown as text.
        conditions: asked for further targets, those of the present run, and whether each is ready.
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
        """The target of that name; made, and so waited for, if there is none yet."""
        return self._targets.setdefault(name, Target(name))

    @contextmanager
    def ready(self, name: str) -> Iterator[None]:
        """The target of that name is ready for as long as the block runs; see Target.holding."""
        with self.target(name).holding():
            yield

    @property
    def is_ready(self) -> bool:
        """Whether every target is; also if there is none."""
        return not self.unready

    @property
    def unready(self) -> tuple[str, ...]:
        """The names of the targets that are not ready, in alphabetical order."""
        return tuple(name for name, is_ready in self._states().items() if not is_ready)

    def _states(self) -> dict[str, bool]:
        states = {name: target.is_ready for name, target in self._targets.items()} | dict(self._conditions())
        return dict(sorted(states.items()))

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """Answer one request; see the class."""
        path = scope["path"]
        if path not in {"/healthz", "/readyz", "/livez"}:
            await answer(send, _NOT_FOUND, b"404 page not found\n", content_type="text/plain; charset=utf-8")
            return
        status = _OK if path == "/livez" or self.is_ready else _UNAVAILABLE
        if status == _UNAVAILABLE:
            log.debug("Not ready", targets=self.unready)
        if path == "/healthz" or not is_asked(scope, "verbose"):
            await answer(send, status)
        else:
            await answer(send, status, self._report(), content_type="application/json")

    def _report(self) -> bytes:
        report = {
            **self._detail(),
            "ready": self.is_ready,
            "targets": self._states(),
        }
        return f"{json.dumps(report, default=str, indent=2)}\n".encode()
