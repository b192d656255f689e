"""Meaning of error answers."""

import json

import pytest

from sentry_trio.errors import ApiRejectedError, ApiUnavailableError
from sentry_trio.kube.api_errors import event_error, response_error

FORBIDDEN = {"kind": "Status", "message": 'cannot list resource "pods"', "reason": "Forbidden", "code": 403}


def test_a_rejection_has_the_server_s_message() -> None:
    error = response_error("GET /api/v1/pods", 403, json.dumps(FORBIDDEN).encode(), {})
    assert isinstance(error, ApiRejectedError)
    assert (error.status, error.reason) == (403, "Forbidden")
    assert str(error) == 'GET /api/v1/pods: 403 Forbidden: cannot list resource "pods"'


@pytest.mark.parametrize(
    ("status", "body", "text"),
    [
        (404, b"404 page not found\n", "GET /: 404 NotFound: 404 page not found"),
        (404, b"", "GET /: 404 NotFound"),
        (409, b"{}", "GET /: 409 Conflict"),
        (301, b"<html>\n\n <b>moved</b>", "GET /: 301 Unknown: <html> <b>moved</b>"),
        (422, b'{"reason":"Invalid"}', "GET /: 422 Invalid"),
        (400, b'{"message":7}', 'GET /: 400 BadRequest: {"message":7}'),
        (400, b"\xff\x00", "GET /: 400 BadRequest: \ufffd\x00"),
    ],
)
def test_refusals_of_others(status: int, body: bytes, text: str) -> None:
    error = response_error("GET /", status, body, {})
    assert isinstance(error, ApiRejectedError)
    assert str(error) == text


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504, 599])
@pytest.mark.parametrize(
    ("header", "body", "seconds"),
    [
        ("7", b"", 7),
        ("", b'{"details":{"retryAfterSeconds":3}}', 3),
        ("7", b'{"details":{"retryAfterSeconds":3}}', 7),
        ("", b'{"details":{}}', None),
        ("Wed, 21 Oct 2015 07:28:00 GMT", b"", None),
        ("-1", b"", None),
        ("\u0667", b"", None),
    ],
)
def test_temporary_errors_are_unavailable_with_their_retry_time(
    status: int, header: str, body: bytes, seconds: float | None
) -> None:
    error = response_error("GET /", status, body, {"Retry-After": header} if header else {})
    assert isinstance(error, ApiUnavailableError)
    assert error.retry_after == seconds


def test_texts_end() -> None:
    assert len(str(response_error("GET /", 400, b"x" * 1_000_000, {}))) < 1100
    long = json.dumps({"message": "x" * 1_000_000}).encode()
    assert len(str(response_error("GET /", 400, long, {}))) < 1100


def test_events_carry_their_own_code() -> None:
    expired = b'{"kind":"Status","code":410,"reason":"Expired","message":"too old resource version: 1 (2)"}'
    error = event_error("GET /api/v1/pods", expired)
    assert isinstance(error, ApiRejectedError)
    assert error.status == 410
    assert isinstance(event_error("GET /", b"{}"), ApiUnavailableError)
