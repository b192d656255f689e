"""Draws commands in a terminal, by running them, into docs/images/.

python docs/draw_terminal.py [status] [demo]            (`make picture`; without a name both)

status.png shows `sentry-trio status`, looking at two real authorities. Both use one trust bundle, whose intermediate
certificate nears its end; they have signed and rejected requests, one was restarted, and a bad edit has reached both.
demo.png shows the summary of `make demo`: run it on a machine without other load, which its latency depends on.
"""

import argparse
import os
import pty
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from rich.console import Console
from rich.style import Style
from rich.terminal_theme import MONOKAI
from rich.text import Text

sys.path.insert(0, str(Path(__file__).parents[1]))

from sentry_trio.ca.certificates import write_certificates
from sentry_trio.ca.keys import write_private_key
from sentry_trio.client import Authority, RequestFailedError, Workload, obtain
from testkit.authorities import LOOPBACK
from testkit.ca.making import DAY, certificate, new_key
from testkit.processes import Process

IMAGES: Final = Path(__file__).parent / "images"
ROOT: Final = Path(__file__).parents[1]
_DOTS: Final = 120  # per inch
_POINTS: Final = 10.0
_ADVANCE: Final = 0.602  # of DejaVu Sans Mono, which comes with matplotlib, by its size
_SHADES: Final = {"█": 1.0, "░": 0.25}
_ERASED_LINE: Final = "\x1b[2K"  # the live display is erased line by line, before the summary
_LINE: Final = 1.164  # ascent and descent: box drawings then touch those of the next line


def write_bundle(directory: Path) -> None:
    """Root, intermediate and issuer, each in the midst of its life."""
    now = datetime.now(UTC)
    root_key, middle_key, key = new_key(), new_key(), new_key()
    root = certificate("Example Root", root_key, not_before=now - 800 * DAY, not_after=now + 2850 * DAY)
    middle = certificate(
        *("Example Mesh CA", middle_key, "Example Root", root_key),
        not_before=now - 70 * DAY,
        not_after=now + 20 * DAY,
    )
    issuer = certificate(
        *("Example Issuer", key, "Example Mesh CA", middle_key), not_before=now - 5 * DAY, not_after=now + 85 * DAY
    )
    (directory / "ca.crt").write_bytes(write_certificates([root]))
    (directory / "issuer.crt").write_bytes(write_certificates([issuer, middle]))
    (directory / "issuer.key").write_bytes(write_private_key(key))


@contextmanager
def authority(directory: Path) -> Iterator[Process]:
    """Serves with the trust bundle in `.sentry` of a directory, until the block is left."""
    command = [sys.executable, "-m", "sentry_trio", "--mode=standalone", "--issuer-credentials=.sentry", *LOOPBACK]
    pipe = subprocess.PIPE
    process = Process(subprocess.Popen([*command, "--log-as-json"], stdout=pipe, text=True, cwd=directory))
    try:
        yield process
    finally:
        process.close()


def ports(process: Process) -> tuple[str, int]:
    """Addresses that `status` queries in a serving process, and its gRPC port."""
    grpc = int(process.log_until("Running gRPC server on port "))
    return f"127.0.0.1:{process.health_port()}:{process.metrics_port()}", grpc


def ask(directory: Path, port: int, *, good: int, bad: int) -> None:
    """Requests certificates, some of which are rejected."""
    asked = Authority(
        host="127.0.0.1",
        port=port,
        trust_anchors=(directory / "ca.crt").read_bytes(),
        spiffe_id="spiffe://localhost/ns/default/dapr-sentry",
    )
    for number in range(good):
        obtain(asked, Workload(app_id=f"app{number}", namespace="shop"))
    for _ in range(bad):
        try:
            obtain(asked, Workload(app_id="my.app", namespace="shop"))
        except RequestFailedError:
            continue


