"""`sentry-trio` before a command is chosen: names of commands, help, version, and closed or broken standard streams."""

import gc
import subprocess
import sys
from pathlib import Path

import pytest

from sentry_trio import __version__
from sentry_trio.cli.commands import BY_NAME, COMMANDS
from sentry_trio.settings.options import FLAGS
from testkit.command_line import run_command

NAMES = [command.name for command in COMMANDS]
COVERED = pytest.mark.covered_processes


def shell(script: str) -> subprocess.CompletedProcess[str]:
    """Runs a script of bash, in which `sentry-trio` is $0."""
    command = ["bash", "-c", script, str(Path(sys.executable).with_name("sentry-trio"))]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("collects", [True, False])
def test_loading_a_command_leaves_the_garbage_collector_as_it_was(*, collects: bool) -> None:
    before = gc.isenabled()
    (gc.enable if collects else gc.disable)()
    try:
        BY_NAME["version"].load()
        assert gc.isenabled() is collects
    finally:
        (gc.enable if before else gc.disable)()


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("stauts", "unknown command 'stauts'; did you mean status?"),
        ("requst", "unknown command 'requst'; did you mean request?"),
        ("Serve", "unknown command 'Serve'; did you mean serve?"),
        ("xyz", "unknown command 'xyz'"),
        ("-", "unknown command '-'"),
        ("", "unknown command ''"),
    ],
)
def test_a_command_that_does_not_exist_starts_nothing(word: str, message: str) -> None:
    result = run_command(word, "--mode=standalone")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == f"sentry-trio: {message}\n'sentry-trio --help' lists the commands\n"


@pytest.mark.parametrize("arguments", [["-h"], ["--help"], ["-help"], ["serve", "--help"], ["help"], ["help", "serve"]])
def test_the_overview(arguments: list[str]) -> None:
    result = run_command(*arguments)
    assert (result.returncode, result.stderr) == (0, "")
    assert "Usage:\n  sentry-trio [serve] [FLAGS]\n" in result.stdout
    for name in NAMES:
        assert f"\n  {name} " in result.stdout
    for flag in FLAGS:
        assert f"\n  {flag.head} " in result.stdout
    for title in {flag.group for flag in FLAGS}:
        assert title
        assert result.stdout.count(f"\n{title}:\n") == 1
    assert "\nExamples:\n" in result.stdout
    assert "debug, info, warn, error, fatal" in " ".join(result.stdout.split())


@pytest.mark.parametrize("name", [name for name in NAMES if name not in {"serve", "help"}])
def test_the_help_text_of_a_command(name: str) -> None:
    result = run_command(name, "--help")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith(f"usage: sentry-trio {name}")
    assert run_command("help", name).stdout == result.stdout


def test_help_for_a_mistyped_command() -> None:
    result = run_command("help", "stauts")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.endswith("error: unknown command 'stauts'; did you mean status?\n")


@pytest.mark.parametrize("name", NAMES)
def test_a_mistyped_flag_of_a_command(name: str) -> None:
    result = run_command(name, "--hlep")
    assert (result.returncode, result.stdout) == (2, "")
    assert "Traceback" not in result.stderr
    assert "hlep" in result.stderr or "required" in result.stderr


@pytest.mark.parametrize("word", ["version", "--version", "-version"])
def test_version(word: str) -> None:
    result = run_command(word)
    assert (result.returncode, result.stdout, result.stderr) == (0, f"{__version__}\n", "")
    assert run_command(word, "more").returncode == 2


@pytest.mark.parametrize(
    "arguments", [pytest.param("--help", marks=COVERED), "completion bash", "audit --help", "version"]
)
def test_a_reader_that_leaves_early_is_no_failure_with_a_traceback(arguments: str) -> None:
    result = shell(f'{{ "$0" {arguments}; echo "exit code $?" >&2; }} | true')
    assert result.stderr in {"exit code 1\n", "exit code 0\n"}


@pytest.mark.parametrize("arguments", [pytest.param("--help", marks=COVERED), "completion bash", "version"])
def test_output_that_cannot_be_written_is_an_error(arguments: str) -> None:
    result = shell(f'"$0" {arguments} > /dev/full')
    assert result.returncode == 1
    command = {"--help": "serve"}.get(arguments, arguments.partition(" ")[0])
    assert result.stderr == f"sentry-trio {command}: cannot write to standard output: No space left on device\n"


@pytest.mark.parametrize(
    "arguments",
    ["--help", pytest.param("version", marks=COVERED), "status --replica=127.0.0.1:1", "audit verify /nowhere"],
)
def test_closed_standard_streams_are_no_failure(arguments: str) -> None:
    result = shell(f'"$0" {arguments} >&- <&-')
    assert "Traceback" not in result.stderr
    assert result.returncode == {"--help": 0, "version": 0, "status --replica=127.0.0.1:1": 1}.get(arguments, 2)


def test_a_hangup_while_the_server_starts_does_not_end_it() -> None:
    script = """\
import os, signal
from sentry_trio.cli import main
from sentry_trio.cli.commands import Command

load = Command.load

def hang_up(command):
    os.kill(os.getpid(), signal.SIGHUP)
    return load(command)

Command.load = hang_up
raise SystemExit(main(["serve", "--help"]))
"""
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=60, check=False)
    assert (result.returncode, result.stderr) == (0, b"")
