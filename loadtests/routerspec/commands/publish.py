"""`routerspec publish`: its options and its output. No logic."""

from __future__ import annotations

import argparse
from pathlib import Path

from routerspec.errors import UsageError
from routerspec.publish.publish import REPORTS, SMALL, publish, write_pages


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of ``routerspec publish``."""
    parser.add_argument(
        "run",
        nargs="*",
        type=Path,
        help="directories of at least three runs of one target and version",
    )
    parser.add_argument(
        "--reports",
        type=Path,
        metavar="DIR",
        default=REPORTS,
        help=f"directory for results (default {REPORTS})",
    )
    parser.add_argument(
        "--target",
        default="",
        metavar="FILE",
        help="target file that quotes the router's documentation, if not built in",
    )
    parser.add_argument(
        "--as-version",
        default="",
        metavar="V",
        help="version of the router, where the runs do not record it",
    )
    parser.add_argument(
        "--matrix",
        action="store_true",
        help="only regenerate reports/README.md and the pages of the site",
    )
    parser.set_defaults(command=_publish)


def _publish(options: argparse.Namespace) -> int:
    if options.matrix:
        if options.run:
            raise UsageError("--matrix only regenerates the matrix and takes no runs.")
        print(f"matrix: {write_pages(options.reports)}")
        return 0
    if not options.run:
        raise UsageError("Pass the directories of three or more runs, in .routerspec/runs/.")
    done = publish(
        options.run, options.reports, target=options.target, as_version=options.as_version
    )
    how = "replaces the previous result" if done.replaced else "new"
    print(f"published: {done.folder} ({done.size / 1000:.0f} kB, {how})")
    if done.size > SMALL:
        print(f"Larger than {SMALL / 1e6:g} MB; a shorter --soak makes the history smaller.")
    print(f"matrix: {options.reports / 'README.md'}")
    return 0
