"""Language of docstrings, comments, texts, documentation and chart."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import TypeGuard

import pytest

pytestmark = pytest.mark.uncovered

REPOSITORY = Path(__file__).parent.parent
PACKAGE = tuple((REPOSITORY / "sentry_trio").rglob("*.py"))
PYTHON = (
    *PACKAGE,
    *(REPOSITORY / "testkit").rglob("*.py"),
    *(REPOSITORY / "benchmarks").rglob("*.py"),
    *(REPOSITORY / "image").rglob("*.py"),
    *(REPOSITORY / "docs").glob("*.py"),
)
TESTS = tuple((REPOSITORY / "tests").rglob("*.py"))
TEXTS = (
    REPOSITORY / "README.md",
    REPOSITORY / "SECURITY.md",
    REPOSITORY / "CHANGELOG.md",
    REPOSITORY / "CONTRIBUTING.md",
    REPOSITORY / "Makefile",
    REPOSITORY / "docs" / "status.schema.json",
    *(REPOSITORY / "docs").glob("*.md"),
    *(path for path in (REPOSITORY / "helm").rglob("*") if path.is_file()),
)

FIRST_LINE = re.compile(
    r"(What|Who|Whom|Whose|Whoever|Whether|How|Where|Which|Why|When|That)\b|"
    r"The (\w+ ){1,4}that (is|are)\b|(The )?(one|ones|those) (that|who|of)\b",
    re.IGNORECASE,
)
WORDS = re.compile(
    r"\b(tells?|told|telling|mend(s|ed|ing)?|whoever|thereby|such that|wherein|for want of|see(s|n)? off|for ever|"
    r"gives? up on|stands?|stood|rights|no right to|somebody|whom|hand(s|ed|ing)? (out|over)|None where)\b",
    re.IGNORECASE,
)
# "is no key" instead of "is not a key". "There is no key" is good English.
NEGATION = re.compile(r"(?<!here )\b(is|are) no (?!(longer|more|other|later|less|effect)\b)")
TEST_NAME = re.compile(
    r"test_(what|who|whom|whose|whoever|whether|how|where|which|why|when)(_|$)|_(what|who|whether|how|which)(_|$)|"
    r"_(told|tells?|mends?|mended|whoever|thereby|nobody|somebody|everybody|stands?|rights|whom|"
    r"said|says?|whatever|all_the_same|goes?_on|gives?_way)(_|$)"
)
QUOTED: dict[str, str] = {
    "stand-in": "a technical term",
}
"""Passages that keep a blocked word, with the reason."""

Finding = tuple[str, int, str]


def name_of(path: Path) -> str:
    return str(path.relative_to(REPOSITORY)) if path.is_relative_to(REPOSITORY) else path.name


def docstrings(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yields docstrings of modules, classes and functions, and the strings below constants and attributes."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield getattr(node, "lineno", 1), ast.get_docstring(node) or ""
        if isinstance(node, ast.Module | ast.ClassDef):
            for each in node.body[1:]:
                match each:
                    case ast.Expr(ast.Constant(str(text))):
                        yield each.lineno, text


def blocked(path: Path, line: int, text: str) -> Iterator[Finding]:
    """Yields the lines of a text that contain a blocked word outside a listed passage."""
    for offset, part in enumerate(text.splitlines()):
        is_blocked = WORDS.search(part) or NEGATION.search(part)
        if is_blocked and not any(passage in part for passage in QUOTED):
            yield name_of(path), line + offset, part.strip()


def comments(source: str) -> Iterator[tuple[int, str]]:
    """Yields comments."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string


def texts(source: str, tree: ast.Module, *, is_test: bool) -> Iterator[tuple[int, str]]:
    """Yields the texts of a file: docstrings and comments, and other string literals unless they are test data."""
    if is_test:
        yield from docstrings(tree)
    else:
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.lineno, node.value
    if WORDS.search(source) or NEGATION.search(source):
        yield from comments(source)


def findings_in_python(path: Path, *, is_test: bool = False) -> list[Finding]:
    """Returns the violations in a Python file."""
    source = path.read_text()
    tree = ast.parse(source)
    found = [(name_of(path), line, text.splitlines()[0]) for line, text in docstrings(tree) if FIRST_LINE.match(text)]
    if is_test:
        found += [(name_of(path), node.lineno, node.name) for node in ast.walk(tree) if is_misnamed(node)]
    return found + [
        finding for line, text in texts(source, tree, is_test=is_test) for finding in blocked(path, line, text)
    ]


def is_misnamed(node: ast.AST) -> TypeGuard[ast.FunctionDef | ast.AsyncFunctionDef]:
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and bool(TEST_NAME.search(node.name))


def test_python_files_use_plain_language() -> None:
    found = [finding for path in PYTHON for finding in findings_in_python(path)]

    assert found == []


def test_tests_use_plain_language() -> None:
    found = [finding for path in TESTS if path != Path(__file__) for finding in findings_in_python(path, is_test=True)]

    assert found == []


def test_documentation_and_chart_use_plain_language() -> None:
    found = [finding for path in TEXTS for finding in blocked(path, 1, path.read_text())]

    assert found == []


def test_public_classes_have_different_names() -> None:
    places: dict[str, list[str]] = {}
    for path in PACKAGE:
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places.setdefault(node.name, []).append(name_of(path))

    assert {name: paths for name, paths in places.items() if len(paths) > 1} == {}


@pytest.mark.parametrize(
    "source",
    [
        'X = 1\n"""How often."""\n',
        '"""What the program does."""\n',
        'def f() -> None:\n    """Whether it runs."""\n',
        'class C:\n    """The file that is read."""\n',
        "x = 1  # nobody tells it\n",
        'raise ValueError("mend the file")\n',
        'raise ValueError("this is no key")\n',
    ],
)
def test_a_sentence_against_the_standard_is_found(tmp_path: Path, source: str) -> None:
    path = tmp_path / "module.py"
    path.write_text(source)

    assert len(findings_in_python(path)) == 1


@pytest.mark.parametrize("name", ["test_what_it_does", "test_whether_it_runs", "test_it_is_told", "test_who"])
def test_a_misleading_test_name_is_found(tmp_path: Path, name: str) -> None:
    path = tmp_path / "test_module.py"
    path.write_text(f"def {name}(): ...\n\ndef test_it_runs(): ...\n")

    assert [text for _, _, text in findings_in_python(path, is_test=True)] == [name]


def test_a_blocked_word_in_a_text_is_found(tmp_path: Path) -> None:
    assert [line for _, line, _ in blocked(tmp_path / "page.md", 1, "One.\nWhoever asks, is answered.\n")] == [2]
