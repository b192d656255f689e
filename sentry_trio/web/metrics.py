"""The HTTP app that tells the metrics, on every path (Dapr Sentry 1.18 mounts its exporter at `/`)."""

import gzip

from prometheus_client.exposition import gzip_accepted

from sentry_trio.telemetry.metrics import Metrics
from sentry_trio.web.asgi import ASGIApp, Receive, Scope, Send, answer, header_of


def metrics_app(metrics: Metrics) -> ASGIApp:
    """An app that answers every path and method with the Prometheus text format, by gzip if the peer accepts it."""

    async def tell(scope: Scope, _receive: Receive, send: Send) -> None:
        body, content_type = metrics.exposition()
        headers = {"vary": "accept-encoding"}
        if gzip_accepted(header_of(scope, "accept-encoding")):
            body = gzip.compress(body, compresslevel=1)
            headers["content-encoding"] = "gzip"
        await answer(send, 200, body, content_type=content_type, headers=headers)

    return tell
