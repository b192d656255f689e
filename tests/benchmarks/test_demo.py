"""The demonstration, without its waits."""

import os
import pty
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from rich.console import Console

from benchmarks.demo.callers import Callers
from benchmarks.demo.figures import Result, StepResult, p99, recorded
from benchmarks.demo.renewal import FLAGS, Renewal, make_authority
from benchmarks.demo.screen import Screen, summary
from benchmarks.demo.server import OURS, Server
from benchmarks.demo.steps import treatment
from benchmarks.demo.trust import make_authorities


def until(holds: Callable[[], bool], callers: Callers) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert not callers.failed, callers.reason
        assert time.monotonic() < deadline
        time.sleep(0.02)  # between two looks


def test_no_call_fails_while_files_are_replaced_broken_and_repaired(tmp_path: Path) -> None:
    authorities = make_authorities(b"")
    server = Server(OURS, tmp_path, authorities.files(authorities.first))
    callers = Callers(server.port, authorities.anchors, 2)
    with server.running():
        callers.wait_for_answer(60)
        with callers.running():
            steps = {step.title: step for step in treatment(server, authorities)}
            steps["another root takes over"].act()
            until(lambda: callers.issuers["issuer 3"] > 0, callers)
            steps["the issuer key is broken"].act()
            until(lambda: "reload failed" in server.last_lines(), callers)
            answered = callers.answered
            until(lambda: callers.answered > answered + 4, callers)
    assert (callers.failed, server.exits) == (0, 0)


def test_no_call_fails_while_the_authority_is_renewed(tmp_path: Path) -> None:
    files = make_authority()
    server = Server((*OURS, *FLAGS), tmp_path, files)
    callers = Callers(server.port, files["ca.crt"], 2)
    _, publish, switch, spread = Renewal(server, callers, files).steps(files["ca.crt"])
    with server.running():
        callers.wait_for_answer(60)
        with callers.running():
            publish.act()
            switch.act()
            spread.act()
            answered = callers.answered
            until(lambda: callers.answered > answered + 6, callers)
    assert server.read("issuer.crt").endswith(files["issuer.crt"])
    assert server.read("issuer.crt") != files["issuer.crt"]
    assert (callers.failed, server.exits) == (0, 0)


def test_the_display_fits_a_terminal_of_80_columns() -> None:
    other = recorded()
    titles = [step.title for step in other.steps]
    screen = Screen(titles, Callers(1, b"", 1), other)
    for _ in range(100):
        screen.sample()
    screen.done.append(StepResult(titles[0], 100, 0))
    console = Console(width=80)
    with console.capture() as captured:
        console.print(screen)
        console.print(summary(Result("sentry-trio", list(other.steps), 0, 1.0), other))
    text = captured.get()
    assert max(map(len, text.splitlines())) <= 80
    assert all(title in text for title in titles)
    assert f"{other.failed:,} of {other.answered + other.failed:,}" in text


def test_the_99th_percentile_is_in_milliseconds() -> None:
    assert p99([n / 1000 for n in range(1, 101)]) == 99.0
    assert p99([]) == 0.0


IN_TERMINAL = """import fcntl, runpy, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
runpy.run_module("benchmarks.demo", run_name="__main__")
"""


def children(pid: int) -> list[int]:
    """Process IDs of a process's children: by their parents, as a thread that ends gives its children to another."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with suppress(FileNotFoundError, ProcessLookupError):
            _, _, fields = entry.read_text().rpartition(")")
            if fields.split()[1] == str(pid):
                found.append(int(entry.parent.name))
    return found


def test_the_server_ends_when_the_terminal_is_closed() -> None:
    terminal, end = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", IN_TERMINAL], stdin=end, stdout=end, stderr=end, start_new_session=True
    ) as demo:
        os.close(end)
        try:
            screen = b""
            while "▶".encode() not in screen:
                screen += os.read(terminal, 4096)
            servers = children(demo.pid)
        finally:
            os.close(terminal)

    assert len(servers) == 1
    assert not Path(f"/proc/{servers[0]}").exists()
