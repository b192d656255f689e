"""Draws the pages' Mermaid diagrams as SVG for the site, without a browser or the network.

GitHub draws the same text by itself. This module knows a subset: `sequenceDiagram` with participants, messages and
notes over one or two participants; `flowchart` with nested subgraphs, and with arrows between their nodes and nodes
outside. Drawings are 400 units wide, so that their text is readable on a phone.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from html import escape
from textwrap import wrap
from typing import Final

_WIDTH: Final = 400
_LINE: Final = 16  # height of a line of text
_PAD: Final = 8
_ADVANCE: Final = 6.9  # mean width of a character of 13 units
_OUTSIDE: Final = 84  # width of the column of nodes outside all subgraphs
_GAP: Final = 22  # length of an arrow between that column and the rest
_BREAK: Final = re.compile(r"<br ?/?>")
_PARTICIPANT: Final = re.compile(r"participant (\w+) as (.+)")
_MESSAGE: Final = re.compile(r"(\w+)(--?)>>(\w+): (.+)")
_NOTE: Final = re.compile(r"Note over (\w+)(?:,(\w+))?: (.+)")
_SUBGRAPH: Final = re.compile(r'subgraph (\w+)\["(.+)"\]')
_NODE: Final = re.compile(r'(\w+)\["(.+)"\]')
_ARROW: Final = re.compile(r"(\w+) (<?-->) (\w+)")


class DiagramError(Exception):
    """A line is not in the subset of Mermaid that is drawn."""


def draw(text: str) -> str:
    """Returns a diagram as SVG.

    Raises:
        DiagramError: a line, or a name in it, is unknown.
    """
    kind, *lines = (line.strip() for line in text.splitlines() if line.strip())
    titles = [line.removeprefix("accTitle: ") for line in lines if line.startswith("accTitle: ")]
    lines = [line for line in lines if not line.startswith("accTitle: ")]
    if kind == "sequenceDiagram":
        height, shapes = _sequence(lines)
    elif kind.startswith("flowchart "):
        height, shapes = _flowchart(lines)
    else:
        raise DiagramError(f"unknown kind of diagram: {kind}")
    title = escape(titles[0] if titles else kind, quote=True)
    return (
        f'<svg class="diagram" viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{title}">'
        '<defs><marker id="head" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" '
        'orient="auto-start-reverse"><path d="M0 0L8 4L0 8z"/></marker></defs>'
        f"{''.join(shapes)}</svg>"
    )


def _lines(text: str, width: float) -> list[str]:
    """Lines of a label: broken where it says so, and where a line would be wider."""
    parts = (wrap(part, max(8, int(width / _ADVANCE))) for part in _BREAK.split(text))
    return [line for part in parts for line in part]


def _text(lines: Sequence[str], x: float, top: float, *, anchor: str = "middle", bold: bool = False) -> str:
    weight = ' class="title"' if bold else ""
    spans = (
        f'<tspan x="{x:g}" y="{top + _LINE * number + 12:g}">{escape(line)}</tspan>'
        for number, line in enumerate(lines)
    )
    return f'<text text-anchor="{anchor}"{weight}>{"".join(spans)}</text>'


def _box(left: float, top: float, width: float, height: float, kind: str) -> str:
    return f'<rect class="{kind}" x="{left:g}" y="{top:g}" width="{width:g}" height="{height:g}" rx="4"/>'


def _line(x1: float, y1: float, x2: float, y2: float, *, dashed: bool = False, both: bool = False) -> str:
    style = ' class="answer"' if dashed else ""
    start = ' marker-start="url(#head)"' if both else ""
    return f'<path{style} d="M{x1:g} {y1:g}L{x2:g} {y2:g}" marker-end="url(#head)"{start}/>'


# --- sequence diagrams


def _sequence(lines: Sequence[str]) -> tuple[float, list[str]]:
    """Height and shapes of a sequence diagram."""
    names = {found[1]: found[2] for line in lines if (found := _PARTICIPANT.fullmatch(line))}
    column = _WIDTH / len(names)
    axes = {name: column * (number + 0.5) for number, name in enumerate(names)}
    heads = {name: _lines(label, column - 2 * _PAD) for name, label in names.items()}
    head = max(map(len, heads.values())) * _LINE + _PAD
    shapes: list[str] = []
    for name, label in heads.items():
        shapes += [_box(axes[name] - column / 2 + 3, 1, column - 6, head, "node"), _text(label, axes[name], 3)]
    top: float = head + _PAD
    for line in lines:
        if _PARTICIPANT.fullmatch(line):
            continue
        try:
            height, drawn = _step(line, axes, column, top)
        except KeyError as error:
            raise DiagramError(f"unknown participant {error} in: {line}") from error
        shapes += drawn
        top += height
    lifelines = [f'<path class="lifeline" d="M{x:g} {head + 1:g}L{x:g} {top:g}"/>' for x in axes.values()]
    return top + 1, lifelines + shapes


def _step(line: str, axes: dict[str, float], column: float, top: float) -> tuple[float, list[str]]:
    """Height and shapes of a message or a note."""
    if found := _MESSAGE.fullmatch(line):
        sender, dash, receiver, label = found.groups()
        start, end = axes[sender], axes[receiver]
        width = max(abs(end - start) - _PAD, 170)
        text = _lines(label, width)
        longest = max(map(len, text)) * _ADVANCE / 2
        middle = min(max((start + end) / 2, longest), _WIDTH - longest)
        y = top + len(text) * _LINE + 5
        return y - top + _PAD, [_text(text, middle, top), _line(start, y, end, y, dashed=dash == "--")]
    if found := _NOTE.fullmatch(line):
        first, last, label = found.groups()
        left, right = axes[first], axes[last or first]
        width = max(right - left + column - 6, 150)
        text = _lines(label, width - _PAD)
        x = min(max((left + right - width) / 2, 1), _WIDTH - width - 1)
        height = len(text) * _LINE + _PAD
        return height + _PAD, [_box(x, top, width, height, "note"), _text(text, x + width / 2, top + 3)]
    raise DiagramError(f"neither a participant, a message nor a note: {line}")


# --- flowcharts


@dataclass
class _Node:
    """A node, or a subgraph if it has parts.

    Attributes:
        label: text, with line breaks.
        parts: nodes and subgraphs within.
        is_group: a subgraph.
        y: middle of its height; set when it is drawn.
    """

    label: str
    parts: list["_Node"] = field(default_factory=list)
    is_group: bool = False
    y: float = 0


def _flowchart(lines: Sequence[str]) -> tuple[float, list[str]]:
    """Height and shapes of a flowchart: nested boxes below each other, and nodes outside in a column on their left."""
    root, nodes, arrows = _parse_flowchart(lines)
    groups = [part for part in root.parts if part.is_group]
    outside = [part for part in root.parts if not part.is_group]
    left = _OUTSIDE + _GAP if outside else 1
    shapes: list[str] = []
    top: float = 1
    for group in groups:
        top += _PAD + _group(group, left, top, _WIDTH - left - 1, shapes)
    edges = dict(_left_edges(root, left))
    for start, head, end in arrows:
        outer, inner = (nodes[start], nodes[end]) if nodes[start] in outside else (nodes[end], nodes[start])
        if outer not in outside or inner in outside:
            raise DiagramError(f"an arrow has to lead from or to a node outside: {start} {head} {end}")
        text = _lines(outer.label, _OUTSIDE - _PAD)
        height = len(text) * _LINE + 6
        shapes.append(_box(1, inner.y - height / 2, _OUTSIDE, height, "outside"))
        shapes.append(_text(text, 1 + _OUTSIDE / 2, inner.y - height / 2 + 2))
        ends = (1 + _OUTSIDE, edges[id(inner)])
        x1, x2 = ends if outer is nodes[start] else ends[::-1]
        shapes.append(_line(x1, inner.y, x2, inner.y, both=head.startswith("<")))
    return top, shapes


def _parse_flowchart(lines: Sequence[str]) -> tuple[_Node, dict[str, _Node], list[tuple[str, str, str]]]:
    """The root, all nodes by name, and arrows as names around their head."""
    root = _Node("", is_group=True)
    open_groups, nodes, arrows = [root], {}, []
    for line in lines:
        if found := _ARROW.fullmatch(line):
            arrows.append((found[1], found[2], found[3]))
        elif line == "end" and len(open_groups) > 1:
            open_groups.pop()
        elif found := _SUBGRAPH.fullmatch(line) or _NODE.fullmatch(line):
            node = nodes[found[1]] = _Node(found[2], is_group=line.startswith("subgraph "))
            open_groups[-1].parts.append(node)
            if node.is_group:
                open_groups.append(node)
        else:
            raise DiagramError(f"neither a subgraph, a node, an arrow nor an end: {line}")
    if unknown := {name for start, _, end in arrows for name in (start, end)} - nodes.keys():
        raise DiagramError(f"unknown nodes: {', '.join(sorted(unknown))}")
    return root, nodes, arrows


def _group(node: _Node, left: float, top: float, width: float, shapes: list[str]) -> float:
    """Appends the shapes of a node and its parts; returns its height."""
    label = _lines(node.label, width - 2 * _PAD)
    height: float = len(label) * _LINE + _PAD
    place = len(shapes)
    shapes.append(_text(label, left + _PAD, top + 3, anchor="start", bold=node.is_group))
    for part in node.parts:
        height += _group(part, left + _PAD, top + height, width - 2 * _PAD, shapes) + 6
    if node.is_group:
        height += 2
    node.y = top + (len(label) * _LINE + _PAD if node.is_group else height) / 2
    shapes.insert(place, _box(left, top, width, height, "group" if node.is_group else "node"))
    return height


def _left_edges(group: _Node, left: float) -> Iterator[tuple[int, float]]:
    """The left edge of each node within a group."""
    for part in group.parts:
        yield id(part), left
        yield from _left_edges(part, left + _PAD)
