"""The validators that a configuration asks for; what they know lives as long as the process, not as long as a run."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Final, NoReturn

import trio

from sentry_trio.errors import InvalidConfigurationError
from sentry_trio.proto.sentry_pb2 import SignCertificateRequest
from sentry_trio.settings.configuration import JwksOptions
from sentry_trio.settings.options import Options
from sentry_trio.telemetry.logs import get_logger
from sentry_trio.telemetry.metrics import Metrics
from sentry_trio.validators import Kind, Validator

if TYPE_CHECKING:
    from sentry_trio.tokens.keys import VerificationKey
    from sentry_trio.validators.jwks.keyset import KeySet

TARGET: Final = "sentry-jwks-validator"
"""What health waits for."""

_log: Final = get_logger("dapr.sentry")


@dataclass(eq=False, slots=True)
class _Kept:
    """A key set that is kept up to date.

    Attributes:
        keys: the set.
        scope: ends that.
        users: runs that serve by it, and callers who wait for a key of it.
    """

    keys: "KeySet"
    scope: trio.CancelScope
    users: int = 0


@dataclass(frozen=True, slots=True)
class Made:
    """What a run is given.

    Attributes:
        validators: those beside the built-in ones.
        targets: what is ready when, for health.
    """

    validators: Mapping[Kind, Validator] = field(default_factory=dict)
    targets: Mapping[str, Callable[[], bool]] = field(default_factory=dict)


class _HeldKeys:
    """A key set that is not given up while a caller waits for it: that may be a caller of a run that drains."""

    def __init__(self, kept: _Kept, hold: Callable[[_Kept], AbstractContextManager[None]]) -> None:
        self._kept = kept
        self._hold = hold

    @property
    def ready(self) -> bool:
        return self._kept.keys.ready

    async def find(self, kid: str) -> "VerificationKey | None":
        with self._hold(self._kept):
            return await self._kept.keys.find(kid)


class TokenValidators:
    """Makes the validators of runs. Runs with the same options share one key set, so a restart fetches nothing.

    Args:
        options: the command line.
        metrics: told of each reading of a key set.
        now: the wall clock, aware.
    """

    def __init__(self, options: Options, *, metrics: Metrics, now: Callable[[], datetime]) -> None:
        self._audience = f"spiffe://{options.trust_domain}/ns/{options.namespace}/dapr-sentry"
        self._configuration = options.config
        self._metrics = metrics
        self._now = now
        self._nursery: trio.Nursery | None = None
        self._kept: dict[JwksOptions, _Kept] = {}
        self._newest: JwksOptions | None = None
        self._first = True

    async def keep(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> NoReturn:
        """Keeps all key sets up to date until cancelled; must have started before `make`."""
        async with trio.open_nursery() as self._nursery:
            task_status.started()
            await trio.sleep_forever()
        raise AssertionError("it sleeps for ever")  # for the type checker, which knows that nurseries may swallow

    async def make(self, jwks: JwksOptions | None) -> Made:
        """The validators of the next run.

        The first run of a process does not wait for a source that is away. A later one waits for the first reading of
        a source that is new, be it good or not, as the present run serves meanwhile.

        Raises:
            InvalidConfigurationError: a source that can never work.

        Cancellation: at once.
        """
        first, self._first = self._first, False
        if jwks is None:
            self._newest = None
            self._retire()
            return Made()
        from sentry_trio.validators.jwks.validator import JwksValidator

        _log.info("Adding validator 'jwks'")
        kept = self._kept.get(jwks) or self._begin(jwks)
        self._newest = jwks
        self._retire()
        if not first:
            await kept.keys.wait_tried()
        validator = JwksValidator(
            _HeldKeys(kept, self._held),
            audience=self._audience,
            expiry_required=not jwks.allow_tokens_without_expiry,
            now=self._now,
        )
        return Made({SignCertificateRequest.JWKS: validator}, {TARGET: lambda: kept.keys.ready})

    @contextmanager
    def in_use(self, jwks: JwksOptions | None) -> Iterator[None]:
        """A run that was made with these options serves while the block runs; its key set is not given up."""
        kept = None if jwks is None else self._kept.get(jwks)
        with nullcontext() if kept is None else self._held(kept):
            yield

    @contextmanager
    def _held(self, kept: _Kept) -> Iterator[None]:
        kept.users += 1
        try:
            yield
        finally:
            kept.users -= 1
            self._retire()

    def _begin(self, jwks: JwksOptions) -> _Kept:
        from sentry_trio.environments.jwks import open_key_set

        try:
            keys, keep = open_key_set(jwks, metrics=self._metrics, now=self._now)
        except InvalidConfigurationError as error:
            raise InvalidConfigurationError(f"{error} (token validator 'jwks' in {self._configuration})") from error
        kept = self._kept[jwks] = _Kept(keys, trio.CancelScope())

        async def scoped() -> None:
            with kept.scope:
                await keep()

        assert self._nursery is not None  # noqa: S101  # `keep` has started
        self._nursery.start_soon(scoped)
        return kept

    def _retire(self) -> None:
        for jwks, kept in list(self._kept.items()):
            if not kept.users and jwks != self._newest:
                kept.scope.cancel()
                del self._kept[jwks]
