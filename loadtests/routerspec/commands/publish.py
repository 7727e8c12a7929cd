"""`routerspec publish`: its words, and what it says. No logic."""

from __future__ import annotations

import argparse
from pathlib import Path

from routerspec.errors import UsageError
from routerspec.publish.publish import REPORTS, SMALL, publish, write_matrix


def add_options(words: argparse.ArgumentParser) -> None:
    """The options of ``routerspec publish``."""
    words.add_argument(
        "run", nargs="*", type=Path, help="at least three runs of one target and version"
    )
    words.add_argument(
        "--reports", type=Path, default=REPORTS, help=f"where results go (default {REPORTS})"
    )
    words.add_argument(
        "--target",
        default="",
        help="the target file with the documentation's words, if not built in",
    )
    words.add_argument(
        "--as-version", default="", metavar="V", help="the version, where the runs cannot tell it"
    )
    words.add_argument("--matrix", action="store_true", help="only write reports/README.md anew")
    words.set_defaults(command=_publish)


def _publish(options: argparse.Namespace) -> int:
    if options.matrix:
        if options.run:
            raise UsageError("--matrix only writes the matrix anew: leave the runs out.")
        print(f"matrix: {write_matrix(options.reports)}")
        return 0
    if not options.run:
        raise UsageError("Say which runs: their folders, under .routerspec/runs/ (three or more).")
    done = publish(
        options.run, options.reports, target=options.target, as_version=options.as_version
    )
    again = "in place of what was published before" if done.replaced else "new"
    print(f"published: {done.folder} ({done.size / 1000:.0f} kB, {again})")
    if done.size > SMALL:
        print(f"It is larger than {SMALL / 1e6:g} MB: a shorter --soak makes a smaller history.")
    print(f"matrix: {options.reports / 'README.md'}")
    return 0
