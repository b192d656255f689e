"""`sentry-trio status` beside real authorities, and beside what else may listen on a port.

It is a process of its own where it meets signals, terminals and streams.
"""

import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Self

import jsonschema
import pytest
import trio
from msgspec.structs import replace

from sentry_trio.cli.status import _run, _show, _sources
from sentry_trio.cli.status_flags import parse
from sentry_trio.errors import InvalidConfigurationError
from sentry_trio.reload import ReloadCause, Trigger
from sentry_trio.watchers.content import ContentTracker
from testkit.authorities import Served, serving, wall_clock
from testkit.command_line import run_command
from testkit.log_capture import Line, hear_logs
from testkit.processes import Process, killed_at_end, sentry_process
from tests.cli.conftest import Start

ROOT = Path(__file__).parents[2]
SCHEMA = json.loads((ROOT / "docs" / "status.schema.json").read_text())
QUIET = {name: value for name, value in os.environ.items() if name not in {"FORCE_COLOR", "COLUMNS", "NO_COLOR"}}


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Directory without `.sentry`, whose store would be shown."""
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "sentry_trio", "status", *arguments]


def status(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        command(*arguments),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**QUIET, "HOME": "/nowhere", **environ},
    )
    assert "Traceback" not in done.stderr
    return done


def replica(process: Process) -> tuple[str, str]:
    """The flags by which a process is asked; it has begun to serve."""
    health, metrics = process.health_port(), process.metrics_port()
    process.log_until("Running gRPC server on port ")
    return ("--replica", f"127.0.0.1:{health}:{metrics}")


@pytest.fixture(scope="module")
def credentials(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of the authority that `here` asks."""
    return tmp_path_factory.mktemp("credentials")


@pytest.fixture(scope="module")
def here(credentials: Path) -> Iterator[tuple[str, str]]:
    """The flags by which an authority is asked that no test changes."""
    with sentry_process(credentials) as process:
        yield replica(process)


def read_document(text: str) -> Any:
    found = json.loads(text)
    jsonschema.validate(found, SCHEMA)
    return found


class Here:
    """The command in this process, beside what the test serves."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    async def status(self, *arguments: str) -> tuple[int, str]:
        """Runs it once; its exit code and what it prints."""
        options = parse(arguments, {})
        report = await _run(options, {})
        assert report is not None
        self._capsys.readouterr()
        code = _show(report, as_json=options.json)
        output, errors = self._capsys.readouterr()
        assert errors == ""
        return code, output

    async def document(self, *arguments: str) -> tuple[int, Any]:
        code, output = await self.status(*arguments, "--json")
        return code, read_document(output)


@pytest.fixture
def command_here(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Here:
    monkeypatch.setenv("COLUMNS", "300")
    return Here(capsys)


def flags_of(served: Served) -> tuple[str, str]:
    """The flags by which an authority of this process is asked."""
    return ("--replica", f"127.0.0.1:{served.application.health_port}:{served.application.metrics_port}")


def test_a_fresh_authority(here: tuple[str, str], credentials: Path) -> None:
    done = status(*here, "--issuer-credentials", str(credentials))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("sentry-trio all is well  ")
    for part in (
        "anchor  CN=root ",
        "issuer  CN=issuer ",
        "serving  spiffe://localhost/ns/default/dapr-sentry",
        "ready, run 1",
    ):
        assert part in done.stdout
    assert str(credentials) in done.stdout
    assert "store: agree" in done.stdout
    assert "PRIVATE" not in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80


async def test_files_in_the_place_of_make_run_are_found(command_here: Here) -> None:
    credentials = Path(".sentry").absolute()
    credentials.mkdir()
    async with serving(credentials) as served:
        code, found = await command_here.document(*flags_of(served))
    assert (code, found["store"]["place"], found["agreement"]["store"]) == (0, ".sentry", "agree")


async def test_after_a_hot_restart(command_here: Here, tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        await served.application.authority.restart(ReloadCause(Trigger.SIGHUP))
        code, found = await command_here.document(*flags_of(served))
    assert code == 0
    (reported,) = found["replicas"]
    assert (reported["health"]["run"], reported["health"]["last_restart"]) == (2, "succeeded")
    assert reported["metrics"]["restarts"] == {"success": 1}
    assert reported["health"]["last_restart_at"] >= reported["health"]["started_at"]


async def test_after_a_bad_edit(command_here: Here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked, failed = trio.Event(), trio.Event()

    class Tracker(ContentTracker):
        async def take_changed(self) -> frozenset[Path]:
            changed = await super().take_changed()
            looked.set()  # edits before the first look are not noticed
            return changed

    def hear(line: Line) -> None:
        if line["event"].startswith("reload failed"):
            failed.set()

    monkeypatch.setattr("sentry_trio.environments.standalone.ContentTracker", Tracker)
    with hear_logs(hear), trio.fail_after(60):
        async with serving(tmp_path) as served:
            await looked.wait()
            (tmp_path / "issuer.key").write_text("no key")
            await failed.wait()
            code, found = await command_here.document(*flags_of(served))
            shown = await command_here.status(*flags_of(served))
    assert (code, found["verdict"]) == (3, "attention")
    ((cause, text),) = [finding.values() for finding in found["findings"]]
    assert cause == "degraded"
    assert str(tmp_path / "issuer.key") in text
    assert found["replicas"][0]["metrics"]["restart_failures"] == {"bundle": 1}
    assert shown[0] == 3
    assert "! degraded: " in shown[1]


async def test_an_expired_issuer(command_here: Here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The authority's clock is at a time when all was valid; the clock of `status` is right."""
    past = wall_clock() - timedelta(days=500)
    monkeypatch.setattr("sentry_trio.ca.generate.EARLIEST", past)
    async with serving(tmp_path, now=lambda: past) as served:
        code, found = await command_here.document(*flags_of(served), "--issuer-credentials", str(tmp_path))
    assert code == 3
    causes = [finding["cause"] for finding in found["findings"]]
    assert causes == ["certificate_expired"] * 3 + ["store_invalid"]
    assert "x509: certificate has expired" in found["store"]["problem"]


