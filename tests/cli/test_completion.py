"""The completion scripts, run by the shells that are installed; bash is everywhere."""

import shutil
import subprocess
from pathlib import Path

import pytest

from sentry_trio.cli.commands import COMMANDS
from sentry_trio.settings.options import FLAGS
from testkit.command_line import run_command

# Presses Tab behind the last word: runs the completion function as bash does.
PRESS = """
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
_sentry_trio
printf '%s\\n' "${COMPREPLY[@]}"
"""


def script(shell: str) -> str:
    return run_command("completion", shell).stdout


@pytest.fixture(scope="module")
def bash(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("completion") / "bash"
    path.write_text(script("bash"))
    return path


def offered(bash: Path, *words: str) -> list[str]:
    command = ["bash", "--norc", "-euc", PRESS, "bash", str(bash), "sentry-trio", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([""], [command.name for command in COMMANDS]),
        (["st"], ["status"]),
        (["--jwks-f"], ["--jwks-filename"]),
        (["serve", "--jwks-f"], ["--jwks-filename"]),
        (["--mode", ""], ["auto", "standalone", "kubernetes"]),
        (["-mode", "s"], ["standalone"]),
        (["--port", "1", "--log-level", "="], ["debug", "info", "warn", "error", "fatal"]),
        (["--log-level", "=", "d"], ["debug"]),
        (["--kubeconfig", "x"], []),
        (["request", "--key-type", "rs"], ["rsa2048"]),
        (["status", "--kube"], ["--kubernetes", "--kubeconfig"]),
        (["audit", "v"], ["verify"]),
        (["audit", "verify", "--expect-"], ["--expect-last"]),
        (["completion", ""], ["bash", "zsh", "fish", "--help"]),
        (["help", "re"], ["request"]),
    ],
    ids=str,
)
def test_bash(bash: Path, words: list[str], expected: list[str]) -> None:
    assert offered(bash, *words) == expected


def test_bash_offers_every_flag(bash: Path) -> None:
    assert sorted(offered(bash, "--")) == sorted([*(f"--{flag.name}" for flag in FLAGS), "--help"])


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_syntax(shell: str, tmp_path: Path) -> None:
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"{shell} is not installed")
    path = tmp_path / "script"
    path.write_text(script(shell))
    done = subprocess.run([program, "-n", str(path)], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("line", "expected"),
    [("sentry-trio st", "status"), ("sentry-trio --mode k", "kubernetes"), ("sentry-trio audit v", "verify")],
)
def test_fish(line: str, expected: str, tmp_path: Path) -> None:
    fish = shutil.which("fish")
    if fish is None:
        pytest.skip("fish is not installed")
    path = tmp_path / "script"
    path.write_text(script("fish"))
    command = [fish, "--no-config", "-c", f"source {path}; complete -C '{line}'"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env={"HOME": str(tmp_path)})
    assert [each.split("\t")[0] for each in done.stdout.splitlines()] == [expected]
    assert done.stderr == ""


def test_zsh_offers_flags_with_their_choices(tmp_path: Path) -> None:
    zsh = shutil.which("zsh")
    if zsh is None:
        pytest.skip("zsh is not installed")
    path = tmp_path / "script"
    path.write_text(script("zsh"))
    stubs = f"compdef() {{ }}; _arguments() {{ print -rl -- $@ }}; source {path}"
    command = [zsh, "-fc", f"{stubs}; words=(sentry-trio --mode ''); CURRENT=3; _sentry_trio"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    specs = done.stdout.splitlines()
    assert len(specs) == len(FLAGS) + 2
    assert specs[0].startswith("--mode=[Environment (auto\\: kubernetes if ")
    assert specs[0].endswith("]:value:(auto standalone kubernetes)")
