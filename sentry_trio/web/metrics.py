"""The HTTP app that tells the metrics, on every path (Dapr Sentry 1.18 mounts its exporter at `/`)."""

import gzip

from prometheus_client.exposition import gzip_accepted
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from sentry_trio.telemetry.metrics import Metrics


def metrics_app(metrics: Metrics) -> ASGIApp:
    """An app that answers every path and method with the Prometheus text format, by gzip if the peer accepts it."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        body, content_type = metrics.exposition()
        headers = {"content-type": content_type, "vary": "accept-encoding"}
        if gzip_accepted(",".join(Request(scope).headers.getlist("accept-encoding"))):
            body = gzip.compress(body, compresslevel=1)
            headers["content-encoding"] = "gzip"
        await Response(body, headers=headers)(scope, receive, send)

    return answer
