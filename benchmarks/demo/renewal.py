"""Renewal of a certificate authority in the demonstration, under callers that hold different roots."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from benchmarks.demo.callers import Callers
from benchmarks.demo.server import Server
from benchmarks.demo.steps import Step
from sentry_trio.ca.certificates import read_certificates, write_certificates
from sentry_trio.client import RequestFailedError

FLAGS: Final = ("--trust-anchor-propagation-grace=3s", "--ca-ttl=2m", "--ca-renewal-enabled=false")
"""Flags that make a renewal that was begun by command end within seconds."""

_LIFETIME: Final = "--ca-ttl=240h"
_LONGEST: Final = 30.0  # seconds until the next issuer signs
_LOOK: Final = 0.1  # seconds


def make_authority() -> Mapping[str, bytes]:
    """Makes a certificate authority that can renew itself; returns its files."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "ca"
        _run("init", str(path), "--namespace=default", "--trust-domain=localhost", _LIFETIME)
        return {file.name: file.read_bytes() for file in path.iterdir()}


class Renewal:
    """Steps of a renewal, and the roots that callers hold in each.

    Args:
        server: the certificate authority.
        callers: get new roots as sidecars do that start meanwhile; a third of them each.
        files: of `make_authority`.
    """

    def __init__(self, server: Server, callers: Callers, files: Mapping[str, bytes]) -> None:
        self._server = server
        self._callers = callers
        self._files = files

    def steps(self, anchors: bytes) -> list[Step]:
        """Returns the steps, in order: about half a minute.

        Args:
            anchors: trust anchors of all callers until now, which stay published.
        """
        return [
            Step("a generated CA takes over", lambda: self._take_over(anchors), 6),
            Step("its next root is published", self._publish, 5),
            Step("its next issuer signs", self._wait_for_switch, 5),
            Step("callers have one root or both", self._spread, 8),
        ]

    def _take_over(self, anchors: bytes) -> None:
        self._server.write({**self._files, "ca.crt": anchors})

    def _publish(self) -> None:
        self._callers.hold([self._files["ca.crt"]])
        _run("rotate", "--start", _LIFETIME, f"--issuer-credentials={self._server.credentials}")

    def _wait_for_switch(self) -> None:
        deadline = time.monotonic() + _LONGEST
        while self._server.read("issuer.crt") == self._files["issuer.crt"] and time.monotonic() < deadline:
            time.sleep(_LOOK)
        # The file is there before a run signs with it.
        Callers(self._server.port, self._new_root(), 1).wait_for_answer(_LONGEST)

    def _spread(self) -> None:
        old, new = self._files["ca.crt"], self._new_root()
        self._callers.hold([old, new, old + new])

    def _new_root(self) -> bytes:
        return write_certificates(read_certificates(self._server.read("ca.crt"))[:1])

    def control(self, command: Sequence[str]) -> str:
        """Serves the next issuer without the bridge, in another process; returns the callers' results, for people.

        Raises:
            RequestFailedError: that process does not answer callers that know the new root either.
        """
        issuer, *_ = read_certificates(self._server.read("issuer.crt"))
        names = ("ca.crt", "issuer.key")
        files = {name: self._server.read(name) for name in names} | {"issuer.crt": write_certificates([issuer])}
        with tempfile.TemporaryDirectory() as directory:
            server = Server(command, Path(directory), files)
            with server.running():
                Callers(server.port, files["ca.crt"], 1).wait_for_answer(_LONGEST)
                try:
                    Callers(server.port, self._files["ca.crt"], 1).wait_for_answer(0)
                except RequestFailedError as error:
                    return f"without the bridge, a caller with only the old root fails: {error}"
        return "without the bridge, a caller with only the old root is answered, so the steps above prove nothing"


def _run(*words: str) -> None:
    """Runs an action of `sentry-trio ca`."""
    subprocess.run([sys.executable, "-m", "sentry_trio", "ca", *words], check=True, stdout=subprocess.DEVNULL)
