"""The expressions of dashboard and alert rules, and the names in them."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

FILES: Final = Path(__file__).parents[2] / "helm" / "sentry-trio" / "files"
DASHBOARD: Final[dict[str, Any]] = json.loads((FILES / "dashboard.json").read_text())
GROUPS: Final[list[dict[str, Any]]] = yaml.safe_load((FILES / "alerts.yaml").read_text())["groups"]
PANELS: Final[list[dict[str, Any]]] = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]

ANNOTATIONS: Final[list[dict[str, Any]]] = DASHBOARD["annotations"]["list"]

# The variables of the dashboard, in their order.
VARIABLES: Final = ("cluster", "namespace", "job", "pod")
_ALL: Final = ".*"  # Grafana's replacement of a variable if all is chosen

# Labels that Prometheus adds to the series of a target.
TARGET_LABELS: Final = frozenset({"cluster", "namespace", "pod", "job", "instance"})
# Series that Prometheus makes itself, of each target.
OWN_SERIES: Final = frozenset({"up"})

_AGGREGATIONS: Final = frozenset({"sum", "min", "max", "count", "group"})
_FUNCTIONS: Final = frozenset(
    {"rate", "increase", "changes", "histogram_quantile", "last_over_time", "absent", "time"} | _AGGREGATIONS
)
_GROUPINGS: Final = frozenset({"by", "on", "ignoring"})
_OPERATORS: Final = frozenset({"and", "or", "unless"})
_TOKEN: Final = re.compile(
    r"""\s*(?:(?P<text>"[^"]*")|(?P<window>\[[^\]]*\]|offset \d+[smhd])|(?P<name>[a-zA-Z_][a-zA-Z0-9_]*)"""
    r"""|(?P<number>\d+(?:\.\d+)?)|(?P<sign>=~|!=|>=|<=|==|[-+*/(){},<>=]))"""
)


def filled(expression: str, *, window: str, **chosen: str) -> str:
    """An expression of the dashboard as Grafana sends it.

    Args:
        expression: with variables.
        window: for rates.
        chosen: values of variables; all others are "All".
    """
    for name in VARIABLES:
        expression = expression.replace(f"${name}", chosen.get(name, _ALL))
    return expression.replace("$__rate_interval", window)


def all_expressions(*, window: str = "5m", **chosen: str) -> dict[str, str]:
    """Every expression, by its place."""
    return dict(_all_expressions(window, chosen))


def _all_expressions(window: str, chosen: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for group in GROUPS:
        for rule in group["rules"]:
            yield f"alert {rule['alert']}", rule["expr"]
    for panel in PANELS:
        for target in panel["targets"]:
            yield f"panel {panel['title']}, {target['refId']}", filled(target["expr"], window=window, **chosen)
    for annotation in ANNOTATIONS:
        yield f"annotation {annotation['name']}", filled(annotation["expr"], window=window, **chosen)


class NotUnderstoodError(ValueError):
    """An expression holds an unknown name: a typo, or a function to be added above."""


@dataclass(frozen=True)
class Selector:
    """A series with its label matchers: label, operator (`=`, `!=` or `=~`), value."""

    name: str
    matchers: tuple[tuple[str, str, str], ...]

    @property
    def labels(self) -> frozenset[str]:
        return frozenset(label for label, _, _ in self.matchers)


@dataclass(frozen=True)
class Named:
    """Names in an expression: series, and labels by which it groups or matches."""

    selectors: tuple[Selector, ...]
    groupings: frozenset[str]


def names_in(expression: str) -> Named:
    """Reads the names in an expression; not a parser of the language, and strict about names.

    Raises:
        NotUnderstoodError: an unknown function or an invalid token.
    """
    tokens = list(_tokens(expression))
    selectors: list[Selector] = []
    groupings: set[str] = set()
    at = 0
    while at < len(tokens):
        kind, token = tokens[at]
        at += 1
        if kind != "name" or token in _OPERATORS:
            continue
        following = tokens[at][1] if at < len(tokens) else ""
        if token in _GROUPINGS:
            end = tokens.index(("sign", ")"), at)
            groupings.update(name for kind, name in tokens[at:end] if kind == "name")
            at = end + 1
        elif following == "(" or (token in _AGGREGATIONS and following == "by"):
            if token not in _FUNCTIONS:
                raise NotUnderstoodError(f"{token} is an unknown function")
        elif following == "{":
            end = tokens.index(("sign", "}"), at)
            selectors.append(Selector(token, tuple(_matchers(tokens[at + 1 : end]))))
            at = end + 1
        else:
            selectors.append(Selector(token, ()))
    return Named(tuple(selectors), frozenset(groupings))


def _tokens(expression: str) -> Iterator[tuple[str, str]]:
    at, end = 0, len(expression.rstrip())
    while at < end:
        found = _TOKEN.match(expression, at)
        if found is None or found.lastgroup is None:
            raise NotUnderstoodError(f"{expression[at:]!r} in {expression!r}")
        yield found.lastgroup, found[found.lastgroup]
        at = found.end()


def _matchers(tokens: list[tuple[str, str]]) -> Iterator[tuple[str, str, str]]:
    for label, operator, value in zip(tokens[::4], tokens[1::4], tokens[2::4], strict=True):
        if label[0] != "name" or operator[1] not in {"=", "!=", "=~"} or value[0] != "text":
            raise NotUnderstoodError(f"{label[1]}{operator[1]}{value[1]} is an unknown matcher")
        yield label[1], operator[1], value[1].strip('"')
