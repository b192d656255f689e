"""`sentry-trio help` and `--help`: the overview of commands and flags, or the help text of one command."""

import shutil
import textwrap
from argparse import ArgumentParser
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Final

from sentry_trio.cli.commands import BY_NAME, COMMANDS, SERVE
from sentry_trio.settings.options import FLAGS
from sentry_trio.settings.suggestions import suggestion

_NARROWEST: Final = 80  # columns
_SYNOPSIS = """\
sentry-trio: a certificate authority for the Dapr service mesh

Usage:
  sentry-trio [serve] [FLAGS]
  sentry-trio COMMAND [ARGUMENTS]
"""
_EXAMPLES = """\
Examples:
  on this machine, with credentials in .sentry:
    sentry-trio --mode standalone --issuer-credentials .sentry --listen-address 127.0.0.1
  a certificate from it, and its state:
    sentry-trio request --id myapp --trust-anchors .sentry/ca.crt --out certs
    sentry-trio status
  completion in this shell:
    source <(sentry-trio completion bash)

'sentry-trio COMMAND --help' describes a command. Flags may be written with one dash or two, and take their value after
'=' or as the next argument; a switch takes one only after '='.
"""


def parser() -> ArgumentParser:
    """The parser of the command `help`."""
    made = ArgumentParser(prog="sentry-trio help", description="Print the help text of a command, or the overview.")
    made.add_argument("command", nargs="?", choices=list(BY_NAME), metavar="COMMAND", help="one of %(choices)s")
    return made


def run(arguments: Sequence[str], _environ: Mapping[str, str]) -> int:
    """Prints a help text; returns the exit code."""
    parsing = parser()
    for word in arguments[:1]:
        if not word.startswith("-") and word not in BY_NAME:
            parsing.error(f"unknown command {word!r}{suggestion(word, BY_NAME)}")
    name = parsing.parse_args(arguments).command
    if name in {None, SERVE.name}:
        print(overview(), end="")
    else:
        BY_NAME[name].load().parser().print_help()
    return 0


def overview() -> str:
    """Synopsis, commands, examples, and flags by group, ending with a line break."""
    width = max(len(command.name) for command in COMMANDS)
    commands = "".join(f"  {command.name:<{width}}  {command.summary}\n" for command in COMMANDS)
    return "\n".join((_SYNOPSIS, f"Commands:\n{commands}", _EXAMPLES, *_flags()))


def _flags() -> Iterator[str]:
    indent = max(len(flag.head) for flag in FLAGS) + 4
    width = max(_NARROWEST, shutil.get_terminal_size().columns)
    for title, members in groupby(FLAGS, key=lambda flag: flag.group):
        lines = [f"{title}:\n"]
        for flag in members:
            text = textwrap.fill(
                flag.summary,
                width,
                initial_indent=f"  {flag.head}".ljust(indent),
                subsequent_indent=" " * indent,
                break_on_hyphens=False,
            )
            lines.append(f"{text}\n")
        yield "".join(lines)
