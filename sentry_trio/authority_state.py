"""State of the authority for operators: kept in step with its runs, reported by health, metrics, log and Events."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Final

import msgspec

from sentry_trio import __version__
from sentry_trio.ca.published import PublishedKeys
from sentry_trio.conditions import RESTART, Conditions
from sentry_trio.errors import (
    ApiUnavailableError,
    InvalidBundleError,
    InvalidConfigurationError,
    InvalidValidatorError,
    IssuerNotValidError,
    SentryError,
    SigningError,
    StoreError,
    entry_for,
)
from sentry_trio.event_reasons import EventReason
from sentry_trio.go_text import format_duration
from sentry_trio.reload import Reload
from sentry_trio.run import Run
from sentry_trio.telemetry.logs import get_logger
from sentry_trio.telemetry.metrics import Metrics, RestartFailure

_log: Final = get_logger("dapr.sentry")

# Ready while a run serves; a restart does not touch them.
_TARGETS: Final = ("security-provider", "sentry-server")
_REASONS: Final[Mapping[type[SentryError], RestartFailure]] = {
    StoreError: RestartFailure.STORE,
    ApiUnavailableError: RestartFailure.STORE,
    InvalidBundleError: RestartFailure.BUNDLE,
    InvalidValidatorError: RestartFailure.VALIDATOR,
    InvalidConfigurationError: RestartFailure.CONFIGURATION,
    IssuerNotValidError: RestartFailure.SERVER_CERTIFICATE,
    SigningError: RestartFailure.SERVER_CERTIFICATE,
    SentryError: RestartFailure.INTERNAL,
}


class AuthorityState:
    """State that outlives the runs; `/readyz?verbose` shows it.

    Args:
        mode: `standalone` or `kubernetes`.
        metrics: kept across runs.
        now: the wall clock, aware.

    Attributes:
        run: the run that serves, or has served last; None before the first.
        number: number of that run; 0 before the first.
        serves: true from when the first run serves until the last one drains.
        conditions: problems that last.
        last_restart: `succeeded` or `failed`, and when; None before the first restart.
    """

    def __init__(self, mode: str, metrics: Metrics, now: Callable[[], datetime]) -> None:
        self.run: Run | None = None
        self.number = 0
        self.serves = False
        self.conditions = Conditions(metrics.degraded.set)
        self.last_restart: tuple[str, datetime] | None = None
        self._mode = mode
        self._started_at = now()

    def targets(self) -> Mapping[str, bool]:
        """Returns the conditions of readiness: that a run serves, and those of the run."""
        of_run = self.run.targets if self.run else {}
        return dict.fromkeys(_TARGETS, self.serves) | {name: is_ready() for name, is_ready in of_run.items()}

    def detail(self) -> Mapping[str, object]:
        """Returns the members that `?verbose` adds; they contain no secret, because every client can read them."""
        run = self.run
        outcome, at = self.last_restart or (None, None)
        return {
            "version": __version__,
            "mode": self._mode,
            "started_at": self._started_at.isoformat(),
            "run": self.number,
            "bundle": run and run.bundle.fingerprint,
            "jwks": run and run.published and run.published.fingerprint,
            "loaded_at": run and run.loaded_at.isoformat(),
            "last_restart": outcome,
            "last_restart_at": at and at.isoformat(),
            "degraded": self.conditions.summary,
            "conditions": dict(self.conditions.active),
            "certificates": msgspec.to_builtins(run.certificates) if run else [],
            "renewal": msgspec.to_builtins(run.renewal) if run else None,
        }


class StateObserver:
    """Observer of the authority's runs that keeps the state, and reports changes in log, metrics and environment.

    Args:
        state: kept.
        metrics: kept across runs.
        notify: reports something where the environment's operators look.
        publish: publishes the keys by which the current run's tokens verify; None without an OIDC server.
        now: the wall clock, aware.
    """

    def __init__(
        self,
        state: AuthorityState,
        *,
        metrics: Metrics,
        notify: Callable[[EventReason, str], None],
        publish: Callable[[PublishedKeys | None], None] | None,
        now: Callable[[], datetime],
    ) -> None:
        self._state = state
        self._metrics = metrics
        self._notify = notify
        self._publish = publish
        self._now = now
        self._start = state.conditions.condition("start")
        self._restart = state.conditions.condition(RESTART)

    def waiting(self, error: SentryError, valid_from: datetime) -> None:
        """Logs that the first run waits for a certificate, and reports it as a condition."""
        _log.error(
            f"cannot serve yet, waiting for a certificate to become valid: {error}", valid_from=valid_from.isoformat()
        )
        self._report_delay(error)

    def serving(self, run: Run, number: int, reload: Reload | None) -> None:
        """Records the run, and reports how it differs from the one before."""
        state = self._state
        if state.run is not None and reload is not None:
            self._report_reload(state.run, run, number, reload)
        state.run, state.number, state.serves = run, number, True
        self._start.clear()
        self._restart.clear()
        if self._publish is not None:
            self._publish(run.published)
        self._metrics.run_started(number)
        self._metrics.bundle_in_use(run.bundle.fingerprint)
        if number > 1:
            state.last_restart = "succeeded", self._now()
            self._metrics.restart_succeeded()

    def reload_failed(self, error: SentryError, reload: Reload) -> None:
        """Logs and counts the failure, and reports it as a condition."""
        if self._state.run is None:
            _log.error(f"still cannot serve: {error}", **_described(reload))
            self._report_delay(error)
            return
        message = f"reload failed, still running the previous configuration: {error}"
        _log.error(message, **_described(reload), run=self._state.number)
        self._state.last_restart = "failed", self._now()
        self._restart.set(str(error))
        self._metrics.restart_failed(entry_for(_REASONS, error))
        self._notify(EventReason.RELOAD_FAILED, message)

    def stopping(self) -> None:
        """Ends readiness."""
        self._state.serves = False

    def _report_delay(self, error: SentryError) -> None:
        message = f"cannot serve yet: {error}"
        self._start.set(message)
        self._notify(EventReason.RELOAD_FAILED, message)

    def _report_reload(self, former: Run, run: Run, number: int, reload: Reload) -> None:
        fingerprint, keys = run.bundle.fingerprint, run.published and run.published.fingerprint
        if former.bundle.fingerprint != fingerprint:
            self._notify(EventReason.REPLACED, f"a changed trust bundle is in use: {fingerprint}")
        if keys != (former.published and former.published.fingerprint):
            self._notify(EventReason.JWT_KEYS_REPLACED, f"changed JWT keys are in use: {keys or 'none'}")
        _log.info(
            "reload succeeded",
            **_described(reload),
            run=number,
            bundle=fingerprint,
            previous_bundle=former.bundle.fingerprint,
            **({"jwks": keys} if keys else {}),
            workload_cert_ttl=format_duration(run.configuration.workload_cert_ttl),
            allowed_clock_skew=format_duration(run.configuration.allowed_clock_skew),
        )


def _described(reload: Reload) -> dict[str, object]:
    return {"cause": reload.cause, "duration_seconds": round(reload.seconds, 3)}
