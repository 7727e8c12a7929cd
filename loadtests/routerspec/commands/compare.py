"""The gate on the command line: ``routerspec compare``, and what ``verify --baseline`` adds.

Decides words and exit codes: 0 no worse, 1 worse, 2 usage. Refuses to know when something is worse.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from routerspec.compare import baseline, report
from routerspec.compare.compare import MAX_RATIO, MEASURED, ToldVerdict, compare, has_grown, settled
from routerspec.verdict import Verdict
from routerspec.verify.request import QUICK, select

WORSE = 1


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of ``routerspec compare``."""
    what = "a run's folder, or a verdict that `--format json` printed"
    parser.add_argument("old", type=Path, help=what)
    parser.add_argument("new", type=Path, help=what)
    parser.add_argument("--only", default="", help="checks or groups: cap,models/cached")
    _ratio_word(parser)
    parser.add_argument("--format", choices=("table", "markdown", "json"), default="table")
    parser.set_defaults(command=_compare)


def verify_options(parser: argparse.ArgumentParser) -> None:
    """What ``routerspec verify`` is told of the gate."""
    parser.add_argument(
        "--baseline",
        type=Path,
        metavar="OLD",
        help="a run's folder or JSON verdict: exit 1 when it is worse than that, 0 when not",
    )
    _ratio_word(parser)


def _ratio_word(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--max-overhead-ratio",
        type=_ratio,
        default=MAX_RATIO,
        metavar="RATIO",
        help=f"how many times as much latency may be added (default {MAX_RATIO:g})",
    )


def _ratio(text: str) -> float:
    try:
        ratio = float(text)
    except ValueError:
        ratio = math.nan
    if not 1 <= ratio < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of at least 1")
    return ratio


def read_baseline(options: argparse.Namespace) -> ToldVerdict | None:
    """What to compare with; None where nothing is. Before a run, so that a wrong word costs none.

    Raises UsageError.
    """
    return None if options.baseline is None else baseline.read(options.baseline)


def hold_against(
    old: ToldVerdict,
    new: Verdict,
    folder: Path,
    options: argparse.Namespace,
    again: Callable[[tuple[str, ...]], Verdict],
) -> int:
    """Print how ``new`` compares, of the checks that it was asked for; the exit status.

    Where something seems to have grown, all figures are measured once more: ``again`` makes a run
    of these checks alone.
    After a table on stdout; any other format has stdout for itself, and this goes to stderr. In
    either case it is kept in the run's ``folder``, as ``comparison.json`` and ``comparison.md``.
    """
    told = baseline.told(new)
    ratio: float = options.max_overhead_ratio
    asked = QUICK if options.quick else words(options.only)
    comparison = compare(old, told, max_ratio=ratio, only=_chosen(asked, old, told))
    if has_grown(comparison):
        measured = tuple(check.id for check in told.checks if check.id in MEASURED)
        second = baseline.told(again(measured))
        comparison = settled(comparison, compare(old, second, max_ratio=ratio, only=measured))
    (folder / "comparison.json").write_text(report.encode(comparison) + "\n", encoding="utf-8")
    (folder / "comparison.md").write_text(report.markdown(comparison) + "\n", encoding="utf-8")
    console = Console(stderr=options.format != "table")
    console.print()
    report.render(comparison, console)
    return WORSE if comparison.worse else 0


def words(only: str) -> tuple[str, ...]:
    """What ``--only`` says, as in ``cap,models/cached``."""
    return tuple(filter(None, only.split(",")))


def _chosen(asked: tuple[str, ...], *verdicts: ToldVerdict) -> frozenset[str] | None:
    """The ids of either verdict that ``asked`` means; None: all of them.

    Also those that this version of routerspec does not know: a check that is gone is missing.
    """
    if not asked:
        return None
    ids = (check.id for verdict in verdicts for check in verdict.checks)
    return frozenset(id_ for id_ in ids if id_.startswith(asked))


def _compare(options: argparse.Namespace) -> int:
    asked = words(options.only)
    if asked:
        select(asked)
    old, new = baseline.read(options.old), baseline.read(options.new)
    only = _chosen(asked, old, new)
    comparison = compare(old, new, max_ratio=options.max_overhead_ratio, only=only)
    if options.format == "json":
        print(report.encode(comparison))
    elif options.format == "markdown":
        print(report.markdown(comparison))
    else:
        report.render(comparison, Console())
    return WORSE if comparison.worse else 0
