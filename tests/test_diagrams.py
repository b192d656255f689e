"""Diagrams of the pages can be drawn, and lines outside the subset of Mermaid are errors."""

import runpy
import xml.etree.ElementTree as ET

import pytest

from testkit.doc_pages import PAGES, ROOT, Block, blocks

MODULE = runpy.run_path(str(ROOT / "docs" / "diagrams.py"))
draw, DiagramError = MODULE["draw"], MODULE["DiagramError"]
DIAGRAMS = [block for name in sorted(PAGES) for block in blocks(name) if block.language == "mermaid"]
SEQUENCE = "sequenceDiagram\nparticipant A as a caller\nparticipant B as a server\n"
FLOWCHART = 'flowchart LR\nout["peer"]\nsubgraph G["group"]\nin["node"]\nend\n'


def words(svg: str) -> str:
    return " ".join(text.strip() for text in ET.fromstring(svg).itertext() if text.strip())


@pytest.mark.parametrize("block", DIAGRAMS, ids=lambda block: f"{block.page}:{block.line}")
def test_diagrams_of_the_pages_fit_their_width(block: Block) -> None:
    root = ET.fromstring(draw(block.text))

    assert root.get("aria-label") not in {None, "sequenceDiagram"}
    for box in root.iter("rect"):
        left, width = float(box.attrib["x"]), float(box.attrib["width"])
        assert left >= 0
        assert left + width <= 400


def test_every_label_is_drawn_and_escaped() -> None:
    sequence = SEQUENCE + "A->>B: one<br/>two < three\nNote over A,B: both\nB-->>A: done\n"

    assert words(draw(sequence)) == "a caller a server one two < three both done"
    assert words(draw(FLOWCHART + "out --> in\n")) == "group node peer"


@pytest.mark.parametrize(
    "text",
    [
        "pie\n",
        SEQUENCE + "loop\n",
        SEQUENCE + "A->>C: unknown\n",
        FLOWCHART + "in --> gone\n",
        FLOWCHART + "in --> in\n",
        FLOWCHART + "click in\n",
    ],
)
def test_a_line_outside_the_subset_is_an_error(text: str) -> None:
    with pytest.raises(DiagramError):
        draw(text)
