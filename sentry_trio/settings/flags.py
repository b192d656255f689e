"""A parser of GNU-style command line flags that behaves as Go's pflag does, down to its usage text and error lines.

It knows flags as a table of `Flag` and nothing of what they are for.
"""

import enum
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeAlias, TypeVar, assert_never

from sentry_trio.errors import SentryError
from sentry_trio.settings.durations import format_duration, parse_duration
from sentry_trio.settings.lists import parse_list
from sentry_trio.settings.scalars import InvalidValueError, encode, parse_bool, parse_float, parse_int, quote
from sentry_trio.settings.suggestions import suggestion

Value: TypeAlias = str | bool | int | float | timedelta | tuple[str, ...]
_T = TypeVar("_T", bound=Value)


class UsageError(SentryError):
    """A command line that cannot be read; told by the usage text and then one line, on standard error.

    Attributes:
        line: what is wrong, as pflag says it; also the text of the error.
        usage: the usage text, ending with a line break.
    """

    def __init__(self, line: str, usage: str) -> None:
        self.line = line
        self.usage = usage
        super().__init__(line)


class HelpRequested(SentryError):  # noqa: N818 - asking for help is no error
    """`-h`, `-help` or `--help` came before any mistake."""

    def __init__(self) -> None:
        super().__init__("help requested")


class Kind(enum.Enum):
    """What a flag takes. The value is the word in the usage text."""

    STRING = "string"
    BOOL = ""
    INT = "int"
    FLOAT = "float"
    DURATION = "duration"
    STRINGS = "strings"


@dataclass(frozen=True, slots=True)
class Flag:
    """A flag.

    Attributes:
        name: its name, without dashes.
        kind: what it takes.
        default: its value when not given; `None` for a string flag that knows "not given" from "given empty".
        usage: one line of plain text.
        choices: the values that are accepted; empty if any is. The parser does not check them.
        needs: condition for the flag to have an effect: the name of a switch, or "kubernetes mode"; else empty.
        group: title of the section of the help text that lists it.
        is_own: Dapr Sentry has no such flag.
        is_inert: the flag is accepted for compatibility and has no effect.
    """

    name: str
    kind: Kind
    default: Value | None
    usage: str
    choices: tuple[str, ...] = ()
    needs: str = ""
    group: str = ""
    is_own: bool = False
    is_inert: bool = False

    @property
    def head(self) -> str:
        """The flag and what it takes, as in pflag's usage text: `--port int`."""
        return f"--{self.name} {self.kind.value}".rstrip()

    @property
    def shown_default(self) -> str:
        """The default as in pflag's usage text, ` (default 8080)`; empty if it is zero."""
        match self.default:
            case str(text) if text:
                return f" (default {quote(text)})"
            case timedelta() as duration if duration:
                return f" (default {format_duration(duration)})"
            case bool(switch) if switch:
                return " (default true)"
            case int(number) | float(number) if number:
                return f" (default {number})"
            case _:
                return ""


@dataclass(frozen=True, slots=True)
class ParsedFlags:
    """The outcome of parsing: a value for every flag.

    Attributes:
        values: by flag name.
        given: names of the flags that were on the command line.
        positional: all other arguments, in order.
    """

    values: Mapping[str, Value | None]
    given: frozenset[str]
    positional: tuple[str, ...]

    def get(self, name: str, kind: type[_T]) -> _T:
        """The value of the flag `name`.

        Raises:
            TypeError: the flag is not of this kind (a mistake in the program).
        """
        value = self.values[name]
        if not isinstance(value, kind):
            raise TypeError(f"--{name} is {type(value).__name__}, not {kind.__name__}")
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        """The value of the list flag `name`."""
        return tuple(str(item) for item in self.get(name, tuple))

    def text_if_given(self, name: str) -> str | None:
        """The value of the string flag `name`, or its default, which may be `None`."""
        return None if self.values[name] is None else self.get(name, str)


