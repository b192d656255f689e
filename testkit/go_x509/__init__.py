"""Go's crypto/x509 as a running program, which reads certificates and requests as Dapr's components do."""

import base64
import datetime as dt
import json
import subprocess
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from testkit.go_modules import GoModule

_DIRECTORY = Path(__file__).parent


@cache
def build() -> Path:
    """Builds the program, in some ten seconds the first time.

    Raises:
        UnavailableError: there is no Go here.
    """
    return GoModule(_DIRECTORY, "the reader of certificates").fetched().build(".")


class GoX509:
    """A running program; one answer per question."""

    def __init__(self, popen: subprocess.Popen[str]) -> None:
        self._popen = popen

    def certificate(self, der: bytes) -> dict[str, Any]:
        """Returns the fields of a certificate as Go reads them, or its error alone under `error`."""
        return self._ask("certificate", der)

    def request(self, der: bytes) -> dict[str, Any]:
        """Returns the public key of a request whose signature Go has verified, or the error alone under `error`."""
        return self._ask("request", der)

    def verify(self, leaf: bytes, intermediates: Iterable[bytes], roots: Collection[bytes], now: dt.datetime) -> str:
        """Returns the error of verifying a server's certificate at a time, or nothing."""
        seconds, number = int(now.timestamp()), len(roots)
        error: str = self._ask(f"verify {seconds} {number}", leaf, *roots, *intermediates).get("error", "")
        return error

    def _ask(self, kind: str, *ders: bytes) -> dict[str, Any]:
        assert self._popen.stdin
        assert self._popen.stdout
        self._popen.stdin.write(" ".join([kind, *(base64.b64encode(der).decode() for der in ders)]) + "\n")
        self._popen.stdin.flush()
        answer: dict[str, Any] = json.loads(self._popen.stdout.readline())
        return answer


@contextmanager
def go_x509() -> Iterator[GoX509]:
    """Starts the program for the block.

    Raises:
        UnavailableError: there is no Go here.
    """
    with subprocess.Popen([build()], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as popen:
        yield GoX509(popen)
        assert popen.stdin
        popen.stdin.close()
