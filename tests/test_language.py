"""Language of docstrings, comments, texts, documentation and chart."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent
PYTHON = (
    *(REPOSITORY / "sentry_trio").rglob("*.py"),
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
    *(REPOSITORY / "docs").glob("*.md"),
    *(path for path in (REPOSITORY / "helm").rglob("*") if path.is_file()),
)

FIRST_LINE = re.compile(r"(What|Who|Whom|Whose|Whoever|Whether|How|Where|Which)\b|The (\w+ ){1,4}that (is|are)\b")
WORDS = re.compile(
    r"\b(tells?|told|telling|mend(s|ed|ing)?|whoever|thereby|such that|wherein|for want of|"
    r"see(s|n)? off|for ever|gives? up on)\b",
    re.IGNORECASE,
)
QUOTED: dict[str, str] = {}
"""Passages that keep a blocked word, with the reason."""

Finding = tuple[str, int, str]


def name_of(path: Path) -> str:
    return str(path.relative_to(REPOSITORY)) if path.is_relative_to(REPOSITORY) else path.name


def first_lines(path: Path, tree: ast.Module, *, functions: bool) -> Iterator[Finding]:
    """Yields docstrings whose first line begins with a question word."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module) or (
            functions and isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        ):
            text = ast.get_docstring(node) or ""
            if FIRST_LINE.match(text):
                yield name_of(path), getattr(node, "lineno", 1), text.splitlines()[0]
        if functions and isinstance(node, ast.Module | ast.ClassDef):
            # Strings below constants and attributes.
            for each in node.body[1:]:
                match each:
                    case ast.Expr(ast.Constant(str(text))) if FIRST_LINE.match(text):
                        yield name_of(path), each.lineno, text.splitlines()[0]


def blocked(path: Path, line: int, text: str) -> Iterator[Finding]:
    """Yields the lines of a text that contain a blocked word outside a listed passage."""
    for offset, part in enumerate(text.splitlines()):
        if WORDS.search(part) and not any(passage in part for passage in QUOTED):
            yield name_of(path), line + offset, part.strip()


def words_in_python(path: Path, source: str, tree: ast.Module) -> Iterator[Finding]:
    """Yields blocked words in string literals and comments."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from blocked(path, node.lineno, node.value)
    if WORDS.search(source):
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            if token.type == tokenize.COMMENT:
                yield from blocked(path, token.start[0], token.string)


def findings_in_python(path: Path, *, is_test: bool = False) -> list[Finding]:
    """Returns the violations in a Python file."""
    source = path.read_text()
    tree = ast.parse(source)
    found = list(first_lines(path, tree, functions=not is_test))
    return found if is_test else found + list(words_in_python(path, source, tree))


def test_python_files_use_plain_language() -> None:
    found = [finding for path in PYTHON for finding in findings_in_python(path)]

    assert found == []


def test_module_docstrings_of_tests_use_plain_language() -> None:
    found = [finding for path in TESTS for finding in findings_in_python(path, is_test=True)]

    assert found == []


def test_documentation_and_chart_use_plain_language() -> None:
    found = [finding for path in TEXTS for finding in blocked(path, 1, path.read_text())]

    assert found == []


@pytest.mark.parametrize(
    "source",
    [
        'X = 1\n"""How often."""\n',
        '"""What the program does."""\n',
        'def f() -> None:\n    """Whether it runs."""\n',
        'class C:\n    """The file that is read."""\n',
        "x = 1  # nobody tells it\n",
        'raise ValueError("mend the file")\n',
    ],
)
def test_a_sentence_against_the_standard_is_found(tmp_path: Path, source: str) -> None:
    path = tmp_path / "module.py"
    path.write_text(source)

    assert len(findings_in_python(path)) == 1


def test_a_blocked_word_in_a_text_is_found(tmp_path: Path) -> None:
    assert [line for _, line, _ in blocked(tmp_path / "page.md", 1, "One.\nWhoever asks, is answered.\n")] == [2]
