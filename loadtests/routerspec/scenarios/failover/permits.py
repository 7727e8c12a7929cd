"""How many slots there are after calls that failed over: ``after-failover``.

The same as after every bad ending (``scenarios.slots.endings``), and before it a round in which
more requests than there are slots fail at one instance and are held at the others.
"""

from __future__ import annotations

from typing import Final

from routerspec.limits import OFFERED
from routerspec.scenarios.engine.conductor import Conductor
from routerspec.scenarios.engine.registry import scenario
from routerspec.scenarios.failover.pools import Pool, address, arrived, behaving, pools, returns
from routerspec.scenarios.slots import endings

_NAME: Final = "after-failover"
_FAILING: Final = "status=503"
_MOST: Final = 3
_TURNS: Final = 4
_END_WITHIN_S: Final = 10.0


@scenario(_NAME)
def after_failover(conductor: Conductor) -> None:
    """Count the slots before and after calls that failed over."""
    cap = conductor.plan.promises.cap
    # The first route is the one whose slots are counted.
    own = [p for p in pools(conductor) if p.route.name == conductor.plan.routes[0].name]
    if cap is None or not own:
        return
    pool = own[0]
    endings.probe(conductor, _NAME, "before")
    capacity = conductor.capacity
    if capacity < min(2, conductor.limit):
        return
    name = pool.instances[0]
    _hold(conductor, pool, name)
    if not returns(conductor, _NAME, pool, name, "failover"):
        return
    _cause(conductor, pool, name, max(1, min(capacity - 1, _MOST)))
    if endings.settle(conductor, _NAME):
        endings.probe_again_where_short(conductor, _NAME, capacity)


def _hold(conductor: Conductor, pool: Pool, name: str) -> None:
    """More requests than there are slots fail at one instance and are held at the others."""
    offered = OFFERED * conductor.limit
    mode = pool.modes[0]
    with conductor.round(
        _NAME, route=pool.route.name, mode=mode, gate=True, offered=offered, part="failing"
    ) as round_:
        others = [other for other in pool.everybody if other != name]
        with behaving(conductor, _FAILING, [name]):
            for other in others:
                conductor.control.behave(f"hold=head,gate={round_.gate}", provider=address(other))
            for _ in range(offered):
                round_.send(pool.route, mode, tokens=4)
            round_.snapshot_twice()
            round_.release()
            for exchange in round_.exchanges:
                exchange.over.wait(timeout=_END_WITHIN_S)


def _cause(conductor: Conductor, pool: Pool, name: str, count: int) -> None:
    """One by one, fewer requests than there are slots fail at one instance."""
    mode = pool.modes[0]
    before = arrived(conductor, name)
    with (
        conductor.round(
            _NAME, route=pool.route.name, mode=mode, offered=count, part="cause"
        ) as round_,
        behaving(conductor, _FAILING, [name]),
    ):
        # Others are asked first by turns, or while this one is left alone.
        for _ in range(_TURNS * len(pool.everybody)):
            exchange = round_.send(pool.route, mode, tokens=4)
            exchange.expected_failure = True
            exchange.over.wait(timeout=_END_WITHIN_S)
            if arrived(conductor, name) - before >= count:
                return
