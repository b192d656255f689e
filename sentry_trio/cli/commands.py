"""The commands of the command line, and the module that runs each."""

import gc
import importlib
from collections.abc import Mapping, Sequence
from typing import Final, Protocol, cast

import msgspec


class CommandModule(Protocol):
    """Interface of a command's module.

    Attributes:
        OPTIONS: record whose fields declare the command's flags and positional arguments.
        EXAMPLES: end of its help text.

    `serve` has neither: its flags are `settings.options.FLAGS`, its help text is the overview.
    """

    OPTIONS: type
    EXAMPLES: str

    def run(self, arguments: Sequence[str], environ: Mapping[str, str]) -> int:
        """Runs the command; returns the exit code.

        Raises:
            InvalidOptionsError: the command line is wrong.
            HelpRequested: help was requested.
        """


class Command(msgspec.Struct, frozen=True):
    """A command.

    Attributes:
        name: the first argument.
        summary: one line of plain text.
    """

    name: str
    summary: str

    def load(self) -> CommandModule:
        """Imports its module, and with it only modules that this command needs.

        Garbage is not collected meanwhile: there is next to none, and a collector that examines the growing number of
        modules again and again takes a tenth of a start.
        """
        collects = gc.isenabled()
        gc.disable()
        try:
            return cast("CommandModule", importlib.import_module(f"sentry_trio.cli.{self.name}"))
        finally:
            if collects:
                gc.enable()


SERVE: Final = Command("serve", "run the certificate authority; the default command")
COMMANDS: Final = (
    SERVE,
    Command("request", "obtain a workload certificate, and JWTs, from a running authority"),
    Command("status", "show the state of running authorities: certificates, restarts, calls, replicas"),
    Command("ca", "show, check, renew, back up or restore the certificate authority"),
    Command("audit", "verify an audit log: 'audit verify FILE'"),
    Command("completion", "print a completion script for bash, zsh or fish"),
    Command("version", "print the version"),
    Command("help", "print the help text of a command"),
)
BY_NAME: Final[Mapping[str, Command]] = {command.name: command for command in COMMANDS}
