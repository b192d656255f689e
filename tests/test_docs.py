"""Pages agree with the project: tests that they name exist and can fail, links have a target, values agree."""

import ast
import importlib.util
import json
import re
from collections.abc import Iterator
from datetime import timedelta
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from sentry_trio.settings.options import FLAGS
from testkit.dapr.differences import DIFFERENCES

pytestmark = pytest.mark.uncovered

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted([ROOT / "README.md", ROOT / "helm" / "sentry-trio" / "README.md", *DOCS.rglob("*.md")])
ROW = re.compile(r"^\|(.*)\|$", re.MULTILINE)
TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^#+ +(.*)$", re.MULTILINE)


@cache
def _tests_in(path: Path) -> frozenset[str]:
    """Tests of a file, which is parsed and not imported: some need programs that not every machine has."""
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


@pytest.mark.parametrize("test", sorted({entry.shown for entry in DIFFERENCES if entry.shown}))
def test_every_difference_names_a_test_that_exists(test: str) -> None:
    path, _, name = test.partition("::")
    assert name in _tests_in(ROOT / path)


def test_requirements_are_read() -> None:
    assert len(_requirements()) > 50
    names = _tests_in(Path(__file__))
    assert "test_requirements_are_read" in names
    assert "_requirements" not in names


def _anchor(heading: str) -> str:
    """GitHub's anchor of a heading."""
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


@cache
def _generator() -> ModuleType:
    """The module docs/generate_pages.py."""
    spec = importlib.util.spec_from_file_location("generate_pages", DOCS / "generate_pages.py")
    assert spec is not None
    assert spec.loader is not None
    generator = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generator)
    return generator


@pytest.mark.parametrize(
    "name", ["docs/flags.md", "docs/configuration.md", "docs/python-api.md", "helm/sentry-trio/README.md"]
)
def test_generated_pages_are_up_to_date(name: str) -> None:
    """`make drift` shows the differences."""
    assert (ROOT / name).read_text() == _generator().PAGES[name](), "run `make docs` and commit what it writes"


@pytest.mark.parametrize("row", _requirements(), ids=lambda row: row.split("|")[0].strip())
def test_the_tests_of_a_requirement_can_fail(row: str) -> None:
    """Each asserts something, itself or in a helper of its file."""
    for path, name in TEST.findall(row):
        assert name in _stating(ROOT / path), f"{path}::{name} states nothing"


