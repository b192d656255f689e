"""Runs the steps of the Dockerfile, as far as it has to be able to, in directories in place of layers.

Two things differ from a container engine: `python` is the interpreter of these tests, in place of the base image's, and
a stage's working directory is a directory of this machine.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Final

from .layers import Chain

PROJECT: Final = Path(__file__).parents[2]
_AWAY: Final = re.compile("NewConnectionError|ConnectTimeout|ProxyError|name resolution|No route to host")


class UnavailableError(Exception):
    """The image cannot be built or run on this machine, through no fault of its own."""


@dataclass
class Stage:
    """A stage while it is built, and in the end the image.

    Attributes:
        base: what it is made from.
        root: its file system.
        directory: its working directory, as its instructions name it.
        user: the user and group that are asked for.
        entrypoint: the command.
        ports: exposed ports.
        variables: of its commands' environment.
        chain: what it has been made from.
    """

    base: str
    root: Path
    directory: str = "/"
    user: str = "0:0"
    entrypoint: tuple[str, ...] = ()
    ports: frozenset[int] = frozenset()
    variables: dict[str, str] = field(default_factory=dict)
    chain: Chain = field(default_factory=Chain)

    @property
    def ids(self) -> tuple[int, int]:
        """The user and the group, as numbers: names would have to be looked up, and some runtimes reject them."""
        user, _, group = self.user.partition(":")
        return int(user), int(group)

    def place(self, path: str) -> Path:
        """Returns the place of an image's path on this machine."""
        return self.root / (PurePosixPath(self.directory) / path).relative_to("/")


def instructions(text: str) -> list[tuple[str, str]]:
    """Pairs of an instruction and its arguments."""
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    joined = re.sub(r"\s*\\\n\s*", " ", "\n".join(lines))
    return [(name.upper(), rest.strip()) for name, _, rest in (line.partition(" ") for line in joined.splitlines())]


def build(directory: Path, **arguments: str) -> Stage:
    """Builds the stages of the Dockerfile below a directory; `arguments` are build arguments.

    Raises:
        UnavailableError: the packages of the lock file cannot be downloaded.
    """
    context = _context(directory / "context")
    stages: dict[str, Stage] = {}
    outside: dict[str, str] = {}
    stage: Stage | None = None
    for name, rest in instructions((PROJECT / "Dockerfile").read_text()):
        if name == "FROM":
            base, _, alias = _with(rest, outside).partition(" AS ")
            stage = Stage(base, directory / (alias or "image"))
            stage.root.mkdir()
            stages[alias] = stage
        elif name == "ARG":
            variable, _, default = rest.partition("=")
            (outside if stage is None else stage.variables)[variable] = arguments.get(variable, default)
            if stage is not None:
                stage.chain.add(variable, stage.variables[variable])
        else:
            assert stage is not None
            _do(stage, name, _with(rest, stage.variables), context, stages)
    assert stage is not None
    stages["build"].chain.forget_others()
    return stage


def _do(stage: Stage, name: str, rest: str, context: Path, stages: dict[str, Stage]) -> None:
    stage.chain.add(name, rest)
    if name == "WORKDIR":
        stage.directory = rest
        stage.place("").mkdir(parents=True, exist_ok=True)
    elif name == "COPY":
        *sources, target = rest.split()
        origin = Stage("", context)
        if sources[0].startswith("--from="):
            origin = stages[sources.pop(0).removeprefix("--from=")]
        for source in sources:
            if origin.root is context:
                stage.chain.add_files(origin.place(source))
            _copy(origin.place(source), stage.place(target), is_into=target.endswith("/"))
    elif name == "RUN":
        stage.chain.after(stage.root, partial(_run, stage, json.loads(rest)))  # no step needs a shell
    elif name == "USER":
        stage.user = rest
    elif name == "ENTRYPOINT":
        stage.entrypoint = tuple(json.loads(rest))  # nor does the image
    elif name == "EXPOSE":
        stage.ports = frozenset(map(int, rest.split()))
    else:
        raise AssertionError(f"{name} is not known here")


def _copy(source: Path, target: Path, *, is_into: bool) -> None:
    if source.is_dir():
        shutil.copytree(source, target, symlinks=True, dirs_exist_ok=True, copy_function=os.link)
    else:
        shutil.copy(source, target / source.name if is_into else target)


def _run(stage: Stage, command: list[str]) -> None:
    assert command[0] == "python"
    # Of this machine, the search path and pip's settings for the network.
    kept = re.compile("PATH|HOME|SSL_CERT_.*|PIP_.*|.*_proxy", re.IGNORECASE)
    environ = {name: value for name, value in os.environ.items() if kept.fullmatch(name)} | stage.variables
    done = subprocess.run(
        [sys.executable, *command[1:]], cwd=stage.place(""), env=environ, capture_output=True, text=True, check=False
    )
    if done.returncode != 0 and _AWAY.search(done.stderr):
        raise UnavailableError(f"the packages of the lock file cannot be had: {done.stderr.strip()[-200:]}")
    assert done.returncode == 0, done.stderr


def _with(text: str, variables: dict[str, str]) -> str:
    return re.sub(r"\$\{(\w+)\}", lambda found: variables[found[1]], text)


def _context(directory: Path) -> Path:
    """Copies the files that .dockerignore admits."""
    rules = [line for line in (PROJECT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    assert rules[0] == "*"
    anywhere = [rule.removeprefix("**/") for rule in rules[1:] if rule.startswith("**/")]

    def ignored(_directory: str, names: list[str]) -> list[str]:
        return [name for name in names if any(fnmatchcase(name, rule) for rule in anywhere)]

    directory.mkdir()
    for name in (rule.removeprefix("!") for rule in rules[1:] if rule.startswith("!")):
        source = PROJECT / name
        if source.is_dir():
            shutil.copytree(source, directory / name, ignore=ignored)
        else:
            shutil.copy(source, directory / name)
    return directory
