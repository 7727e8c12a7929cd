"""The command line: commands, arguments, exit codes. No logic.

    0 held   1 violated   2 usage   3 inconclusive   4 harness error, not judged or never ready

Nothing but the result goes to stdout; progress and errors go to stderr.
"""

from __future__ import annotations

import argparse
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from typing import Final

from routerspec import __version__
from routerspec.commands.output import shielded
from routerspec.errors import (
    HarnessError,
    RouterspecError,
    UsageError,
    forbidden,
    full_disk,
    is_forbidden,
    is_full,
)
from routerspec.markup.plain import clean
from routerspec.processes.child import interruptible, stop_all
from routerspec.scrub import SECRETS

INTERRUPTED = 130
COMMANDS: Final = {
    "verify": (
        "start a router behind fake providers, load it, judge what was recorded",
        "verify",
        "verify_options",
    ),
    "smoke": ("one request per route: is the target file right?", "verify", "smoke_options"),
    "judge": ("re-judge a recorded run; starts nothing", "verify", "judge_options"),
    "prove": ("mutation-test the checks with every seeded defect", "prove", "add_options"),
    "compare": ("compare two verdicts; exit 1 on a regression", "compare", "add_options"),
    "repro": (
        "write a reproduction and a bug report for one violation",
        "repro",
        "add_options",
    ),
    "list": ("list the checks: id, kind, requirement", "spec", "list_options"),
    "explain": (
        "explain one check: requirement, proof, real bugs, fix",
        "spec",
        "explain_options",
    ),
    "targets": ("list the routers with built-in target files", "spec", "targets_options"),
    "lab": ("keep fakes and a router running for manual load tests", "lab", "add_options"),
    "publish": (
        "publish runs of one router in reports/ and update the matrix",
        "publish",
        "add_options",
    ),
    "bench": (
        "benchmark routers: processor time per request, throughput, added latency, memory",
        "bench",
        "add_options",
    ),
    "init": ("write a target file for a running router", "init", "add_options"),
}
"""Command -> what it does, its module in ``commands``, and the function there for its options."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; its exit status. Whatever goes wrong, it is never 0 or 1 by accident."""
    try:
        with shielded(), interruptible():
            return _run(sys.argv[1:] if arguments is None else arguments)
    except RouterspecError as error:
        _say(error)
        return error.exit_code


def _run(args: Sequence[str]) -> int:
    try:
        options = parser(args).parse_args(args)
        status: int = options.command(options)
        sys.stdout.flush()
    except RouterspecError as error:
        _say(error)
        return error.exit_code
    except KeyboardInterrupt:
        stop_all()
        print("routerspec: interrupted; all child processes were stopped.", file=sys.stderr)
        return INTERRUPTED
    except SystemExit as leaving:  # argparse, with a status; a text would leave with 1
        if leaving.code is None or isinstance(leaving.code, int):
            raise
        _say(leaving.code)
        return HarnessError.exit_code
    except Exception as error:  # Python would exit with 1, which means a violation.
        return _internal_error(error)
    return status


def _internal_error(error: Exception) -> int:
    if is_full(error):
        _say(full_disk(error))
    elif is_forbidden(error):
        _say(forbidden(error))
        return UsageError.exit_code
    else:
        _complain(traceback.format_exc().rstrip())
        _say(
            "internal error; this says nothing about the router. A run that was begun was kept. "
            "Please report it with the lines above."
        )
    return HarnessError.exit_code


def _say(error: object) -> None:
    """An error's sentence, which may quote a file or a router."""
    _complain(f"routerspec: {error}")


def _complain(text: str) -> None:
    """Print an error: without secrets, and harmless whatever a router's log has in it."""
    print(clean(SECRETS.hide(text)), file=sys.stderr)


def parser(args: Sequence[str] | None = None) -> argparse.ArgumentParser:
    """Every option of the command line.

    ``args``: the actual arguments. Then only the command in them gets its options and only its
    module is imported: numpy and httpx alone take half a second of processor time.
    """
    chosen = None if args is None else next((a for a in args if not a.startswith("-")), "")
    line = argparse.ArgumentParser(
        prog="routerspec",
        description="Black-box tests of LLM routers: are their promises kept under load?",
    )
    line.add_argument("--version", action="version", version=f"routerspec {__version__}")
    commands = line.add_subparsers(required=True, metavar="COMMAND")
    for name, (does, module, add_options) in COMMANDS.items():
        command = commands.add_parser(name, help=does, description=f"{does[0].upper()}{does[1:]}.")
        if chosen in {None, name}:
            getattr(import_module(f"routerspec.commands.{module}"), add_options)(command)
    return line
