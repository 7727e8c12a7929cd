"""`routerspec bench`: its options and its output. No logic."""

from __future__ import annotations

import argparse
import random
from pathlib import Path
from typing import Final

from rich.console import Console

from routerspec.bench import report
from routerspec.bench.bench import ROUNDS, bench
from routerspec.commands.leftovers import name_leftovers
from routerspec.errors import UsageError
from routerspec.markup.plain import clean_json
from routerspec.targets import load_target
from routerspec.verify import progress_display

_RUNS: Final = Path(".routerspec/bench")


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of ``routerspec bench``."""
    parser.epilog = (
        "The routers are loaded in turn, beside plain nginx and a direct connection. Every rate "
        "names what was at its limit: router, load generator, fake providers, or the machine. "
        "Compare processor time per request first: it hardly depends on how busy the machine is."
    )
    parser.add_argument(
        "target", nargs="+", help="built-in routers or target files; NAME:VARIANT for a variant"
    )
    parser.add_argument(
        "--rounds",
        type=int,
        metavar="N",
        default=ROUNDS,
        help=f"measurement rounds (default {ROUNDS})",
    )
    parser.add_argument(
        "--seed", type=int, metavar="N", help="random seed of the request order; printed"
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
        default=_RUNS,
        help=f"directory for the records (default {_RUNS})",
    )
    parser.add_argument(
        "--page",
        type=Path,
        metavar="FILE",
        help="also write a Markdown page, e.g. reports/bench.md",
    )
    parser.set_defaults(command=_bench)


def _bench(options: argparse.Namespace) -> int:
    say = progress_display.line_printer()
    if options.rounds < 1:
        raise UsageError("--rounds must be at least 1.")
    if len(set(options.target)) < len(options.target):
        raise UsageError("The same router is listed twice.")
    seed = random.randrange(1 << 31) if options.seed is None else options.seed  # noqa: S311
    name_leftovers()
    results, folder = bench(
        [load_target(name) for name in options.target],
        seed=seed,
        rounds=options.rounds,
        runs=options.runs,
        tell=say,
    )
    say(f"measured; records saved in {folder}")
    if options.page is not None:
        command = f"routerspec bench {' '.join(options.target)} --rounds {options.rounds}"
        options.page.parent.mkdir(parents=True, exist_ok=True)
        options.page.write_text(report.page(results, f"{command} --seed {seed}"), encoding="utf-8")
    if options.format == "json":
        print(clean_json(report.encode(results)))
    elif options.format == "markdown":
        print(report.markdown(results))
    else:
        report.render(results, Console())
    return 0
