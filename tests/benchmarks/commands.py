"""How long whole commands take, of this checkout beside another one, by turns.

    python -m tests.benchmarks.commands /path/to/other/.venv/bin/routerspec
    python -m tests.benchmarks.commands OTHER --rounds 5 --only quick,verify

Each round runs every command once with either program, in an order that alternates, so that what
else the machine does meets both. Prints the median and quartiles of seconds and of processor
seconds (of the command and all of its children), and of the ratio within each round.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

COMMANDS: Final = {
    "quick": ("verify", "--quick", "--quiet"),
    "verify": ("verify", "--quiet"),
    "leak on an error": ("verify", "--quiet", "--flaw", "leak-on-error"),
    "leak on a hang-up": ("verify", "--quiet", "--flaw", "leak-on-hang-up"),
    "prove": ("prove", "--jobs", "2"),
}
USUALLY: Final = ("quick", "verify")
OWN: Final = str(Path(sys.executable).with_name("routerspec"))


@dataclass(slots=True)
class Runs:
    """The runs of one command by one program."""

    wall_s: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)
    statuses: set[int] = field(default_factory=set)

    def add(self, program: str, arguments: Sequence[str]) -> None:
        """Run it once, in a folder of its own."""
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
        with tempfile.TemporaryDirectory() as folder:
            began, before = time.monotonic(), os.times()
            done = subprocess.run(
                [program, *arguments],
                cwd=folder,
                env=environment,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                check=False,
            )
            after = os.times()
        self.wall_s.append(time.monotonic() - began)
        self.cpu_s.append(
            after.children_user
            - before.children_user
            + after.children_system
            - before.children_system
        )
        self.statuses.add(done.returncode)


def quartiles(values: Sequence[float]) -> str:
    """``median (first to third quartile)``."""
    if len(values) == 1:
        return f"{values[0]:.2f}"
    first, median, third = statistics.quantiles(values, n=4, method="inclusive")
    return f"{median:.2f} ({first:.2f} to {third:.2f})"


def main() -> None:
    """Run the pairs and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("other", help="the other checkout's routerspec")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default=",".join(USUALLY), help=", ".join(COMMANDS))
    options = parser.parse_args()
    programs = (options.other, OWN)
    print("| command | | seconds | processor seconds | ratio of seconds | exit status |")
    print("|---|---|---|---|---|---|", flush=True)
    for name in options.only.split(","):
        runs = {program: Runs() for program in programs}
        for number in range(options.rounds):
            for program in programs if number % 2 else reversed(programs):
                runs[program].add(program, COMMANDS[name])
        before = runs[options.other]
        for label, its in (("other", before), ("this", runs[OWN])):
            ratios = [b / a for a, b in zip(before.wall_s, its.wall_s, strict=True)]
            print(
                f"| {name} | {label} | {quartiles(its.wall_s)} | {quartiles(its.cpu_s)} "
                f"| {quartiles(ratios)} | {', '.join(map(str, sorted(its.statuses)))} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
