"""A real Prometheus on loopback, which scrapes given targets and is queried over HTTP."""

import json
import queue
import subprocess
import threading
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

_PATIENCE: Final = 60.0  # seconds for the server to listen


class QueryError(AssertionError):
    """Prometheus rejected a request, or could not do it."""


@dataclass(frozen=True)
class Server:
    """A Prometheus that is up.

    Attributes:
        port: where it answers on 127.0.0.1.
    """

    port: int

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The samples that an expression has now: `metric` and `value` of each."""
        result: list[dict[str, Any]] = self._ask("query", query=expression)["result"]
        return result

    def query_range(self, expression: str, *, start: float, end: float, step: float) -> list[dict[str, Any]]:
        """The series that an expression has in a span of time: `metric` and `values` of each."""
        result: list[dict[str, Any]] = self._ask(
            "query_range", query=expression, start=str(start), end=str(end), step=str(step)
        )["result"]
        return result

    def rules(self) -> list[dict[str, Any]]:
        """The rules that it evaluates, each with its health and the last error."""
        return [rule for group in self._ask("rules")["groups"] for rule in group["rules"]]

    def _ask(self, what: str, **parameters: str) -> Any:
        body = urllib.parse.urlencode(parameters).encode() if parameters else None
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/api/v1/{what}", data=body)
        try:
            with _direct.open(request, timeout=_PATIENCE) as response:
                return json.load(response)["data"]
        except urllib.error.HTTPError as error:
            raise QueryError(f"{parameters.get('query')}: {json.load(error).get('error')}") from error


# Loopback is nothing for a proxy.
_direct: Final = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@contextmanager
def prometheus(
    binary: Path, home: Path, targets: Mapping[int, Mapping[str, str]], *, interval: str, rules: Path | None = None
) -> Iterator[Server]:
    """Starts Prometheus, and ends it with the block.

    Args:
        binary: its executable.
        home: a directory for its configuration and data.
        targets: the ports on loopback that it scrapes, each with the labels of its series.
        interval: how often it scrapes and evaluates rules, in its notation.
        rules: the rules that it evaluates.
    """
    scrapes = [{"targets": [f"127.0.0.1:{port}"], "labels": dict(labels)} for port, labels in targets.items()]
    configuration: dict[str, Any] = {
        "global": {"scrape_interval": interval, "scrape_timeout": interval, "evaluation_interval": interval},
        "scrape_configs": [{"job_name": "dapr-sentry", "static_configs": scrapes}],
        "rule_files": [str(rules)] if rules else [],
    }
    (home / "prometheus.json").write_text(json.dumps(configuration))
    command = [
        *(str(binary), f"--config.file={home / 'prometheus.json'}", f"--storage.tsdb.path={home / 'data'}"),
        *("--web.listen-address=127.0.0.1:0", "--log.format=json"),
    ]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, cwd=home) as popen:
        said: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        reader = threading.Thread(target=_read, args=(popen, said))
        reader.start()
        try:
            yield Server(_port(said))
        finally:
            popen.kill()
            popen.wait()
            reader.join()


def _read(popen: subprocess.Popen[str], said: "queue.SimpleQueue[str | None]") -> None:
    assert popen.stderr is not None
    for line in popen.stderr:
        said.put(line)
    said.put(None)


def _port(said: "queue.SimpleQueue[str | None]") -> int:
    """The port, once the server answers there: it listens a while before that."""
    lines: list[str] = []
    port = 0
    while (line := said.get(timeout=_PATIENCE)) is not None:
        lines.append(line)
        record = json.loads(line) if line.startswith("{") else {}
        if record.get("msg") == "Listening on":
            port = int(str(record["address"]).rpartition(":")[2])
        elif record.get("msg") == "Server is ready to receive web requests.":
            return port
    raise AssertionError(f"prometheus does not come to serve: {''.join(lines[-5:])}")
