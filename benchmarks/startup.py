"""Costs of a start of the real process, from exec to healthy."""

import re
import tempfile
import time
from collections import Counter
from contextlib import closing
from http import HTTPStatus
from http.client import HTTPConnection
from pathlib import Path
from typing import Final

from benchmarks.contenders import OURS
from benchmarks.findings import Start, Starts
from benchmarks.measure import usage
from benchmarks.processes import Program, started

_HEALTH: Final = re.compile(r'Healthz server is listening on [^"]*:(\d+)')
# import time: self [us] | cumulative | imported package
_IMPORT: Final = re.compile(r"import time:\s+(\d+) \|\s+\d+ \|\s+(\S+)")
_DEAREST: Final = 15


def measure_starts(credentials: Path, times: int) -> Starts:
    """Starts it so many times with existing credentials, and once more to list its imports."""
    starts = [_start(credentials) for _ in range(times)]
    with tempfile.TemporaryFile() as errors:
        with started(OURS, credentials, before=("-X", "importtime"), errors=errors) as program:
            _wait_healthy(program)
        errors.seek(0)
        imports = _IMPORT.findall(errors.read().decode())
    spent: Counter[str] = Counter()
    for microseconds, module in imports:
        package, _, rest = module.partition(".")
        spent[f"{package}.{rest.partition('.')[0]}" if package in {"sentry_trio", "google"} else package] += int(
            microseconds
        )
    return Starts(
        starts=starts,
        modules=len(imports),
        import_ms={package: time_spent / 1000 for package, time_spent in spent.most_common(_DEAREST)},
    )


def _start(credentials: Path) -> Start:
    begun = time.monotonic()
    with started(OURS, credentials) as program:
        _wait_healthy(program)
        wall, used = time.monotonic() - begun, usage(program.pid)
    return Start(wall_seconds=wall, cpu_seconds=used.cpu_seconds, rss_kib=used.rss_kib)


def _wait_healthy(program: Program) -> None:
    """Requests health once the process reports that it serves: earlier requests would cost it time."""
    port = next(int(found[1]) for line in program.said if (found := _HEALTH.search(line)))
    while True:
        with closing(HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
            connection.request("GET", "/healthz")
            if connection.getresponse().status == HTTPStatus.OK:
                return
