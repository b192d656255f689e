"""Holds the server to h2spec: `python -m tests.h2spec`; exits 1 unless every case passes that is not excepted."""

import sys
import tempfile
from pathlib import Path

import trio

from testkit.go_modules import UnavailableError
from testkit.grpc.toys import serving

from .conformance import EXCEPTIONS, build, examine


async def main() -> int:
    try:
        h2spec = build()
    except UnavailableError as error:
        print(error, file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as directory:
        async with serving() as server:
            report = await examine(h2spec, server.port, Path(directory) / "report.xml")
    for name in report.skipped:
        print(f"skipped: {name}")
    for name in report.failed.keys() & EXCEPTIONS.keys():
        print(f"excepted: {name}: {EXCEPTIONS[name]}")
    for complaint in report.complaints():
        print(f"failed: {complaint}", file=sys.stderr)
    print(f"h2spec: {report}")
    return 1 if report.complaints() else 0


if __name__ == "__main__":
    sys.exit(trio.run(main))
