"""README and docs/ as the tests read them: their blocks of code, and the commands in their text."""

import re
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent
from typing import Final

ROOT: Final = Path(__file__).parents[1]
PAGES: Final = {str(page.relative_to(ROOT)): page for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]}
LANGUAGES: Final = {"sh", "text", "yaml", "json", "python", "ini", "mermaid"}

_BLOCK: Final = re.compile(r"^(?P<margin> *)```(?P<language>.*)\n(?P<text>(?:.*\n)*?)(?P=margin)```$", re.MULTILINE)
_INDENTED: Final = re.compile(r"\n\n(?: *[-*\d].*\n(?: .*\n)*\n)*( {4,}\S.*)")
_SPAN: Final = re.compile(r"(?<!`)`([^`]+)`(?!`)")


@dataclass(frozen=True)
class Block:
    """A fenced block of code.

    Attributes:
        page: name of its page, e.g. `docs/jwt.md`.
        line: number of its first line there.
        language: after the fence; empty if none is named.
        text: without the margin that it has as part of a list.
    """

    page: str
    line: int
    language: str
    text: str

    @property
    def first(self) -> str:
        """The first command."""
        return self.text.splitlines()[0]


def blocks(name: str) -> list[Block]:
    """The fenced blocks of a page, in their order."""
    text = PAGES[name].read_text()
    return [
        Block(name, text.count("\n", 0, each.start()) + 2, each["language"], dedent(each["text"]))
        for each in _BLOCK.finditer(text)
    ]


def shell(name: str) -> list[Block]:
    """Shell blocks of a page."""
    return [block for block in blocks(name) if block.language == "sh"]


def prose(name: str) -> str:
    """A page without its fenced blocks."""
    return _BLOCK.sub("", PAGES[name].read_text())


def indented(name: str) -> list[str]:
    """Lines that Markdown takes for code because they are indented: no language defines how to test them."""
    return [line for line in prose(name).split("\n") if re.match(r" {4,}\S", line)]


def commands(name: str, tool: str) -> list[str]:
    """The commands in the text of a page that call a tool, e.g. `make run`."""
    spans = (" ".join(each.split()) for each in _SPAN.findall(prose(name)))
    return [each.replace("\\|", "|") for each in spans if each.startswith(f"{tool} ")]