class FlagSet:
    """A set of flags under one program name.

    Args:
        name: the name after `Usage of `.
        flags: the flags, in any order; the usage text sorts them by name.
    """

    def __init__(self, name: str, flags: Sequence[Flag]) -> None:
        self._name = name
        self._flags = {flag.name: flag for flag in flags}

    def __iter__(self) -> Iterator[Flag]:
        return iter(self._flags.values())

    def usage(self) -> str:
        """The usage text in pflag's layout: one line per flag, columns aligned, defaults unless zero."""
        flags = sorted(self._flags.values(), key=lambda flag: flag.name)
        width = max((len(flag.head) for flag in flags), default=0)
        lines = [f"      {flag.head:<{width}}   {flag.usage}{flag.shown_default}" for flag in flags]
        return "\n".join((f"Usage of {self._name}:", *lines, ""))

    def parse(self, arguments: Sequence[str]) -> ParsedFlags:
        """Read a command line (without the program's name).

        Flags and positional arguments may be mixed; `--` ends the flags; the last of several occurrences wins, lists
        add up. An argument of more than two bytes that starts with exactly one dash is read as if it had two. As in
        Dapr Sentry this is blind: it changes values that stand as arguments of their own, too.

        Raises:
            UsageError: the first mistake, in pflag's words.
            HelpRequested: help was asked for before any mistake.
        """
        values: dict[str, Value | None] = {name: flag.default for name, flag in self._flags.items()}
        given: set[str] = set()
        lists: dict[str, list[str]] = {}
        positional: list[str] = []
        rest = [_with_two_dashes(argument) for argument in arguments]
        rest.reverse()  # as a stack: the next argument is its last
        while rest:
            argument = rest.pop()
            if argument == "--":
                positional += reversed(rest)
                break
            if len(argument) < 2 or not argument.startswith("-"):
                positional.append(argument)
                continue
            flag, text = self._flag_and_text(argument, rest)
            value = self._read(flag, text)
            if isinstance(value, tuple):
                lists.setdefault(flag.name, []).extend(value)
            else:
                values[flag.name] = value
            given.add(flag.name)
        values |= {name: tuple(items) for name, items in lists.items()}
        return ParsedFlags(types.MappingProxyType(values), frozenset(given), tuple(positional))

    def _flag_and_text(self, argument: str, rest: list[str]) -> tuple[Flag, str]:
        """The flag that `argument` names and the text of its value, taken from `rest` if need be."""
        if not argument.startswith("--"):
            raise self._short(argument)
        name, equals, text = argument[2:].partition("=")
        if not name or name.startswith("-"):
            raise UsageError(f"bad flag syntax: {argument}", self.usage())
        flag = self._flags.get(name)
        if flag is None:
            if name == "help":
                raise HelpRequested
            near = suggestion(name, self._flags, prefix="--")
            raise UsageError(f"unknown flag: --{name}{near}", self.usage())
        if equals:
            return flag, text
        if flag.kind is Kind.BOOL:
            return flag, "true"
        if not rest:
            raise UsageError(f"flag needs an argument: --{name}", self.usage())
        return flag, rest.pop()

    def _short(self, argument: str) -> SentryError:
        """What to say to a one-letter flag: only `-h` is known."""
        letter = argument[1]
        if letter == "h":
            return HelpRequested()
        quoted = quote(letter, mark="'")
        return UsageError(f"unknown shorthand flag: {quoted} in {argument}", self.usage())

    def _read(self, flag: Flag, text: str) -> Value:
        try:
            return _parse_value(flag.kind, text)
        except InvalidValueError as error:
            line = f'invalid argument {quote(text)} for "--{flag.name}" flag: {error}'
            raise UsageError(line, self.usage()) from error


def _with_two_dashes(argument: str) -> str:
    one_dash = argument.startswith("-") and not argument.startswith("--")
    return f"-{argument}" if one_dash and len(encode(argument)) > 2 else argument


def _parse_value(kind: Kind, text: str) -> Value:
    match kind:
        case Kind.STRING:
            return text
        case Kind.BOOL:
            return parse_bool(text)
        case Kind.INT:
            return parse_int(text)
        case Kind.FLOAT:
            return parse_float(text)
        case Kind.DURATION:
            return parse_duration(text)
        case Kind.STRINGS:
            return parse_list(text)
        case _:
            assert_never(kind)
