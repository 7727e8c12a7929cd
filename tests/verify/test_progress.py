"""The progress of a run, and its display with and without a terminal."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from routerspec.plan.starts import StartPlan
from routerspec.verify import progress_display
from routerspec.verify.progress import Progress

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
def lines() -> list[str]:
    return []


@pytest.fixture
def progress(clock: Clock, lines: list[str]) -> Progress:
    progress = Progress(lines.append, clock=clock)
    progress.planned(STARTS, CHECKS)
    return progress


def test_scenarios_are_done_when_the_next_begins_or_the_start_ends(progress: Progress) -> None:
    assert progress.scenarios() == (0, 7)
    progress.playing("one", "smoke")
    assert progress.scenarios() == (0, 7)
    progress.playing("one", "burst")
    assert progress.scenarios() == (2, 7)
    progress.over("two")
    assert progress.scenarios() == (4, 7)
    progress.planned([StartPlan(name="two-again", scenarios=("smoke", "list-dead"))], CHECKS)
    assert progress.scenarios() == (4, 9)


def test_a_scenario_is_timed_from_its_first_round(progress: Progress, clock: Clock) -> None:
    progress.playing("two", "list-dead")
    clock.now += 3
    progress.playing("two", "list-dead openai down")
    clock.now += 2
    (playing,) = progress.now()
    assert playing.seconds == pytest.approx(5.0)


def test_each_scenario_is_reported_once_and_each_round_on_request(lines: list[str]) -> None:
    rounds = ("smoke", "hold-head openai:chat", "hold-head openai:stream", "burst")
    for every_round in (False, True):
        progress = Progress(lines.append, every_round=every_round)
        progress.planned(STARTS, CHECKS)
        for label in rounds:
            progress.playing("one", label)
    assert lines == [
        *("one: smoke", "one: hold-head", "one: burst"),
        *(f"one: {label}" for label in rounds),
    ]


def test_now_names_the_selected_checks_that_read_the_scenario(progress: Progress) -> None:
    progress.playing("one", "hold-head openai:chat")
    (playing,) = progress.now()
    assert (playing.start, playing.label) == ("one", "hold-head openai:chat")
    assert playing.checks == ("cap/each-route",)


def test_a_start_that_runs_alone_is_not_shown_as_starting_up(progress: Progress) -> None:
    assert progress.coming() == ["one", "two"]
    progress.playing("one", "smoke")
    progress.over("two")
    assert progress.coming() == []
    progress.over("one")
    assert progress.coming() == ["last"]


def test_the_lines_fit_eighty_columns(progress: Progress) -> None:
    progress.playing("one", "hold-head openai:chat")
    progress.playing("two", "list-dead")
    console = Console(file=io.StringIO(), width=80, force_terminal=True)
    console.print(progress_display.drawn(progress, 12.0))
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert "12 s, 2 of 7 scenarios done" in lines[0]
    assert any("hold-head openai:chat" in line and "cap/each-route" in line for line in lines)
    assert all(len(console.render_str(line).plain) <= 80 for line in lines)


def test_without_a_terminal_lines_are_plain() -> None:
    console = Console(file=io.StringIO(), width=80)
    with progress_display.shown(console) as progress:
        progress.planned(STARTS, CHECKS)
        progress.playing("one", "smoke")
        progress.say("[bold] is no markup here, and a long line is not broken: " + 80 * "x")
    printed = console.file.getvalue()  # type: ignore[attr-defined]
    assert printed.endswith(80 * "x" + "\n")
    assert "s  one: smoke\n" in printed
    assert "[bold]" in printed
    assert "\x1b" not in printed


def test_a_terminal_is_cleared_at_the_end() -> None:
    console = Console(file=io.StringIO(), width=80, force_terminal=True, color_system=None)
    with progress_display.shown(console) as progress:
        progress.planned(STARTS, CHECKS)
        progress.playing("one", "smoke")
    printed = console.file.getvalue()  # type: ignore[attr-defined]
    assert printed.endswith("\x1b[2K")
