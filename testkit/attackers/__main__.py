"""A process full of attackers of one kind, each of which comes back whenever it is cut.

It runs until its standard input is closed. "ready" goes to standard error once each attacker has begun or was cut; what
has come of them goes to standard output as JSON. They are paced all together, not each alone: on a machine with a few
cores, attackers at full speed would measure themselves.
"""

import argparse
import itertools
import sys
from dataclasses import replace
from pathlib import Path
from typing import Final

import msgspec
import trio

from . import HEALTH_KINDS, KINDS, Pace, Target
from .band import attack_until_told

_ALL: Final = {**KINDS, **HEALTH_KINDS}


def _pace(per_second: float) -> Pace | None:
    return Pace(per_second) if per_second else None


def main() -> None:
    """Attacks by the flags of the command line."""
    parser = argparse.ArgumentParser(prog="attackers", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("kind", choices=_ALL)
    parser.add_argument("--port", type=int, required=True, help="where the server listens, on 127.0.0.1")
    parser.add_argument("--health-port", type=int, default=0, help="where its health server listens")
    parser.add_argument("--path", required=True, help="a method that is there")
    parser.add_argument("--streaming-path", required=True, help="a method whose replies do not end")
    parser.add_argument("--message", type=Path, required=True, help="file of an encoded message that it takes")
    parser.add_argument("--connections", type=int, default=1000, help="how many at a time (default 1000)")
    parser.add_argument("--sources", default="127.0.0.2", help="addresses that they come from, with commas between")
    parser.add_argument(
        "--connects", type=float, default=200, help="new connections a second, of all (200; 0: no limit)"
    )
    parser.add_argument("--calls", type=float, default=300, help="whole calls a second, of all (default 300)")
    parser.add_argument("--frames", type=float, default=2000, help="other frames a second, of all (default 2000)")
    parser.add_argument("--pause", type=float, default=1, help="seconds before one comes back (default 1)")
    given = parser.parse_args()
    target = Target(
        port=given.port,
        health_port=given.health_port,
        path=given.path,
        streaming_path=given.streaming_path,
        message=given.message.read_bytes(),
        connections=_pace(given.connects),
        calls=_pace(given.calls),
        frames=_pace(given.frames),
    )
    sources = itertools.islice(itertools.cycle(given.sources.split(",")), given.connections)
    targets = [replace(target, source=source) for source in sources]
    report = trio.run(lambda: attack_until_told(_ALL[given.kind], targets, pause=given.pause))
    sys.stdout.buffer.write(msgspec.json.encode(report))


if __name__ == "__main__":
    main()
