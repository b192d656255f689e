"""Handler of the metrics, on every path (Dapr Sentry 1.18 mounts its exporter at `/`)."""

import gzip
from typing import Final

import trio
from prometheus_client.exposition import gzip_accepted

from sentry_trio.telemetry.metrics import Metrics
from sentry_trio.web.messages import Handler, Request, Response

# Characters of Accept-Encoding that are read: a peer could send thousands of codings.
_ACCEPT_LENGTH: Final = 256


def metrics_handler(metrics: Metrics) -> Handler:
    """Returns a handler that answers with the Prometheus text format, compressed by gzip if the peer accepts it."""
    # An exposition takes some milliseconds: one in each turn of the event loop, for any number of peers.
    turns = trio.Lock()

    async def expose(request: Request) -> Response:
        async with turns:
            body, content_type = metrics.exposition()
        headers = {"content-type": content_type, "vary": "accept-encoding"}
        if gzip_accepted(request.header("accept-encoding")[:_ACCEPT_LENGTH]):
            body = gzip.compress(body, compresslevel=1)
            headers["content-encoding"] = "gzip"
        return Response(200, body, headers)

    return expose
