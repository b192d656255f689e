"""Dapr's own chart of 1.18.1, in Go's module cache."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Final

from testkit.go_modules import GoModule, UnavailableError

from .chart import Helm

VERSION: Final = "1.18.1"
_MODULE: Final = Path(__file__).parents[1] / "dapr"  # which pins the version of Dapr


@cache
def find_chart() -> Path | None:
    """The directory of Dapr's chart in Go's module cache; None if it cannot be had."""
    try:
        module = GoModule(_MODULE, "Dapr's chart", ("mod", "download", "github.com/dapr/dapr")).fetched()
    except UnavailableError:
        return None
    found: str = json.loads(module.run("list", "-m", "-json", "github.com/dapr/dapr").stdout)["Dir"]
    return Path(found) / "charts" / "dapr"


class _Quiet(SimpleHTTPRequestHandler):
    def log_request(self, *arguments: object) -> None:
        """Logs nothing: the tests' output is for failures."""


@contextmanager
def served_chart(helm: Helm, chart: Path, directory: Path) -> Iterator[str]:
    """Serves a repository with the chart, packaged in a directory, on loopback; its URL."""
    helm.run("package", str(chart), "--version", VERSION, "--app-version", VERSION, "--destination", str(directory))
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(directory)))
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        url = f"http://127.0.0.1:{server.server_port}"
        helm.run("repo", "index", str(directory), "--url", url)
        yield url
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
