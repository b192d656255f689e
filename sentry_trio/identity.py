"""The authority's own certificate, which its gRPC server presents to clients."""

import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final, NoReturn

import trio

from sentry_trio.ca.issue import IssuedCertificate, Issuer, WorkloadIdentity
from sentry_trio.ca.keys import generate_key, public_key_info, serving_key_type, write_private_key
from sentry_trio.ca.spiffe import SpiffeId
from sentry_trio.conditions import Condition
from sentry_trio.errors import IssuerNotValidError, SigningError, UnservableIssuerError
from sentry_trio.grpc import server_context
from sentry_trio.reasons import openssl_reason
from sentry_trio.telemetry.logs import get_logger, shown_time
from sentry_trio.telemetry.metrics import Metrics, ServerCertificateFailure

_LONGEST_SLEEP: Final = 10.0  # seconds; the wall clock may be set meanwhile
_RETRY: Final = timedelta(seconds=10)
_SHORTEST_RETRY: Final = timedelta(seconds=1)  # dates in certificates are whole seconds
_LATEST: Final = datetime.max.replace(tzinfo=UTC)

_log: Final = get_logger("dapr.runtime.security")


class ServingIdentity:
    """The serving certificate of a run, signed by the run's own issuer with a key made for it.

    The key is P-256, which every TLS client accepts, or Ed25519 under an Ed25519 issuer, as Dapr Sentry 1.18 has it.

    Args:
        issuer: signs; the first certificate is made at once.
        spiffe_id: the identity that clients expect.
        lifetime: lifetime of each certificate.
        allowed_clock_skew: time before its issue at which its validity begins.
        now: the wall clock.

    Raises:
        IssuerNotValidError: the issuer has expired or is not valid yet.
        SigningError: the certificate could not be made.
    """

    def __init__(
        self,
        issuer: Issuer,
        spiffe_id: SpiffeId,
        *,
        lifetime: timedelta,
        allowed_clock_skew: timedelta,
        now: Callable[[], datetime],
    ) -> None:
        self._issuer = issuer
        self._identity = WorkloadIdentity(spiffe_id=spiffe_id)
        self._lifetime = lifetime
        self._skew = allowed_clock_skew
        self._now = now
        # A certificate that lives for a few seconds must not expire meanwhile.
        self._least_pause = min(_RETRY, max(_SHORTEST_RETRY, lifetime / 4))
        self._renew()

    @property
    def context(self) -> ssl.SSLContext:
        """For the next connection; open ones keep their certificate."""
        return self._context

    @property
    def certificate(self) -> IssuedCertificate:
        """The certificate now shown, with its chain."""
        return self._certificate

    def is_valid(self) -> bool:
        """Returns whether the current certificate is valid now."""
        return self._certificate.not_before <= self._now() <= self._certificate.not_after

    def _renew(self) -> None:
        key = generate_key(serving_key_type(self._issuer.bundle.key))
        now = self._now()
        certificate = self._issuer.issue(
            public_key_info(key.public_key()),
            self._identity,
            lifetime=self._lifetime,
            allowed_clock_skew=self._skew,
            now=now,
        )
        try:
            self._context = server_context(certificate.pem, write_private_key(key))
        except ssl.SSLError as error:
            # TLS libraries ask more of keys than certificates do, 2048 bits of RSA for one.
            why = openssl_reason(error) or str(error)
            raise UnservableIssuerError(f"the certificate cannot be served over TLS: {why}") from error
        self._certificate = certificate
        # Near the end of the issuer, halves of the rest become ever shorter.
        self._due = max(_half_life(certificate, now), now + min(self._least_pause, _LATEST - now))

    async def keep_fresh(self, *, metrics: Metrics, failing: Condition) -> NoReturn:
        """Renews the certificate at its half life, until cancelled; retries a failure.

        Between two attempts are 10 s, or if certificates live for less than 40 s a quarter of that, but at least 1 s.

        A failure is an error line when it begins or its reason changes, and sets `failing` as long as it lasts.

        Dapr Sentry 1.18 takes half the time from notBefore to notAfter, 11 h 52 min 30 s after issue by default.

        The certificate is also renewed if the clock was set back to before its notBefore: no client accepts it then,
        and its half life may be far off.
        """
        _log.info(f"Starting workload identity expiry watcher; {self._expiry}, {self._renewal}")
        pause = self._least_pause.total_seconds()
        try:
            while True:
                now = self._now()
                not_before = self._certificate.not_before
                remaining = (self._due - now).total_seconds()
                if now < not_before:
                    _log.warning(
                        "the clock was set back: renewing the serving certificate, which is not valid yet",
                        not_before=not_before.isoformat(),
                    )
                elif remaining > 0:
                    await trio.sleep(min(remaining, _LONGEST_SLEEP))
                    continue
                _log.info(f"Renewing workload identity; {self._expiry}")
                try:
                    self._renew()
                except (IssuerNotValidError, SigningError) as error:
                    metrics.server_certificate_failed(_failure(error))
                    message = f"the serving certificate cannot be renewed: {error}"
                    log = _log.debug if message == failing.message else _log.error
                    log(f"Error renewing identity, trying again in {pause:g} seconds: {error}")
                    failing.set(message)
                    await trio.sleep(pause)
                else:
                    failing.clear()
                    _log.info(f"Successfully renewed workload identity; {self._expiry}, {self._renewal}")
        finally:
            failing.clear()
            _log.debug("stopping workload identity expiry watcher")

    @property
    def _expiry(self) -> str:
        return f"cert expires on: {shown_time(self._certificate.not_after)}"

    @property
    def _renewal(self) -> str:
        return f"renewal at: {shown_time(self._due)}"


def _half_life(certificate: IssuedCertificate, now: datetime) -> datetime:
    due = certificate.not_before + (certificate.not_after - certificate.not_before) / 2
    if due <= now:
        # If an issuer near its end clamps the window, most of it has passed: use half of the rest.
        return now + (certificate.not_after - now) / 2
    return due


def _failure(error: IssuerNotValidError | SigningError) -> ServerCertificateFailure:
    expired = isinstance(error, IssuerNotValidError)
    return ServerCertificateFailure.ISSUER_NOT_VALID if expired else ServerCertificateFailure.SIGNING
