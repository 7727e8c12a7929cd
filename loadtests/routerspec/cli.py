"""The command line: words, arguments, exit codes. No logic.

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
from routerspec.errors import HarnessError, RouterspecError

INTERRUPTED = 130
COMMANDS: Final = {
    "verify": ("the main job: load, history, verdict", "verify", "verify_options"),
    "smoke": ("one request a route: is the target right?", "verify", "smoke_options"),
    "judge": ("the verdict again, from a run's files alone", "verify", "judge_options"),
    "prove": ("flaw x check: does the judge see what it must?", "prove", "add_options"),
    "compare": ("what got worse from OLD to NEW", "compare", "add_options"),
    "repro": ("a violation as a script and a report to paste", "repro", "add_options"),
    "list": ("every check: id, kind, what must be so", "spec", "list_options"),
    "explain": ("one check: promise, proof, real bugs, fix", "spec", "explain_options"),
    "targets": ("the routers whose target files are built in", "spec", "targets_options"),
    "lab": ("fakes and router up and staying up, for Locust", "lab", "add_options"),
    "publish": ("runs of one router into reports/, with the matrix", "publish", "add_options"),
    "bench": ("routers side by side: what each adds, and carries", "bench", "add_options"),
    "init": ("a target file for a router that runs already", "init", "add_options"),
}
"""Command -> what it does, its module in ``commands``, and the function there for its options."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; its exit status."""
    words = sys.argv[1:] if arguments is None else arguments
    options = parser(words).parse_args(words)
    try:
        status: int = options.command(options)
    except RouterspecError as error:
        print(f"routerspec: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("routerspec: interrupted; every process it started has been ended.", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        return 0
    except Exception:  # Python would leave with 1, which says that a promise is broken.
        traceback.print_exc()
        print(
            "routerspec: a fault of its own, which says nothing about the router. What was "
            "recorded is kept. Please report it with the lines above.",
            file=sys.stderr,
        )
        return HarnessError.exit_code
    return status


def parser(words: Sequence[str] | None = None) -> argparse.ArgumentParser:
    """Every option of the command line.

    ``words``: what was typed. Then only the command that it names has its options, and only that
    command is imported: numpy and httpx alone take half a second of processor time.
    """
    chosen = None if words is None else next((w for w in words if not w.startswith("-")), "")
    line = argparse.ArgumentParser(
        prog="routerspec",
        description="Proves from outside that any LLM router keeps its promises under load.",
    )
    line.add_argument("--version", action="version", version=f"routerspec {__version__}")
    commands = line.add_subparsers(required=True, metavar="COMMAND")
    for name, (does, module, add_options) in COMMANDS.items():
        command = commands.add_parser(name, help=does)
        if chosen in {None, name}:
            getattr(import_module(f"routerspec.commands.{module}"), add_options)(command)
    return line
