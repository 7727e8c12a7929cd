"""The mixed load: providers are slowed down for a slow router, and it ends when it has seen enough.

Where a saturated router rejects, its slots would stay free else.
"""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import gevent
import pytest

from routerspec.limits import LOAD_CALLS, LOAD_LEAST_S
from routerspec.promises import Cap, Promises
from routerspec.scenarios import load
from routerspec.scenarios.cap.limits import LONGER_THAN_A_WINDOW_S
from routerspec.scenarios.engine.tally import Tally
from routerspec.scenarios.load import _lasts, _Seen, slowed_s
from tests.routers.late_target import late_target
from tests.support.cli import routerspec

REJECT = Cap(limit=4, overload="reject")


def conductor(cap: Cap | None, latency_s: float, attempt: int) -> Any:
    plan = SimpleNamespace(promises=Promises(cap=cap), attempt=attempt)
    slower = {"openai": latency_s, "ollama": 2 * latency_s}
    return SimpleNamespace(plan=plan, latency_s=slower, limit=4)


@pytest.mark.parametrize(
    ("cap", "latency_s", "attempt", "expected"),
    [
        (REJECT, 0.002, 1, 0.0),
        (REJECT, 0.01, 1, 0.32),
        (REJECT, 0.002, 2, 0.064),
        (REJECT, 0.1, 1, 0.6),
        (Cap(limit=4), 0.1, 2, 0.0),
        (None, 0.1, 2, 0.0),
    ],
    ids=["quick", "slow", "quick-but-inconclusive", "at-most", "it-queues", "no-cap"],
)
def test_providers_are_slowed_where_slots_would_stay_free(
    cap: Cap | None, latency_s: float, attempt: int, expected: float
) -> None:
    assert slowed_s(conductor(cap, latency_s, attempt)) == pytest.approx(expected)


@pytest.mark.slow
@pytest.mark.parametrize("work_s", [0.002, 0.005, 0.01, 0.03])
def test_all_slots_get_occupied_however_slow_the_router_is(work_s: float, tmp_path: Path) -> None:
    word = late_target(tmp_path, work_s, "busy")
    command = ("verify", f"{word}:rejecting", "--only", "cap/under-load", "--format", "json")
    got = routerspec(*command, cwd=tmp_path)
    print(work_s, got.verdict["checks"][0]["summary"])
    assert got.outcomes == {"cap/under-load": "held"}


class Looks:
    """A control API whose looks show these calls open, with more arrived at each."""

    def __init__(self, **open_: int) -> None:
        self.open, self.arrived = open_, 0

    def now(self) -> Any:
        self.arrived += 10
        return SimpleNamespace(open=self.open, arrived={"openai": self.arrived})


def loaded(cap: Cap | None, control: Looks) -> Any:
    routes = [SimpleNamespace(name="openai", provider="openai", modes=("chat", "stream"))]
    plan = SimpleNamespace(promises=Promises(cap=cap), attempt=1, whole_load=False, routes=routes)

    def routes_with(mode: str) -> list[Any]:
        return [route for route in routes if mode in route.modes]

    return SimpleNamespace(plan=plan, limit=4, control=control, routes_with=routes_with)


def requests(tally: Tally, count: int, endings: tuple[str, ...]) -> None:
    for number in range(count):
        for mode in ("chat", "stream"):
            ending = endings[number % len(endings)]
            outcome = "hung_up" if ending.startswith("left") else "answered"
            pieces = int(ending == "left mid-stream")
            exchange: Any = SimpleNamespace(
                route="openai", mode=mode, outcome=outcome, content=SimpleNamespace(pieces=pieces)
            )
            tally.ends(exchange, ending)


ENDINGS = ("answered", "error", "cut", "left", "left mid-stream")


class Shown(NamedTuple):
    """What a load has shown after three seconds."""

    cap: Cap | None = Cap(limit=4)
    open: int = 4
    waiting: int = 5
    endings: tuple[str, ...] = ENDINGS
    requests: int = LOAD_CALLS


def watched(shown: Shown) -> bool:
    """Whether that is everything."""
    tally = Tally()
    control = Looks(openai=shown.open)
    seen = _Seen(loaded(shown.cap, control), time.monotonic() - LOAD_LEAST_S, tally)
    requests(tally, shown.requests, shown.endings)
    exchange: Any = SimpleNamespace(route="openai")
    with contextlib.ExitStack() as stack:
        for _ in range(shown.waiting):
            stack.enter_context(tally.waits(exchange))
        greenlet = gevent.spawn(seen.watch)
        greenlet.join(timeout=0.3)
        greenlet.kill()
    return tally.over


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (Shown(), True),
        (Shown(cap=Cap(limit=4, scope="provider")), True),
        (Shown(cap=None, open=0, waiting=0), True),
        (Shown(open=3), False),
        (Shown(waiting=4), False),
        (Shown(endings=ENDINGS[:-1]), False),
        (Shown(endings=ENDINGS[1:]), False),
        (Shown(requests=LOAD_CALLS // 2 - 1), False),
    ],
)
def test_the_load_ends_when_it_has_shown_everything(
    monkeypatch: pytest.MonkeyPatch, shown: Shown, expected: bool
) -> None:
    monkeypatch.setattr(load, "FILLS", 2)
    monkeypatch.setattr(load, "_LOOK_S", 0.001)
    assert watched(shown) is expected


def test_it_lasts_longer_than_a_limiters_window() -> None:
    assert LOAD_LEAST_S > LONGER_THAN_A_WINDOW_S
    tally = Tally()
    seen = _Seen(loaded(None, Looks()), time.monotonic(), tally)
    requests(tally, LOAD_CALLS, ENDINGS)
    greenlet = gevent.spawn(seen.watch)
    greenlet.join(timeout=0.2)
    greenlet.kill()
    assert not tally.over


def test_a_second_attempt_and_a_duration_that_was_asked_for_last_to_their_end() -> None:
    first = loaded(None, Looks())
    assert not _lasts(first)
    first.plan.attempt = 2
    assert _lasts(first)
    first.plan.attempt, first.plan.whole_load = 1, True
    assert _lasts(first)
