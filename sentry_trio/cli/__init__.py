"""The command line: `sentry-trio [serve] [flags]`, and the subcommands `request`, `status` and `audit verify`.

Without a subcommand it serves, with Dapr Sentry's flags, so that it can stand where Sentry stood. Exit codes: 0 done or
shut down gracefully; 1 it failed, and a line says why; 2 the command line was not understood; of `status` also 3,
something needs attention.
"""

import os
import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a subcommand; returns the exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    # Imported where chosen: a request needs no server, and a server no client.
    if words[:1] == ["request"]:
        from sentry_trio.cli.request import request

        return request(words[1:])
    if words[:1] == ["status"]:
        from sentry_trio.cli.status import status

        return status(words[1:], os.environ)
    if words[:1] == ["audit"]:
        from sentry_trio.cli.audit import audit

        return audit(words[1:])
    if words[:1] == ["version"]:
        from sentry_trio import __version__

        print(__version__)
        return 0
    from sentry_trio.cli.serve import serve

    return serve(words[1:] if words[:1] == ["serve"] else words, os.environ)
