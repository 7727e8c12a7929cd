"""`routerspec compare`, and the options that make `verify` a regression gate (`--baseline`).

Exit codes: 0 no regression, 1 regression, 2 usage. What a regression is, ``compare`` decides.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from routerspec.compare import baseline, report
from routerspec.compare.compare import MAX_RATIO, MEASURED, compare, has_grown, settled
from routerspec.markup.plain import clean_json
from routerspec.verdict import Verdict
from routerspec.verify.request import QUICK, select

WORSE = 1


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of ``routerspec compare``."""
    what = "directory of a run, or a verdict printed by `--format json`"
    parser.add_argument("old", type=Path, help=what)
    parser.add_argument("new", type=Path, help=what)
    parser.add_argument(
        "--only",
        default="",
        metavar="CHECKS",
        help="checks or groups, comma-separated: cap,models/cached",
    )
    _ratio_option(parser)
    parser.add_argument(
        "--format",
        choices=("table", "markdown", "json"),
        default="table",
        help="output format (default table)",
    )
    parser.set_defaults(command=_compare)


def verify_options(parser: argparse.ArgumentParser) -> None:
    """The options of the gate in ``routerspec verify``."""
    parser.add_argument(
        "--baseline",
        type=Path,
        metavar="OLD",
        help="a run or JSON verdict to compare with: exit 1 only on a regression",
    )
    _ratio_option(parser)


def _ratio_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--max-overhead-ratio",
        type=_ratio,
        default=MAX_RATIO,
        metavar="RATIO",
        help=f"allowed growth of added latency, as a ratio (default {MAX_RATIO:g})",
    )


def _ratio(text: str) -> float:
    try:
        ratio = float(text)
    except ValueError:
        ratio = math.nan
    if not 1 <= ratio < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of at least 1")
    return ratio


def read_baseline(options: argparse.Namespace) -> Verdict | None:
    """The verdict to compare with, read before the run; None: no gate. Raises UsageError."""
    return None if options.baseline is None else baseline.read(options.baseline)


def hold_against(
    old: Verdict,
    new: Verdict,
    folder: Path,
    options: argparse.Namespace,
    again: Callable[[tuple[str, ...]], Verdict],
) -> int:
    """Print the comparison of the selected checks; the exit status.

    Where a figure seems to have grown, all figures are measured once more: ``again`` makes a run
    of those checks alone. The comparison follows a table on stdout; with any other format it goes
    to stderr. It is also written to ``comparison.json`` and ``comparison.md`` in ``folder``.
    """
    ratio: float = options.max_overhead_ratio
    selected = QUICK if options.quick else names(options.only)
    comparison = compare(old, new, max_ratio=ratio, only=_chosen(selected, old, new))
    if has_grown(comparison):
        measured = tuple(check.id for check in new.checks if check.id in MEASURED)
        second = again(measured)
        comparison = settled(comparison, compare(old, second, max_ratio=ratio, only=measured))
    (folder / "comparison.json").write_text(report.encode(comparison) + "\n", encoding="utf-8")
    (folder / "comparison.md").write_text(report.markdown(comparison) + "\n", encoding="utf-8")
    console = Console(stderr=options.format != "table")
    console.print()
    report.render(comparison, console)
    return WORSE if comparison.worse else 0


def names(only: str) -> tuple[str, ...]:
    """The checks and groups in ``--only``, as in ``cap,models/cached``."""
    return tuple(filter(None, only.split(",")))


def _chosen(selected: tuple[str, ...], *verdicts: Verdict) -> frozenset[str] | None:
    """The ids in either verdict that are ``selected``; None: all of them.

    Including those that this version of routerspec does not know: a removed check is missing.
    """
    if not selected:
        return None
    ids = (check.id for verdict in verdicts for check in verdict.checks)
    return frozenset(id_ for id_ in ids if id_.startswith(selected))


def _compare(options: argparse.Namespace) -> int:
    selected = names(options.only)
    if selected:
        select(selected)
    old, new = baseline.read(options.old), baseline.read(options.new)
    only = _chosen(selected, old, new)
    comparison = compare(old, new, max_ratio=options.max_overhead_ratio, only=only)
    if options.format == "json":
        print(clean_json(report.encode(comparison)))
    elif options.format == "markdown":
        print(report.markdown(comparison))
    else:
        report.render(comparison, Console())
    return WORSE if comparison.worse else 0
