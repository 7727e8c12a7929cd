"""Playing a start: taking turns at starting up, and noticing that nothing happens any more."""

from __future__ import annotations

import threading
from pathlib import Path

from routerspec import play
from routerspec.run import RunFolder
from routerspec.targets import load_target
from routerspec.wish import Wish


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_file_that_grows_is_no_standstill(tmp_path: Path) -> None:
    clock = Clock()
    path = tmp_path / "observations.jsonl"
    standstill = play.Standstill(path, 90, clock)
    for size in range(1, 10):
        clock.now += 80
        path.write_text("x" * size)
        assert not standstill.reached()


def test_a_file_that_does_not_grow_or_never_comes_is_one(tmp_path: Path) -> None:
    clock = Clock()
    path = tmp_path / "observations.jsonl"
    standstill = play.Standstill(path, 90, clock)
    assert not standstill.reached()
    clock.now += 91
    assert standstill.reached()
    path.write_text("x")
    assert not standstill.reached()
    clock.now += 91
    assert standstill.reached()


def test_starts_take_turns_at_starting_up(tmp_path: Path) -> None:
    wish = Wish(target=load_target("reference"), checks=(), runs=tmp_path, command="", seed=1)
    run = play.Run(
        wish=wish, folder=RunFolder(tmp_path), token="a", tell=lambda text: None, keys={},
        boots=threading.Semaphore(1),
    )  # fmt: skip
    first = play.boot(run)
    entered = threading.Event()

    def second() -> None:
        give_on = play.boot(run)
        entered.set()
        give_on()

    waiting = threading.Thread(target=second)
    waiting.start()
    assert not entered.wait(0.1)
    first()
    first()  # Saying it twice must not let in two.
    assert entered.wait(5)
    waiting.join()
    assert run.boots.acquire(blocking=False)
    assert not run.boots.acquire(blocking=False)
