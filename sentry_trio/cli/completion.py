"""`sentry-trio completion`: scripts with which shells complete commands, flags and their values.

A script is static: pressing Tab starts no Python.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

import msgspec

from sentry_trio.cli.commands import COMMANDS, Command
from sentry_trio.cli.help import command_flags
from sentry_trio.settings.flags import REQUIRED, Flag, Kind, declare, parse_flags

# In bash, `=` parts words: what `--mode=sta` leaves at the cursor is `sta`, and `=` before it.
_BASH_SCRIPT: Final = """\
# bash completion for sentry-trio
_sentry_trio() {
    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} command=serve words=
    COMPREPLY=()
    if [[ $word == '=' ]]; then
        word=
    elif [[ $before == '=' ]]; then
        before=${COMP_WORDS[COMP_CWORD-2]}
    fi
    if [[ $before == -[!-]* ]]; then before=-$before; fi
    if (( COMP_CWORD == 1 )) && [[ $word != -* ]]; then
        words='%(commands)s'
    else
        case ${COMP_WORDS[1]} in %(others)s) command=${COMP_WORDS[1]} ;; esac
        case "$command $before" in
%(values)s
        *)
            case $command in
%(flags)s
            esac
            ;;
        esac
    fi
    COMPREPLY=($(compgen -W "$words" -- "$word"))
}
complete -o default -F _sentry_trio sentry-trio
"""

_ZSH_SCRIPT: Final = """\
#compdef sentry-trio
# zsh completion for sentry-trio
_sentry_trio() {
    local -a commands
    local command=serve
    commands=(
%(commands)s
    )
    if (( CURRENT == 2 )) && [[ $words[2] != -* ]]; then
        _describe command commands
        return
    fi
    case $words[2] in
    (%(others)s)
        command=$words[2]
        shift words
        (( CURRENT-- ))
        ;;
    esac
    case $command in
%(flags)s
    esac
}
if [[ $funcstack[1] == _sentry-trio ]]; then
    _sentry_trio "$@"
else
    compdef _sentry_trio sentry-trio
fi
"""


def _words(command: Command) -> tuple[str, ...]:
    """Returns the possible positional arguments of a command."""
    return tuple(choice for flag in command_flags(command) if flag.is_positional for choice in flag.choices)


def _flags(command: Command) -> tuple[Flag, ...]:
    return tuple(flag for flag in command_flags(command) if not flag.is_positional)


def _bash() -> str:
    """Returns the script for bash 3.2 or later."""
    values, flags = [], []
    for command in COMMANDS:
        free = [f"--{flag.name}" for flag in _flags(command) if flag.takes_value and not flag.choices]
        if free:
            values.append(f"        {'|'.join(repr(f'{command.name} {name}') for name in free)}) return ;;")
        values += [
            f"        '{command.name} --{flag.name}') words='{' '.join(flag.choices)}' ;;"
            for flag in _flags(command)
            if flag.choices
        ]
        words = " ".join((*_words(command), *(f"--{flag.name}" for flag in _flags(command))))
        flags.append(f"            {command.name}) words='{words}' ;;")
    return _BASH_SCRIPT % {
        "commands": " ".join(command.name for command in COMMANDS),
        "others": "|".join(command.name for command in COMMANDS),
        "values": "\n".join(values),
        "flags": "\n".join(flags),
    }


def _zsh() -> str:
    flags = []
    for command in COMMANDS:
        first = f"1:word:({' '.join(_words(command))})" if _words(command) else ""
        specs = [*(_zsh_spec(flag) for flag in _flags(command)), *filter(None, (first, "*:file:_files"))]
        lines = " \\\n".join(f"            {_quoted(spec)}" for spec in specs)
        flags.append(f"    ({command.name})\n        _arguments \\\n{lines}\n        ;;")
    return _ZSH_SCRIPT % {
        "commands": "\n".join(f"        {_quoted(f'{each.name}:{each.summary}')}" for each in COMMANDS),
        "others": "|".join(command.name for command in COMMANDS),
        "flags": "\n".join(flags),
    }


def _zsh_spec(flag: Flag) -> str:
    summary = "".join(f"\\{char}" if char in "[]:\\" else char for char in flag.help)
    if not flag.takes_value:
        return f"--{flag.name}[{summary}]"
    values = f"({' '.join(flag.choices)})" if flag.choices else "_files"
    return f"--{flag.name}=[{summary}]:value:{values}"


def _fish() -> str:
    return "\n".join(("# fish completion for sentry-trio", *_fish_lines(), ""))


def _fish_lines() -> Iterator[str]:
    base = "complete -c sentry-trio"
    yield f"{base} -f"
    others = " ".join(command.name for command in COMMANDS if command.name != "serve")
    for command in COMMANDS:
        yield f"{base} -n __fish_is_first_token -a {command.name} -d {_quoted(command.summary)}"
        seen = f"__fish_seen_subcommand_from {command.name}"
        when = _quoted(f"not __fish_seen_subcommand_from {others}" if command.name == "serve" else seen)
        if _words(command):
            yield f"{base} -n {when} -a {_quoted(' '.join(_words(command)))}"
        for flag in _flags(command):
            takes = ""
            if flag.takes_value:
                takes = f" -x -a {_quoted(' '.join(flag.choices))}" if flag.choices else " -r -F"
            yield f"{base} -n {when} -l {flag.name}{takes} -d {_quoted(flag.help)}"


def _quoted(text: str) -> str:
    r"""Quotes a text as one word; only a single quote in it needs an escape. fish reads `\\` there as one."""
    return "'" + text.replace("'", "'\\''") + "'"


_SHELLS: Final[Mapping[str, Callable[[], str]]] = {"bash": _bash, "zsh": _zsh, "fish": _fish}


class CompletionOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Arguments of `completion`."""

    shell: str = declare(
        Kind.STRING, REQUIRED, "the shell", choices=tuple(_SHELLS), metavar="SHELL", is_positional=True
    )


OPTIONS: Final = CompletionOptions
EXAMPLES: Final = """\
Examples:
  bash, in this shell:       source <(sentry-trio completion bash)
  bash, in every new one:    sentry-trio completion bash > /etc/bash_completion.d/sentry-trio
  zsh, in every new one:     sentry-trio completion zsh > "${fpath[1]}/_sentry-trio"
  fish, in every new one:    sentry-trio completion fish > ~/.config/fish/completions/sentry-trio.fish
"""


def run(arguments: Sequence[str], _environ: Mapping[str, str]) -> int:
    """Prints a script; returns the exit code."""
    shell = parse_flags(CompletionOptions, arguments).shell
    print(_SHELLS[shell](), end="")
    return 0
