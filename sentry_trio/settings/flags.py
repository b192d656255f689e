"""Flags declared once: fields of a record whose defaults make its parser, help text, documentation and completion.

The syntax is that of Go's pflag, as Dapr's programs have it.
"""

import enum
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from typing import Any, Final, TypeVar

import msgspec

from sentry_trio.errors import InvalidOptionsError, SentryError
from sentry_trio.go_text import format_duration, quote
from sentry_trio.settings.suggestions import suggestion
from sentry_trio.settings.values import (
    InvalidValueError,
    encode,
    parse_bool,
    parse_duration,
    parse_float,
    parse_int,
    parse_list,
)

_T = TypeVar("_T")
REQUIRED: Final = object()
"""Default of a flag that must be given."""


class UsageError(InvalidOptionsError):
    """A command line that cannot be parsed."""


class HelpRequested(SentryError):  # noqa: N818 - a request for help is not an error
    """`-h`, `-help` or `--help` came before any mistake."""

    def __init__(self) -> None:
        super().__init__("help requested")


class Kind(enum.Enum):
    """Syntax of a flag's value: its word in the help text, its parser, and the text of a default."""

    STRING = "string", str, quote
    BOOL = "", parse_bool, lambda _: "true"
    INT = "int", parse_int, str
    FLOAT = "float", parse_float, str
    DURATION = "duration", parse_duration, format_duration
    STRINGS = "strings", parse_list, ",".join
    """Comma-separated; values of several occurrences add up."""
    REPEATED = "text", lambda text: (text,), ",".join
    """One text each; values of several occurrences add up."""

    def __init__(self, word: str, parse: Callable[[str], Any], show: Callable[[Any], str]) -> None:
        self.word = word
        self.parse = parse
        self.show = show


class Flag(msgspec.Struct, frozen=True):
    """Declaration of a flag, or of a positional argument.

    Attributes:
        kind: syntax of its value.
        default: parsed value if it is not given; None if "not given" differs from any value.
        help: one line of plain text.
        choices: accepted values; empty if any is. An empty text among them is accepted and not listed.
        words: texts that are accepted beside values of its kind, unchanged and unchecked.
        check: called with name and parsed value unless that is None; returns the value of the field, or raises
            `InvalidOptionsError`. It replaces the check of `choices`.
        needs: condition for the flag to have an effect: the name of a switch, or "kubernetes mode"; else empty.
        group: title of the section of the help text.
        metavar: word for the value in the help text, if not that of its kind.
        implied: text of the value if the flag is given without one; None if it needs one.
        is_own: Dapr Sentry has no such flag.
        is_positional: an argument without a name.
        name: derived from the field's name; without dashes in front.
    """

    kind: Kind
    default: Any
    help: str
    choices: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    check: Callable[[str, Any], Any] | None = None
    needs: str = ""
    group: str = ""
    metavar: str = ""
    implied: str | None = None
    is_own: bool = False
    is_positional: bool = False
    name: str = ""

    @property
    def takes_value(self) -> bool:
        """True if a value follows it."""
        return self.kind is not Kind.BOOL

    @property
    def head(self) -> str:
        """The flag and its value, as in the help text: `--port int`."""
        metavar = self.metavar or "|".join((self.kind.word, *self.words))
        if self.is_positional:
            return metavar
        return f"--{self.name} {metavar if self.implied is None else f'[{metavar}]'}".rstrip()

    @property
    def summary(self) -> str:
        """Its help, choices and default unless that is zero."""
        choices = f": {', '.join(filter(None, self.choices))}" if len(self.choices) > 1 else ""
        return f"{self.help}{choices}{self._shown_default}"

    @property
    def _shown_default(self) -> str:
        is_shown = self.default and self.default is not REQUIRED
        return f" (default {self.kind.show(self.default)})" if is_shown else ""


def declare(kind: Kind, default: object, help: str, **rest: Any) -> Any:  # noqa: A002 - typed by the field
    """Declares a field of a record as a flag; takes the attributes of `Flag`."""
    return Flag(kind, default, help, **rest)


def choice_of(kind: type[enum.Enum]) -> dict[str, Any]:
    """Returns the attributes of a flag whose values are those of an enumeration, and whose field is its member."""
    choices = tuple(each.value for each in kind)

    def member(name: str, text: str) -> enum.Enum:
        try:
            return kind(text)
        except ValueError as error:
            raise InvalidOptionsError(f"invalid --{name} {quote(text)}: {expected(choices)}") from error

    return {"choices": choices, "check": member}


def flags_of(options: type) -> tuple[Flag, ...]:
    """Returns the flags that the fields of a record declare, in order."""
    return tuple(
        msgspec.structs.replace(field.default, name=field.name.replace("_", "-"))
        for field in msgspec.structs.fields(options)
        if isinstance(field.default, Flag)
    )


class CommandLine(msgspec.Struct, frozen=True):
    """A parsed command line.

    Attributes:
        values: parsed value or default of every flag, by flag name.
        given: names of the flags on the command line.
        positional: all other arguments, in order.
    """

    values: Mapping[str, Any]
    given: frozenset[str]
    positional: tuple[str, ...]


