"""Which starts are up at once, and when one plays alone."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial

import pytest

from routerspec.plan.starts import StartPlan
from routerspec.verify.schedule import Schedule, StartWatch, play_all

WITHIN_S = 10


def start(name: str, *, alone: bool = False) -> StartPlan:
    return StartPlan(name=name, scenarios=("smoke",), alone=alone)


def queued(schedule: Schedule, *names: str, alone: tuple[str, ...] = ()) -> dict[str, StartPlan]:
    starts = {name: start(name, alone=name in alone) for name in (*names, *alone)}
    for its in starts.values():
        schedule.enqueue(its)
    return starts


class Waiting:
    """A call in a thread of its own, and whether it has returned."""

    def __init__(self, call: Callable[[], None]) -> None:
        self._thread = threading.Thread(target=call, daemon=True)
        self._thread.start()

    def waits(self) -> bool:
        self._thread.join(0.05)
        return self._thread.is_alive()

    def returned(self) -> bool:
        self._thread.join(WITHIN_S)
        return not self._thread.is_alive()


def test_starts_start_up_one_by_one_in_the_plans_order() -> None:
    schedule = Schedule(width=1, most=9)
    queued(schedule, "one", "two", "three")
    third = Waiting(lambda: schedule.await_turn("three"))
    second = Waiting(lambda: schedule.await_turn("two"))
    schedule.await_turn("one")
    assert second.waits()
    schedule.up("one")
    schedule.up("one")
    assert second.returned()
    assert third.waits()
    schedule.up("two")
    assert third.returned()


def test_two_start_up_at_once_with_two_processors() -> None:
    schedule = Schedule(width=2, most=9)
    queued(schedule, "one", "two", "three")
    schedule.await_turn("two")
    schedule.await_turn("one")
    schedule.up("two")
    schedule.await_turn("three")


def test_no_more_are_up_at_once_than_there_is_room_for() -> None:
    schedule = Schedule(width=2, most=1)
    queued(schedule, "one", "two")
    schedule.await_turn("one")
    schedule.up("one")
    second = Waiting(lambda: schedule.await_turn("two"))
    assert second.waits()
    schedule.over("one")
    assert second.returned()


def test_one_that_plays_alone_starts_up_beside_others_and_plays_when_all_are_over() -> None:
    schedule = Schedule(width=2, most=9)
    starts = queued(schedule, "one", "two", alone=("load", "overhead"))
    for name in ("one", "two"):
        schedule.await_turn(name)
        schedule.await_machine(starts[name])  # at once
        schedule.up(name)
    schedule.await_turn("load")
    load = Waiting(lambda: schedule.await_machine(starts["load"]))
    schedule.over("two")
    assert load.waits()
    schedule.await_turn("overhead")  # starts up
    schedule.over("one")
    assert load.waits(), "another one is still starting up"
    overhead = Waiting(lambda: schedule.await_machine(starts["overhead"]))
    assert load.returned()
    assert overhead.waits()
    schedule.over("load")
    assert overhead.returned()


def test_nothing_starts_up_beside_one_that_plays_alone() -> None:
    schedule = Schedule(width=2, most=9)
    starts = queued(schedule, alone=("load", "overhead"))
    schedule.await_turn("load")
    schedule.await_machine(starts["load"])
    overhead = Waiting(lambda: schedule.await_turn("overhead"))
    assert overhead.waits()
    schedule.over("load")
    assert overhead.returned()


@pytest.mark.parametrize("most", [1, 2, 4])
@pytest.mark.parametrize("width", [1, 2])
def test_every_start_gets_its_turn_however_little_room_there_is(width: int, most: int) -> None:
    schedule = Schedule(width=width, most=most)
    starts = queued(schedule, "a", "b", "c", alone=("d", "e", "f", "g"))
    played: list[str] = []

    def play(its: StartPlan) -> None:
        schedule.await_turn(its.name)
        schedule.await_machine(its)
        schedule.up(its.name)
        played.append(its.name)
        schedule.over(its.name)

    threads = [Waiting(partial(play, its)) for its in reversed(starts.values())]
    assert all(thread.returned() for thread in threads)
    assert set(played[:3]) == {"a", "b", "c"}
    assert played[3:] == ["d", "e", "f", "g"]


def test_the_first_that_fails_ends_the_others() -> None:
    schedule = Schedule(width=1, most=1)
    starts = queued(schedule, "one", alone=("two",))
    given_up: list[bool] = []

    def fail() -> None:
        schedule.await_turn("one")
        raise ValueError

    def wait() -> None:
        schedule.await_turn("two")
        schedule.await_machine(starts["two"])

    with pytest.raises(ValueError, match=r"^$"):
        play_all(schedule, [fail, wait], lambda: given_up.append(True))
    assert given_up == [True]


def test_a_watch_has_every_moment_in_order_also_of_a_start_that_failed() -> None:
    watch = StartWatch("one", turn=101.0, up=102.0, machine=103.0, over=108.0, stopped=109.0)
    watch.rounds = [("smoke", 104.0), ("load", 105.0)]
    watch.playing = 104.0
    times = watch.times(100.0)
    assert [(each.name, each.from_s, each.until_s) for each in times.scenarios] == [
        ("smoke", 4.0, 5.0),
        ("load", 5.0, 8.0),
    ]
    failed = StartWatch("one", turn=101.0, stopped=103.0).times(100.0)
    moments = (failed.turn_s, failed.up_s, failed.machine_s, failed.playing_s, failed.over_s)
    assert moments == (1.0, 3.0, 3.0, 3.0, 3.0)
