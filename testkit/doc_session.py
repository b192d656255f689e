"""Runs the commands of a page, one block after the other, in one shell."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from .doc_pages import ROOT, Block

PATIENCE: Final = 60.0  # seconds for a page
_PRELUDE: Final = """set -euo pipefail
exec 2>&1
trap 'kill $(jobs -p) 2> /dev/null || true' EXIT

# Starts a server that logs, and returns when it serves. Its log is in <name>.log.
serve() {
  local name=$1 line; shift
  rm -f "$name.fifo"; mkfifo "$name.fifo"
  "$@" > "$name.fifo" 2>&1 &
  served=$!
  exec {log}< "$name.fifo"
  while read -r line <&$log; do
    echo "$line" >> "$name.log"
    case $line in *"Running gRPC server"*) cat <&$log >> "$name.log" & return 0;; esac
  done
  cat "$name.log"; return 1
}

# `make run` runs its recipe, in this directory; other targets are only looked up.
make() {
  if [ "$1" != run ]; then command make --dry-run --no-print-directory -C "$REPOSITORY" "$@" > /dev/null; return; fi
  shift
  if [ -n "${authority:-}" ]; then kill "$authority"; wait "$authority"; fi
  command make --dry-run --no-print-directory -C "$REPOSITORY" run VENV=.venv "$@" > recipe.all
  sed -n '/^mkdir/p; /^exec/,$p' recipe.all > recipe
  serve run bash recipe
  authority=$served
}
"""


def run(directory: Path, steps: Iterable[Block | str], *, namespaces: bool, environ: Mapping[str, str]) -> str:
    """Runs blocks, and commands of the test between them, in a shell; each has to succeed.

    Args:
        directory: the working directory. It looks like a checkout of this project.
        steps: what to run.
        namespaces: with a network and mounts of its own, so that the ports of the pages are free.
        environ: beside PATH, HOME and the like.

    Returns:
        The output.

    Raises:
        AssertionError: a command failed; with the output up to there.
    """
    for name in ("helm", "docs"):
        (directory / name).symlink_to(ROOT / name)
    (directory / ".venv" / "bin").mkdir(parents=True)
    (directory / ".venv" / "bin" / "sentry-trio").symlink_to(Path(sys.executable).parent / "sentry-trio")
    script = _PRELUDE + ("ip link set lo up\n" if namespaces else "")
    for step in steps:
        script += f"echo '== {step.page}:{step.line}'\n{step.text}" if isinstance(step, Block) else step + "\n"
    own = ("unshare", "--map-root-user", "--net", "--mount", "--pid", "--fork", "--kill-child=KILL")
    done = subprocess.run(
        [*(own if namespaces else ()), "bash", "-c", script],
        cwd=directory,
        env={
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": str(directory),
            "REPOSITORY": str(ROOT),
            **environ,
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def reason_against_namespaces() -> str:
    """The reason why this machine cannot run a shell in namespaces of its own; empty if it can."""
    for tool in ("unshare", "ip", "curl", "jq", "make", "openssl"):
        if shutil.which(tool) is None:
            return f"there is no {tool} on this machine"
    command = ["unshare", "--map-root-user", "--net", "--mount", "--pid", "--fork", "ip", "link", "set", "lo", "up"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else f"no namespaces here: {done.stderr.strip()}"
