"""Modules import only from lower layers, as the table in the package's docstring has them."""

import ast
import re
from pathlib import Path

import pytest

import sentry_trio

pytestmark = pytest.mark.uncovered

PACKAGE = Path(sentry_trio.__file__).parent
# They re-export names, and may import from every layer.
ENTRY_POINTS = {"__init__", "__main__"}


def layers() -> dict[str, int]:
    table = re.findall(r"^ {4}(\d)  ([a-z_ ]+?)(?: {2,}.*)?$", sentry_trio.__doc__ or "", flags=re.MULTILINE)
    return {package: int(layer) for layer, packages in table for package in packages.split()}


def package_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_siblings(path: Path) -> set[str]:
    """Top-level modules and packages of sentry_trio that a module imports, anywhere in it."""
    module = ("sentry_trio", *path.relative_to(PACKAGE).with_suffix("").parts)
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(module[: -node.level]) if node.level else ""
            prefix = ".".join(filter(None, (base, node.module)))
            names = [f"{prefix}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            package, _, rest = name.partition(".")
            if package == "sentry_trio" and rest:
                found.add(rest.partition(".")[0])
    return found


MODULES = sorted(PACKAGE.rglob("*.py"))


def test_the_table_lists_every_package_and_no_other() -> None:
    packages = {package_of(path) for path in MODULES} - ENTRY_POINTS
    assert packages - set(layers()) == set()
    assert set(layers()) - packages == set()


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_only_from_lower_layers(path: Path) -> None:
    here = package_of(path)
    if here in ENTRY_POINTS:
        return
    table = layers()
    upward = {package for package in imported_siblings(path) - {here, "__version__"} if table[package] >= table[here]}
    assert upward == set(), f"{here} (layer {table[here]}) imports {upward}"


@pytest.mark.parametrize("path", sorted((PACKAGE / "ca").glob("*.py")), ids=lambda path: path.name)
def test_the_core_is_pure(path: Path) -> None:
    impure = {"trio", "asyncio", "os", "time", "socket", "pathlib", "logging", "subprocess", "threading"}
    imported = {
        (alias.name if isinstance(node, ast.Import) else node.module or "").partition(".")[0]
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    assert imported & impure == set()
    assert "datetime.now" not in path.read_text()


def test_records_are_structs() -> None:
    """A dataclass adds as much to a start as fifty of them."""
    assert [
        path for path in MODULES if re.search(r"^\s*(from|import) dataclasses\b", path.read_text(), re.MULTILINE)
    ] == []


def test_asyncio_is_imported_in_two_packages_only() -> None:
    users = {
        package_of(path)
        for path in MODULES
        if re.search(
            r"^\s*(?:import|from) (?:asyncio|trio_asyncio|kubernetes_asyncio)\b", path.read_text(), flags=re.MULTILINE
        )
    }
    assert users <= {"kube", "client"}


ROOT = PACKAGE.parent
FORBIDDEN = {"testkit": {"tests", "benchmarks"}, "benchmarks": {"tests"}, "docs": {"tests"}, "tests": {"benchmarks"}}
"""Packages that a directory beside the package may not import."""
MEASURED_BY = {"tests/benchmarks", "tests/dapr/test_benchmark.py"}
"""Tests of the benchmarks, which import them."""


def imported_packages(path: Path) -> set[str]:
    """The top-level packages that a module imports by an absolute name."""
    return {
        name.partition(".")[0]
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""] * (not node.level)
        )
    }


@pytest.mark.parametrize("directory", FORBIDDEN)
def test_tests_and_benchmarks_share_testkit_and_nothing_else(directory: str) -> None:
    found = {
        f"{path.relative_to(ROOT)} imports {package}"
        for path in sorted((ROOT / directory).rglob("*.py"))
        for package in imported_packages(path) & FORBIDDEN[directory]
        if not any(path.relative_to(ROOT).is_relative_to(allowed) for allowed in MEASURED_BY)
    }
    assert found == set()
