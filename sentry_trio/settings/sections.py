"""Typed reading of a configuration's nodes; errors name the field by its path (`spec.mtls.enabled`) and its line."""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from sentry_trio.errors import InvalidConfigurationError
from sentry_trio.settings.documents import Mapping, Node, Scalar, Sequence
from sentry_trio.settings.values import quote

_LONGEST_NAME: Final = 100  # characters that are compared; the time of a comparison grows with their square

# YAML 1.2 has only the first three of each; go-yaml takes the words of 1.1, too, where a boolean is asked for.
_TRUE = frozenset(("true", "True", "TRUE"))
_FALSE = frozenset(("false", "False", "FALSE"))
_OLD_TRUE = frozenset(("y", "Y", "yes", "Yes", "YES", "on", "On", "ON"))
_OLD_FALSE = frozenset(("n", "N", "no", "No", "NO", "off", "Off", "OFF"))


@dataclass(frozen=True, slots=True)
class Section:
    """A mapping at a place in the document.

    Keys are case-sensitive. An entry that is missing and one that is null are the same.

    Attributes:
        path: the place, such as `spec.mtls`; empty for the root.
        layers: the mapping and those merged into it by `<<`, the one that wins first.
    """

    path: str
    layers: tuple[Mapping, ...]

    def section(self, name: str) -> "Section":
        """The mapping `name`, empty if missing."""
        return make_section(self._path(name), self._node(name))

    def sections(self, name: str) -> tuple["Section", ...]:
        """The list `name` of mappings, without what is null in it."""
        return tuple(make_section(path, item) for path, item in self._items(name))

    def text(self, name: str) -> str:
        """The text `name`, empty if missing; any scalar is a text, as it is written."""
        return _text(self._path(name), self._node(name))

    def texts(self, name: str) -> tuple[str, ...]:
        """The list `name` of texts, without what is null in it."""
        return tuple(_text(path, item) for path, item in self._items(name))

    def switch(self, name: str) -> bool:
        """The boolean `name`, false if missing."""
        node = self._node(name)
        if node is None:
            return False
        if isinstance(node, Scalar):
            # go-yaml takes the old words even in quotation marks, the new ones only without.
            if node.text in _OLD_TRUE or (node.plain and node.text in _TRUE):
                return True
            if node.text in _OLD_FALSE or (node.plain and node.text in _FALSE):
                return False
        raise _unfit(self._path(name), node, "a plain true or false")

    def scalars(self) -> dict[str, Scalar | None]:
        """All entries, those merged in included; what is null or no scalar is `None`."""
        found: dict[str, Scalar | None] = {}
        for layer in self.layers:
            for name, node in layer.entries.items():
                found.setdefault(name, node if isinstance(node, Scalar) and not node.is_null else None)
        return found

    def unknown(self, known: Iterable[str], *, ignore_case: bool = False) -> list[str]:
        """One warning for each field that is not known, with the nearest known name."""
        names = {_folded(name): name for name in known}
        fields = {name: node for layer in reversed(self.layers) for name, node in layer.entries.items()}
        warnings = []
        for name, node in fields.items():
            if (_folded(name) in names) if ignore_case else (name in names.values()):
                continue
            near = difflib.get_close_matches(_folded(name), names, n=1)
            hint = f"; did you mean {names[near[0]]}?" if near else ""
            warnings.append(f"unknown field {quote(self._path(name))} has no effect (line {node.line}){hint}")
        return warnings

    def _path(self, name: str) -> str:
        return f"{self.path}.{name}" if self.path else name

    def _node(self, name: str) -> Node | None:
        node = next((layer.entries[name] for layer in self.layers if name in layer.entries), None)
        return None if _is_null(node) else node

    def _items(self, name: str) -> list[tuple[str, Node]]:
        path, node = self._path(name), self._node(name)
        if node is None:
            return []
        if not isinstance(node, Sequence):
            raise _unfit(path, node, "a list")
        return [(f"{path}[{index}]", item) for index, item in enumerate(node.items) if not _is_null(item)]


def make_section(path: str, node: Node | None) -> Section:
    """The section at `path`, empty where there is no node or null.

    Raises:
        InvalidConfigurationError: `node`, or what is merged into it, is no mapping.
    """
    if node is None or _is_null(node):
        return Section(path, ())
    layers: dict[int, Mapping] = {}
    waiting = [node]
    while waiting:
        layer = waiting.pop()
        if not isinstance(layer, Mapping):
            raise _unfit(path, layer, "a mapping")
        # A mapping met again has nothing new to say; without this, merges of merges take exponential time.
        if id(layer) not in layers:
            layers[id(layer)] = layer
            waiting += reversed(layer.merged)
    return Section(path, tuple(layers.values()))


def _folded(name: str) -> str:
    return name[:_LONGEST_NAME].lower()


def _is_null(node: Node | None) -> bool:
    return isinstance(node, Scalar) and node.is_null


def _text(path: str, node: Node | None) -> str:
    if node is None:
        return ""
    if not isinstance(node, Scalar):
        raise _unfit(path, node, "a text")
    return node.text


def _unfit(path: str, node: Node, wanted: str) -> InvalidConfigurationError:
    shapes = {Scalar: "a text", Sequence: "a list", Mapping: "a mapping"}
    got = quote(node.text) if isinstance(node, Scalar) and len(node.text) <= 40 else shapes[type(node)]
    return InvalidConfigurationError(f"{path or 'the document'} must be {wanted}, got {got} (line {node.line})")
