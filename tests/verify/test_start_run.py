"""Playing a start: queueing for start-up, and detecting a load that makes no progress."""

from __future__ import annotations

import errno
from pathlib import Path

import msgspec
import pytest

from fake_providers.records.evidence import Stall
from routerspec.plan.starts import StartPlan
from routerspec.records.run import RunInfo
from routerspec.targets import load_target
from routerspec.verdict import Outcome
from routerspec.verify import start_run, verify
from routerspec.verify.progress import Progress
from routerspec.verify.request import VerifyRequest
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


@pytest.mark.parametrize(
    ("unserved", "vain"),
    [
        ([], False),
        ([StartPlan(name="routes-1", scenarios=("smoke",))], True),
        ([StartPlan(name="cap-one", scenarios=("smoke",), cap=1)], False),
        ([StartPlan(name="uncapped", scenarios=("smoke", "burst"), cap=None)], True),
    ],
    ids=["served", "as promised", "special", "special, with this scenario"],
)
def test_nothing_is_played_again_on_a_router_that_serves_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unserved: list[StartPlan], vain: bool
) -> None:
    played: list[list[StartPlan]] = []
    said: list[str] = []

    def play(run: Run, info: RunInfo, starts: list[StartPlan]) -> RunInfo:
        played.append(starts)
        run.unserved += unserved
        return info

    monkeypatch.setattr(verify, "_play_all", play)
    target = load_target("reference")
    request = VerifyRequest(
        target=target, runs=tmp_path, checks=("cap/burst",), command="x", seed=1
    )
    verdict, _ = verify.verify(request, Progress(said.append))
    assert verdict.checks[0].outcome is Outcome.INCONCLUSIVE
    assert len(played) == (1 if vain else 2)
    assert any("served nobody any more at the end of start" in line for line in said) is vain
