"""The proof of the judge: every flaw of the reference router against every check that can see it.

Decides which rows there are and what runs beside what. Refuses to judge: each row is a
``routerspec verify`` of its own, in a process of its own, and ``proof`` says what it came to.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from routerspec import home
from routerspec.checks import REGISTRY
from routerspec.errors import HarnessError, UsageError
from routerspec.proof import Proof, Row, judged, within_reach
from routerspec.targets import variants_of

_PATIENCE_S: Final = 300.0


def rows(names: Iterable[str], *, whole: bool) -> list[Row]:
    """The rows for these flaws, or for all of them and the sound routers when none is named.

    ``whole``: every check for every flaw, not just what its own scenarios suffice for. Raises
    UsageError for a name that no flaw has.
    """
    from reference_router.flaws import FLAWS  # noqa: PLC0415 - wanted by this word alone

    chosen = tuple(names)
    for name in chosen:
        if name not in FLAWS:
            raise UsageError(f"No flaw is called {name!r}. There are: {', '.join(FLAWS)}.")
    found = [
        Row(
            flaw=flaw.name,
            target=f"reference:{flaw.variant}" if flaw.variant else "reference",
            checks=tuple(REGISTRY) if whole else within_reach(flaw.trips),
            trips=flaw.trips,
            also=flaw.also,
        )
        for flaw in FLAWS.values()
        if not chosen or flaw.name in chosen
    ]
    if chosen:
        return found
    sound = ["reference", *(f"reference:{name}" for name in variants_of("reference"))]
    return [Row(flaw="", target=t, checks=tuple(REGISTRY), also={}) for t in sound] + found


def prove(
    chosen: list[Row], *, jobs: int, runs: Path, tell: Callable[[Proof], None]
) -> list[Proof]:
    """Run every row, several at once but for those that want the machine for themselves.

    ``tell`` is given each proof as it comes. The proofs are in the order of the rows.
    """
    proofs: dict[str, Proof] = {}

    def play(row: Row) -> None:
        proofs[row.name] = proof = _played(row, runs)
        tell(proof)

    with ThreadPoolExecutor(max_workers=jobs) as pool:
        list(pool.map(play, [row for row in chosen if not row.alone]))
    for row in chosen:
        if row.alone:
            play(row)
    return [proofs[row.name] for row in chosen]


def jobs_here() -> int:
    """How many rows this machine can have side by side: a run has more than one process."""
    return max(1, (os.cpu_count() or 1) // 2)


def _played(row: Row, runs: Path) -> Proof:
    words = ["-m", "routerspec", "verify", row.target, "--only", ",".join(row.checks)]
    words += ["--format", "json", "--runs", str(runs), *(["--flaw", row.flaw] if row.flaw else [])]
    began = time.monotonic()
    try:
        done = subprocess.run(
            home.own_python(*words),
            env=home.own_environment(),
            capture_output=True,
            text=True,
            timeout=_PATIENCE_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise HarnessError(f"{row.name}: no verdict within {_PATIENCE_S:g} s.") from None
    verdict = json.loads(done.stdout) if done.stdout.strip() else None
    proof = judged(row, verdict, done.stderr)
    return Proof(
        row=row,
        outcomes=proof.outcomes,
        faults=proof.faults,
        seconds=time.monotonic() - began,
    )
