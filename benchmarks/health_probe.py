"""Probe of a health port, as kubelet probes it but more often."""

import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection, HTTPException
from typing import Final

import msgspec

LIMIT_MS: Final = 250.0
"""The target for each answer under attack; kubelet waits 1 s by default."""
_INTERVAL: Final = 0.05  # seconds
_TIMEOUT: Final = 5.0


class Answers(msgspec.Struct):
    """Observations of the probe.

    Attributes:
        count: requests.
        late: those that failed or took more than `LIMIT_MS`.
        max_ms: the longest request, in milliseconds; a failed one counts with the time until it failed.
    """

    count: int = 0
    late: int = 0
    max_ms: float = 0.0


@contextmanager
def probing(port: int) -> Iterator[Answers]:
    """Requests `/readyz` on a new connection, 20 times a second, during the block."""
    answers = Answers()
    stopping = threading.Event()
    thread = threading.Thread(target=_probe, args=(port, answers, stopping))
    thread.start()
    try:
        yield answers
    finally:
        stopping.set()
        thread.join()


def _probe(port: int, answers: Answers, stopping: threading.Event) -> None:
    while not stopping.wait(_INTERVAL):
        began = time.monotonic()
        try:
            with closing(HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT)) as connection:
                connection.request("GET", "/readyz")
                is_ready = connection.getresponse().status == 200
        except (OSError, HTTPException):
            is_ready = False
        took = 1000 * (time.monotonic() - began)
        answers.count += 1
        answers.late += not is_ready or took > LIMIT_MS
        answers.max_ms = max(answers.max_ms, took)
