"""Readiness, and its report over HTTP."""

import contextlib
import io
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial

import pytest
import trio

from sentry_trio.listener import Address
from sentry_trio.telemetry.logs import configure_logging
from sentry_trio.web.health import Health
from sentry_trio.web.messages import Request
from sentry_trio.web.server import serve_http
from testkit.cpu_time import cpu_seconds
from testkit.http_client import ask


@asynccontextmanager
async def serving(health: Health) -> AsyncIterator[Address]:
    async with trio.open_nursery() as nursery:
        yield await nursery.start(partial(serve_http, health.answer, host="127.0.0.1", port=0))
        nursery.cancel_scope.cancel()


@pytest.fixture
def log() -> io.StringIO:
    stream = io.StringIO()
    configure_logging(level="debug", as_json=True, stream=stream, instance="h", version="v")
    return stream


# --- targets


def test_nothing_to_wait_for_is_ready() -> None:
    assert Health().is_ready


def test_every_target_must_be_ready() -> None:
    health = Health()
    server, validator = health.target("sentry-server"), health.target("a-validator")
    assert (health.is_ready, health.unready) == (False, ("a-validator", "sentry-server"))
    server.is_ready = True
    assert (health.is_ready, health.unready) == (False, ("a-validator",))
    validator.is_ready = True
    assert (health.is_ready, health.unready) == (True, ())
    server.is_ready = False
    assert (health.is_ready, health.unready) == (False, ("sentry-server",))


def test_a_name_is_one_target() -> None:
    health = Health()
    assert health.target("sentry-server") is health.target("sentry-server")


def test_ready_for_as_long_as_a_block_runs() -> None:
    health = Health()
    seen = []
    with contextlib.suppress(OSError), health.ready("sentry-server"):
        seen.append(health.is_ready)
        raise OSError("gone")
    seen.append(health.is_ready)
    assert seen == [True, False]


# --- over HTTP


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "DELETE"])
@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/livez", "/healthz?verbose", "/healthz?a=b"])
async def test_ready_is_200_and_empty(path: str, method: str) -> None:
    async with serving(Health()) as address:
        answer = await ask(address, path, method)
        assert (answer.status, answer.body) == (200, b"")


@pytest.mark.parametrize(
    ("path", "status"), [("/healthz", 503), ("/readyz", 503), ("/livez", 200), ("/readyz?verbose", 503)]
)
async def test_not_ready(path: str, status: int) -> None:
    health = Health()
    health.target("sentry-server")
    async with serving(health) as address:
        assert (await ask(address, path)).status == status
        with health.ready("sentry-server"):
            assert (await ask(address, path)).status == 200
        assert (await ask(address, path)).status == status


@pytest.mark.parametrize(
    "path", ["/", "/healthz/", "/healthzz", "/HEALTHZ", "//healthz", "/a/healthz", "/metrics", "*"]
)
async def test_other_paths_are_not_found(path: str) -> None:
    async with serving(Health()) as address:
        assert (await ask(address, path)).status == 404


@pytest.mark.parametrize("path", ["/readyz", "/%72eadyz", "".join(f"%{ord(each):x}" for each in "/readyz")])
async def test_a_path_may_be_percent_encoded(path: str) -> None:
    assert (await Health().answer(Request("GET", path))).status == 200


@pytest.mark.parametrize(
    ("query", "is_verbose"),
    [
        ("verbose", True),
        ("verbose=", True),
        ("verbose=0", True),
        ("verbose&x=y", True),
        ("x=y&verbose", True),
        ("&&verbose=1&x", True),
        ("", False),
        ("verbosely", False),
        ("notverbose", False),
        ("x=verbose", False),
    ],
)
async def test_queries(query: str, is_verbose: bool) -> None:
    assert bool((await Health().answer(Request("GET", "/readyz", query))).body) is is_verbose


@pytest.mark.parametrize(
    ("path", "query"), [("/" + "%" * 16_000, ""), ("/readyz", "%e9&" * 4000), ("/readyz", "a&" * 8000)]
)
async def test_long_targets_are_answered_fast(path: str, query: str) -> None:
    assert await cpu_seconds(Health().answer, Request("GET", path, query)) < 0.002


async def test_a_host_header_that_makes_no_url() -> None:
    async with serving(Health()) as address:
        answer = await ask(address, "/healthz", headers={"host": "]["})
        assert answer.status == 200


async def test_targets_that_are_not_ready_are_logged_at_debug(log: io.StringIO) -> None:
    health = Health()
    for name in ("sentry-server", "security-provider"):
        health.target(name)
    async with serving(health) as address:
        await ask(address, "/healthz")
        await ask(address, "/livez")
    said = [json.loads(line) for line in log.getvalue().splitlines()]
    assert [(line["level"], line["targets"]) for line in said] == [("debug", ["security-provider", "sentry-server"])]


async def test_verbose_has_the_present_detail() -> None:
    run = {"run": 1, "loaded_at": datetime(2026, 3, 1, tzinfo=UTC)}
    health = Health(lambda: run)
    health.target("sentry-server")
    async with serving(health) as address:
        with health.ready("security-provider"):
            answer = await ask(address, "/livez?verbose")
            run["run"] = 2
            later = await ask(address, "/readyz?verbose=1")
    assert answer.headers["content-type"] == "application/json"
    assert (answer.status, later.status) == (200, 503)
    assert json.loads(answer.body) == {
        "ready": False,
        "targets": {"security-provider": True, "sentry-server": False},
        "run": 1,
        "loaded_at": "2026-03-01 00:00:00+00:00",
    }
    assert json.loads(later.body)["run"] == 2
