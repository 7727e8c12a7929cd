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
from typing import TYPE_CHECKING, Final

from routerspec.checks import REGISTRY
from routerspec.errors import UsageError
from routerspec.plan.starts import plan_starts
from routerspec.processes import own_code
from routerspec.prove.expectations import Proof, Row, judged, within_reach
from routerspec.targets import load_target, variants_of

if TYPE_CHECKING:
    from reference_router.flaws import Flaw

_PATIENCE_S: Final = 600.0
"""A whole verify takes a tenth of it on a machine of its own; a shared one is slower."""
_WHOLE_PATIENCE_S: Final = 1800.0
"""With every scenario: a flaw that lets in one every 1.5 s takes 15 minutes for its rounds."""
_ENDS_WITHIN_S: Final = 30.0
"""A verify that is told to end has a router, fakes and Locust to end first."""


def rows(names: Iterable[str], *, whole: bool) -> list[Row]:
    """The rows for these flaws, or for all of them and the sound routers when none is named.

    ``whole``: every check for every flaw, not just what its own scenarios suffice for. Raises
    UsageError for a name that no flaw has.
    """
    from reference_router.flaws import FLAWS  # noqa: PLC0415 - wanted by this word alone

    chosen = tuple(dict.fromkeys(names))
    for name in chosen:
        if name not in FLAWS:
            raise UsageError(f"No flaw is called {name!r}. There are: {', '.join(FLAWS)}.")
    flawed = [_row(FLAWS[name], whole=whole) for name in chosen or FLAWS]
    return flawed if chosen else [*sound_rows(), *flawed]


def sound_rows() -> list[Row]:
    """The router as it comes and every variant of it, each to be judged by every check."""
    targets = ["reference", *(f"reference:{name}" for name in variants_of("reference"))]
    return [
        Row(flaw="", target=target, checks=tuple(REGISTRY), also={}, alone=True)
        for target in targets
    ]


def _row(flaw: Flaw, *, whole: bool) -> Row:
    target = f"reference:{flaw.variant}" if flaw.variant else "reference"
    checks = tuple(REGISTRY) if whole else within_reach(flaw.trips)
    return Row(
        flaw=flaw.name,
        target=target,
        checks=checks,
        trips=flaw.trips,
        also=flaw.also,
        soak_s=flaw.soak_s,
        alone=_wants_quiet(target, checks),
    )


def _wants_quiet(target: str, checks: tuple[str, ...]) -> bool:
    judging = [REGISTRY[id_] for id_ in checks]
    timed = any(check.timed for check in judging)
    return timed or any(start.alone for start in plan_starts(load_target(target), judging))


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
    """Have one row verified; a run that comes to no verdict is a red row, and ends nothing."""
    words = ["-m", "routerspec", "verify", row.target, "--only", ",".join(row.checks)]
    words += ["--soak", f"{row.soak_s:g}s"]
    words += ["--format", "json", "--runs", str(runs), *(["--flaw", row.flaw] if row.flaw else [])]
    began = time.monotonic()
    whole = len(row.checks) == len(REGISTRY)
    said, told = _said(words, _WHOLE_PATIENCE_S if whole else _PATIENCE_S)
    try:
        verdict = json.loads(said)
    except json.JSONDecodeError:
        verdict = None
    return judged(row, verdict, told, time.monotonic() - began)


def _said(words: list[str], patience_s: float) -> tuple[str, str]:
    """What a command of our own said on both streams; of one that does not end, only that."""
    with subprocess.Popen(
        own_code.own_python(*words),
        env=own_code.own_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as child:
        try:
            return child.communicate(timeout=patience_s)
        except subprocess.TimeoutExpired:
            child.terminate()  # so that it ends the router, the fakes and Locust as well
        try:
            child.communicate(timeout=_ENDS_WITHIN_S)
        except subprocess.TimeoutExpired:
            child.kill()
    return "", f"it did not end within {patience_s:g} s"
