"""From exec to ready: the container image's tree beside the editable install, in turns.

`python -m benchmarks.image`. Needs `make image-tree`, and root. Cold is with their files dropped from the kernel's
cache, as far as no other process has them mapped; warm is with all of them in it. Credentials are there already.
"""

import argparse
import os
import shutil
import statistics
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from http.client import HTTPConnection
from pathlib import Path
from typing import Final

from testkit.image.container import Contained, missing, serving
from testkit.image.dockerfile import Stage
from testkit.processes import Process, sentry_process

_PROJECT: Final = Path(__file__).parents[1]
_TREE: Final = _PROJECT / "build" / "image"
_USER: Final = 65532


def _wait_ready(process: Process) -> None:
    port = process.health_port()
    while True:
        connection = HTTPConnection("127.0.0.1", port, timeout=10)
        try:
            connection.request("GET", "/readyz")
            if connection.getresponse().status == 200:
                return
        finally:
            connection.close()


def _cpu(number: int) -> float:
    """Seconds of user and system."""
    fields = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _measure(start: Callable[[], AbstractContextManager[Process]]) -> tuple[float, float]:
    begun = time.perf_counter()
    with start() as process:
        _wait_ready(process)
        taken = time.perf_counter() - begun
        number = process.pid if isinstance(process, Contained) else process.popen.pid
        return taken, _cpu(number)


def _files(of: str) -> Iterator[Path]:
    installed = (Path(sys.base_prefix), Path(sysconfig.get_path("purelib")), _PROJECT / "sentry_trio")
    for directory in (_TREE,) if of == "image" else installed:
        yield from (path for path in directory.rglob("*") if path.is_file() and not path.is_symlink())


def _forget(of: str) -> None:
    """Drops the files of one of the two from the kernel's cache."""
    for path in _files(of):
        descriptor = os.open(path, os.O_RDONLY)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def main() -> int:
    """Measures, and prints a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.image")
    parser.add_argument("--rounds", type=int, default=10)
    rounds = parser.parse_args().rounds
    lacks = missing() or (None if _TREE.is_dir() else f"there is no {_TREE}: `make image-tree` makes it")
    if lacks is not None:
        print(f"image: {lacks}", file=sys.stderr)
        return 1
    image = Stage("scratch", _TREE, user=f"{_USER}:{_USER}", entrypoint=("/sentry",))
    with tempfile.TemporaryDirectory() as directory:
        credentials = Path(directory)
        shutil.chown(credentials, _USER, _USER)
        starts: dict[str, Callable[[], AbstractContextManager[Process]]] = {
            "editable": partial(sentry_process, credentials),
            "image": partial(serving, image, credentials=credentials),
        }
        _measure(starts["image"])  # generates
        _measure(starts["editable"])
        print("| start | ready after, median (least) | CPU, median (least) |\n|---|---|---|")
        measured: dict[str, list[tuple[float, float]]] = {}
        for _ in range(rounds):
            for state in ("cold", "warm"):
                for name, start in starts.items():
                    if state == "cold":
                        _forget(name)
                    measured.setdefault(f"{name}, {state}", []).append(_measure(start))
        for row, each in measured.items():
            cells = [f"{statistics.median(column):.2f} s ({min(column):.2f} s)" for column in zip(*each, strict=True)]
            print(f"| {row} | {' | '.join(cells)} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