@cache
def _stating(path: Path) -> frozenset[str]:
    """The functions of a file that assert something, or call one that does."""
    functions = {
        node.name: node
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    calls = {name: _called(node) for name, node in functions.items()}
    stating = {name for name, node in functions.items() if any(isinstance(each, ast.Assert) for each in ast.walk(node))}
    stating |= {name for name, called in calls.items() if called & {"raises", "conclude", "fail"}}
    while more := {name for name, called in calls.items() if called & stating} - stating:
        stating |= more
    return frozenset(stating)


def _called(node: ast.AST) -> set[str]:
    functions = [each.func for each in ast.walk(node) if isinstance(each, ast.Call)]
    return {each.attr if isinstance(each, ast.Attribute) else getattr(each, "id", "") for each in functions}


def test_a_test_that_states_nothing_is_found(tmp_path: Path) -> None:
    page = tmp_path / "test_it.py"
    page.write_text(
        "def test_a():\n    call()\n\ndef check():\n    assert True\n\ndef test_b():\n    check()\n\n"
        "def test_c():\n    with pytest.raises(OSError):\n        call()\n"
    )
    assert _stating(page) == {"check", "test_b", "test_c"}


LIMIT_ROW = re.compile(r"^\| (.*?) \| (.*?) \|(?: (`--[a-z-]+`)? ?\|)?", re.MULTILINE)


def test_the_limits_are_those_of_the_flags() -> None:
    """A value of docs/limits.md that a flag can change is that flag's default."""
    flags = {f"`--{flag.name}`": flag.default for flag in FLAGS}
    found = {flag: value for _, value, flag in LIMIT_ROW.findall((DOCS / "limits.md").read_text()) if flag in flags}
    assert found.keys() >= {"`--max-connections`", "`--max-calls`", "`--connection-age`", "`--connection-idle-timeout`"}
    for flag, value in found.items():
        default = flags[flag]
        amount = f"{default.total_seconds() / 60:.0f} min" if isinstance(default, timedelta) else f"{default:,}"
        assert value.startswith(amount), flag


@pytest.mark.parametrize(
    ("page", "name"), [("README.md", "Kubernetes"), ("docs/upgrades.md", "Kubernetes"), ("docs/upgrades.md", "Helm")]
)
def test_the_documented_versions_are_those_that_the_tests_build(page: str, name: str) -> None:
    module = {"Kubernetes": ("cluster", "k8s.io/kubernetes v1"), "Helm": ("helm", "helm.sh/helm/v3 v3")}[name]
    requirements = (ROOT / "testkit" / module[0] / "go.mod").read_text()
    version = re.search(rf"{re.escape(module[1])}(\S+)", requirements)
    assert version is not None
    [row] = re.findall(rf"^\| {name} \| .*", (ROOT / page).read_text(), re.MULTILINE)
    assert module[1][-1] + version[1] in row


PANEL = re.compile(r'\bpanel\s+"([^"]+)"')
VALUE = re.compile(r"`([a-z_]+[a-zA-Z]*(?:\.[a-z][a-zA-Z]*)+)(?:=[^`]*)?`")
CHART = ROOT / "helm" / "sentry-trio"


def test_panels_that_the_runbook_names_are_on_the_dashboard() -> None:
    panels = json.loads((CHART / "files" / "dashboard.json").read_text())["panels"]
    named = {" ".join(each.split()) for each in PANEL.findall((DOCS / "alerts.md").read_text())}
    assert len(named) > 5
    assert named <= {panel["title"] for panel in panels}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_values_that_a_page_names_are_in_the_chart(page: Path) -> None:
    assert _unknown_values(page.read_text()) == []


def _unknown_values(text: str) -> list[str]:
    """Paths of values that the chart does not have; keys of a section of Dapr's are the chart's own."""
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    unknown: list[str] = []
    for path in VALUE.findall(text):
        if path.endswith((".crt", ".key", ".json")):
            continue  # a file
        section, *parts = path.removeprefix("dapr_sentry.").split(".")
        found = values.get(section)
        if section not in values or section.startswith("dapr_"):
            continue  # something else: a metric, a field, a section of Dapr's that is not read
        for part in parts:
            found = found.get(part, unknown) if isinstance(found, dict) and found else found
        if found is unknown or (parts and not isinstance(values[section], dict)):
            unknown.append(path)
    return unknown


def test_a_value_that_is_not_there_is_found() -> None:
    text = "`tls.certManager.enabled=true` `tls.certManger` `dapr_sentry.image.nam` `jwt.x` `tls.key`"
    assert _unknown_values(text) == ["tls.certManger", "dapr_sentry.image.nam", "jwt.x"]


CHART_ROW = re.compile(r"^\| `([\w.]+)`(?: \*)? \| (.*?) ?\| ?(.*?) ?\|$", re.MULTILINE)


def _leaves(values: object, path: str = "") -> Iterator[str]:
    if isinstance(values, dict) and values:
        for key, value in values.items():
            yield from _leaves(value, f"{path}.{key}".removeprefix("."))
    else:
        yield path


def test_the_readme_of_the_chart_has_each_value_and_its_meaning() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    rows = {path: (default, meaning) for path, default, meaning in CHART_ROW.findall((CHART / "README.md").read_text())}
    assert [path for path, (default, _) in rows.items() if default] == list(_leaves(values))
    for path, (_, meaning) in rows.items():
        assert re.fullmatch(r"[A-Z].*[^.]", meaning), f"the meaning of {path} is not one phrase"


MODULE = re.compile(r"`([\w/]+\.py)`")
MEMBER = re.compile(r"`([\w/]+\.py)` `(_?[A-Z]\w+)\.(\w+)`")


def test_the_architecture_page_names_modules_and_functions_that_exist() -> None:
    page = (DOCS / "architecture.md").read_text()
    modules = [*ROOT.glob("sentry_trio/**/*.py"), *ROOT.glob("tests/*.py")]
    for name in MODULE.findall(page):
        assert any(str(path).endswith(f"/{name}") for path in modules), name
    members = MEMBER.findall(page)
    assert members
    for name, owner, method in members:
        texts = [path.read_text() for path in modules if str(path).endswith(f"/{name}")]
        assert any(re.search(rf"^class {owner}\b", text, re.MULTILINE) and f"def {method}(" in text for text in texts)
