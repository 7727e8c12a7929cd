"""Playing a start: queueing for start-up, and detecting a load that makes no progress."""

from __future__ import annotations

import errno
from pathlib import Path

import msgspec
import pytest

from fake_providers.records.evidence import Stall
from routerspec.plan.starts import StartPlan
from routerspec.records.run import GivenUp, RunFolder
from routerspec.targets import load_target
from routerspec.verify import start_run
from routerspec.verify.progress import Progress
from routerspec.verify.request import VerifyRequest
from routerspec.verify.schedule import Schedule
from routerspec.verify.start_run import Run


class Clock:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_growing_file_is_no_standstill(tmp_path: Path) -> None:
    clock = Clock()
    path = tmp_path / "observations.jsonl"
    standstill = start_run.Standstill(path, 90, clock)
    for size in range(1, 10):
        clock.now += 80
        path.write_text("x\n" * size)
        assert not standstill.reached()


def test_a_file_that_does_not_grow_or_is_missing_is_a_standstill(tmp_path: Path) -> None:
    clock = Clock()
    path = tmp_path / "observations.jsonl"
    standstill = start_run.Standstill(path, 90, clock)
    assert not standstill.reached()
    clock.now += 91
    assert standstill.reached()
    path.write_text("x\n")
    assert not standstill.reached()
    clock.now += 91
    assert standstill.reached()


def test_self_reported_stalls_are_no_progress(tmp_path: Path) -> None:
    clock = Clock()
    path = tmp_path / "observations.jsonl"
    standstill = start_run.Standstill(path, 90, clock)
    stall = msgspec.json.encode(Stall(at_ns=1, stalled_ns=2)) + b"\n"
    for count in range(1, 4):
        clock.now += 40
        path.write_bytes(stall * count)
        assert standstill.reached() is (count == 3)
    path.write_bytes(stall * 3 + b'{"kind":"observation"')
    assert standstill.reached()  # a line that is still being written
    path.write_bytes(stall * 3 + b'{"kind":"observation"}\n' + stall)
    assert not standstill.reached()


def test_a_full_disk_is_named_soon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing that is played takes 2 s to write; a standstill is noticed after 90 s."""
    clock = Clock()
    disk = start_run.Disk(tmp_path, clock)
    clock.now += 2
    assert disk.fault() == ""
    assert not list(tmp_path.iterdir())

    def no_room(self: Path, text: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device", str(self))

    monkeypatch.setattr(Path, "write_bytes", no_room)
    assert disk.fault() == "", "not yet again"
    clock.now += 2
    assert disk.fault() == f"the disk of {tmp_path} cannot be written: No space left on device"


@pytest.fixture
def run(tmp_path: Path) -> Run:
    request = VerifyRequest(
        target=load_target("reference"), runs=tmp_path, checks=(), command="x", seed=1
    )
    folder = RunFolder.create(tmp_path, "reference")
    return Run(
        request=request,
        folder=folder,
        token="ab",
        progress=Progress(),
        keys={},
        schedule=Schedule(2, 8),
    )


LIMITS = StartPlan(name="limits", scenarios=("smoke", "attempts", "hang-ups", "handover"))
LOST = "the router served nobody any more"


class Plays:
    """Stands in for playing: what each start gives up, by its name."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, given_up: dict[str, GivenUp]) -> None:
        self.played: list[StartPlan] = []
        self._given_up = given_up
        monkeypatch.setattr(start_run, "_play", self.play)

    def play(self, run: Run, start: StartPlan) -> GivenUp | None:
        self.played.append(start)
        return self._given_up.get(start.name)

    @property
    def names(self) -> set[str]:
        return {start.name for start in self.played}


def test_what_a_start_owes_is_played_on_fresh_ones_once(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    owes = GivenUp(reason=LOST, scenarios=("hang-ups", "handover"))
    plays = Plays(monkeypatch, {"limits": owes, "limits-fresh-2": owes})
    start_run.play_start(run, LIMITS)
    for play in run.fresh_plays:
        play.result()
    assert plays.names == {"limits", "limits-fresh", "limits-fresh-2"}
    assert {start.scenarios for start in plays.played[1:]} == {
        ("smoke", "handover"),
        ("smoke", "hang-ups"),
    }
    assert run.fresh == ["limits-fresh", "limits-fresh-2"]
    assert run.impatient
    assert run.fails_again


def test_a_sound_start_and_a_second_attempt_get_no_fresh_one(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    owes = GivenUp(reason=LOST, scenarios=("hang-ups", "handover"))
    again = StartPlan(name="limits-again", scenarios=LIMITS.scenarios, attempt=2)
    plays = Plays(monkeypatch, {"limits-again": owes})
    start_run.play_start(run, LIMITS)
    start_run.play_start(run, again)
    assert plays.names == {"limits", "limits-again"}
    assert not run.fresh


def test_a_start_with_other_settings_makes_nobody_impatient(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = StartPlan(name="cap-1", scenarios=("one-each",), cap=1, sets="cap")
    Plays(monkeypatch, {"cap-1": GivenUp(reason=LOST, scenarios=("one-each",))})
    start_run.play_start(run, one)
    assert not run.impatient


def test_a_load_says_how_far_it_came() -> None:
    played = start_run._Played(done=["smoke", "attempts"], at="hang-ups")
    assert played.left(LIMITS) == ("hang-ups", "handover")
    given_up = played.given_up(LIMITS, LOST, "hang-ups")
    assert given_up == GivenUp(reason=LOST, scenarios=("hang-ups", "handover"), at="hang-ups")
    assert start_run._Played(at="smoke").given_up(LIMITS, LOST, "smoke") is None
