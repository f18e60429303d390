"""The command line: one file per subcommand, each imported when it is called, so that --help needs no library."""

from __future__ import annotations

import argparse
import importlib
import sys
import tempfile
import traceback
from collections.abc import Collection, Sequence
from io import TextIOWrapper

from mibench.errors import MibenchError, one_line

__all__ = ["COMMANDS", "build_parser", "main"]

COMMANDS = {
    "run": "train, attack and measure: one cell or a whole suite; the same command again resumes",
    "audit": "attack a model that someone else has trained, given its training files and others",
    "status": "count the cells of a suite that are done, missing, stale or failed",
    "log": "print the output of the job that ran a cell, with the traceback of an error",
    "ls": "list all datasets, defenses, measures and attacks, or all about one of them",
    "plugins": "list all plugins and the problems of broken ones",
    "check": "run the conformance tests on the datasets, defenses, measures and attacks of a package or file",
    "leaderboard": "write the README.md of a suite, or of all suites with their index, from the records; --check only compares",
    "site": "write a page for each board and an index: self-contained HTML, to be opened in a browser",
    "export": "write the figures of all records of suites as one table: CSV, JSON or Parquet",
    "export-model": "write a trained VP model as a folder that diffusers reads, and its files as images",
    "upgrade": "recompute the figures of records with older metrics from the ranks in them",
    "validate": "check the records of suites: schema, digests, keys, duplicates, stale records, figures",
    "verify": "compute a record, or some of a suite, from scratch and compare the figures",
    "cache": "show what the store holds and what is not needed; --prune deletes what is not needed",
    "bound": "print and plot the privacy bound of one noised sample over t: Δf_t, Rényi and (ε, δ)",
    "samples": "draw a picture of the samples that the models of a suite generate",
    "completion": "print a script that completes commands, flags, suites and names of methods in bash, zsh or fish",
}


class Parser(argparse.ArgumentParser):
    """Errors as one line, exit code 2."""

    def error(self, message: str) -> None:  # type: ignore[override]
        """Print the message alone."""
        self.exit(2, f"mibench: {one_line(f'{message} (see {self.prog} --help)')}\n")


def build_parser(wanted: Collection[str]) -> tuple[Parser, dict[str, Parser]]:
    """The parser, and those of the subcommands, of which only the wanted ones are imported and have their arguments."""
    parser = Parser(
        prog="mibench",
        description="A benchmark of membership inference attacks on diffusion models and of defenses against them.",
        epilog="exit codes: 0 done · 1 a cell failed, a record cannot be read, or a check found a difference · "
        "2 wrong usage · 130, 143, 129 stopped by Ctrl-C, SIGTERM, SIGHUP",
    )
    parser.add_argument("--version", action="store_true", help="print the version")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=Parser)
    parsers = {}
    for name, summary in COMMANDS.items():
        sub = commands.add_parser(name, help=summary, description=summary[0].upper() + summary[1:] + ".")
        parsers[name] = sub
        if name in wanted:
            module = importlib.import_module(f"mibench.cli.{name.replace('-', '_')}")
            module.arguments(sub)
            sub.set_defaults(function=module.main)
    return parser, parsers


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code: 0 done, 1 something failed or differs, 2 wrong usage."""
    argv = list(sys.argv[1:] if argv is None else argv)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # names may hold what a terminal cannot show
            stream.reconfigure(errors="backslashreplace")
    wanted = next((word for word in argv if not word.startswith("-")), None)
    parser, parsers = build_parser([name for name in COMMANDS if name == wanted])
    if wanted is not None and wanted not in COMMANDS:
        import difflib

        close = difflib.get_close_matches(wanted, COMMANDS, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"the commands are {', '.join(COMMANDS)}"
        print(f"mibench: {one_line(f'unknown command {wanted!r}; {hint}')}", file=sys.stderr)
        return 2
    try:
        args, unexpected = parser.parse_known_args(argv)
        if unexpected:
            parsers.get(wanted or "", parser).error(f"unexpected {' '.join(unexpected)}")
    except SystemExit as stop:
        return int(stop.code or 0)
    if args.version:
        from mibench import __version__

        print(f"mibench {__version__}")
        return 0
    if not args.command:
        parser.print_help()
        return 2
    try:
        return int(args.function(args))
    except MibenchError as error:
        print(f"mibench: {one_line(error)}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("mibench: interrupted; run the same command again to resume", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 0
    except OSError as error:
        where = f"{error.filename}: " if error.filename is not None else ""
        print(f"mibench: {one_line(f'{where}{error.strerror or error}')}", file=sys.stderr)
        return 1
    except Exception as error:  # of mibench itself, or of a plugin's code that it had to call
        with tempfile.NamedTemporaryFile("w", prefix="mibench-", suffix=".log", delete=False) as log:
            traceback.print_exception(error, file=log)
        text = one_line(f"unexpected {type(error).__name__}: {error}")
        print(f"mibench: {text} (traceback: {log.name})", file=sys.stderr)
        return 1
