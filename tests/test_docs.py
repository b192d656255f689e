"""What the documents say is there: the tests that they name, and what they link to."""

import ast
import importlib.util
import re
from functools import cache
from pathlib import Path

import pytest

from sentry_trio.settings.flag_table import FLAGS

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted([ROOT / "README.md", *DOCS.rglob("*.md")])
ROW = re.compile(r"^\|(.*)\|$", re.MULTILINE)
TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^#+ +(.*)$", re.MULTILINE)


@cache
def _tests_in(path: Path) -> frozenset[str]:
    """The tests of a file that is read and not imported: some need what is not on every machine."""
    nodes = ast.parse(path.read_text()).body
    functions = [node for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return frozenset(node.name for node in functions if node.name.startswith("test_"))


def _requirements() -> list[str]:
    rows = ROW.findall((DOCS / "conformance.md").read_text())
    return [row for row in rows if not set(row) <= set("|-: ") and not row.lstrip().startswith("requirement |")]


@pytest.mark.parametrize("row", _requirements(), ids=lambda row: row.split("|")[0].strip())
def test_every_requirement_names_tests_that_exist(row: str) -> None:
    cells = [cell.strip() for cell in row.split("|")]
    assert len(cells) == 4
    assert all(cells)
    tests = TEST.findall(cells[-1])
    assert tests
    for path, name in tests:
        assert name in _tests_in(ROOT / path), f"{path}::{name}"


def test_requirements_are_read() -> None:
    assert len(_requirements()) > 50
    names = _tests_in(Path(__file__))
    assert "test_requirements_are_read" in names
    assert "_requirements" not in names


def _anchor(heading: str) -> str:
    """What GitHub makes of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def _broken_links(page: Path) -> list[str]:
    broken = []
    for link in LINK.findall(FENCED.sub("", page.read_text())):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        if not target.exists() or (anchor and anchor not in map(_anchor, HEADING.findall(target.read_text()))):
            broken.append(link)
    return broken


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_relative_links_resolve(page: Path) -> None:
    assert _broken_links(page) == []


def test_a_broken_link_is_found(tmp_path: Path) -> None:
    (tmp_path / "other.md").write_text("# A heading: with marks\n")
    page = tmp_path / "page.md"
    page.write_text(
        "[a](other.md) [b](gone.md) [c](other.md#a-heading-with-marks) [d](other.md#gone) [e](#gone) [f](https://x.y)\n"
        "```\n[g](fenced.md)\n```\n"
    )
    assert _broken_links(page) == ["gone.md", "other.md#gone", "#gone"]


@pytest.mark.parametrize("name", ["flags.md", "configuration.md"])
def test_generated_pages_are_what_the_code_says(name: str) -> None:
    """`make drift` says how they differ; here it is that somebody looks."""
    spec = importlib.util.spec_from_file_location("generate_pages", DOCS / "generate_pages.py")
    assert spec is not None
    assert spec.loader is not None
    generator = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generator)
    assert (DOCS / name).read_text() == generator.PAGES[name](), "run `make docs` and commit what it writes"


def test_the_readme_lists_our_own_flags() -> None:
    rows = re.findall(r"^\| `--([\w-]+)` \|", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert sorted(rows) == sorted({flag.name for flag in FLAGS if flag.is_own} | {"mode"})
