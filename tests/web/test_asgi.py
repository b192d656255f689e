"""Answers and questions, as ASGI messages."""

import pytest

from sentry_trio.web.asgi import Message, answer, header_of, is_asked


@pytest.mark.parametrize(
    ("body", "content_type", "headers", "sent"),
    [
        (b"", None, None, [(b"content-length", b"0")]),
        (b"yes", "text/plain", None, [(b"content-length", b"3"), (b"content-type", b"text/plain")]),
        (b"", None, {"vary": "accept-encoding"}, [(b"content-length", b"0"), (b"vary", b"accept-encoding")]),
    ],
)
async def test_an_answer_is_whole(
    body: bytes, content_type: str | None, headers: dict[str, str] | None, sent: list[tuple[bytes, bytes]]
) -> None:
    messages: list[Message] = []

    async def send(message: Message) -> None:
        messages.append(message)

    await answer(send, 503, body, content_type=content_type, headers=headers)
    start, rest = messages
    assert (start["status"], sorted(start["headers"])) == (503, sent)
    assert (rest["body"], "more_body" in rest) == (body, False)


@pytest.mark.parametrize(
    ("headers", "value"),
    [
        ([], ""),
        ([(b"accept", b"a"), (b"accept-encoding", b"gzip")], "gzip"),
        ([(b"accept-encoding", b"gzip"), (b"accept-encoding", b"br")], "gzip,br"),
        ([(b"accept-encoding", b"\xff")], "\xff"),
    ],
)
def test_the_values_of_a_header(headers: list[tuple[bytes, bytes]], value: str) -> None:
    assert header_of({"headers": headers}, "accept-encoding") == value


@pytest.mark.parametrize(
    ("query", "asked"),
    [
        (b"", False),
        (b"verbose", True),
        (b"verbose=", True),
        (b"a=b&verbose=1", True),
        (b"verb%6fse", True),
        (b"verbosely", False),
        (b"a=verbose", False),
        (b"\xff&%", False),
    ],
)
def test_what_a_query_asks(query: bytes, asked: bool) -> None:
    assert is_asked({"query_string": query}, "verbose") is asked
