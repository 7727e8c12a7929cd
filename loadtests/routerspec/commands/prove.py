"""The command ``prove``: its words, and what is told of each row. Refuses to judge any."""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console

from routerspec.prove import prove, report
from routerspec.prove.expectations import Proof
from routerspec.prove.expectations import exit_code as proved
from routerspec.records.run import RUNS
from routerspec.verify import progress_display


def add_options(proving: argparse.ArgumentParser) -> None:
    """The options of ``routerspec prove``."""
    proving.add_argument("flaw", nargs="*", help="only these; none: all, and the sound routers")
    proving.add_argument("--all", action="store_true", help="every scenario for every flaw")
    proving.add_argument("--repeat", type=_count, default=1, metavar="N", help="so many times over")
    proving.add_argument("--jobs", type=_count, default=0, metavar="N", help="rows side by side")
    proving.add_argument("--format", choices=("table", "markdown", "json"), default="table")
    proving.add_argument("--runs", type=Path, default=RUNS, help=f"where runs go (default {RUNS})")
    proving.set_defaults(command=_prove)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def _prove(options: argparse.Namespace) -> int:
    tell = progress_display.teller()

    def told(proof: Proof) -> None:
        tell(f"{proof.row.name}: {'RED' if proof.faults else 'ok'} ({proof.seconds:.1f} s)")

    chosen = prove.rows(options.flaw, whole=options.all)
    jobs = options.jobs or prove.jobs_here()
    rounds = []
    for _ in range(options.repeat):
        proofs = prove.prove(chosen, jobs=jobs, runs=options.runs, tell=told)
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
    return proved(every)
