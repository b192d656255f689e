"""A certificate authority for the Dapr service mesh, on Trio.

Layers: a module imports only from layers below its own. Modules and packages of one layer do not import each other;
modules within a package do. `tests/test_layers.py` checks every import against this table.

    8  cli                                                command line: flags, exit codes; serve, request, status
    7  app                                                composition root, from the outermost lifetime inwards
    6  authority                                          the sequence of runs
    6  authority_state                                    its state, for health, metrics, log and Events
    6  component_settings                                 settings of each component, derived from the command line
    5  run                                                one run: a nursery
    4  service environments                               SignCertificate: validate, sign, answer; inputs of a run
    4  oidc                                               discovery and key set over HTTP, beside all runs
    4  status                                             state of running authorities, for people and scripts
    3  validators stores audit web watchers               one file per kind; all IO towards the outside
    3  identity grpc_metrics client
    2  listener http_client                               a listening socket; a bounded GET
    2  ca kube settings proto                             ca is pure: no trio, no IO, no clock of its own, no logging
    1  telemetry lifetimes backoff                        logs and metrics; lifetimes of contexts; pauses
    1  conditions key_cache                               named problems that last; keys that are read again
    1  debouncer                                          merges signals that come in quick succession
    1  tokens                                             JWTs and their keys, read in bounds; pure
    1  open_files                                         shares of the limit on open files
    1  reload                                             requests to replace a run, and their causes
    0  grpc                                               knows nothing of Sentry: any grpclib service on Trio
    0  errors event_reasons renewal_status                errors; reasons and states that several layers name
    0  discreet                                           records that do not show all their fields
    0  go_text                                            text as Go writes it
    0  reasons                                            reasons in words of the errors of other libraries

asyncio is used by two packages: `kube`, whose client library is written for it, and `client`, which requests a
certificate through grpclib's channel, in the process of a command. Everything else is Trio.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Final

__version__ = "0.1.0"
__all__ = [
    "AlreadyRunningError",
    "ApiRejectedError",
    "ApiUnavailableError",
    "ApiUnreachableError",
    "Application",
    "AuditLogError",
    "AuthorityStoppedError",
    "CertificateAuthority",
    "ClockError",
    "HelpRequested",
    "IncompleteBundleError",
    "IncompleteSecretError",
    "InvalidBundleError",
    "InvalidConfigurationError",
    "InvalidOptionsError",
    "InvalidValidatorError",
    "IssuerNotValidError",
    "ListenError",
    "MissingPermissionsError",
    "NotYetValidError",
    "Options",
    "SentryError",
    "ServerTLSError",
    "SigningError",
    "StoreError",
    "TrustCutError",
    "UnservableIssuerError",
    "UsageError",
    "local_options",
    "parse_options",
    "running",
    "serve",
]

_MODULES: Final = {
    "app": ("Application", "running", "serve"),
    "authority": ("AlreadyRunningError", "AuthorityStoppedError", "CertificateAuthority"),
    "kube.access_review": ("MissingPermissionsError",),
    "settings.flags": ("HelpRequested", "UsageError"),
    "settings.command_line": ("local_options", "parse_options"),
    "settings.options": ("Options",),
    "stores.secret_content": ("IncompleteSecretError",),
}
"""Modules of the public names; those of all others are errors."""

if TYPE_CHECKING:
    from sentry_trio.app import Application, running, serve
    from sentry_trio.authority import AlreadyRunningError, AuthorityStoppedError, CertificateAuthority
    from sentry_trio.errors import (
        ApiRejectedError,
        ApiUnavailableError,
        ApiUnreachableError,
        AuditLogError,
        ClockError,
        IncompleteBundleError,
        InvalidBundleError,
        InvalidConfigurationError,
        InvalidOptionsError,
        InvalidValidatorError,
        IssuerNotValidError,
        ListenError,
        NotYetValidError,
        SentryError,
        ServerTLSError,
        SigningError,
        StoreError,
        TrustCutError,
        UnservableIssuerError,
    )
    from sentry_trio.kube.access_review import MissingPermissionsError
    from sentry_trio.settings.command_line import local_options, parse_options
    from sentry_trio.settings.flags import HelpRequested, UsageError
    from sentry_trio.settings.options import Options
    from sentry_trio.stores.secret_content import IncompleteSecretError
else:
    # Hidden from type checkers, for which every unknown name would else be an object.
    def __getattr__(name: str) -> object:
        """Imports a public name when it is first used: the command line needs none of them."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        module = next((module for module, names in _MODULES.items() if name in names), "errors")
        return getattr(import_module(f"{__name__}.{module}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
