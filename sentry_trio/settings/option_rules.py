"""What the values of the flags may be, alone and together: each rule is a function that raises or hands on a value."""

import enum
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Final, TypeAlias

from sentry_trio.errors import InvalidOptionsError
from sentry_trio.settings.addresses import listen_port
from sentry_trio.settings.durations import format_duration
from sentry_trio.settings.flags import Flag, ParsedFlags
from sentry_trio.settings.scalars import InvalidValueError, parse_decimal, quote

Network: TypeAlias = IPv4Network | IPv6Network

LOG_LEVELS: Final = ("debug", "info", "warn", "error", "fatal")
CA_KEY_TYPES: Final = ("p256", "p384", "ed25519", "rsa2048")
JWT_ALGORITHMS: Final = (
    *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    *("ES256", "ES384", "ES512", "EdDSA"),
)
SHORTEST_ROTATION: Final = timedelta(seconds=10)
"""The least time that a JWT signing key signs before the next takes over: each takes three restarts."""
MOST_RETIRED_KEYS: Final = 20
"""How many keys at most may have to be published until their last tokens have ended."""
_CLUSTER_VARIABLE = "KUBERNETES_SERVICE_HOST"
_KUBERNETES: Final = "kubernetes mode"
_MOST_SHOWN: Final = 5


class Mode(enum.Enum):
    """Where the process runs and so where credentials and identities come from."""

    AUTO = "auto"
    STANDALONE = "standalone"
    KUBERNETES = "kubernetes"

    def resolve(self, environ: Mapping[str, str]) -> "Mode":
        """The mode itself; for `AUTO`, `KUBERNETES` where KUBERNETES_SERVICE_HOST is not empty, else `STANDALONE`."""
        if self is not Mode.AUTO:
            return self
        return Mode.KUBERNETES if environ.get(_CLUSTER_VARIABLE) else Mode.STANDALONE


class TokenVerification(enum.Enum):
    """Who decides whether a service account's token is good."""

    REVIEW = "review"
    """The API server, asked for each."""
    LOCAL = "local"
    """The cluster's public keys, and the API server where they cannot."""


def one_of(name: str, text: str, choices: Sequence[str]) -> str:
    """A value of a flag that has choices.

    Raises:
        InvalidOptionsError: it is none of them; names them.
    """
    if text not in choices:
        raise InvalidOptionsError(f"invalid --{name} {quote(text)}: {_expected(choices)}")
    return text


def _expected(choices: Sequence[str]) -> str:
    return f"expected one of {', '.join(choices)}"


def token_verification(text: str) -> TokenVerification:
    """The way of that name.

    Raises:
        InvalidOptionsError: names what there is.
    """
    return TokenVerification(one_of("token-verification", text, [each.value for each in TokenVerification]))


def mode_named(text: str) -> Mode:
    """The mode of that name.

    Raises:
        InvalidOptionsError: in Dapr Sentry's words, and names what there is.
    """
    try:
        return Mode(text)
    except ValueError as error:
        raise InvalidOptionsError(f"invalid mode: {text}: {_expected([mode.value for mode in Mode])}") from error


def check_together(flags: ParsedFlags) -> None:
    """The rules of Dapr Sentry on flags that need or exclude each other, in its order and words.

    Raises:
        InvalidOptionsError: the first rule that is broken.
    """
    if flags.get("oidc-enabled", bool) and flags.get("oidc-server-tls-enabled", bool):
        for name in ("oidc-server-tls-cert-file", "oidc-server-tls-key-file"):
            if name not in flags.given:
                raise InvalidOptionsError(
                    f"{name} is required when OIDC HTTP server is enabled (unless oidc-server-tls-enabled is false)"
                )
    if "jwt-issuer" in flags.given and not flags.get("jwt-enabled", bool):
        raise InvalidOptionsError("jwt-issuer cannot be set when jwt-enabled is false")


def check_oidc_files(flags: ParsedFlags) -> None:
    """The OIDC server's certificate and key are given together or not at all.

    Raises:
        InvalidOptionsError: one of them is missing.
    """
    if ("oidc-server-tls-cert-file" in flags.given) != ("oidc-server-tls-key-file" in flags.given):
        raise InvalidOptionsError("both OIDC TLS certificate and key must be provided if one is specified")


def jwt_ttl(flags: ParsedFlags) -> timedelta:
    """How long a JWT is good for; not looked at with JWTs off.

    Dapr Sentry 1.18 takes zero and negative ones, and issues tokens that have ended.

    Raises:
        InvalidOptionsError: it is zero or negative.
    """
    duration = flags.get("jwt-ttl", timedelta)
    return positive_duration("jwt-ttl", duration) if flags.get("jwt-enabled", bool) else duration


def jwt_key_rotation(flags: ParsedFlags) -> timedelta:
    """How long a JWT signing key signs; zero for ever.

    Raises:
        InvalidOptionsError: it is negative, or so short that keys would pile up; or keys cannot be told apart, since
            one name is given for all.
    """
    interval = flags.get("jwt-key-rotation", timedelta)
    if not interval:
        return interval
    shortest = max(SHORTEST_ROTATION, flags.get("jwt-ttl", timedelta) / MOST_RETIRED_KEYS)
    if interval < shortest:
        lifetime = format_duration(flags.get("jwt-ttl", timedelta))
        raise InvalidOptionsError(
            f"--jwt-key-rotation must be 0 or at least {format_duration(shortest)} where --jwt-ttl is {lifetime}, got "
            f"{format_duration(interval)}: each key stays in the key set until its last token has ended"
        )
    if "jwt-key-id" in flags.given:
        raise InvalidOptionsError(
            "--jwt-key-rotation and --jwt-key-id exclude each other: keys that follow one another need a name each"
        )
    return interval


