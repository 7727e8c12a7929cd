"""Twenty times over: a flaw is found each time, a sound router is never accused.

    pytest -m slow -s tests/judge/test_repeated_runs.py

Takes hours on two cores and prints its counts; `routerspec prove --repeat 20` is the same by hand.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from reference_router.flaws import FLAWS
from routerspec.prove import prove
from routerspec.prove.expectations import Proof, Row
from tests.support.cli import busy

pytestmark = pytest.mark.slow

RUNS = 20
BUSY_RUNS = 5


def proved(row: Row, runs: Path) -> Proof:
    """One row once."""
    (proof,) = prove.prove([row], jobs=1, runs=runs, report=lambda _: None)
    return proof


def summary(proofs: list[Proof]) -> str:
    """How often it was green, and how long it took at most."""
    green = sum(not proof.faults for proof in proofs)
    longest = max(proof.seconds for proof in proofs)
    return f"\n{proofs[0].row.name}: green {green} of {len(proofs)}, longest {longest:.1f} s"


@pytest.mark.parametrize("name", FLAWS)
def test_a_flaw_is_found_every_time(name: str, tmp_path: Path) -> None:
    (row,) = prove.rows([name], whole=False)
    proofs = [proved(row, tmp_path) for _ in range(RUNS)]
    print(summary(proofs))
    assert [proof.faults for proof in proofs if proof.faults] == []


@pytest.mark.parametrize("row", prove.sound_rows(), ids=lambda row: row.target)
def test_a_sound_router_is_never_accused(row: Row, tmp_path: Path) -> None:
    proofs = []
    for number in range(RUNS):
        with busy(2 if number < BUSY_RUNS else 0):
            proofs.append(proved(row, tmp_path))
    print(summary(proofs))
    assert [proof.faults for proof in proofs[BUSY_RUNS:] if proof.faults] == []
    assert [proof.row.name for proof in proofs if "violated" in proof.outcomes.values()] == []
