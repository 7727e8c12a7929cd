"""`routerspec prove`: the outcomes a row requires, and that rows are run and read."""

from __future__ import annotations

import dataclasses
import json
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from reference_router.flaws import FLAWS
from routerspec.checks import REGISTRY
from routerspec.errors import UsageError
from routerspec.processes import own_code
from routerspec.prove import prove, report
from routerspec.prove.expectations import Proof, Row, exit_code, judged, within_reach
from routerspec.targets import variants_of
from routerspec.verdict import Kind
from tests.support.cli import routerspec

FLAWED = Row(
    flaw="made-up", target="reference", checks=("cap/each-route", "cap/burst", "slots/reached"),
    trips=("cap/each-route",), also={"cap/burst": "in consequence"},
)  # fmt: skip
SOUND = Row(flaw="", target="reference", checks=FLAWED.checks, also={})


def verdict(**outcomes: str) -> dict[str, Any]:
    """``cap_burst="violated"``: the others held."""
    given = {name.replace("_", "/", 1).replace("_", "-"): its for name, its in outcomes.items()}
    return {
        "checks": [
            {
                "id": id_,
                "kind": str(REGISTRY[id_].kind),
                "outcome": given.get(id_, "held"),
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
def test_a_flaw_trips_the_checks_it_names_and_no_other(
    outcomes: dict[str, str], fault: str
) -> None:
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
def test_a_sound_router_trips_nothing_and_leaves_nothing_inconclusive(
    outcomes: dict[str, str], red: bool
) -> None:
    assert bool(judged(SOUND, verdict(**outcomes)).faults) is red


@pytest.mark.parametrize("row", [FLAWED, SOUND])
def test_a_row_without_a_verdict_is_red_and_says_why(row: Row) -> None:
    proof = judged(row, None, "the port was taken")
    assert ["the port was taken" in fault for fault in proof.faults] == [True]
    assert proof.ours
    assert "no output" in judged(row, None).faults[0]


def test_a_check_missing_from_the_verdict_is_red() -> None:
    (fault,) = judged(FLAWED, {"checks": []}).faults
    assert fault == "cap/each-route is not judged: it is missing from the verdict"


def test_only_a_must_counts_against_a_flaw() -> None:
    both = verdict(cap_each_route="violated", slots_reached="violated")
    both["checks"][2]["kind"] = "should"
    assert judged(FLAWED, both).faults == ()
    assert judged(SOUND, both).faults != ()


GREEN = judged(FLAWED, verdict(cap_each_route="violated"))
RED = judged(SOUND, verdict(cap_burst="violated"))
OURS = judged(FLAWED, verdict(cap_each_route="harness error"))
OPEN = judged(FLAWED, verdict(cap_each_route="inconclusive"))
BOTH = judged(FLAWED, verdict(cap_each_route="harness error", slots_reached="violated"))


@pytest.mark.parametrize(
    ("proofs", "status"),
    [
        ([], 0),
        ([GREEN, GREEN], 0),
        ([GREEN, RED], 1),
        ([GREEN, OPEN], 1),
        ([GREEN, OURS], 4),
        ([OURS, RED], 1),
        ([BOTH], 1),
    ],
)
def test_harness_errors_have_their_own_exit_code(proofs: list[Proof], status: int) -> None:
    assert exit_code(proofs) == status


def test_every_flaw_and_every_sound_router_has_a_row() -> None:
    rows = prove.rows((), whole=False)
    assert {row.flaw for row in rows} == {"", *FLAWS}
    assert "reference" in {row.target for row in rows if not row.flaw}
    for row in rows:
        assert set(row.trips) <= set(row.checks), row.name
    with pytest.raises(UsageError, match="No flaw is called 'none-such'"):
        prove.rows(["none-such"], whole=False)
    twice = prove.rows(["one-at-a-time", "one-at-a-time"], whole=True)
    assert [(row.flaw, row.checks) for row in twice] == [("one-at-a-time", tuple(REGISTRY))]


def test_every_sound_variant_is_judged_by_every_check() -> None:
    sound = prove.sound_rows()
    assert [row.target for row in sound] == [
        "reference",
        *(f"reference:{name}" for name in variants_of("reference")),
    ]
    assert all(row.checks == tuple(REGISTRY) for row in sound)


def test_timing_checks_and_load_run_alone() -> None:
    rows = {row.name: row for row in prove.rows((), whole=False)}
    assert rows["sound reference"].alone
    assert rows["hang-up-unheard-mid-stream"].alone
    assert not rows["permit-freed-at-head"].alone
    for row in rows.values():
        assert row.alone or not any(REGISTRY[id_].timed for id_ in row.checks), row.name
    (loaded,) = prove.rows(["one-permit-too-many"], whole=True)
    assert loaded.alone


def test_what_a_row_does_not_show_beside_others_it_must_show_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not where it shows too much: no machine excuses that."""
    outcomes = {
        "green": {"cap_each_route": "violated"},
        "unseen": {"cap_each_route": "inconclusive"},
        "too-much": {"cap_each_route": "violated", "slots_reached": "violated"},
        "untimed": {"cap_each_route": "inconclusive"},
    }
    running: set[str] = set()
    ran: list[tuple[str, bool]] = []
    pair = threading.Barrier(2)

    def verified(row: Row, _runs: Path) -> Proof:
        again = any(name == row.name for name, _ in ran)
        running.add(row.name)
        if not again:
            pair.wait(10)
        ran.append((row.name, len(running) == 1))
        if not again:
            pair.wait(10)
        running.discard(row.name)
        shown = outcomes["green"] if again else outcomes[row.name]
        return judged(row, verdict(**shown))

    monkeypatch.setattr(prove, "_verified", verified)
    rows = [dataclasses.replace(FLAWED, flaw=name, alone=name != "untimed") for name in outcomes]
    reported: list[str] = []
    proofs = prove.prove(
        rows, jobs=2, runs=tmp_path, report=lambda proof: reported.append(proof.row.flaw)
    )
    assert {proof.row.flaw: bool(proof.faults) for proof in proofs} == {
        "green": False,
        "unseen": False,
        "too-much": True,
        "untimed": True,
    }
    assert reported[-1] == "unseen"
    assert ran[4:] == [("unseen", True)]


def test_the_longest_rows_run_first() -> None:
    rows = prove.rows((), whole=False)
    longest = sorted(rows, key=prove._seconds, reverse=True)
    assert [row.target for row in longest[:2]] == ["reference:cluster", "reference:agents"]
    assert next(row for row in longest if row.flaw).soak_s == max(row.soak_s for row in rows)
    assert not any(row.flaw for row in longest[2:8])


def test_a_run_that_prints_no_verdict_is_a_red_row_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    say = "import sys; print('{'); sys.exit('it broke')"
    monkeypatch.setattr(own_code, "own_python", lambda *_: [sys.executable, "-c", say])
    (proof,) = prove.prove([FLAWED], jobs=1, runs=tmp_path, report=lambda _: None)
    assert (proof.faults, proof.ours) == (("no verdict: it broke",), True)
    monkeypatch.setattr(prove, "_TIMEOUT_S", 0.5)
    sleep = [sys.executable, "-c", "import time; time.sleep(60)"]
    monkeypatch.setattr(own_code, "own_python", lambda *_: sleep)
    (proof,) = prove.prove([FLAWED], jobs=1, runs=tmp_path, report=lambda _: None)
    assert proof.faults == ("no verdict: no exit within 0.5 s",)


def test_checks_within_reach_need_no_other_scenario() -> None:
    assert within_reach(("cap/burst",)) == ("cap/burst",)
    assert set(within_reach(("slots/reached",))) >= {"cap/each-route", "slots/reached"}
    assert "slots/return-after-timeout" not in within_reach(("slots/return-after-error",))


def test_every_must_has_a_flaw_that_trips_it() -> None:
    tripped = {id_ for flaw in FLAWS.values() for id_ in (*flaw.trips, *flaw.also)}
    musts = {id_ for id_, check in REGISTRY.items() if check.kind is Kind.MUST}
    assert musts - tripped == set()


def test_the_matrix_has_three_formats(capsys: pytest.CaptureFixture[str]) -> None:
    proofs = [judged(FLAWED, verdict(cap_each_route="violated")), judged(SOUND, verdict())]
    report.render(proofs, Console(width=80, force_terminal=True, color_system=None))
    shown = capsys.readouterr().out
    assert "made-up" in shown
    assert "1 flaw, 1 sound router: trips its checks and no others" in " ".join(shown.split())
    assert max(map(len, shown.splitlines())) <= 80
    text = report.markdown(proofs)
    assert "| made-up | ok | **X** | . | . |" in text
    assert json.loads(report.encode(proofs))[0]["outcomes"]["cap/each-route"] == "violated"


def test_the_table_fits_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    rows = prove.rows((), whole=False)
    proofs = [
        Proof(row=row, outcomes=dict.fromkeys(row.checks, "violated"), faults=(), seconds=123.4)
        for row in rows
    ]
    report.render(proofs, Console(width=80, force_terminal=True, color_system=None))
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    for row in rows:
        assert any(line.startswith(row.name) and line.endswith("123.4") for line in lines), row.name


def test_the_summary_claims_no_more_than_was_run() -> None:
    sound = judged(SOUND, verdict())
    assert report.summary([GREEN]) == "1 flaw: trips its checks and no others."
    assert report.summary([sound]) == "1 sound router: no check accuses a sound router."
    assert report.summary([GREEN, GREEN]) == "2 flaws: each trips its checks and no others."
    assert report.summary([GREEN, sound, RED]) == "1 flaw, 2 sound routers: 1 red."


def test_several_rounds_are_tallied() -> None:
    assert report.tally([[GREEN, RED], [GREEN, judged(SOUND, verdict())]]).splitlines() == [
        "1 of 2 rows green in all 2 rounds",
        "sound reference: green in 1 of 2 rounds",
    ]


@pytest.mark.parametrize("options", [("--repeat", "0"), ("--jobs", "none")])
def test_invalid_numbers_are_refused(options: tuple[str, str], tmp_path: Path) -> None:
    got = routerspec("prove", *options, cwd=tmp_path)
    assert got.status == 2
    assert "not a whole number of at least 1" in got.err


def test_two_flaws_end_to_end(tmp_path: Path) -> None:
    flaws = ("permit-freed-at-head", "models-no-lock")
    got = routerspec("prove", *flaws, "--jobs", "2", "--format", "json", cwd=tmp_path)
    assert got.status == 0, got.out + got.err
    first, second = json.loads(got.out)
    assert first["outcomes"]["cap/streams"] == "violated"
    assert second["outcomes"]["models/one-fetch-cold"] == "violated"


@pytest.mark.slow
def test_the_whole_matrix(tmp_path: Path) -> None:
    proofs = prove.prove(
        prove.rows((), whole=False), jobs=prove.jobs_here(), runs=tmp_path, report=print
    )
    assert [(proof.row.name, proof.faults) for proof in proofs if proof.faults] == []
