"""A certificate authority for the Dapr service mesh, on Trio.

Where things stand. A module imports only from floors below its own; neighbours on one floor do not import each
other (a package on a floor is one neighbour: its own modules may import one another). `tests/test_floors.py` reads
this table and holds every module to it.

    7  cli                                                command line: flags, exit codes; serve, request, status
    6  app                                                composition root, from the outermost lifetime inwards
    5  authority                                          the sequence of runs
    5  authority_state                                    its state, for health, metrics, log and Events
    4  run                                                one run: a nursery
    3  service environments                               SignCertificate: validate, sign, answer; what a run is made of
    3  oidc                                               discovery and key set over HTTP, beside all runs
    3  status                                             what people are shown of a running authority
    2  validators stores audit web watchers               one file per kind; all IO towards the outside
    2  identity grpc_metrics client
    1  listener http_client                               a listening socket; a bounded GET
    1  ca kube settings proto                             ca is pure: no trio, no IO, no clock of its own, no logging
    0  grpc telemetry errors lifetimes backoff            grpc knows nothing of Sentry: any grpclib service on Trio
    0  conditions key_cache                               named problems that last; keys that are read again
    0  debouncer                                          merges signals that come in quick succession
    0  tokens                                             JWTs and their keys, read in bounds; pure
    0  reload                                             causes of a reload

asyncio lives in two rooms: `kube`, whose client is written for it, and `client`, which asks a certificate authority for
a certificate through grpclib's channel in a process of its own. Everything else is Trio.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sentry_trio.app import serve as serve
    from sentry_trio.settings.options import Options as Options
    from sentry_trio.settings.options import parse_options as parse_options

__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    """Hands on what embedding needs, and imports it only then."""
    if name == "serve":
        from sentry_trio.app import serve

        return serve
    if name in {"Options", "parse_options"}:
        from sentry_trio.settings import options

        return getattr(options, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
