"""The first YAML document of a text as a tree of nodes, read with bounds.

Nodes and not Python values, because a field decides how its text is read: `24` is a fine duration, `"true"` is no
boolean. An alias is the very node that its anchor names, so that no document becomes larger by being read.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, TypeAlias

import yaml

from sentry_trio.errors import InvalidConfigurationError
from sentry_trio.settings.values import quote

MOST_DEPTH: Final = 100
_TAG_PREFIX = "tag:yaml.org,2002:"
_NULLS = frozenset(("", "~", "null", "Null", "NULL"))


@dataclass(frozen=True, slots=True)
class Scalar:
    """A text.

    Attributes:
        line: where it starts, from 1.
        text: its content.
        plain: written without quotation marks and not as a block.
        tag: its explicit tag, such as `tag:yaml.org,2002:str`; empty for none.
    """

    line: int
    text: str
    plain: bool
    tag: str

    @property
    def is_null(self) -> bool:
        """Whether it stands for "nothing here"."""
        return self.tag == f"{_TAG_PREFIX}null" or (self.plain and not self.tag and self.text in _NULLS)

    @property
    def is_merge_key(self) -> bool:
        """Whether it is the key `<<`, whose value is another mapping to take entries from."""
        return self.plain and self.text == "<<"


@dataclass(frozen=True, slots=True)
class Sequence:
    """A list of nodes; `line` from 1."""

    line: int
    items: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class Mapping:
    """Nodes by key, without duplicates; `line` from 1.

    Attributes:
        line: where it starts.
        entries: by the text of the key; keys that are no texts are left out.
        merged: the values of the key `<<`.
    """

    line: int
    entries: dict[str, "Node"]
    merged: tuple["Node", ...]


Node: TypeAlias = Scalar | Sequence | Mapping


def read_document(text: bytes) -> Node | None:
    """Read the first YAML document; whatever comes behind it is not looked at.

    Args:
        text: UTF-8, or UTF-16 with a byte order mark.

    Returns:
        The root node; `None` where there is no document.

    Raises:
        InvalidConfigurationError: no YAML, a key that is in a mapping twice, an anchor that contains itself, or nodes
            nested deeper than `MOST_DEPTH`.
    """
    try:
        return _Builder().build(yaml.parse(text, Loader=yaml.SafeLoader))
    except yaml.reader.ReaderError as error:
        raise InvalidConfigurationError(f"yaml: {error.reason} at position {error.position}") from error
    except yaml.MarkedYAMLError as error:
        place = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise InvalidConfigurationError(f"yaml: {place}{error.problem or error.context}") from error
    except (ValueError, OverflowError) as error:
        # PyYAML converts escapes beyond Unicode ("\UFFFFFFFF") and absurdly long %YAML versions unchecked.
        raise InvalidConfigurationError("yaml: an escaped character or a version number is out of range") from error


@dataclass(slots=True)
class _Open:
    """A sequence or mapping whose end has not come yet."""

    line: int
    anchor: str | None
    is_mapping: bool
    items: list[Node] = field(default_factory=list)


class _Builder:
    """Makes nodes of parser events, without recursion; PyYAML's own composer recurses and refuses reused anchors."""

    def __init__(self) -> None:
        self._open: list[_Open] = []
        self._anchors: dict[str, Node | None] = {}  # None: still open

    def build(self, events: Iterator[yaml.Event]) -> Node | None:
        for event in events:
            node = self._node(event)
            if node is None:
                continue
            if not self._open:
                _check_end(next(events))
                return node
            self._open[-1].items.append(node)
        return None

    def _node(self, event: yaml.Event) -> Node | None:
        """The node that `event` completes, if any."""
        line = 1 + (event.start_mark.line if event.start_mark else 0)
        match event:
            case yaml.ScalarEvent():
                tag = "" if event.tag in {None, "!"} else event.tag
                return self._named(event.anchor, Scalar(line, event.value, event.style is None, tag))
            case yaml.AliasEvent():
                return self._aliased(event.anchor or "", line)
            case yaml.SequenceStartEvent() | yaml.MappingStartEvent():
                self._begin(_Open(line, event.anchor, isinstance(event, yaml.MappingStartEvent)))
            case yaml.SequenceEndEvent() | yaml.MappingEndEvent():
                return self._end()
        return None

    def _begin(self, opened: _Open) -> None:
        if len(self._open) >= MOST_DEPTH:
            raise InvalidConfigurationError(f"yaml: line {opened.line}: nested deeper than {MOST_DEPTH} levels")
        if opened.anchor is not None:
            self._anchors[opened.anchor] = None
        self._open.append(opened)

    def _end(self) -> Node:
        done = self._open.pop()
        node = _mapping(done) if done.is_mapping else Sequence(done.line, tuple(done.items))
        return self._named(done.anchor, node)

    def _named(self, anchor: str | None, node: Node) -> Node:
        if anchor is not None:
            self._anchors[anchor] = node
        return node

    def _aliased(self, anchor: str, line: int) -> Node:
        if anchor not in self._anchors:
            raise InvalidConfigurationError(f"yaml: line {line}: unknown anchor {quote(anchor)}")
        node = self._anchors[anchor]
        if node is None:
            raise InvalidConfigurationError(f"yaml: line {line}: the anchor {quote(anchor)} contains itself")
        return node


def _check_end(event: yaml.Event) -> None:
    """A line that starts with `%` ends a document for PyYAML: what follows would be ignored without a word."""
    mark = event.start_mark
    if mark and mark.buffer and mark.buffer[mark.pointer : mark.pointer + 1] == "%":
        raise InvalidConfigurationError(f"yaml: line {mark.line + 1}: a directive inside the document")


def _mapping(done: _Open) -> Mapping:
    first_lines: dict[str, int] = {}
    entries: dict[str, Node] = {}
    merged: list[Node] = []
    for key, value in zip(done.items[::2], done.items[1::2], strict=True):
        if not isinstance(key, Scalar):
            continue
        if key.text in first_lines:
            place = f"line {key.line}: the key {quote(key.text)} is already defined at line {first_lines[key.text]}"
            raise InvalidConfigurationError(f"yaml: {place}")
        first_lines[key.text] = key.line
        if key.is_merge_key:
            merged += value.items if isinstance(value, Sequence) else (value,)
        else:
            entries[key.text] = value
    return Mapping(done.line, entries, tuple(merged))
