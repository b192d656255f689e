"""Typed reading of a configuration's nodes; errors name the field by its path (`spec.mtls.enabled`) and its line."""

from collections.abc import Collection, Mapping
from typing import Final

import msgspec
import yaml

from sentry_trio.errors import InvalidConfigurationError
from sentry_trio.go_text import quote
from sentry_trio.settings.documents import is_null, line_of
from sentry_trio.settings.suggestions import suggestion

# go-yaml reads the words of YAML 1.1 as booleans even in quotation marks, those of YAML 1.2 only without.
_BOOLEANS: Final = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_OLD_BOOLEANS: Final = {
    **dict.fromkeys(("y", "Y", "yes", "Yes", "YES", "on", "On", "ON"), True),
    **dict.fromkeys(("n", "N", "no", "No", "NO", "off", "Off", "OFF"), False),
}


class Section(msgspec.Struct, frozen=True):
    """A mapping at a place in the document.

    Keys are case-sensitive. An entry that is missing and one that is null are the same.

    Attributes:
        path: the place, such as `spec.mtls`; empty for the root.
        entries: the entries, those merged by `<<` included.
    """

    path: str
    entries: Mapping[str, yaml.Node]

    def section(self, name: str) -> "Section":
        """Returns the mapping `name`, empty if missing."""
        return make_section(self._path(name), self.entries.get(name))

    def sections(self, name: str) -> tuple["Section", ...]:
        """Returns the list `name` of mappings, without its null items."""
        return tuple(make_section(path, item) for path, item in self._items(name))

    def text(self, name: str) -> str:
        """Returns the text `name`, empty if missing; any scalar is a text, as it is written."""
        node = self.entries.get(name)
        return "" if node is None or is_null(node) else _text(self._path(name), node)

    def texts(self, name: str) -> tuple[str, ...]:
        """Returns the list `name` of texts, without its null items."""
        return tuple(_text(path, item) for path, item in self._items(name))

    def switch(self, name: str) -> bool:
        """Returns the boolean `name`, False if missing."""
        node = self.entries.get(name)
        if node is None or is_null(node):
            return False
        if isinstance(node, yaml.ScalarNode):
            words = _OLD_BOOLEANS if node.style is not None else _OLD_BOOLEANS | _BOOLEANS
            if node.value in words:
                return words[node.value]
        raise _unfit(self._path(name), node, "true or false")

    def unknown(self, known: Collection[str], *, ignore_case: bool = False) -> list[str]:
        """Returns one warning for each field that is not known, with the nearest known name."""
        fold = str.lower if ignore_case else str
        names = {fold(name) for name in known}
        return [
            f"unknown field {quote(self._path(name))} has no effect (line {line_of(node)}){suggestion(name, known)}"
            for name, node in self.entries.items()
            if fold(name) not in names
        ]

    def _path(self, name: str) -> str:
        return f"{self.path}.{name}" if self.path else name

    def _items(self, name: str) -> list[tuple[str, yaml.Node]]:
        path, node = self._path(name), self.entries.get(name)
        if node is None or is_null(node):
            return []
        if not isinstance(node, yaml.SequenceNode):
            raise _unfit(path, node, "a list")
        return [(f"{path}[{index}]", item) for index, item in enumerate(node.value) if not is_null(item)]


def make_section(path: str, node: yaml.Node | None) -> Section:
    """Returns the section at `path`, empty if there is no node or null.

    Raises:
        InvalidConfigurationError: `node`, or a node merged into it, is not a mapping.
    """
    if node is None or is_null(node):
        return Section(path, {})
    entries: dict[str, yaml.Node] = {}
    seen: set[int] = set()
    waiting = [node]
    while waiting:
        layer = waiting.pop()
        if not isinstance(layer, yaml.MappingNode):
            raise _unfit(path, layer, "a mapping")
        # A mapping met again adds nothing; without this, merges of merges take exponential time.
        if id(layer) in seen:
            continue
        seen.add(id(layer))
        for key, value in layer.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            if key.style is None and key.value == "<<":
                waiting += reversed(value.value) if isinstance(value, yaml.SequenceNode) else [value]
            else:
                entries.setdefault(key.value, value)
    return Section(path, entries)


def _text(path: str, node: yaml.Node) -> str:
    if not isinstance(node, yaml.ScalarNode):
        raise _unfit(path, node, "a text")
    return str(node.value)


def _unfit(path: str, node: yaml.Node, wanted: str) -> InvalidConfigurationError:
    shapes = {yaml.ScalarNode: "a text", yaml.SequenceNode: "a list", yaml.MappingNode: "a mapping"}
    got = quote(node.value) if isinstance(node, yaml.ScalarNode) and len(node.value) <= 40 else shapes[type(node)]
    return InvalidConfigurationError(f"{path or 'the document'} must be {wanted}, got {got} (line {line_of(node)})")
