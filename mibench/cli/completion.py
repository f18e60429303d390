"""``mibench completion``: a script made from the parsers. It calls no Python while you type, so it knows no plugin's names."""

from __future__ import annotations

import argparse
import sys

from mibench.cli import COMMANDS, build_parser

__all__ = ["arguments", "main"]

SUITES = "find leaderboards -maxdepth 3 -name suite.toml 2>/dev/null | sed 's|^leaderboards/||; s|/suite.toml$||'"
ZSH = "(( $+functions[compdef] )) || { autoload -U compinit && compinit }\nautoload -U bashcompinit && bashcompinit\n"
BASH = """\
_mibench() {{
    local word command= words=
    COMPREPLY=()
    for word in "${{COMP_WORDS[@]}}"; do
        case $word in {pattern}) command=$word; break ;; esac
    done
    case "$command $3" in
        *" $1") words="{commands} --help --version" ;;
{values}
        *) case $command in
{words}
        esac ;;
    esac
    [ -z "$words" ] || COMPREPLY=( $(compgen -W "$words" -- "$2") )
}}
complete -o default -F _mibench mibench
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of this command."""
    parser.add_argument("shell", choices=["bash", "zsh", "fish"], help='use it as eval "$(mibench completion bash)"')


def main(args: argparse.Namespace) -> int:
    """Print the script."""
    _, parsers = build_parser(COMMANDS)
    commands = {name: parser._actions for name, parser in parsers.items()}
    script = _fish(commands) if args.shell == "fish" else _bash(commands)
    sys.stdout.write((ZSH if args.shell == "zsh" else "") + script)
    return 0


def _bash(commands: dict[str, list[argparse.Action]]) -> str:
    """A function for bash, which zsh understands as well; where it offers nothing, file names are completed."""
    values, words, free = [], [], []
    for name, actions in commands.items():
        known = [flag for action in actions for flag in action.option_strings]
        for action in actions:
            choices = " ".join(map(str, action.choices or ()))
            if not action.option_strings:
                known += [choices] if choices else ["", f"$({SUITES})"] if action.dest == "suite" else []
            elif action.nargs != 0:
                flags = [f'"{name} {flag}"' for flag in action.option_strings]
                values += [f'        {"|".join(flags)}) words="{choices}" ;;'] if choices else []
                free += [] if choices else flags
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
            choices = " ".join(map(str, action.choices or ()))
            if not action.option_strings:
                words = f"({SUITES})" if action.dest == "suite" else choices
                lines += [f"{when} -a {_quoted(words)}"] if words else []
                continue
            flags = " ".join(
                f"-l {flag[2:]}" if flag[:2] == "--" else f"-s {flag[1:]}" for flag in action.option_strings
            )
            value = f" -xa {_quoted(choices)}" if choices else "" if action.nargs == 0 else " -r"
            lines.append(f"{when} {flags}{value} -d {_quoted(action.help or '')}")
    return "".join(f"complete -c mibench {line}\n" for line in lines)


def _quoted(text: str) -> str:
    """Text in the single quotes of fish."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
