"""`routerspec prove`: what a row owes, and that one flaw's row is run and read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from reference_router.flaws import FLAWS
from routerspec import prove
from routerspec.checks import REGISTRY
from routerspec.errors import UsageError
from routerspec.proof import Row, judged, within_reach
from routerspec.report import matrix
from routerspec.verdict import Kind
from tests.command_line import routerspec

FLAWED = Row(
    flaw="made-up", target="reference", checks=("cap/each-route", "cap/burst", "slots/reached"),
    trips=("cap/each-route",), also={"cap/burst": "in consequence"},
)  # fmt: skip
SOUND = Row(flaw="", target="reference", checks=FLAWED.checks, also={})


def verdict(**outcomes: str) -> dict[str, Any]:
    """``cap_burst="violated"``: the others held."""
    told = {name.replace("_", "/", 1).replace("_", "-"): its for name, its in outcomes.items()}
    return {
        "checks": [
            {
                "id": id_,
                "kind": str(REGISTRY[id_].kind),
                "outcome": told.get(id_, "held"),
                "reason": "for a reason",
                "summary": "in short",
            }
            for id_ in FLAWED.checks
        ]
    }


@pytest.mark.parametrize(
    ("outcomes", "fault"),
    [
        ({"cap_each_route": "violated"}, ""),
        ({"cap_each_route": "violated", "cap_burst": "violated"}, ""),
        ({"cap_each_route": "violated", "slots_reached": "inconclusive"}, ""),
        ({"cap_each_route": "violated", "slots_reached": "violated"}, "violated as well"),
        ({"cap_each_route": "inconclusive"}, "cap/each-route is inconclusive: for a reason"),
        ({"cap_each_route": "harness error"}, "cap/each-route is harness error"),
        ({}, "cap/each-route is held"),
    ],
)
def test_a_flaw_trips_what_it_names_and_no_other(outcomes: dict[str, str], fault: str) -> None:
    faults = judged(FLAWED, verdict(**outcomes)).faults
    assert len(faults) == bool(fault)
    assert all(fault in one for one in faults)


@pytest.mark.parametrize(
    ("outcomes", "red"),
    [
        ({}, False),
        ({"cap_burst": "not applicable"}, False),
        ({"cap_burst": "violated"}, True),
        ({"cap_burst": "inconclusive"}, True),
    ],
)
def test_a_sound_router_trips_nothing_and_leaves_nothing_open(
    outcomes: dict[str, str], red: bool
) -> None:
    assert bool(judged(SOUND, verdict(**outcomes)).faults) is red


def test_a_row_without_a_verdict_is_red_and_says_why() -> None:
    (fault,) = judged(FLAWED, None, "the port was taken").faults
    assert "the port was taken" in fault


def test_every_flaw_and_every_sound_router_has_a_row() -> None:
    rows = prove.rows((), whole=False)
    assert {row.flaw for row in rows} == {"", *FLAWS}
    assert "reference" in {row.target for row in rows if not row.flaw}
    for row in rows:
        assert set(row.trips) <= set(row.checks), row.name
    with pytest.raises(UsageError, match="No flaw is called 'none-such'"):
        prove.rows(["none-such"], whole=False)


def test_what_is_judged_beside_a_trip_needs_no_other_scenario() -> None:
    assert within_reach(("cap/burst",)) == ("cap/burst",)
    assert set(within_reach(("slots/reached",))) >= {"cap/each-route", "slots/reached"}
    assert "slots/return-after-timeout" not in within_reach(("slots/return-after-error",))


def test_every_must_has_a_flaw_that_trips_it() -> None:
    tripped = {id_ for flaw in FLAWS.values() for id_ in (*flaw.trips, *flaw.also)}
    musts = {id_ for id_, check in REGISTRY.items() if check.kind is Kind.MUST}
    assert musts - tripped == NOT_YET


NOT_YET: set[str] = {
    "cap/replicas",
}
"""Checks that only made-up histories have been seen to trip."""


def test_the_matrix_is_told_in_three_ways(capsys: pytest.CaptureFixture[str]) -> None:
    proofs = [judged(FLAWED, verdict(cap_each_route="violated")), judged(SOUND, verdict())]
    matrix.render(proofs, Console(width=80))
    shown = capsys.readouterr().out
    assert "made-up" in shown
    assert "1 flaws, 1 sound routers: each trips its checks and no other" in " ".join(shown.split())
    text = matrix.markdown(proofs)
    assert "| made-up | ok | **X** | . | . |" in text
    assert json.loads(matrix.encode(proofs))[0]["outcomes"]["cap/each-route"] == "violated"


def test_one_flaw_end_to_end(tmp_path: Path) -> None:
    got = routerspec("prove", "permit-freed-at-head", "--format", "json", cwd=tmp_path)
    assert got.status == 0, got.out + got.err
    (row,) = json.loads(got.out)
    assert row["outcomes"]["cap/streams"] == "violated"


@pytest.mark.slow
def test_the_whole_matrix(tmp_path: Path) -> None:
    status = prove.prove(
        prove.rows((), whole=False), jobs=prove.jobs_here(), runs=tmp_path, tell=print
    )
    assert [(proof.row.name, proof.faults) for proof in status if proof.faults] == []
