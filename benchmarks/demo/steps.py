"""Treatment that a certificate authority gets in the demonstration."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from benchmarks.demo.server import Server
from benchmarks.demo.trust import Authorities

_PERIOD: Final = 1.0  # seconds between two edits of one step


@dataclass(frozen=True, slots=True)
class Step:
    """One change of the surroundings, and the time that it is given.

    Attributes:
        title: for the screen.
        act: makes the change; returns when it is made.
        seconds: duration of the step, with `act`.
    """

    title: str
    act: Callable[[], None]
    seconds: float


def treatment(server: Server, authorities: Authorities) -> list[Step]:
    """The steps, in order: about a minute."""
    first, second, third = (
        authorities.files(issuer) for issuer in (authorities.first, authorities.second, authorities.third)
    )

    def edit_configuration() -> None:
        for ttl in ("2h", "1h", "2h", "1h"):
            server.configure(ttl)
            time.sleep(_PERIOD)

    def swap_issuers() -> None:
        for files in (second, first) * 4:
            server.write(files)
            time.sleep(_PERIOD)

    def break_key() -> None:
        server.write({"issuer.key": b"-----BEGIN PRIVATE KEY-----\nbroken\n-----END PRIVATE KEY-----\n"})

    return [
        Step("nothing changes", _nothing, 5),
        Step("4 edits of the configuration", edit_configuration, 7),
        Step("8 swaps of the issuer", swap_issuers, 11),
        Step("another root takes over", lambda: server.write(third), 6),
        Step("the issuer key is broken", break_key, 6),
        Step("the issuer key is repaired", lambda: server.write(third), 6),
        Step("the configuration is broken", lambda: server.configure("many"), 6),
        Step("the configuration is repaired", lambda: server.configure("1h"), 6),
    ]


def _nothing() -> None:
    """Changes nothing."""
