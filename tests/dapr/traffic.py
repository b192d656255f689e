"""Calls without pause while certificates are renewed, and the pace of the CA's restarts meanwhile."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event, Thread
from typing import Final

from .sidecars import Address, Sidecar

# daprd accepts any lifetime. It renews at the middle of a certificate's validity, which begins a clock skew early: with
# a skew as long as the lifetime it would renew without pause, 190 times a second.
LIFETIME: Final = 20  # seconds
RENEWALS: Final = 2  # of each sidecar; the first certificate has ended with the second
MTLS: Final = {"workloadCertTTL": f"{LIFETIME}s", "allowedClockSkew": "0s"}
_PACE: Final = 1.0  # seconds from one restart to the next
_PAUSE: Final = 0.02  # seconds between two calls


class Traffic:
    """Calls between two sidecars, in both directions, until the block is left.

    Attributes:
        calls: their number.
        failures: texts of failed calls.
    """

    def __init__(self, first: Sidecar, second: Sidecar) -> None:
        self.calls = 0
        self.failures: list[str] = []
        self._over = Event()
        pairs = ((first, second.address), (second, first.address))
        self._threads = [Thread(target=self._call, args=pair) for pair in pairs]

    def __enter__(self) -> "Traffic":
        for each in self._threads:
            each.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for each in self._threads:
            each.join()

    def _call(self, caller: Sidecar, target: Address) -> None:
        while not self._over.wait(_PAUSE):
            if failure := caller.call(target):
                self.failures.append(failure)
            self.calls += 1


def restarts(enough: Callable[[], bool]) -> Iterator[int]:
    """Yields the number of the CA's next run, once a second, until it is enough."""
    number, due = 1, time.monotonic()
    while not enough():
        due += _PACE
        time.sleep(max(0, due - time.monotonic()))
        number += 1
        assert number < 3 * RENEWALS * LIFETIME / _PACE, "the sidecars do not renew their certificates"
        yield number


def issued(audit_log: Path) -> dict[str, list[str]]:
    """Returns the serial numbers in an audit log, oldest first, by SPIFFE ID."""
    found: dict[str, list[str]] = {}
    for text in audit_log.read_text().splitlines():
        line = json.loads(text)
        if line.get("outcome") == "issued":
            found.setdefault(line["spiffe_id"], []).append(line["serial"])
    return found


def renewed(audit_log: Path, *identities: str) -> bool:
    """Returns whether each of these has been renewed often enough."""
    return all(len(issued(audit_log).get(each, [])) > RENEWALS for each in identities)


def assert_renewed(audit_log: Path, *sidecars: tuple[str, Sidecar]) -> None:
    """Asserts that each sidecar serves with its newest certificates, each of which was issued once."""
    serials = issued(audit_log)
    for spiffe_id, each in sidecars:
        assert len(set(serials[spiffe_id])) == len(serials[spiffe_id])
        assert f"{each.serving_certificate().serial_number:x}" in serials[spiffe_id][RENEWALS:]
