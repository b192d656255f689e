"""`sentry-trio help` and `--help`: the overview of commands and flags, or the help text of one command."""

import shutil
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Final

import msgspec

from sentry_trio.cli.commands import BY_NAME, COMMANDS, SERVE, Command
from sentry_trio.errors import InvalidOptionsError
from sentry_trio.settings.flags import REQUIRED, Flag, Kind, declare, flags_of, parse_flags
from sentry_trio.settings.options import FLAGS
from sentry_trio.settings.suggestions import suggestion

_NARROWEST: Final = 80  # columns
_SYNOPSIS: Final = """\
sentry-trio: a certificate authority for the Dapr service mesh

Usage:
  sentry-trio [serve] [FLAGS]
  sentry-trio COMMAND [ARGUMENTS]
"""
_EXAMPLES: Final = """\
Examples:
  run it on this machine, with credentials in .sentry:
    mkdir -p -m 700 .sentry
    sentry-trio --mode standalone --issuer-credentials .sentry --listen-address 127.0.0.1
  request a certificate from it, and show its state:
    sentry-trio request --id myapp --trust-anchors .sentry/ca.crt --out certs
    sentry-trio status
  enable completion in this shell:
    source <(sentry-trio completion bash)

'sentry-trio COMMAND --help' describes a command. Flags may be written with one dash or two, and take their value after
'=' or as the next argument; a switch takes one only after '='.
"""


def _command(_name: str, text: str) -> str:
    if text not in BY_NAME:
        raise InvalidOptionsError(f"unknown command {text!r}{suggestion(text, BY_NAME)}")
    return text


class HelpOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Arguments of `help`."""

    command: str = declare(
        Kind.STRING,
        SERVE.name,
        "the command; 'serve' shows the overview",
        choices=tuple(BY_NAME),
        metavar="COMMAND",
        check=_command,
        is_positional=True,
    )


OPTIONS: Final = HelpOptions
EXAMPLES: Final = ""


def run(arguments: Sequence[str], _environ: Mapping[str, str]) -> int:
    """Prints a help text; returns the exit code."""
    print(help_text(BY_NAME[parse_flags(HelpOptions, arguments).command]), end="")
    return 0


def command_flags(command: Command) -> tuple[Flag, ...]:
    """Returns the flags and positional arguments of a command; those of `serve` without importing the server."""
    declared = FLAGS if command is SERVE else flags_of(command.load().OPTIONS)
    group = "Help" if command is SERVE or not declared else declared[-1].group
    return (*declared, Flag(Kind.BOOL, default=False, help="print this help text", group=group, name="help"))


def help_text(command: Command) -> str:
    """Returns the help text of a command, ending with a line break; that of `serve` is the overview."""
    flags = command_flags(command)
    if command is SERVE:
        width = max(len(each.name) for each in COMMANDS)
        commands = "".join(f"  {each.name:<{width}}  {each.summary}\n" for each in COMMANDS)
        return "\n".join((_SYNOPSIS, f"Commands:\n{commands}", _EXAMPLES, *_groups(flags)))
    summary = f"{command.summary[0].upper()}{command.summary[1:]}.\n"
    return "\n".join(filter(None, (f"{usage(command)}\n", summary, *_groups(flags), command.load().EXAMPLES)))


def usage(command: Command) -> str:
    """Returns the line that shows the arguments of a command."""
    if command is SERVE:
        return "usage: sentry-trio [serve] [FLAGS]"
    words = [f"usage: sentry-trio {command.name}"]
    flags = command_flags(command)
    for flag in flags:
        if flag.default is REQUIRED:
            words.append(flag.head)
        elif flag.is_positional:
            words.append(f"[{flag.head}]")
    optional = any(not flag.is_positional and flag.default is not REQUIRED for flag in flags)
    return " ".join((*words, "[FLAGS]") if optional else words)


def _groups(flags: Sequence[Flag]) -> Iterator[str]:
    indent = max((len(flag.head) for flag in flags), default=0) + 4
    width = max(_NARROWEST, shutil.get_terminal_size().columns)
    for title, members in groupby(flags, key=lambda flag: flag.group or "Arguments"):
        lines = (
            textwrap.fill(
                flag.summary,
                width,
                initial_indent=f"  {flag.head}".ljust(indent),
                subsequent_indent=" " * indent,
                break_on_hyphens=False,
            )
            for flag in members
        )
        yield "\n".join((f"{title}:", *lines, ""))
