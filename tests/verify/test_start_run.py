"""Playing a start: taking turns at starting up, and noticing that nothing happens any more."""

from __future__ import annotations

import threading
from pathlib import Path

from routerspec.verify import start_run


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_file_that_grows_is_no_standstill(tmp_path: Path) -> None:
    clock = Clock()
    path = tmp_path / "observations.jsonl"
    standstill = start_run.Standstill(path, 90, clock)
    for size in range(1, 10):
        clock.now += 80
        path.write_text("x" * size)
        assert not standstill.reached()


def test_a_file_that_does_not_grow_or_never_comes_is_one(tmp_path: Path) -> None:
    clock = Clock()
    path = tmp_path / "observations.jsonl"
    standstill = start_run.Standstill(path, 90, clock)
    assert not standstill.reached()
    clock.now += 91
    assert standstill.reached()
    path.write_text("x")
    assert not standstill.reached()
    clock.now += 91
    assert standstill.reached()


def test_starts_take_turns_in_their_order() -> None:
    turns = start_run.Turns(1)
    up: list[str] = []

    def start(name: str) -> None:
        turns.take(name)
        up.append(name)
        if name != "one":
            turns.give_on(name)

    names = ["one", "two", "three"]
    for name in names:
        turns.line_up(name)
    threads = [threading.Thread(target=start, args=(name,)) for name in reversed(names)]
    for thread in threads:
        thread.start()
    threads[2].join()
    assert up == ["one"]
    turns.give_on("one")
    turns.give_on("one")
    for thread in threads:
        thread.join()
    assert up == names


def test_two_at_once_where_there_are_two_processors() -> None:
    turns = start_run.Turns(2)
    for name in ("one", "two", "three"):
        turns.line_up(name)
    turns.take("two")
    turns.take("one")
    turns.give_on("two")
    turns.take("three")
