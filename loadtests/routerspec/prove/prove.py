"""Mutation tests: every flaw of the reference router against every check that can detect it.

Decides which rows there are, their order, and which are run again by themselves. Each row is a
``routerspec verify`` in a process of its own; ``expectations`` decides whether it is as it should
be.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Final

from routerspec.checks import REGISTRY
from routerspec.errors import UsageError
from routerspec.limits import LOAD_S
from routerspec.plan.processors import processors
from routerspec.plan.starts import estimated_s, plan_starts
from routerspec.processes import own_code
from routerspec.processes.child import marked_environment
from routerspec.prove.expectations import Proof, Row, judged, within_reach
from routerspec.targets import load_target, variants_of

if TYPE_CHECKING:
    from reference_router.flaws import Flaw

_TIMEOUT_S: Final = 600.0
"""A full verify takes a tenth of it on an idle machine."""
_ALL_CHECKS_TIMEOUT_S: Final = 1800.0
"""With every scenario: a flaw that admits one call every 1.5 s takes 15 minutes."""
_EXITS_WITHIN_S: Final = 30.0
"""A verify that is terminated stops its router, fakes and Locust first."""


def rows(names: Iterable[str], *, whole: bool) -> list[Row]:
    """The rows for these flaws; without names, for all of them and the defect-free variants.

    ``whole``: every check for every flaw, not just those that its own scenarios suffice for.
    Raises UsageError for an unknown name.
    """
    from reference_router.flaws import FLAWS  # noqa: PLC0415 - needed by this command alone

    chosen = tuple(dict.fromkeys(names))
    for name in chosen:
        if name not in FLAWS:
            raise UsageError(f"No flaw is called {name!r}. Flaws: {', '.join(FLAWS)}.")
    flawed = [_row(FLAWS[name], whole=whole) for name in chosen or FLAWS]
    return flawed if chosen else [*sound_rows(), *flawed]


def sound_rows() -> list[Row]:
    """The router without a flaw, in every variant, each judged by every check."""
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
        alone=_needs_idle_machine(target, checks),
    )


def _needs_idle_machine(target: str, checks: tuple[str, ...]) -> bool:
    judging = [REGISTRY[id_] for id_ in checks]
    timed = any(check.timed for check in judging)
    return timed or any(start.alone for start in plan_starts(load_target(target), judging))


def prove(
    chosen: list[Row], *, jobs: int, runs: Path, report: Callable[[Proof], None]
) -> list[Proof]:
    """Run every row, ``jobs`` in parallel, the longest first.

    A row that may need the machine to itself, and did not show everything beside others, is run
    once more by itself; not where it showed too much, which no machine excuses. ``report`` is
    called with each proof as it is ready. The result is in the order of the rows.
    """
    proofs: dict[str, Proof] = {}

    def run_row(row: Row) -> None:
        proof = _verified(row, runs)
        if jobs > 1 and is_repeated(proof):
            repeated.append(row)
        else:
            proofs[row.name] = proof
            report(proof)

    repeated: list[Row] = []
    with ThreadPoolExecutor(max_workers=jobs) as pool:
        list(pool.map(run_row, sorted(chosen, key=_seconds, reverse=True)))
    for row in repeated:
        proofs[row.name] = proof = _verified(row, runs)
        report(proof)
    return [proofs[row.name] for row in chosen]


def is_repeated(proof: Proof) -> bool:
    """Whether a row that ran beside others proves nothing, and must be run by itself."""
    return proof.row.alone and bool(proof.faults) and not proof.accuses


def _seconds(row: Row) -> float:
    """About how long it takes, by its starts."""
    target = load_target(row.target)
    starts = plan_starts(target, [REGISTRY[id_] for id_ in row.checks])
    return row.soak_s + sum(estimated_s(start, target) for start in starts)


def jobs_here() -> int:
    """How many rows this machine can run in parallel: much of what a run does is waiting."""
    return processors() + 1


def _verified(row: Row, runs: Path) -> Proof:
    """Verify one row; a run without a verdict makes the row red."""
    args = ["-m", "routerspec", "verify", row.target, "--only", ",".join(row.checks)]
    args += ["--soak", f"{row.soak_s:g}s"] if row.soak_s > LOAD_S else []
    args += ["--format", "json", "--runs", str(runs), *(["--flaw", row.flaw] if row.flaw else [])]
    began = time.monotonic()
    whole = len(row.checks) == len(REGISTRY)
    printed, errors = _output(args, _ALL_CHECKS_TIMEOUT_S if whole else _TIMEOUT_S)
    try:
        verdict = json.loads(printed)
    except json.JSONDecodeError:
        verdict = None
    return judged(row, verdict, errors, time.monotonic() - began)


def _output(args: list[str], timeout_s: float) -> tuple[str, str]:
    """Standard output and error of a command of ours; after a timeout, only that it did."""
    with subprocess.Popen(
        own_code.own_python(*args),
        env=marked_environment(own_code.own_environment()),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as child:
        try:
            return child.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            child.terminate()  # so that it stops the router, the fakes and Locust as well
        try:
            child.communicate(timeout=_EXITS_WITHIN_S)
        except subprocess.TimeoutExpired:
            child.kill()
    return "", f"no exit within {timeout_s:g} s"
