"""The command line: words, arguments, exit codes. No logic.

    0 held   1 violated   2 usage   3 inconclusive   4 harness error, not judged or never ready

Nothing but the result goes to stdout; progress and errors go to stderr.
"""

from __future__ import annotations

import argparse
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from routerspec import __version__, repro
from routerspec.commands import bench, compare, init, lab, prove, publish, spec, verify
from routerspec.commands.verify import TARGET_HELP
from routerspec.errors import HarnessError, RouterspecError
from routerspec.verify import progress_display

INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; its exit status."""
    options = parser().parse_args(arguments)
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


def parser() -> argparse.ArgumentParser:
    """Every word of the command line."""
    words = argparse.ArgumentParser(
        prog="routerspec",
        description="Proves from outside that any LLM router keeps its promises under load.",
    )
    words.add_argument("--version", action="version", version=f"routerspec {__version__}")
    commands = words.add_subparsers(required=True, metavar="COMMAND")
    verify.add_words(commands)
    prove.add_words(commands)
    compare.compare_words(commands.add_parser("compare", help="what got worse from OLD to NEW"))
    repeated = commands.add_parser("repro", help="a violation as a script and a report to paste")
    repeated.add_argument("run", type=Path, help="a run's folder, under .routerspec/runs/")
    repeated.add_argument("check", help="the id of a check that the run found violated")
    repeated.set_defaults(command=_repro)
    listed = commands.add_parser("list", help="every check: id, kind, what must be so")
    listed.set_defaults(command=_list)
    explained = commands.add_parser("explain", help="one check: promise, proof, real bugs, fix")
    explained.add_argument("id", help="a check's id, for example cap/streams")
    explained.set_defaults(command=_explain)
    targets = commands.add_parser("targets", help="the routers whose target files are built in")
    targets.add_argument(
        "--schema", action="store_true", help="print the JSON Schema of target files, for editors"
    )
    targets.set_defaults(command=_targets)
    lab.add_words(commands, TARGET_HELP)
    publish.add_words(commands)
    bench.add_words(commands, progress_display.teller)
    init.add_words(commands, verify.smoke_found, verify.ports)
    return words


def _repro(options: argparse.Namespace) -> int:
    report, script = repro.write(options.run, options.check)
    print(f"report: {report}")
    print(f"script: {script}" if script else f"no script shows {options.check} yet")
    return 0


def _list(_options: argparse.Namespace) -> int:
    spec.show_list(Console())
    return 0


def _explain(options: argparse.Namespace) -> int:
    spec.show_check(options.id, Console())
    return 0


def _targets(options: argparse.Namespace) -> int:
    if options.schema:
        print(spec.target_schema())
    else:
        spec.show_targets(Console())
    return 0
