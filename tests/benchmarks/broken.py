"""How long a verdict on a broken router takes: prints a table, one row a router.

    python -m tests.benchmarks.broken                     (about a quarter of an hour)
    python -m tests.benchmarks.broken leak-on-error token-bucket

Each row is a whole ``routerspec verify``, one after the other: of the reference router with each
flaw that loses slots or limits something else than them, and of the routers of
``tests/routers/broken.py``. Seconds are those of the clock, so they want a quiet machine; processor
seconds are those of ``verify`` and all its children, and what is left of the clock is waiting. The
exit status is 1 where a row took longer than ``LIMIT_S``.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from reference_router.flaws import FLAWS
from tests.routers.broken import HOW
from tests.routers.broken_target import broken_target

LIMIT_S: Final = 90.0
_PATIENCE_S: Final = 1200.0
_FAMILIES: Final = ("leaks", "slots", "pools", "limiters")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What one ``verify`` took, and what it came to."""

    name: str
    wall_s: float
    processor_s: float
    outcomes: Counter[str]
    violated: tuple[str, ...]


def chosen(names: list[str]) -> dict[str, list[str]]:
    """Name -> arguments of ``verify``; those of ``names``, or all."""
    flaws = [flaw for flaw in FLAWS.values() if _family(flaw) in _FAMILIES]
    rows = {flaw.name: [_target(flaw), "--flaw", flaw.name] for flaw in flaws}
    rows |= {f"router {how}": [how] for how in HOW}
    return {name: row for name, row in rows.items() if not names or name in names}


def _family(flaw: Any) -> str:
    """The module that has it."""
    for family in _FAMILIES:
        module = __import__(f"reference_router.flaws.{family}", fromlist=["FLAWS"])
        if flaw in module.FLAWS:
            return family
    return ""


def _target(flaw: Any) -> str:
    return f"reference:{flaw.variant}" if flaw.variant else "reference"


def measured(name: str, arguments: list[str], folder: Path) -> Row:
    """One ``verify``."""
    if name.startswith("router "):
        arguments = [str(broken_target(folder, *arguments))]
    command = [sys.executable, "-m", "routerspec", "verify", *arguments, "--quiet"]
    env = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    before, began = _children_s(), time.monotonic()
    printed = subprocess.run(
        [*command, "--format", "json", "--runs", str(folder / "runs")],
        capture_output=True, text=True, check=False, env=env, timeout=_PATIENCE_S,
    ).stdout  # fmt: skip
    checks = json.loads(printed)["checks"]
    return Row(
        name=name,
        wall_s=time.monotonic() - began,
        processor_s=_children_s() - before,
        outcomes=Counter(check["outcome"] for check in checks),
        violated=tuple(check["id"] for check in checks if check["outcome"] == "violated"),
    )


def _children_s() -> float:
    """Processor time of all children that have ended, and of theirs."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def line(row: Row) -> str:
    """One line of the table, in Markdown."""
    held, unclear = row.outcomes["held"], row.outcomes["inconclusive"]
    violated = " ".join(row.violated) or "-"
    return (
        f"| {row.name} | {row.wall_s:.0f} | {row.processor_s:.0f} | {held} | {unclear} | "
        f"{violated} |"
    )


def main(names: list[str]) -> int:
    """Print the table row by row. Returns the exit status."""
    print("| router or flaw | s | processor s | held | inconclusive | violated |")
    print("|---|---|---|---|---|---|", flush=True)
    slow = False
    with tempfile.TemporaryDirectory() as folder:
        for name, arguments in chosen(names).items():
            row = measured(name, arguments, Path(folder))
            print(line(row), flush=True)
            slow |= row.wall_s > LIMIT_S
    return int(slow)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
