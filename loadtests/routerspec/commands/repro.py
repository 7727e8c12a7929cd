"""`routerspec repro`: its options and its output. No logic."""

from __future__ import annotations

import argparse
from pathlib import Path

from routerspec import repro


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of ``routerspec repro``."""
    parser.add_argument("run", type=Path, help="directory of a run, in .routerspec/runs/")
    parser.add_argument("check", help="id of a check that the run violated")
    parser.set_defaults(command=_repro)


def _repro(options: argparse.Namespace) -> int:
    report, script = repro.write(options.run, options.check)
    print(f"report: {report}")
    print(f"script: {script}" if script else f"no reproduction script for {options.check} yet")
    return 0
