"""Content of the image: only what is needed, read-only, and readable for all users."""

import importlib.util
import marshal
import os
import re
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import CodeType

import yaml

from testkit.image.dockerfile import PROJECT, Stage, instructions
from testkit.image.made import EPOCH

SHELLS = {"sh", "ash", "bash", "dash", "zsh", "busybox", "env"}
TOOLS = {
    "pip",
    "pip3",
    "apt",
    "apt-get",
    "dpkg",
    "apk",
    "gcc",
    "cc",
    "ld",
    "make",
    "perl",
    "curl",
    "wget",
    "mount",
    "su",
}
SURPLUS = re.compile(
    r"(test|tests|_tests|idlelib|ensurepip|venv|tkinter|pip|setuptools|flit_core|include|__pypackages__)"
)


def _paths(image: Stage) -> Iterator[tuple[Path, os.stat_result]]:
    for path in sorted(image.root.rglob("*")):
        yield path.relative_to(image.root), path.lstat()


def test_nothing_is_surplus(image: Stage) -> None:
    found = [path for path, _ in _paths(image) if path.name in SHELLS | TOOLS or SURPLUS.fullmatch(path.name)]

    assert found == []
    suffixes = {path.suffix for path, fact in _paths(image) if stat.S_ISREG(fact.st_mode)}
    assert suffixes & {".a", ".c", ".h", ".cpp", ".hpp", ".pyi", ".pyx", ".o", ".sh", ".exe"} == set()


def test_executable_files_are_the_documented_ones(image: Stage) -> None:
    """The entry point, the interpreter, and the dynamic linker that starts it."""
    runnable = [path.as_posix() for path, fact in _paths(image) if stat.S_ISREG(fact.st_mode) and fact.st_mode & 0o111]
    linker, *others = runnable
    assert Path(linker).name.startswith("ld")
    assert others == ["sentry", "usr/bin/python3"]


def test_files_are_read_only_and_readable_by_all(image: Stage) -> None:
    for path, fact in _paths(image):
        if stat.S_ISLNK(fact.st_mode):
            assert (image.root / path).resolve().is_relative_to(image.root.resolve()), path
            continue
        mode = stat.S_IMODE(fact.st_mode)
        assert mode in ({0o755} if stat.S_ISDIR(fact.st_mode) else {0o644, 0o755}), path  # nor setuid, nor sticky
        assert stat.S_ISDIR(fact.st_mode) or stat.S_ISREG(fact.st_mode), path
        if os.geteuid() == 0:
            assert (fact.st_uid, fact.st_gid) == (0, 0), path


def test_times_are_the_sources(image: Stage) -> None:
    assert {int(fact.st_mtime) for _, fact in _paths(image)} == {EPOCH}


def test_all_is_compiled_for_good(image: Stage) -> None:
    """No file is compiled at a start, none is compared with its source, and tracebacks name paths of the image."""
    for path, _ in _paths(image):
        if path.suffix != ".py":
            continue
        cached = image.root / importlib.util.cache_from_source(str(path))
        content = cached.read_bytes()
        assert content[:4] == importlib.util.MAGIC_NUMBER
        assert int.from_bytes(content[4:8], "little") == 0b01, path  # by hash, unchecked (PEP 552)
        code = marshal.loads(content[16:])
        assert isinstance(code, CodeType)
        assert code.co_filename == f"/{path}"


def test_no_file_names_the_place_of_the_build(image: Stage) -> None:
    places = [str(image.root.parent).encode(), str(PROJECT).encode()]
    for path, fact in _paths(image):
        if stat.S_ISREG(fact.st_mode):
            content = (image.root / path).read_bytes()
            assert not any(place in content for place in places), path


def test_the_distributions_are_listed(image: Stage) -> None:
    """Scanners read what is installed, and in which version, from the metadata."""
    pinned = dict(re.findall(r"^([\w.-]+)==(\S+)", (PROJECT / "requirements.txt").read_text(), re.MULTILINE))
    packages = image.root / "usr/lib/sentry-trio"
    reported = dict(path.name.removesuffix(".dist-info").split("-", 1) for path in packages.glob("*.dist-info"))
    assert reported.pop("sentry_trio") == "0.1.0"
    assert {name.replace("_", "-").lower(): version for name, version in reported.items()}.items() <= pinned.items()
    assert len(reported) > 30


def test_names_of_users_are_known(image: Stage) -> None:
    users = dict(line.split(":")[0:3:2] for line in (image.root / "etc/passwd").read_text().splitlines())
    assert users == {"root": "0", "nonroot": "65532"}


def test_the_image_is_named_as_in_dapr(image: Stage) -> None:
    assert image.base == "scratch"
    assert image.user == "65532:65532"
    assert image.entrypoint == ("/sentry",)
    assert image.ports == {50001, 8080, 9090}


def test_base_images_have_plain_names() -> None:
    """No registry's address: it is the engine's to know."""
    (argument, *_) = (rest for name, rest in instructions((PROJECT / "Dockerfile").read_text()) if name == "ARG")
    assert re.fullmatch(r"PYTHON=3\.1[123]-slim-bookworm", argument)
    bases = [rest for name, rest in instructions((PROJECT / "Dockerfile").read_text()) if name == "FROM"]
    assert bases == ["python:${PYTHON} AS build", "scratch"]


def test_instructions_are_read() -> None:
    text = '# syntax\n\nFROM a AS b\nRUN ["x", \\\n  "y"]\nuser 1\n'
    assert instructions(text) == [("FROM", "a AS b"), ("RUN", '["x", "y"]'), ("USER", "1")]


def test_the_charts_default_is_the_image_of_make_image() -> None:
    """The name, the tag, the user's number, and the command."""
    chart = PROJECT / "helm" / "sentry-trio"
    values, described = (yaml.safe_load((chart / name).read_text()) for name in ("values.yaml", "Chart.yaml"))
    reported = subprocess.run(["make", "--dry-run", "image"], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert f"--tag {values['image']['repository']}:{described['appVersion']} ." in reported.stdout
