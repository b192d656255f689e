"""Settings that a configuration document has for a certificate authority."""

from datetime import timedelta

import msgspec


class JwksOptions(msgspec.Struct, frozen=True):
    """Options of the validator `jwks`.

    Attributes:
        source: a URL, the path of a file, or the key set itself, as JSON or base64 of that.
        ca_certificate: PEM, or the path of a file with it, in place of the system's roots; empty for those.
        min_refresh_interval: shortest time between two periodic fetches.
        request_timeout: time for one complete fetch.
        allow_tokens_without_expiry: True if a token without `exp` never expires, as in Dapr Sentry 1.18.
    """

    source: str = ""
    ca_certificate: str = ""
    min_refresh_interval: timedelta = timedelta(minutes=10)
    request_timeout: timedelta = timedelta(seconds=30)
    allow_tokens_without_expiry: bool = False


class Configuration(msgspec.Struct, frozen=True):
    """Settings of a configuration; without arguments, the defaults.

    Attributes:
        workload_cert_ttl: lifetime of workload certificates; positive. Within the skew, sidecars renew continuously.
        allowed_clock_skew: tolerated difference between clocks; not negative.
        control_plane_trust_domain: value without effect: `--trust-domain` is used.
        jwks: options of the `jwks` validator; None if it is not configured.
        warnings: settings without effect, one line each; not part of the comparison.
    """

    workload_cert_ttl: timedelta = timedelta(hours=24)
    allowed_clock_skew: timedelta = timedelta(minutes=15)
    jwks: JwksOptions | None = None
    control_plane_trust_domain: str | None = None
    warnings: tuple[str, ...] = ()

    def __eq__(self, other: object) -> bool:
        return self._compared == other._compared if isinstance(other, Configuration) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._compared)

    @property
    def _compared(self) -> tuple[object, ...]:
        return msgspec.structs.astuple(msgspec.structs.replace(self, warnings=()))

    @property
    def renews_without_pause(self) -> bool:
        """True if sidecars are late with their renewal as soon as they have a certificate.

        They renew at the middle of its validity, which begins a clock skew before it is issued.
        """
        return self.workload_cert_ttl <= self.allowed_clock_skew
