"""`routerspec lab`: its words, and what it says. No logic."""

from __future__ import annotations

import argparse
from typing import Any

from rich.console import Console

from fake_providers.pacing.profiles import PROFILES, select_profiles
from routerspec import lab
from routerspec.commands import spec
from routerspec.errors import UsageError
from routerspec.plan import arrivals
from routerspec.records.run import RUNS
from routerspec.targets import load_target


def add_words(commands: Any, target_help: str) -> None:
    """Add the command to the command line."""
    words = commands.add_parser("lab", help="fakes and router up and staying up, for Locust")
    words.add_argument("target", nargs="?", default="reference", help=target_help)
    words.add_argument("--flaw", default="", help="a deliberate defect of the reference router")
    words.add_argument(
        "--profile",
        action="append",
        choices=sorted(PROFILES),
        default=[],
        help="how slow the fakes are; a second one may be given for the other provider",
    )
    words.add_argument(
        "--arrivals",
        choices=arrivals.KINDS,
        default=arrivals.CLOSED,
        help="of the lines that are printed; poisson and bursts are open loops",
    )
    words.add_argument(
        "--rate",
        type=float,
        default=arrivals.USUAL_RATE,
        help=f"requests a second, in open loop (default {arrivals.USUAL_RATE:g})",
    )
    words.set_defaults(command=_lab)


def _lab(options: argparse.Namespace) -> int:
    target = load_target(options.target)
    if options.flaw:
        spec.refuse_unknown_flaw(options.flaw, target)
    try:
        select_profiles(options.profile)
    except ValueError as error:
        raise UsageError(str(error)) from error
    pattern = arrivals.Pattern(kind=options.arrivals, rate=options.rate)
    return lab.stay_up(
        target,
        options.flaw,
        RUNS.parent / "lab",
        Console(),
        profiles=options.profile,
        pattern=pattern,
    )