def in_terminal(command: list[str], cwd: Path, columns: int) -> str:
    """Returns the output of a command in a terminal of that many columns."""
    terminal, theirs = pty.openpty()
    environ = {**os.environ, "TERM": "xterm-256color", "COLUMNS": str(columns), "PYTHONIOENCODING": "utf-8"}
    with subprocess.Popen(command, stdout=theirs, cwd=cwd, env=environ):
        os.close(theirs)
        return b"".join(_parts(terminal)).decode().replace("\r\n", "\n")


def _parts(terminal: int) -> Iterator[bytes]:
    try:
        while part := os.read(terminal, 65536):
            yield part
    except OSError:
        pass  # the other side has closed, as Linux reports it
    finally:
        os.close(terminal)


def draw(written: str, path: Path, columns: int) -> None:
    """Draws a terminal: its text and colours, cell by cell."""
    console = Console(width=columns, force_terminal=True, color_system="truecolor", _environ={})
    lines = console.render_lines(Text.from_ansi(written), pad=False)
    margin = 1.5
    width, height = columns + 2 * margin, len(lines) + 2 * margin / 2
    inches = _POINTS / 72
    figure = Figure(figsize=(width * _ADVANCE * inches, height * _LINE * inches), dpi=_DOTS)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    axes.add_patch(Rectangle((0, 0), width, height, color="#1c1f24"))
    for row, line in enumerate(lines):
        cells = [(character, segment.style or Style()) for segment in line for character in segment.text]
        for column, (character, style) in enumerate(cells):
            left, top = column + margin, row + margin / 2
            if character in _SHADES:
                # As terminals draw them: without gaps.
                block = Rectangle((left, top + 0.1), 1, 0.8, color=_colour(style), alpha=_SHADES[character], lw=0)
                axes.add_patch(block)
            elif not character.isspace():
                axes.text(
                    left,
                    top + 0.8,
                    character,
                    family="DejaVu Sans Mono",
                    size=_POINTS,
                    weight="bold" if style.bold else "normal",
                    color=_colour(style),
                    parse_math=False,
                )
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path)


def _colour(style: Style) -> str:
    if style.color is not None and not style.color.is_default:
        return style.color.get_truecolor(MONOKAI).hex
    return "#8a919b" if style.dim else "#e6e8eb"


def draw_status() -> None:
    """Starts the authorities, gives them something to report, and draws their status."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name) / ".sentry"
        directory.mkdir(mode=0o700)
        write_bundle(directory)
        with authority(directory.parent) as one, authority(directory.parent) as two:
            (first, port), (second, other_port) = ports(one), ports(two)
            ask(directory, port, good=31, bad=3)
            ask(directory, other_port, good=17, bad=1)
            one.send(signal.SIGHUP)
            one.log_until("Running gRPC server on port ")
            ask(directory, port, good=12, bad=0)
            (directory / "issuer.key").write_bytes(write_private_key(new_key()))
            for process in (one, two):
                process.log_until("reload failed")
            command = ["status", "--replica", first, "--replica", second]
            written = in_terminal([sys.executable, "-m", "sentry_trio", *command], directory.parent, 100)
    draw(f"$ sentry-trio {' '.join(command)}\n{written}", IMAGES / "status.png", 100)


def draw_demo() -> None:
    """Runs the demonstration and draws the screen that remains."""
    written = in_terminal([sys.executable, "-m", "benchmarks.demo"], ROOT, 80)
    _live, _, summary = written.rpartition(_ERASED_LINE)
    draw(f"$ make demo\n{summary}", IMAGES / "demo.png", 80)


PICTURES: Final = {"status": draw_status, "demo": draw_demo}


def main() -> None:
    """Draws the named pictures, or all."""
    parser = argparse.ArgumentParser(description="Draw commands in a terminal, by running them.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(PICTURES)}; all if none is given")
    names = parser.parse_args().names or list(PICTURES)
    mpl.use("Agg")
    for name in names:
        PICTURES[name]()


if __name__ == "__main__":
    main()
