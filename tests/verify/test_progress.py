"""How far a run is, and how that looks with and without a terminal."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from routerspec.checks import REGISTRY
from routerspec.plan.starts import StartPlan, plan_starts
from routerspec.scenarios.engine.registry import all_scenarios
from routerspec.targets import load_target
from routerspec.verify import progress_display
from routerspec.verify.progress import SECONDS, START_UP_S, Progress

STARTS = (
    StartPlan(name="one", scenarios=("smoke", "hold-head", "burst")),
    StartPlan(name="two", scenarios=("smoke", "list-dead")),
    StartPlan(name="last", scenarios=("smoke", "load"), alone=True),
)
CHECKS = ("cap/each-route", "cap/burst", "models/dead-provider")


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def progress(clock: Clock, told: list[str]) -> Progress:
    progress = Progress(told.append, load_s=20.0, clock=clock)
    progress.planned(STARTS, CHECKS)
    return progress


def test_what_runs_side_by_side_takes_as_long_as_the_longest_of_it(progress: Progress) -> None:
    longest = START_UP_S + 0.4 + SECONDS["list-dead"]
    assert progress.left_s() == pytest.approx(longest + START_UP_S + 0.4 + 20.0)


def test_time_that_was_spent_on_a_scenario_is_not_left(progress: Progress, clock: Clock) -> None:
    progress.playing("two", "list-dead")
    progress.over("one")
    progress.over("last")
    before = progress.left_s()
    clock.now += 3
    assert before - progress.left_s() == pytest.approx(3.0)
    clock.now += 100
    assert progress.left_s() == 0.0, "it takes longer than usual: nobody knows how much"


def test_each_scenario_is_told_once_and_each_round_when_asked(told: list[str]) -> None:
    rounds = ("smoke", "hold-head openai:chat", "hold-head openai:stream", "burst")
    for every_round in (False, True):
        progress = Progress(told.append, every_round=every_round)
        progress.planned(STARTS, CHECKS)
        for label in rounds:
            progress.playing("one", label)
    assert told == [
        *("one: smoke", "one: hold-head", "one: burst"),
        *(f"one: {label}" for label in rounds),
    ]


def test_now_names_the_checks_that_were_asked_for_and_read_it(progress: Progress) -> None:
    progress.playing("one", "hold-head openai:chat")
    (playing,) = progress.now()
    assert (playing.start, playing.label) == ("one", "hold-head openai:chat")
    assert playing.checks == ("cap/each-route",)


def test_what_may_not_run_beside_others_is_not_said_to_come_up(progress: Progress) -> None:
    assert progress.coming() == ["one", "two"]
    progress.playing("one", "smoke")
    progress.over("two")
    assert progress.coming() == []
    progress.over("one")
    assert progress.coming() == ["last"]


def test_every_scenario_with_a_time_is_one_that_is_played() -> None:
    assert set(SECONDS) <= set(all_scenarios())
    starts = plan_starts(load_target("reference"), REGISTRY.values())
    assert {name for start in starts for name in start.scenarios} <= set(all_scenarios())


def test_the_lines_fit_eighty_columns(progress: Progress) -> None:
    progress.playing("one", "hold-head openai:chat")
    progress.playing("two", "list-dead")
    console = Console(file=io.StringIO(), width=80, force_terminal=True)
    console.print(progress_display.drawn(progress, 12.0))
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert "12 s, about" in lines[0]
    assert any("hold-head openai:chat" in line and "cap/each-route" in line for line in lines)
    assert all(len(console.render_str(line).plain) <= 80 for line in lines)


def test_without_a_terminal_there_are_plain_lines() -> None:
    console = Console(file=io.StringIO(), width=80)
    with progress_display.shown(console) as progress:
        progress.planned(STARTS, CHECKS)
        progress.playing("one", "smoke")
        progress.say("[bold] is no markup here, and a long line is not broken: " + 80 * "x")
    said = console.file.getvalue()  # type: ignore[attr-defined]
    assert said.endswith(80 * "x" + "\n")
    assert "s  one: smoke\n" in said
    assert "[bold]" in said
    assert "\x1b" not in said


def test_in_a_terminal_nothing_of_it_is_left() -> None:
    console = Console(file=io.StringIO(), width=80, force_terminal=True, color_system=None)
    with progress_display.shown(console) as progress:
        progress.planned(STARTS, CHECKS)
        progress.playing("one", "smoke")
    said = console.file.getvalue()  # type: ignore[attr-defined]
    assert said.endswith("\x1b[2K")
