"""Validators of a configuration; their key sets outlive the runs."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import datetime
from typing import TYPE_CHECKING, Final, NoReturn

import msgspec
import trio

from sentry_trio.errors import InvalidConfigurationError, InvalidValidatorError
from sentry_trio.proto.sentry_pb2 import SignCertificateRequest
from sentry_trio.settings.configuration import JwksOptions
from sentry_trio.telemetry.logs import get_logger
from sentry_trio.telemetry.metrics import Metrics
from sentry_trio.validators import Kind, Validator

if TYPE_CHECKING:
    from sentry_trio.tokens.keys import VerificationKey
    from sentry_trio.validators.jwks.keyset import KeySet

TARGET: Final = "sentry-jwks-validator"
"""Name of the readiness target."""

PATIENCE: Final = 10.0
"""Seconds that a restart waits at most for a source that is new; `requestTimeout` may be longer."""

_log: Final = get_logger("dapr.sentry")


class _Kept(msgspec.Struct, eq=False):
    """A key set that is kept up to date.

    Attributes:
        keys: the set.
        scope: ends that.
        before: the set that is used until this one was read; None if there is none.
        users: runs that use it, and callers that wait for a key of it.
    """

    keys: "KeySet"
    scope: trio.CancelScope
    before: "_Kept | None"
    users: int = 0

    @property
    def in_force(self) -> "_Kept":
        """Key set that verifies tokens now."""
        return self if self.before is None or self.keys.ready else self.before


class Made(msgspec.Struct, frozen=True):
    """Validators of one run.

    Attributes:
        validators: those beside the built-in ones.
        targets: readiness targets, for health.
    """

    validators: Mapping[Kind, Validator] = msgspec.field(default_factory=dict)
    targets: Mapping[str, Callable[[], bool]] = msgspec.field(default_factory=dict)


class _HeldKeys:
    """A key set that is kept while a caller waits for it, even a caller of a run that drains."""

    def __init__(self, kept: _Kept, hold: Callable[[_Kept], AbstractContextManager[None]]) -> None:
        self._kept = kept
        self._hold = hold

    @property
    def ready(self) -> bool:
        return self._kept.in_force.keys.ready

    async def find(self, kid: str) -> "VerificationKey | None":
        kept = self._kept.in_force
        with self._hold(kept):
            return await kept.keys.find(kid)

    def why_dropped(self, kid: str) -> str | None:
        return self._kept.in_force.keys.why_dropped(kid)


class TokenValidators:
    """Makes the validators of runs. Runs with the same options share one key set, so a restart fetches nothing.

    Args:
        audience: SPIFFE ID of this authority, which tokens must name.
        configuration: name of the configuration, for errors.
        metrics: counts readings of key sets.
        now: the wall clock, aware.
    """

    def __init__(self, audience: str, configuration: str, *, metrics: Metrics, now: Callable[[], datetime]) -> None:
        self._audience = audience
        self._configuration = configuration
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
        raise AssertionError("it never returns")  # for the type checker, which knows that nurseries may swallow

    async def make(self, jwks: JwksOptions | None) -> Made:
        """Returns the validators of the next run.

        The first run of a process does not wait for a source that cannot be reached. A later one waits at most 10 s for
        the first reading of a new source, because the current run serves meanwhile. If that fails or takes longer, the
        last good set stays in use until the new source has been read, even if it is from another source.

        Raises:
            InvalidConfigurationError: no key set can ever be read from a source.

        Cancellation: at once.
        """
        first, self._first = self._first, False
        if jwks is None:
            self._newest = None
            self._retire()
            return Made()
        from sentry_trio.validators.jwks.validator import JwksValidator

        _log.info(f"Adding validator 'jwks' with Sentry ID: {self._audience}")
        kept = self._kept.get(jwks) or self._begin(jwks)
        self._newest = jwks
        self._retire()
        if not first:
            with trio.move_on_after(PATIENCE):
                await kept.keys.wait_tried()
            if kept.in_force is not kept:
                _log.warning(
                    "The new key set of validator 'jwks' could not be read: the previous one stays in use until it is"
                )
        validator = JwksValidator(
            _HeldKeys(kept, self._held),
            audience=self._audience,
            expiry_required=not jwks.allow_tokens_without_expiry,
            now=self._now,
        )
        return Made({SignCertificateRequest.JWKS: validator}, {TARGET: lambda: kept.in_force.keys.ready})

    @contextmanager
    def in_use(self, jwks: JwksOptions | None) -> Iterator[None]:
        """Keeps the key set of these options while the block runs, in which a run with them serves."""
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
            raise InvalidValidatorError(f"{error} (token validator 'jwks' in {self._configuration})") from error
        newest = None if self._newest is None else self._kept[self._newest].in_force
        before = newest if newest is not None and newest.keys.ready else None
        kept = self._kept[jwks] = _Kept(keys, trio.CancelScope(), before)

        async def scoped() -> None:
            with kept.scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(keep)
                    await kept.keys.wait_ready()
                    kept.before = None
                    self._retire()

        assert self._nursery is not None  # noqa: S101  # `keep` has started
        self._nursery.start_soon(scoped)
        return kept

    def _retire(self) -> None:
        needed = [kept for jwks, kept in self._kept.items() if kept.users or jwks == self._newest]
        needed += [kept.before for kept in needed if kept.before is not None]
        for jwks, kept in list(self._kept.items()):
            if kept not in needed:
                kept.scope.cancel()
                del self._kept[jwks]
