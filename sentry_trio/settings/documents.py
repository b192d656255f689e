"""The first YAML document of a text as PyYAML's nodes, composed with bounds.

Nodes and not Python values, because a field decides how its text is read: `24` is a valid text of a duration, `"true"`
is not a boolean. An alias is the node of its anchor itself, so that a document cannot grow while it is read.
"""

from typing import Final

import yaml

from sentry_trio.errors import InvalidConfigurationError
from sentry_trio.go_text import quote

MOST_DEPTH: Final = 100
_NULL_TAG: Final = "tag:yaml.org,2002:null"
_NULLS: Final = frozenset(("", "~", "null", "Null", "NULL"))


def read_document(text: bytes) -> yaml.Node | None:
    """Reads the first YAML document; later ones are not read.

    Args:
        text: UTF-8, or UTF-16 with a byte order mark.

    Returns:
        The root node; None if there is no document. The tag of a node is empty unless it is explicit.

    Raises:
        InvalidConfigurationError: not YAML, a key that is in a mapping twice, an anchor that contains itself, or nodes
            nested deeper than `MOST_DEPTH`.
    """
    try:
        loader = _Loader(text)
        return loader.get_node() if loader.check_node() else None
    except yaml.reader.ReaderError as error:
        raise InvalidConfigurationError(f"yaml: {error.reason} at position {error.position}") from error
    except yaml.MarkedYAMLError as error:
        place = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise InvalidConfigurationError(f"yaml: {place}{error.problem or error.context}") from error
    except (ValueError, OverflowError) as error:
        # PyYAML converts escapes beyond Unicode ("\UFFFFFFFF") and absurdly long %YAML versions unchecked.
        raise InvalidConfigurationError("yaml: an escaped character or a version number is out of range") from error


def is_null(node: yaml.Node | None) -> bool:
    """Returns True if a node is null."""
    if not isinstance(node, yaml.ScalarNode):
        return False
    return node.tag == _NULL_TAG or (is_untagged(node) and node.value in _NULLS)


def is_untagged(node: yaml.ScalarNode) -> bool:
    """Returns True if a scalar has no explicit tag and is not quoted, so that its text decides on its type."""
    return node.style is None and not node.tag


def line_of(place: yaml.Node | yaml.Event) -> int:
    """Returns the line where a node or event starts, from 1."""
    return place.start_mark.line + 1 if place.start_mark else 0


class _Loader(yaml.SafeLoader):
    """Composer that limits depth, and that as Go's rejects duplicate keys and allows to use an anchor again."""

    def __init__(self, text: bytes) -> None:
        super().__init__(text)
        self._depth = 0
        self._anchored: dict[str, yaml.Node | None] = {}  # None: not complete yet

    def resolve(self, *_: object) -> str:
        return ""

    def compose_document(self) -> yaml.Node | None:
        self.get_event()  # type: ignore[no-untyped-call]
        node = self.compose_node(None, 0)
        # To PyYAML, a line that starts with `%` ends a document: the lines after it would be ignored silently.
        end = self.get_event()  # type: ignore[no-untyped-call]
        mark = end.start_mark
        if mark.buffer and mark.buffer[mark.pointer : mark.pointer + 1] == "%":
            raise _error(end, "a directive inside the document")
        return node

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent):
            return self._aliased(self.get_event())  # type: ignore[no-untyped-call]
        if self._depth > MOST_DEPTH or (self._depth == MOST_DEPTH and not isinstance(event, yaml.ScalarEvent)):
            raise _error(event, f"nested deeper than {MOST_DEPTH} levels")
        self.anchors.clear()  # PyYAML rejects an anchor that it finds here
        if event.anchor is not None:
            self._anchored[event.anchor] = None
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        if event.anchor is not None:
            self._anchored[event.anchor] = node
        return node

    def compose_mapping_node(self, anchor: dict[object, yaml.Node]) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        first_lines: dict[str, int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            if key.value in first_lines:
                first = first_lines[key.value]
                raise _error(key, f"the key {quote(key.value)} is already defined at line {first}")
            first_lines[key.value] = line_of(key)
        return node

    def _aliased(self, event: yaml.AliasEvent) -> yaml.Node:
        anchor = event.anchor or ""
        if anchor not in self._anchored:
            raise _error(event, f"unknown anchor {quote(anchor)}")
        node = self._anchored[anchor]
        if node is None:
            raise _error(event, f"the anchor {quote(anchor)} contains itself")
        return node


def _error(place: yaml.Node | yaml.Event, problem: str) -> InvalidConfigurationError:
    return InvalidConfigurationError(f"yaml: line {line_of(place)}: {problem}")
