"""Parser of the certificate authority's command line, and checks of flags that belong together."""

import posixpath
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Final

from msgspec.structs import replace

from sentry_trio.errors import InvalidOptionsError
from sentry_trio.go_text import format_duration, quote
from sentry_trio.settings import checks
from sentry_trio.settings.flags import CommandLine, Flag, check, checked, parse_command_line
from sentry_trio.settings.options import DEFAULT_NAMESPACE, FLAGS, KUBERNETES, Mode, Options

_SHORTEST_ROTATION: Final = timedelta(seconds=10)
"""Shortest time for which a JWT signing key signs before the next replaces it: each takes three restarts."""
_MOST_RETIRED_KEYS: Final = 20
"""Most keys that may have to be published until their last tokens have expired."""
_LOOPBACK: Final = "127.0.0.1"
_MOST_SHOWN: Final = 5


def parse_options(arguments: Sequence[str], environ: Mapping[str, str]) -> Options:
    """Parses and checks a command line.

    Dapr Sentry's checks come first and in its order: mode, flags that need each other, log level, OIDC files.

    Args:
        arguments: the command line without the program's name.
        environ: the environment; HOME, KUBERNETES_SERVICE_HOST and NAMESPACE are read.

    Raises:
        UsageError: the command line cannot be parsed.
        HelpRequested: help was requested.
        InvalidOptionsError: the first check that fails.
    """
    line = parse_command_line(FLAGS, arguments)
    by_name = {flag.name: flag for flag in FLAGS}
    mode = check(by_name["mode"], line.values["mode"]).resolve(environ)
    _check_needs(line)
    check(by_name["log-level"], line.values["log-level"])
    if ("oidc-server-tls-cert-file" in line.given) != ("oidc-server-tls-key-file" in line.given):
        raise InvalidOptionsError("both OIDC TLS certificate and key must be provided if one is specified")
    values = checked(FLAGS, line.values, except_for=_not_checked(line))
    _check_rotation(line)
    _check_root_key(line, mode)
    if values["audit_required"] and not values["audit_log"]:
        raise InvalidOptionsError("--audit-required needs --audit-log: a path, or stdout")
    values["mode"] = mode
    values["config_given"] = "config" in line.given
    values["namespace"] = _namespace(environ)
    values["warnings"] = _warnings(line, mode)
    if "kubeconfig" not in line.given:
        home = environ.get("HOME", "")
        values["kubeconfig"] = posixpath.normpath(posixpath.join(home, ".kube", "config")) if home else ""
    if not values["enable_metrics"]:
        values["metrics_port"] = 0
    return Options(**values)


def local_options(arguments: Sequence[str] = (), environ: Mapping[str, str] | None = None) -> Options:
    """Parses and checks a command line for a server on loopback, as tests and embedding programs need it.

    As `parse_options`, but a listen address that is not among the arguments is 127.0.0.1.

    Args:
        arguments: the command line without the program's name, such as `["--issuer-credentials=.sentry"]`. Port 0
            is any free port.
        environ: the environment; empty if not given, so that the mode is standalone and the namespace `default`.

    Raises:
        UsageError: the command line cannot be parsed.
        HelpRequested: help was requested.
        InvalidOptionsError: the first check that fails.
    """
    options = parse_options(arguments, environ or {})
    given = parse_command_line(FLAGS, arguments).given
    return replace(
        options,
        listen_address=options.listen_address if "listen-address" in given else _LOOPBACK,
        healthz_listen_address=options.healthz_listen_address if "healthz-listen-address" in given else _LOOPBACK,
        metrics_listen_address=options.metrics_listen_address if "metrics-listen-address" in given else _LOOPBACK,
    )


def _check_needs(line: CommandLine) -> None:
    """Checks flags that need each other, in the order and words of Dapr Sentry."""
    if line.values["oidc-enabled"] and line.values["oidc-server-tls-enabled"]:
        for name in ("oidc-server-tls-cert-file", "oidc-server-tls-key-file"):
            if name not in line.given:
                raise InvalidOptionsError(
                    f"{name} is required when OIDC HTTP server is enabled (unless oidc-server-tls-enabled is false)"
                )
    if "jwt-issuer" in line.given and not line.values["jwt-enabled"]:
        raise InvalidOptionsError("jwt-issuer cannot be set when jwt-enabled is false")


def _not_checked(line: CommandLine) -> frozenset[str]:
    """Returns the flags whose values Dapr Sentry does not check while the feature is off.

    With JWTs on, Dapr Sentry 1.18 accepts lifetimes of zero and less, and issues expired tokens.
    """
    jwt = () if line.values["jwt-enabled"] else ("jwt-ttl", "jwt-signing-algorithm")
    metrics = () if line.values["enable-metrics"] else ("metrics-port",)
    return frozenset((*jwt, *metrics))


def _check_root_key(line: CommandLine, mode: Mode) -> None:
    """Checks the flags of a root key that is kept."""
    if line.values["ca-root-key"] == "keep":
        if mode is Mode.KUBERNETES:
            checks.root_key_in_secret(line.values["ca-root-key-passphrase-file"])
        checks.root_lifetime(line.values["ca-root-ttl"], line.values["ca-ttl"])


def _check_rotation(line: CommandLine) -> None:
    """Checks that JWT signing keys do not pile up, and that they have different names."""
    interval, lifetime = line.values["jwt-key-rotation"], line.values["jwt-ttl"]
    if not interval:
        return
    shortest = max(_SHORTEST_ROTATION, lifetime / _MOST_RETIRED_KEYS)
    if interval < shortest:
        raise InvalidOptionsError(
            f"--jwt-key-rotation must be 0 or at least {format_duration(shortest)} if --jwt-ttl is "
            f"{format_duration(lifetime)}, got {format_duration(interval)}: each key stays in the key set until its "
            "last token has ended"
        )
    if "jwt-key-id" in line.given:
        raise InvalidOptionsError(
            "--jwt-key-rotation and --jwt-key-id exclude each other: each rotated key needs its own name"
        )


def _namespace(environ: Mapping[str, str]) -> str:
    """Returns the namespace of this process: NAMESPACE, or `default` if that is not set.

    Dapr Sentry uses a NAMESPACE that is set but empty literally, and fails later, when it makes its own identity.
    """
    namespace = environ.get("NAMESPACE", DEFAULT_NAMESPACE)
    if not namespace:
        raise InvalidOptionsError(
            "the environment variable NAMESPACE is empty: "
            'set it to the namespace of this process, or unset it for "default"'
        )
    return namespace


def _warnings(line: CommandLine, mode: Mode) -> tuple[str, ...]:
    """Returns log texts on arguments that have no effect."""
    given = [flag for flag in FLAGS if flag.name in line.given]
    found = []
    for need in dict.fromkeys(flag.needs for flag in given if flag.needs):
        is_met = mode is Mode.KUBERNETES if need == KUBERNETES else line.values[need]
        if not is_met:
            names = _named(flag for flag in given if flag.needs == need)
            found.append(f"no effect {f'in {mode.value} mode' if need == KUBERNETES else f'without --{need}'}: {names}")
    if line.positional:
        shown = ", ".join(map(quote, line.positional[:_MOST_SHOWN]))
        found.append(f"arguments without effect: {shown} (the value of a switch follows '=': --jwt-enabled=false)")
    return tuple(found)


def _named(flags: Iterable[Flag]) -> str:
    return ", ".join(f"--{flag.name}" for flag in flags)
