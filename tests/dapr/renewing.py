"""Files of a certificate authority that is renewed, as other programs see them, and the command that begins it."""

import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from cryptography import x509

from sentry_trio.ca.certificates import read_certificates, write_certificates

LIFETIME: Final = "--ca-ttl=5m"  # replicas take a step up to a hundredth of it apart
_LONGEST: Final = 90.0  # seconds until a step is taken


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _LONGEST
    while not condition():
        assert time.monotonic() < deadline, "a step or a certificate is late"
        time.sleep(0.1)


class Store:
    """The files of a certificate authority, as clients see them."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    @property
    def anchors(self) -> list[str]:
        """The trust anchors, PEM, the newest first."""
        found = read_certificates((self._directory / "ca.crt").read_bytes())
        return [write_certificates([each]).decode() for each in found]

    @property
    def issuer(self) -> x509.Certificate:
        """The issuer that signs."""
        return x509.load_pem_x509_certificate((self._directory / "issuer.crt").read_bytes())

    @property
    def phase(self) -> str:
        """The phase of the renewal, by the files that are there; empty while they are being replaced.

        A step replaces files one after the other: `issuer.crt` is new before `previous-issuer.key` exists. A test that
        looks at a single file can therefore mistake a switch for its end.
        """
        names = {path.name for path in self._directory.iterdir()}
        if any(name.endswith((".sentry-trio-new", ".sentry-trio-commit", ".sentry-trio-commit-new")) for name in names):
            return ""
        if "issuer.next.crt" in names:
            return "distributing"
        if "previous-issuer.key" in names:
            return "signing"
        return "retiring" if len(read_certificates((self._directory / "issuer.crt").read_bytes())) > 1 else "steady"

    def files(self) -> Mapping[str, bytes]:
        """Returns all files, by name."""
        return {path.name: path.read_bytes() for path in self._directory.iterdir()}

    def wait_for_anchors(self, number: int) -> list[str]:
        wait_until(lambda: len(self.anchors) >= number)
        return self.anchors

    def wait_for_phase(self, phase: str) -> None:
        wait_until(lambda: self.phase == phase)

    def start_renewal(self, *flags: str) -> None:
        """Begins a renewal by command, beside the program that serves."""
        command = [sys.executable, "-m", "sentry_trio", "ca", "rotate", "--start", LIFETIME, *flags]
        subprocess.run([*command, f"--issuer-credentials={self._directory}"], check=True, stdout=subprocess.DEVNULL)
