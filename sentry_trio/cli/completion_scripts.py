"""The completion scripts for bash, zsh and fish, made from commands and their flags."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from sentry_trio.cli.completion import CommandWords, Option

# In bash, `=` parts words: what `--mode=sta` leaves at the cursor is `sta`, and `=` before it.
_BASH: Final = """\
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

_ZSH: Final = """\
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


def bash(commands: Sequence["CommandWords"]) -> str:
    """The script for bash 3.2 or later."""
    values, flags = [], []
    for command in commands:
        free = [option.name for option in command.options if option.takes_value and not option.choices]
        if free:
            values.append(f"        {'|'.join(repr(f'{command.name} {name}') for name in free)}) return ;;")
        values += [
            f"        '{command.name} {option.name}') words='{' '.join(option.choices)}' ;;"
            for option in command.options
            if option.choices
        ]
        words = " ".join((*command.words, *(option.name for option in command.options)))
        flags.append(f"            {command.name}) words='{words}' ;;")
    return _BASH % {
        "commands": " ".join(command.name for command in commands),
        "others": "|".join(command.name for command in commands),
        "values": "\n".join(values),
        "flags": "\n".join(flags),
    }


def zsh(commands: Sequence["CommandWords"]) -> str:
    """The script for zsh."""
    flags = []
    for command in commands:
        first = f"1:word:({' '.join(command.words)})" if command.words else ""
        specs = [*(_zsh_spec(option) for option in command.options), *filter(None, (first, "*:file:_files"))]
        lines = " \\\n".join(f"            {_quoted(spec)}" for spec in specs)
        flags.append(f"    ({command.name})\n        _arguments \\\n{lines}\n        ;;")
    return _ZSH % {
        "commands": "\n".join(f"        {_quoted(f'{each.name}:{each.summary}')}" for each in commands),
        "others": "|".join(command.name for command in commands),
        "flags": "\n".join(flags),
    }


def _zsh_spec(option: "Option") -> str:
    summary = "".join(f"\\{char}" if char in "[]:\\" else char for char in option.summary)
    if not option.takes_value:
        return f"{option.name}[{summary}]"
    values = f"({' '.join(option.choices)})" if option.choices else "_files"
    return f"{option.name}=[{summary}]:value:{values}"


def fish(commands: Sequence["CommandWords"]) -> str:
    """The script for fish."""
    return "\n".join(("# fish completion for sentry-trio", *_fish_lines(commands), ""))


def _fish_lines(commands: Sequence["CommandWords"]) -> Iterator[str]:
    base = "complete -c sentry-trio"
    yield f"{base} -f"
    others = " ".join(command.name for command in commands if command.name != "serve")
    for command in commands:
        yield f"{base} -n __fish_is_first_token -a {command.name} -d {_quoted(command.summary)}"
        seen = f"__fish_seen_subcommand_from {command.name}"
        when = _quoted(f"not __fish_seen_subcommand_from {others}" if command.name == "serve" else seen)
        if command.words:
            yield f"{base} -n {when} -a {_quoted(' '.join(command.words))}"
        for option in command.options:
            takes = ""
            if option.takes_value:
                takes = f" -x -a {_quoted(' '.join(option.choices))}" if option.choices else " -r -F"
            yield f"{base} -n {when} -l {option.name[2:]}{takes} -d {_quoted(option.summary)}"


def _quoted(text: str) -> str:
    r"""As one word; the only thing to escape between single quotes is their end. fish reads `\\` there as one."""
    return "'" + text.replace("'", "'\\''") + "'"
