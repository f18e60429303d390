"""``mibench completion``: a script made from the parsers. Only for the names of methods does it call Python while you type."""

from __future__ import annotations

import argparse
import sys
from itertools import pairwise

from mibench.cli import COMMANDS, build_parser
from mibench.cli.component_names import component_names

__all__ = ["arguments", "main"]

KINDS = ("dataset", "defense", "measure", "attack")
SUITES = "find leaderboards -maxdepth 3 -name suite.toml 2>/dev/null | sed 's|^leaderboards/||; s|/suite.toml$||'"
ZSH = "(( $+functions[compdef] )) || { autoload -U compinit && compinit }\nautoload -U bashcompinit && bashcompinit\n"
BASH = """\
_mibench() {{
    local word command= words= before=$3 prefix= value=$2
    COMPREPLY=()
    case $2 in --*=*) before=${{2%%=*}} prefix=${{2%%=*}}= value=${{2#*=}} ;; esac
    [ "$before" != "=" ] || before=${{COMP_WORDS[COMP_CWORD-2]}}
    for word in "${{COMP_WORDS[@]}}"; do
        case $word in {pattern}) command=$word; break ;; esac
    done
    case "$command $before" in
        *" $1") words="{commands} --help --version" ;;
{values}
        *) case $command in
{words}
        esac ;;
    esac
    [ -z "$words" ] || COMPREPLY=( $(compgen -P "$prefix" -W "$words" -- "$value") )
}}
complete -o default -F _mibench mibench
"""
BASH_NAMES = '$("$1" completion --names {} bash -- "${{COMP_WORDS[@]}}" 2>/dev/null)'
FISH_NAMES = "$(__mibench_names {})"
FISH = """\
function __mibench_names
    set -l words (commandline -opc)
    $words[1] completion --names $argv fish -- $words 2>/dev/null
end
complete -c mibench -n __fish_use_subcommand -l help -s h -d 'show this help message and exit'
complete -c mibench -n __fish_use_subcommand -l version -d 'print the version'
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of this command."""
    parser.add_argument("shell", choices=["bash", "zsh", "fish"], help='use it as eval "$(mibench completion bash)"')
    parser.add_argument(
        "--names",
        choices=[*KINDS, "all"],
        help="print the names of a kind instead, read from the source of all plugins",
    )
    parser.add_argument("words", nargs="*", help="with --names: a command line, whose --plugin files are read, too")


def main(args: argparse.Namespace) -> int:
    """Print the script, or names for it."""
    if args.names:
        names = component_names(_plugins(args.words))
        print("\n".join(name for kind in KINDS if args.names in (kind, "all") for name in names[kind]))
        return 0
    _, parsers = build_parser(COMMANDS)
    commands = {name: parser._actions for name, parser in parsers.items()}
    script = _fish(commands) if args.shell == "fish" else _bash(commands)
    sys.stdout.write((ZSH if args.shell == "zsh" else "") + script)
    return 0


def _plugins(words: list[str]) -> list[str]:
    """The files after --plugin; bash gives "--plugin=FILE" as three words."""
    parts = [part for word in words for part in word.split("=", 1) if part]
    return [after for flag, after in pairwise(parts) if flag == "--plugin"]


def _offered(command: str, action: argparse.Action, names: str) -> str:
    """The words that an argument of a command takes, as a shell expands them; "" where they are not known.

    Args:
        command: its name.
        action: the argument.
        names: what the shell calls for names of methods, without their kind.
    """
    if action.dest in KINDS:
        return names.format(action.dest)
    if command == "ls" and action.dest == "what":
        return " ".join([*(f"{kind}s" for kind in KINDS), names.format("all")])
    return f"$({SUITES})" if action.dest == "suite" else " ".join(map(str, action.choices or ()))


def _bash(commands: dict[str, list[argparse.Action]]) -> str:
    """A function for bash, which zsh understands as well; where it offers nothing, file names are completed."""
    values, words, free = [], [], []
    for name, actions in commands.items():
        known = [flag for action in actions for flag in action.option_strings]
        for action in actions:
            offered = _offered(name, action, BASH_NAMES)
            if not action.option_strings:
                known += [offered]
            elif action.nargs != 0:
                flags = [f'"{name} {flag}"' for flag in action.option_strings]
                values += [f'        {"|".join(flags)}) words="{offered}" ;;'] if offered else []
                free += [] if offered else flags
        words.append(f'            {name}) words="{" ".join(known)}" ;;')
    values.append(f"        {'|'.join(free)}) ;;")
    return BASH.format(
        pattern="|".join(commands), commands=" ".join(commands), values="\n".join(values), words="\n".join(words)
    )


def _fish(commands: dict[str, list[argparse.Action]]) -> str:
    """A line for each command, flag and list of words."""
    lines = []
    for name, actions in commands.items():
        lines.append(f"-n __fish_use_subcommand -fa {name} -d {_quoted(COMMANDS[name])}")
        when = f"-n '__fish_seen_subcommand_from {name}'"
        for action in actions:
            offered = _offered(name, action, FISH_NAMES).replace("$(", "(")  # before fish 3.4 there is no $(…)
            if not action.option_strings:
                lines += [f"{when} -a {_quoted(offered)}"] if offered else []
                continue
            flags = " ".join(
                f"-l {flag[2:]}" if flag[:2] == "--" else f"-s {flag[1:]}" for flag in action.option_strings
            )
            value = f" -xa {_quoted(offered)}" if offered else "" if action.nargs == 0 else " -r"
            lines.append(f"{when} {flags}{value} -d {_quoted(action.help or '')}")
    return FISH + "".join(f"complete -c mibench {line}\n" for line in lines)


def _quoted(text: str) -> str:
    """Text in the single quotes of fish."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
