"""`sentry-trio completion`: scripts with which shells complete commands, flags and their values.

A script is static: pressing Tab starts no Python.
"""

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from sentry_trio.cli.commands import COMMANDS, SERVE
from sentry_trio.cli.completion_scripts import bash, fish, zsh
from sentry_trio.settings.flags import Kind
from sentry_trio.settings.options import FLAGS

_EXAMPLES: Final = """\
examples:
  bash, in this shell:       source <(sentry-trio completion bash)
  bash, in every new one:    sentry-trio completion bash > /etc/bash_completion.d/sentry-trio
  zsh, in every new one:     sentry-trio completion zsh > "${fpath[1]}/_sentry-trio"
  fish, in every new one:    sentry-trio completion fish > ~/.config/fish/completions/sentry-trio.fish
"""


@dataclass(frozen=True, slots=True)
class Option:
    """A flag of a command.

    Attributes:
        name: with its dashes.
        summary: one line of plain text.
        takes_value: True if a value follows it.
        choices: the possible values; empty if any is, which is completed as a file name.
    """

    name: str
    summary: str
    takes_value: bool
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CommandWords:
    """A command, with the words that complete it.

    Attributes:
        name: its name.
        summary: one line of plain text.
        words: possible arguments that are no flags.
        options: its flags.
    """

    name: str
    summary: str
    words: tuple[str, ...]
    options: tuple[Option, ...]


_SHELLS: Final[Mapping[str, Callable[[Sequence[CommandWords]], str]]] = {"bash": bash, "zsh": zsh, "fish": fish}


def parser() -> argparse.ArgumentParser:
    """The parser of the command's arguments."""
    made = argparse.ArgumentParser(
        prog="sentry-trio completion",
        description="Print a script with which a shell completes commands, flags and their values.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("shell", choices=list(_SHELLS), metavar="SHELL", help="one of %(choices)s")
    return made


def run(arguments: Sequence[str], _environ: Mapping[str, str]) -> int:
    """Prints a script; returns the exit code."""
    shell = parser().parse_args(arguments).shell
    print(_SHELLS[shell](list(_commands())), end="")
    return 0


def _commands() -> Iterator[CommandWords]:
    for command in COMMANDS:
        if command is SERVE:
            options = [Option(f"--{flag.name}", flag.help, flag.kind is not Kind.BOOL, flag.choices) for flag in FLAGS]
            more = (Option("--help", "print the help text", takes_value=False),)
            yield CommandWords(command.name, command.summary, (), (*options, *more))
        else:
            words, found = _of(command.load().parser())
            yield CommandWords(command.name, command.summary, words, found)


def _of(parsing: argparse.ArgumentParser) -> tuple[tuple[str, ...], tuple[Option, ...]]:
    """Words and flags of a parser, and of those of its subcommands."""
    words: list[str] = []
    options: dict[str, Option] = {}
    for action in parsing._actions:  # noqa: SLF001 - argparse offers no other way to list them
        choices = tuple(map(str, action.choices or ()))
        for name in action.option_strings:
            if name.startswith("--"):
                summary = "print the help text" if name == "--help" else str(action.help).split(" (default")[0]
                options[name] = Option(name, summary, action.nargs != 0, choices)
        if not action.option_strings:
            words += choices
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            for below in action.choices.values():
                options |= {option.name: option for option in _of(below)[1]}
    return tuple(words), tuple(options.values())
