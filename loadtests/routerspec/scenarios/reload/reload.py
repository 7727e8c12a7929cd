"""A reload of the router's configuration while calls are held.

With the cap in its files a reload raises it, which shows when the new configuration is served: that
many calls are let in. A router that does not serve it in time is tried again, back and forth.
"""

from __future__ import annotations

import itertools
import time
from typing import Final

import gevent

from routerspec.limits import GROWN_BY, TRIES, drain_slack_s
from routerspec.promises import Reload
from routerspec.scenarios.engine.cells import Cell, all_by_turns, by_turns
from routerspec.scenarios.engine.conductor import Conductor
from routerspec.scenarios.engine.exchange import Exchange
from routerspec.scenarios.engine.registry import scenario
from routerspec.scenarios.engine.rounds import SNAPSHOTS_APART_S, ActiveRound
from routerspec.scenarios.engine.waiting import wait_until

_HELD_WITHOUT_CAP: Final = 4
_HELD_WITHIN_S: Final = 3.0
_BEYOND_S: Final = 0.6
_MORE_COME_S: Final = 0.5
"""A second limiter has let its calls in by then."""
_OFFERS: Final = 20
"""Over the time in which the new configuration must be served."""
_LEAST_APART_S: Final = 0.1
_SINGLE_WITHIN_S: Final = 3.0


@scenario("reload")
def reload(conductor: Conductor) -> None:
    """Reload with calls held, three times at most, until the new configuration is served."""
    promise = conductor.plan.promises.reload
    assert promise is not None
    cells = by_turns(conductor)
    for turn in range(TRIES if cells else 0):
        if turn and not _back(conductor, promise, cells[0]):
            return
        if _reloaded(conductor, promise, cells):
            return


def _reloaded(conductor: Conductor, promise: Reload, cells: list[Cell]) -> bool:
    """One reload with calls held; whether a further one would show nothing else."""
    cap = conductor.plan.promises.cap
    limit = cap.limit if cap else _HELD_WITHOUT_CAP
    grown = limit + GROWN_BY
    # As many as a second limiter would let in beside those that are held.
    offered = limit + grown if cap else GROWN_BY
    everywhere = all_by_turns(conductor)
    with conductor.round("reload", gate=True, offered=limit + offered, part="held") as round_:
        for number in range(limit):
            _send(round_, cells[number % len(cells)])
        round_.wait_held(limit, within_s=_HELD_WITHIN_S)
        round_.snapshot(settled=False)
        if conductor.router.has_exited():
            return True
        changed = conductor.router.reload(round_.number, grown if cap else None).cap is not None
        over_s = promise.within_s + drain_slack_s(promise.within_s) + _BEYOND_S
        wanted = grown if changed else limit + offered  # Without a change it is not seen.
        served = _offer_until(conductor, round_, cells, wanted, over_s) or not changed
        for number in range(offered):
            _send(round_, everywhere[number % len(everywhere)])
        gevent.sleep(_MORE_COME_S)
        round_.snapshot(settled=False)
        gevent.sleep(SNAPSHOTS_APART_S)
        round_.snapshot(settled=False)
        round_.release()
        conductor.router.note_exit(round_.number)
        if conductor.router.has_exited():
            return True
        last = _send(round_, cells[0])
        last.over.wait(timeout=_SINGLE_WITHIN_S)
        refused = any(exchange.outcome == "failed" for exchange in round_.exchanges)
        return served and last.outcome == "answered" and not refused


def _offer_until(
    conductor: Conductor, round_: ActiveRound, cells: list[Cell], count: int, within_s: float
) -> bool:
    """Offer one request after the other until so many calls are held, or the router has exited.

    Processes that are about to be replaced may take what comes at once, and keep it in their queue.
    """
    give_up = time.monotonic() + within_s
    every_s = max(_LEAST_APART_S, within_s / _OFFERS)
    for number in itertools.count():
        if round_.held() >= count:
            return True
        if time.monotonic() >= give_up or conductor.router.has_exited():
            return False
        _send(round_, cells[number % len(cells)])
        gevent.sleep(every_s)
    raise AssertionError


def _back(conductor: Conductor, promise: Reload, cell: Cell) -> bool:
    """Reload with the promised cap, and wait until the router answers."""
    cap = conductor.plan.promises.cap
    with conductor.round("reload", part="back") as round_:
        conductor.router.reload(round_.number, cap.limit if cap else None)
        gevent.sleep(promise.within_s)

        def answers() -> bool:
            exchange = round_.send(*cell, tokens=2)
            exchange.expected_failure = True
            exchange.over.wait(timeout=_SINGLE_WITHIN_S)
            return exchange.outcome == "answered"

        return wait_until(answers, _SINGLE_WITHIN_S, every_s=0.2)


def _send(round_: ActiveRound, cell: Cell) -> Exchange:
    route, mode = cell
    exchange = round_.send(route, mode, hold="first" if mode == "stream" else "head", tokens=4)
    exchange.expected_failure = True
    return exchange
