"""Cost of the audit log for a call: the service alone, without TLS and HTTP/2, signing with P-256.

python -m benchmarks.audit [--calls 3000] [--rounds 3] [--only off,on] [--at-once 50] [--directory DIR]

The directory is where the log is kept; a file system in memory has no medium to wait for.
"""

import argparse
import tempfile
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from statistics import median
from typing import Final, NamedTuple, TypeAlias

import trio

from sentry_trio.audit.decision import Recorder
from sentry_trio.audit.log import open_log
from sentry_trio.audit.verify import Verifier
from sentry_trio.ca.bundle import verify
from sentry_trio.ca.generate import generate
from sentry_trio.ca.issue import Issuer
from sentry_trio.ca.keys import KeyType
from sentry_trio.proto.sentry_pb2 import SignCertificateRequest
from sentry_trio.service import CertificateService, Policy
from sentry_trio.telemetry.metrics import Metrics
from sentry_trio.validators import Validators
from sentry_trio.validators.insecure import InsecureValidator
from testkit.authorities import made_request
from testkit.grpc.in_memory import InMemoryStream

_SKEW: Final = timedelta(minutes=15)
_Measure: TypeAlias = Callable[[int, int], Awaitable["Cost"]]


class Cost(NamedTuple):
    """Of one call, in microseconds.

    Attributes:
        wall: of time, with so many under way at once.
        cpu: of processor time, of all threads.
    """

    wall: float
    cpu: float


def _now() -> datetime:
    return datetime.now(UTC)


def _service(recorder: Recorder) -> CertificateService:
    stored = generate("localhost", "default", KeyType.P256, now=_now(), allowed_clock_skew=_SKEW)
    insecure = SignCertificateRequest.INSECURE
    return CertificateService(
        Issuer(verify(stored, _now())),
        Validators(present={insecure: InsecureValidator()}, default=insecure),
        Policy(
            lifetime=timedelta(days=1),
            allowed_clock_skew=_SKEW,
            namespace="default",
            cluster_domain=lambda: "localhost",
        ),
        metrics=Metrics(),
        now=_now,
        recorder=recorder,
    )


async def _call_often(service: CertificateService, calls: int, at_once: int) -> Cost:
    request = made_request("myapp", "shop")

    async def call(times: int) -> None:
        for _ in range(times):
            await service.SignCertificate(InMemoryStream(request))
            await trio.lowlevel.checkpoint()

    wall, cpu = time.perf_counter(), time.process_time()
    async with trio.open_nursery() as nursery:
        for _ in range(at_once):
            nursery.start_soon(call, calls // at_once)
    done = calls // at_once * at_once
    return Cost((time.perf_counter() - wall) / done * 1e6, (time.process_time() - cpu) / done * 1e6)


async def _without(calls: int, at_once: int) -> Cost:
    return await _call_often(_service(Recorder()), calls, at_once)


async def _with(path: Path, calls: int, at_once: int, *, required: bool) -> Cost:
    log = await open_log(str(path), required=required, environ={}, metrics=Metrics(), now=_now)
    async with trio.open_nursery() as nursery:
        await nursery.start(log.serve)
        cost = await _call_often(_service(log), calls, at_once)
        nursery.cancel_scope.cancel()
    return cost


def _verified(path: Path) -> tuple[int, float]:
    """Number of lines of a log, and microseconds for each to verify it."""
    verifier = Verifier()
    begun = time.perf_counter()
    verifier.feed(path.read_bytes())
    report = verifier.finish()
    if not report.is_intact:
        raise AssertionError(report.faults.texts)
    return report.lines, (time.perf_counter() - begun) / report.lines * 1e6


def main() -> None:
    """Measures in turns, and prints the median of each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=3000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="off,on,required")
    parser.add_argument("--at-once", default="1,50")
    parser.add_argument("--directory", type=Path)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=asked.directory) as directory:
        path = Path(directory, "audit.log")
        kinds: dict[str, _Measure] = {
            "off": _without,
            "on": partial(_with, path, required=False),
            "required": partial(_with, path, required=True),
        }
        costs: defaultdict[tuple[str, int], list[Cost]] = defaultdict(list)
        for _ in range(asked.rounds):
            for at_once in map(int, asked.at_once.split(",")):
                for name in asked.only.split(","):
                    costs[name, at_once].append(trio.run(kinds[name], asked.calls, at_once))
        for (name, at_once), found in costs.items():
            cost = Cost(*map(median, zip(*found, strict=True)))
            print(f"{name:9} {at_once:3} at once: {cost.wall:7.0f} us a call, {cost.cpu:5.0f} us of CPU")
        if not path.exists():
            return
        lines, micros = _verified(path)
        print(f"{path.stat().st_size / lines:.0f} bytes a line; {micros:.1f} us a line to verify")


if __name__ == "__main__":
    main()
