"""``verify --load-processes``: bursts that workers make, in rounds that their master leads."""

from __future__ import annotations

from pathlib import Path

import pytest

from routerspec.records.columns import Packed
from routerspec.records.load_processes import process_of
from routerspec.records.observations import Round
from routerspec.records.run import read_run
from tests.support.cli import routerspec


@pytest.mark.parametrize(
    ("flaw", "outcome"),
    [
        pytest.param("", "held", id="sound"),
        pytest.param("provider-outside-cap", "violated", id="flaw", marks=pytest.mark.slow),
    ],
)
def test_a_burst_of_several_load_processes_is_judged_as_one(
    tmp_path: Path, flaw: str, outcome: str
) -> None:
    options = ("--only", "cap/burst", "--load-processes", "2", "--format", "json", "--flaw", flaw)
    got = routerspec("verify", *options, cwd=tmp_path)
    assert got.outcomes == {"cap/burst": outcome}
    (run,) = (tmp_path / ".routerspec" / "runs").iterdir()
    start = next(each for each in read_run(run).starts if "burst" in each.info.scenarios)
    assert start.info.load_processes == (1, 2)
    assert start.info.lost_load_processes == {}
    led = Packed.of(start.observations.records, start.info.token).others
    bursts = {
        record.round for record in led if isinstance(record, Round) and record.scenario == "burst"
    }
    made_by: dict[bool, set[int]] = {True: set(), False: set()}
    for its in start.observation_files.values():
        for client in Packed.of(its.records, start.info.token).clients:
            made_by[client.round in bursts].add(process_of(client.nonce))
    assert made_by == {True: {1, 2}, False: {0}}
