"""`routerspec bench`: its words, and what it says. No logic."""

from __future__ import annotations

import argparse
import random
from pathlib import Path
from typing import Final

from rich.console import Console

from routerspec.bench import report
from routerspec.bench.bench import ROUNDS, bench
from routerspec.errors import UsageError
from routerspec.targets import load_target
from routerspec.verify import progress_display

_RUNS: Final = Path(".routerspec/bench")


def add_options(words: argparse.ArgumentParser) -> None:
    """The options of ``routerspec bench``."""
    words.add_argument("target", nargs="+", help="built-in routers or target files; NAME:VARIANT")
    words.add_argument(
        "--rounds", type=int, default=ROUNDS, help=f"how often all is measured (default {ROUNDS})"
    )
    words.add_argument("--seed", type=int, help="of the order of requests; printed")
    words.add_argument("--format", choices=("table", "markdown", "json"), default="table")
    words.add_argument(
        "--runs", type=Path, default=_RUNS, help=f"where the records go (default {_RUNS})"
    )
    words.add_argument("--page", type=Path, help="write the table as a page, too: reports/bench.md")
    words.set_defaults(command=_bench)


def _bench(options: argparse.Namespace) -> int:
    tell = progress_display.teller()
    if options.rounds < 1:
        raise UsageError("--rounds must be at least 1.")
    if len(set(options.target)) < len(options.target):
        raise UsageError("A router was named twice: each is measured once.")
    seed = random.randrange(1 << 31) if options.seed is None else options.seed  # noqa: S311
    found, folder = bench(
        [load_target(word) for word in options.target],
        seed=seed,
        rounds=options.rounds,
        runs=options.runs,
        tell=tell,
    )
    tell(f"measured; the records are in {folder}")
    if options.page is not None:
        asked = f"routerspec bench {' '.join(options.target)} --rounds {options.rounds}"
        options.page.parent.mkdir(parents=True, exist_ok=True)
        options.page.write_text(report.page(found, f"{asked} --seed {seed}"), encoding="utf-8")
    if options.format == "json":
        print(report.encode(found))
    elif options.format == "markdown":
        print(report.markdown(found))
    else:
        report.render(found, Console())
    return 0