def log_level(text: str) -> str:
    """One of `LOG_LEVELS`, whatever the case of `text`.

    Raises:
        InvalidOptionsError: in Dapr Sentry's words, and names what there is.
    """
    level = text.lower()
    if level not in LOG_LEVELS:
        raise InvalidOptionsError(f"invalid value for --log-level: {text}: {_expected(LOG_LEVELS)}")
    return level


def jwt_signing_algorithm(flags: ParsedFlags) -> str:
    """The algorithm by which JWTs are signed; not checked with JWTs off.

    Raises:
        InvalidOptionsError: names what there is.
    """
    text = flags.get("jwt-signing-algorithm", str)
    return one_of("jwt-signing-algorithm", text, JWT_ALGORITHMS) if flags.get("jwt-enabled", bool) else text


def check_inert(flags: ParsedFlags) -> None:
    """Checks the values of flags that have no effect yet, so that a mistake does not wait until they have.

    Raises:
        InvalidOptionsError: names the flag and its range.
    """
    positive_duration("ca-ttl", flags.get("ca-ttl", timedelta))
    threshold = flags.get("ca-renewal-threshold", float)
    if not 0 < threshold < 1:
        raise InvalidOptionsError(f"--ca-renewal-threshold must be between 0 and 1, got {threshold:g}")
    not_negative("trust-anchor-propagation-grace", flags.get("trust-anchor-propagation-grace", timedelta))


def metrics_port(flags: ParsedFlags) -> int:
    """The port of the metrics server; 0, and its text not looked at (as in Dapr Sentry), where metrics are off.

    Raises:
        InvalidOptionsError: `failed to parse metrics port: ...`, or out of range.
    """
    if not flags.get("enable-metrics", bool):
        return 0
    try:
        number = parse_decimal(flags.get("metrics-port", str))
    except InvalidValueError as error:
        raise InvalidOptionsError(f"failed to parse metrics port: {error}") from error
    return listen_port("metrics-port", number)


def not_negative(name: str, duration: timedelta) -> timedelta:
    """A time that may be zero.

    Raises:
        InvalidOptionsError: it is negative.
    """
    if duration < timedelta():
        raise InvalidOptionsError(f"--{name} must not be negative, got {format_duration(duration)}")
    return duration


def networks(name: str, texts: Sequence[str]) -> tuple[Network, ...]:
    """Networks in CIDR notation; an address alone is a network of one.

    Raises:
        InvalidOptionsError: one of them is none; names it.
    """
    return tuple(_network(name, text.strip()) for text in texts)


def _network(name: str, text: str) -> Network:
    try:
        return ip_network(text)
    except ValueError as error:
        raise InvalidOptionsError(
            f"invalid --{name} {quote(text)}: {error}; expected networks such as 10.0.0.0/8 or fd00::/8"
        ) from error


def positive(name: str, number: int) -> int:
    """A count of which there must be one at least.

    Raises:
        InvalidOptionsError: it is zero or negative.
    """
    if number <= 0:
        raise InvalidOptionsError(f"--{name} must be positive, got {number}")
    return number


def positive_duration(name: str, duration: timedelta) -> timedelta:
    """A time that something may take.

    Raises:
        InvalidOptionsError: it is zero or negative.
    """
    if duration <= timedelta():
        raise InvalidOptionsError(f"--{name} must be positive, got {format_duration(duration)}")
    return duration


def audit_required(flags: ParsedFlags) -> bool:
    """Whether nothing is issued that cannot be recorded; there has to be a log to record it in.

    Raises:
        InvalidOptionsError: there is none.
    """
    required = flags.get("audit-required", bool)
    if required and not flags.get("audit-log", str):
        raise InvalidOptionsError("--audit-required needs --audit-log: a path, or stdout")
    return required


def warnings(flags: ParsedFlags, table: Iterable[Flag], mode: Mode) -> tuple[str, ...]:
    """Returns log texts on arguments that have no effect.

    Args:
        flags: the command line.
        table: all flags.
        mode: environment in which the process runs.
    """
    table = [flag for flag in table if flag.name in flags.given]
    found = []
    for need in dict.fromkeys(flag.needs for flag in table if flag.needs):
        is_met = mode is Mode.KUBERNETES if need == _KUBERNETES else flags.get(need, bool)
        if not is_met:
            names = _named(flag for flag in table if flag.needs == need)
            found.append(
                f"no effect {f'in {mode.value} mode' if need == _KUBERNETES else f'without --{need}'}: {names}"
            )
    if names := _named(flag for flag in table if flag.is_inert):
        found.append(f"no effect yet, accepted for compatibility: {names}")
    if flags.positional:
        shown = ", ".join(map(quote, flags.positional[:_MOST_SHOWN]))
        found.append(f"arguments without effect: {shown} (the value of a switch follows '=': --jwt-enabled=false)")
    return tuple(found)


def _named(flags: Iterable[Flag]) -> str:
    return ", ".join(f"--{flag.name}" for flag in flags)


def own_namespace(environ: Mapping[str, str]) -> str:
    """The namespace of this process: NAMESPACE, or `default` where that is not set.

    Dapr Sentry takes a NAMESPACE that is set but empty literally and fails later, when it makes its own identity.

    Raises:
        InvalidOptionsError: NAMESPACE is set but empty.
    """
    namespace = environ.get("NAMESPACE", "default")
    if not namespace:
        raise InvalidOptionsError(
            "the environment variable NAMESPACE is empty: "
            'set it to the namespace of this process, or unset it for "default"'
        )
    return namespace
