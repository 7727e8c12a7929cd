"""`routerspec prove`: its options, its output and its exit code."""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console

from routerspec.prove import prove, report
from routerspec.prove.expectations import Proof, exit_code
from routerspec.records.run import RUNS
from routerspec.verify import progress_display


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of ``routerspec prove``."""
    parser.add_argument(
        "flaw", nargs="*", help="flaws to run (default: all, and the defect-free variants)"
    )
    parser.add_argument("--all", action="store_true", help="run every scenario for every flaw")
    parser.add_argument("--repeat", type=_count, default=1, metavar="N", help="repeat N times")
    parser.add_argument(
        "--jobs", type=_count, default=0, metavar="N", help="run N flaws in parallel"
    )
    parser.add_argument(
        "--format",
        choices=("table", "markdown", "json"),
        default="table",
        help="output format (default table)",
    )
    parser.add_argument(
        "--runs",
        type=Path,
        metavar="DIR",
        default=RUNS,
        help=f"directory for runs (default {RUNS})",
    )
    parser.set_defaults(command=_prove)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def _prove(options: argparse.Namespace) -> int:
    say = progress_display.line_printer()

    def report_row(proof: Proof) -> None:
        say(f"{proof.row.name}: {'RED' if proof.faults else 'ok'} ({proof.seconds:.1f} s)")

    chosen = prove.rows(options.flaw, whole=options.all)
    jobs = options.jobs or prove.jobs_here()
    rounds = []
    for _ in range(options.repeat):
        proofs = prove.prove(chosen, jobs=jobs, runs=options.runs, report=report_row)
        rounds.append(proofs)
        if options.format == "table":
            report.render(proofs, Console())
        elif options.format == "markdown":
            print(report.markdown(proofs))
    every = [proof for proofs in rounds for proof in proofs]
    if options.format == "json":
        print(report.encode(every))
    elif options.repeat > 1:
        print(report.tally(rounds))
    return exit_code(every)
