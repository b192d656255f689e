"""The metrics over HTTP."""

import gzip
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import pytest
import trio
from prometheus_client.parser import text_string_to_metric_families

from sentry_trio.listener import Address
from sentry_trio.telemetry.metrics import Metrics
from sentry_trio.web.messages import Request
from sentry_trio.web.metrics import metrics_handler
from sentry_trio.web.server import serve_http
from testkit.cpu_time import cpu_seconds
from testkit.http_client import ask

RECEIVED = "dapr_sentry_cert_sign_request_received"


@asynccontextmanager
async def serving(metrics: Metrics) -> AsyncIterator[Address]:
    async with trio.open_nursery() as nursery:
        yield await nursery.start(partial(serve_http, metrics_handler(metrics), host="127.0.0.1", port=0))
        nursery.cancel_scope.cancel()


def received(body: bytes) -> float:
    (family,) = (family for family in text_string_to_metric_families(body.decode()) if family.name == RECEIVED)
    (sample,) = family.samples
    return sample.value


@pytest.mark.parametrize(("method", "path"), [("GET", "/metrics"), ("GET", "/"), ("POST", "/any/path?name[]=x")])
async def test_every_path_answers(method: str, path: str) -> None:
    metrics = Metrics()
    metrics.csrs_received.inc()
    async with serving(metrics) as address:
        answer = await ask(address, path, method)
        assert answer.status == 200
        assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
        assert received(answer.body) == 1


async def test_each_scrape_has_the_present_values() -> None:
    metrics = Metrics()
    async with serving(metrics) as address:
        assert received((await ask(address, "/metrics")).body) == 0
        metrics.csrs_received.inc()
        assert received((await ask(address, "/metrics")).body) == 1


@pytest.mark.parametrize(
    ("accept", "compressed"),
    [("gzip", True), ("deflate, GZIP;q=0.5", True), ("identity", False), ("gzipped", False), ("", False)],
)
async def test_gzip_if_accepted(accept: str, compressed: bool) -> None:
    async with serving(Metrics()) as address:
        answer = await ask(address, "/metrics", headers={"accept-encoding": accept})
    assert answer.headers.get("content-encoding") == ("gzip" if compressed else None)
    assert received(gzip.decompress(answer.body) if compressed else answer.body) == 0


async def test_openmetrics_is_not_negotiated() -> None:
    accept = "application/openmetrics-text;version=1.0.0,text/plain;version=not-a-number;q=0.1"
    async with serving(Metrics()) as address:
        answer = await ask(address, "/metrics", headers={"accept": accept})
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"


async def test_many_codings_are_answered_fast() -> None:
    expose = metrics_handler(Metrics())
    usual = await cpu_seconds(expose, Request("GET", "/"))
    assert (
        await cpu_seconds(expose, Request("GET", "/", headers=((b"accept-encoding", b"," * 16_000),))) < usual + 0.001
    )
