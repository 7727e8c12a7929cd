"""Rounds of the model list are played once more where the machine stalled, and not again."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import gevent
import pytest

from routerspec.promises import Promises
from routerspec.scenarios.engine.conductor import Conductor
from routerspec.scenarios.models import quiet

DEADLINE_S = 0.2


class Busy:
    """A conductor on a machine that stalls during the first plays."""

    def __init__(self, *, load: int = 0, fakes: int = 0) -> None:
        self.load, self.fakes = load, fakes
        self.plays: list[float] = []
        self.worst_ns = 50_000_000  # Of the fakes, before.
        self.stalled: list[int] = []
        self.control: Any = SimpleNamespace(now=lambda: SimpleNamespace(stalled_ns=self.worst_ns))

    def play(self) -> int:
        self.plays.append(time.monotonic())
        if len(self.plays) <= self.load:
            self.stalled.append(time.monotonic_ns())
        if len(self.plays) <= self.fakes:
            self.worst_ns += 100_000_000
        return len(self.plays)

    def stalled_s(self, since_ns: int) -> float:
        return 0.1 if any(at >= since_ns for at in self.stalled) else 0.0


def played(busy: Any) -> int:
    times: int = quiet.in_quiet(busy, DEADLINE_S, busy.play)
    return times


def test_a_quiet_round_is_played_once() -> None:
    assert played(Busy()) == 1


@pytest.mark.parametrize("side", ["load", "fakes"])
def test_a_stalled_round_is_played_once_more_after_a_quiet_time(side: str) -> None:
    busy = Busy(**{side: 1})
    assert played(busy) == 2
    assert busy.plays[1] - busy.plays[0] >= DEADLINE_S


def test_it_is_not_played_a_third_time() -> None:
    assert played(Busy(load=5, fakes=5)) == 2


def test_a_stall_shortly_before_it_counts() -> None:
    busy = Busy()
    busy.stalled.append(time.monotonic_ns())
    assert played(busy) == 2


def test_a_machine_that_never_comes_to_rest_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(quiet, "_FEW_S", 0.0)
    busy: Any = Busy()
    busy.stalled.append(time.monotonic_ns() + 3_600_000_000_000)
    assert not quiet.wait_quiet(busy, 0.02)


def test_the_conductor_measures_the_stalls_of_its_process() -> None:
    log: list[Any] = []
    plan: Any = SimpleNamespace(
        folder="",
        replicas=(),
        control="http://127.0.0.1:9",
        control_token="",
        control_further={},
        seed=1,
        impatient=False,
        can_restart=True,
        promises=Promises(),
    )
    conductor = Conductor(plan, "http://127.0.0.1:9", log, lambda *_: None)  # type: ignore[arg-type]
    watch = gevent.spawn(conductor.watch_stalls)
    gevent.sleep(0.03)
    before = time.monotonic_ns()
    time.sleep(0.06)  # The whole process stands still.
    gevent.sleep(0.02)
    watch.kill()
    assert conductor.stalled_s(before) >= 0.03
    assert conductor.stalled_s(time.monotonic_ns()) == 0
    assert max(stall.stalled_ns for stall in log) / 1e9 == conductor.stalled_s(before)