async def test_replicas_that_agree_and_that_differ(command_here: Here, tmp_path: Path) -> None:
    shared, apart = tmp_path / "shared", tmp_path / "apart"
    shared.mkdir()
    apart.mkdir()
    async with serving(shared) as one:
        first = flags_of(one)
        async with serving(shared) as two, serving(apart) as three:
            second, third = flags_of(two), flags_of(three)
            code, found = await command_here.document(*first, *second, f"--issuer-credentials={shared}")
            assert (code, found["agreement"]["replicas"], found["agreement"]["store"]) == (0, "agree", "agree")
            code, found = await command_here.document(*first, *second, *third, f"--issuer-credentials={shared}")
            assert (code, found["agreement"]["replicas"], found["agreement"]["store"]) == (3, "differ", "differ")
            _, output = await command_here.status(*first, *third)
            assert "replicas: differ" in output
            assert output.count("Certificates in use by 127.0.0.1:") == 2
        code, found = await command_here.document(*first, *second)
    assert code == 3
    assert [finding["cause"] for finding in found["findings"]] == ["unreachable"]


async def test_an_authority_that_is_gone_leaves_its_files_to_look_at(command_here: Here, tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        pass
    code, output = await command_here.status(*flags_of(served), "--issuer-credentials", str(tmp_path))
    assert code == 1
    assert output.startswith("sentry-trio not reachable  ")
    assert "Connection refused" in output
    assert f"Certificates in {tmp_path}" in output


async def test_metrics_that_are_off(command_here: Here, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    async with serving(tmp_path, "--enable-metrics=false") as served:
        code, found = await command_here.document("--replica", f"127.0.0.1:{served.application.health_port}:{port}")
    assert (code, found["replicas"][0]["metrics_not_shown"]) == (0, "metrics are disabled in this process")


async def test_something_else_on_the_port(command_here: Here, tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        where = f"127.0.0.1:{served.application.grpc_port}"
        code, output = await command_here.status("--replica", where)
    assert code == 1
    assert f"{where} does not speak HTTP" in output


@contextmanager
def silent_port() -> Iterator[tuple[socket.socket, str]]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener, f"127.0.0.1:{listener.getsockname()[1]}"


async def test_something_silent_on_the_port(command_here: Here) -> None:
    with silent_port() as (_, where):
        code, output = await command_here.status("--replica", where, "--timeout", "0.2")
    assert code == 1
    assert f"! {where} did not answer within 0.2 s\n" in output


@pytest.mark.covered_processes
def test_interrupted_while_it_waits() -> None:
    with silent_port() as (listener, where):
        popen = subprocess.Popen(command("--replica", where), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        with killed_at_end(popen), listener.accept()[0]:
            popen.send_signal(signal.SIGINT)
            assert popen.communicate(timeout=60) == ("", "")
    assert popen.returncode == 130


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "No such file or directory"),
        (b"", "not a kubeconfig"),
        (b"\xff\xfe", "not UTF-8 text"),
        (b"a: [", "while parsing a flow node"),
    ],
)
async def test_a_kubeconfig_that_cannot_be_used(tmp_path: Path, content: bytes | None, reason: str) -> None:
    path = tmp_path / "config"
    if content is not None:
        path.write_bytes(content)
    asked = parse(["--kubeconfig", str(path)], {})
    with pytest.raises(InvalidConfigurationError, match=f"^cannot use the kubeconfig {path}: {reason}"):
        async with _sources(asked, {}):
            pass


def test_kubernetes_that_was_asked_for_and_is_not_there(tmp_path: Path) -> None:
    done = run_command("status", "--kubeconfig", str(tmp_path / "none"))
    assert (done.returncode, done.stdout) == (1, "")
    path = tmp_path / "none"
    assert done.stderr == f"sentry-trio status: cannot use the kubeconfig {path}: No such file or directory\n"


@pytest.mark.covered_processes
def test_a_reader_that_has_left(here: tuple[str, str]) -> None:
    for flags in ((), ("--json",), ("--watch=0.1",)):
        read, write = os.pipe()
        popen = subprocess.Popen(command(*here, *flags), stdout=write, stderr=subprocess.PIPE, text=True)
        os.close(write)
        os.close(read)
        with killed_at_end(popen):
            assert popen.communicate(timeout=60)[1] == ""
        assert popen.returncode == 1


def test_an_encoding_that_lacks_characters(here: tuple[str, str]) -> None:
    done = status(*here, PYTHONIOENCODING="ascii", COLUMNS="50")
    assert done.returncode == 0
    assert done.stdout.isascii()
    assert "#" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 50


@pytest.mark.covered_processes
def test_watching_without_a_terminal(here: tuple[str, str]) -> None:
    popen = subprocess.Popen(
        command(*here, "--watch", "0.1"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=QUIET
    )
    assert popen.stdout is not None
    read = ""
    with killed_at_end(popen):
        while read.count("sentry-trio all is well") < 2:
            line = popen.stdout.readline()
            assert line
            read += line
        popen.send_signal(signal.SIGINT)
        rest, errors = popen.communicate(timeout=60)
    assert (popen.returncode, errors) == (0, "")
    assert "\x1b" not in read + rest


@pytest.mark.parametrize("number", [pytest.param(signal.SIGINT, marks=pytest.mark.covered_processes), signal.SIGTERM])
def test_watching_in_a_terminal(start: Start, tmp_path: Path, number: signal.Signals) -> None:
    """It follows what happens, on a screen of its own, and leaves the terminal as it was, with the last verdict."""
    process = start()
    here = replica(process)
    terminal, theirs = pty.openpty()
    environ = {**QUIET, "TERM": "xterm", "COLUMNS": "80", "LINES": "10"}
    popen = subprocess.Popen(command(*here, "--watch", "0.1"), stdout=theirs, stderr=subprocess.PIPE, env=environ)
    os.close(theirs)
    with killed_at_end(popen), _Screen(terminal) as screen:
        screen.until("all is well")
        (tmp_path / "issuer.key").write_text("no key")
        screen.until("needs attention")
        popen.send_signal(number)
        assert popen.communicate(timeout=60)[1] == b""
        assert popen.returncode == 0
        screen.rest()
    during, _, after = screen.text.partition("\x1b[?1049l")  # back from the other screen
    assert "\x1b[?1049h" in during
    assert "more lines: enlarge the terminal" in during
    assert "sentry-trio" in after
    assert "needs attention" in after
    assert "Certificates" not in after
    assert screen.text.rfind("\x1b[?25h") > screen.text.rfind("\x1b[?25l") >= 0  # the cursor is back


def test_no_colours_where_none_are_wanted(here: tuple[str, str]) -> None:
    shown = {}
    for wanted in ({}, {"NO_COLOR": "1"}):
        terminal, theirs = pty.openpty()
        environ = {**QUIET, "TERM": "xterm", "COLUMNS": "80", **wanted}
        popen = subprocess.Popen(command(*here), stdout=theirs, env=environ)
        os.close(theirs)
        with killed_at_end(popen), _Screen(terminal) as screen:
            screen.rest()
            assert popen.wait(timeout=60) == 0
        shown[bool(wanted)] = bool(re.search(r"\x1b\[(?:[0-9;]*;)?3[0-7]m", screen.text))
    assert shown == {False: True, True: False}


class _Screen:
    """Text that was written to a terminal."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.text = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)

    def until(self, words: str) -> None:
        while words not in self.text:
            assert self._read()

    def rest(self) -> None:
        while self._read():
            pass

    def _read(self) -> bool:
        try:
            part = os.read(self._descriptor, 65536)
        except OSError:  # the other side has closed, as Linux reports it
            return False
        self.text += part.decode(errors="replace")
        return bool(part)


def test_help() -> None:
    done = run_command("status", "--help")
    assert done.returncode == 0
    assert "Exit codes: 0 all is well" in done.stdout


async def test_a_pod_without_a_way_to_its_cluster_shows_the_rest(tmp_path: Path) -> None:
    """Kubernetes was looked for, and not asked for."""
    asked = replace(parse([f"--kubeconfig={tmp_path / 'none'}"], {}), kubernetes=False, in_pod=True)
    async with _sources(asked, {}) as sight:
        assert sight.cluster is None
        assert sight.cluster_missing is not None
        assert not sight.cluster_missing.asked
        assert "cannot use the kubeconfig" in sight.cluster_missing.reason