def parse_command_line(flags: Sequence[Flag], arguments: Sequence[str]) -> CommandLine:
    """Parses a command line (without the program's name).

    Flags and positional arguments may be mixed; `--` ends the flags; the last of several occurrences wins, lists add
    up. An argument of more than two bytes that starts with exactly one dash is read as if it had two. As in Dapr
    Sentry this is blind: it changes values that are arguments of their own, too.

    Raises:
        UsageError: the first mistake.
        HelpRequested: help was requested before any mistake.
    """
    by_name = {flag.name: flag for flag in flags if not flag.is_positional}
    values: dict[str, Any] = {flag.name: flag.default for flag in flags}
    given: set[str] = set()
    positional: list[str] = []
    rest = [_with_two_dashes(argument) for argument in reversed(arguments)]  # a stack
    while rest:
        argument = rest.pop()
        if argument == "--":
            positional += reversed(rest)
            break
        if len(argument) < 2 or not argument.startswith("-"):
            positional.append(argument)
            continue
        flag, text = _flag_and_text(argument, by_name, rest)
        value = _parse_value(flag, text)
        values[flag.name] = (*values[flag.name], *value) if flag.name in given and isinstance(value, tuple) else value
        given.add(flag.name)
    return CommandLine(values, frozenset(given), tuple(positional))


def _with_two_dashes(argument: str) -> str:
    one_dash = argument.startswith("-") and not argument.startswith("--")
    return f"-{argument}" if one_dash and len(encode(argument)) > 2 else argument


def _flag_and_text(argument: str, flags: Mapping[str, Flag], rest: list[str]) -> tuple[Flag, str]:
    """Returns the flag that `argument` names and the text of its value, taken from `rest` if need be."""
    if argument == "-h":
        raise HelpRequested
    if not argument.startswith("--"):
        raise UsageError(f"unknown flag: {argument}")
    name, equals, text = argument[2:].partition("=")
    if not name or name.startswith("-"):
        raise UsageError(f"bad flag syntax: {argument}")
    flag = flags.get(name)
    if flag is None:
        if name == "help":
            raise HelpRequested
        raise UsageError(f"unknown flag: --{name}{suggestion(name, flags, prefix='--')}")
    if equals:
        return flag, text
    if flag.kind is Kind.BOOL:
        return flag, "true"
    if flag.implied is not None and (not rest or rest[-1].startswith("-")):
        return flag, flag.implied
    if not rest:
        raise UsageError(f"flag needs an argument: --{name}")
    return flag, rest.pop()


def _parse_value(flag: Flag, text: str) -> Any:
    if text in flag.words:
        return text
    try:
        return flag.kind.parse(text)
    except InvalidValueError as error:
        others = f"; also accepted: {', '.join(flag.words)}" if flag.words else ""
        raise UsageError(f"invalid --{flag.name}: {error}{others}") from error


def checked(flags: Sequence[Flag], values: Mapping[str, Any], *, except_for: Container[str] = ()) -> dict[str, Any]:
    """Returns the checked value of each flag, by the name of its field.

    Args:
        flags: the flags.
        values: their parsed values by flag name.
        except_for: names of flags whose values are not checked.

    Raises:
        InvalidOptionsError: the first value, in the order of the flags, that is not accepted.
    """
    return {
        flag.name.replace("-", "_"): values[flag.name] if flag.name in except_for else check(flag, values[flag.name])
        for flag in flags
    }


def check(flag: Flag, value: Any) -> Any:
    """Returns the checked value of a flag.

    Raises:
        InvalidOptionsError: the value is not accepted.
    """
    shown = flag.metavar if flag.is_positional else f"--{flag.name}"
    if value is REQUIRED:
        raise UsageError(f"{shown} is required")
    if value is None or value in flag.words:
        return value
    if flag.check is not None:
        return flag.check(flag.name, value)
    if flag.choices and value not in flag.choices:
        raise InvalidOptionsError(f"invalid {shown} {quote(value)}: {expected(flag.choices)}")
    return value


def expected(choices: Iterable[str]) -> str:
    """Returns the part of an error text that lists the accepted values."""
    return f"expected one of {', '.join(filter(None, choices))}"


def parse_arguments(flags: Sequence[Flag], arguments: Sequence[str]) -> CommandLine:
    """Parses the command line of a command whose positional arguments are declared.

    Raises:
        UsageError: the first mistake.
        HelpRequested: help was requested before any mistake.
    """
    line = parse_command_line(flags, arguments)
    names = [flag.name for flag in flags if flag.is_positional]
    if len(line.positional) > len(names):
        raise UsageError(f"unexpected arguments: {' '.join(line.positional[len(names) :])}")
    return msgspec.structs.replace(line, values={**line.values, **dict(zip(names, line.positional, strict=False))})


def parse_flags(options: type[_T], arguments: Sequence[str]) -> _T:
    """Parses and checks the command line of a command into the record that declares its flags.

    Raises:
        InvalidOptionsError: the first mistake.
        HelpRequested: help was requested before any mistake.
    """
    flags = flags_of(options)
    return options(**checked(flags, parse_arguments(flags, arguments).values))
