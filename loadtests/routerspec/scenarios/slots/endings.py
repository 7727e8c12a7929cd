"""Requests that end badly, and how many slots there are afterwards.

Each scenario causes one kind of ending, fewer times than there are slots (a circuit breaker that
opens at more failures is no leak, and a slot must be left to see that others are not), waits until
everything has ended and the fakes are idle, and then offers five times the cap: the judge reads
how many were let in. Then once more with the routes that were not used. On a route with tool calls
those end so as well: they may have a path of their own through a router. The last probe before an
ending is its control, whichever scenario took it.
"""

from __future__ import annotations

import time
from functools import partial
from typing import Final

import gevent

from routerspec.limits import OFFERED
from routerspec.records.load_plan import RoutePlan
from routerspec.scenarios.engine.conductor import Conductor
from routerspec.scenarios.engine.exchange import Exchange
from routerspec.scenarios.engine.prompt import Directives
from routerspec.scenarios.engine.registry import scenario
from routerspec.scenarios.engine.rounds import ActiveRound
from routerspec.scenarios.engine.waiting import wait_sent, wait_until
from routerspec.scenarios.slots.cancel_storm import storm_out
from routerspec.scenarios.slots.cancel_sweep import sweep_queue

Cell = tuple[RoutePlan, str]
"""A route and one of its modes."""

_IDLE_WITHIN_S = 5.0
_WARM_WITHIN_S = 2.0
_HELD_WITHIN_S = 3.0
_NOTICED_WITHIN_S = 1.0
"""After a disconnect, for the router to end its call: an answer before that is no disconnect."""
_QUEUE_NOTICED_S = 0.3
"""The same for a client in the queue, which no provider can see."""
_TIMES_OUT_WITHIN_S = 20.0
_LATER_S = 2.0
"""Between a probe that misses slots and the next: slots that come back late are not lost."""
_ROUNDS = 2
_MOST = 6
"""Endings in one round."""
_PROBES = 2
"""Probes that miss slots, ``_LATER_S`` apart: then they are lost."""

_PLAIN: Final = ("chat", "stream")
_ANY: Final = (*_PLAIN, "tools")

FAILURES: Final[dict[str, tuple[tuple[str, ...], Directives]]] = {
    "error": (_ANY, {"tokens": 4, "status": 500}),
    "reset": (_ANY, {"tokens": 4, "cut": 0}),
    "malformed": (("chat",), {"tokens": 4, "malformed": 1}),
    "cut": (("stream", "tools"), {"tokens": 4, "cut": 1}),
}
"""Kind of ending -> the modes to cause it in, and the provider's directives. Of ``chat`` and
``stream`` the first one that some route has is used."""

HANG_UPS: Final = {
    "hang-up-before-head": (("stream", "tools"), "head"),
    "hang-up-mid-stream": (("stream", "tools"), "first"),
    "hang-up-non-streaming": (("chat",), "head"),
}
"""Kind of ending -> modes, and where the provider holds the call as the client disconnects."""

_REPEATED: Final = {"hang-up-queued": sweep_queue, "hang-up-before-head": storm_out}
"""Kind of ending -> the same many times over, for leaks that need an exact instant."""

OTHER_ENDINGS: Final = ("hang-up-queued", "timeout")
"""Disconnects from the queue; and providers that stay silent, which needs its own start."""


def _play(kind: str, conductor: Conductor) -> None:
    name = f"after-{kind}"
    cells = _where(conductor, kind)
    if not cells:
        return
    if conductor.capacity < min(2, conductor.limit):
        probe(conductor, name, "before")
    for turn in range(_ROUNDS):
        capacity = conductor.capacity
        # With all slots lost, a leak would look like a router that is down.
        count = min(max(1, min(capacity, conductor.limit) - 1), _MOST)
        if capacity < min(2, conductor.limit) or turn * count >= len(cells):
            return
        first = turn * count + _offset_of(kind)
        chosen = [cells[(first + number) % len(cells)] for number in range(count)]
        with conductor.to_its_end():
            counts = _lost(conductor, kind, chosen, repeated=not turn)
        if not counts:
            conductor.capacity = 0
            return
        if len(counts) == _PROBES:
            lost = max(counts) < min(capacity, conductor.limit)
            if lost and conductor.plan.can_restart:
                conductor.service.given_up = (
                    f"only {max(counts)} of {capacity} slots were left {name.replace('-', ' ', 1)}"
                )
            return


def _lost(conductor: Conductor, kind: str, cells: list[Cell], *, repeated: bool) -> list[int]:
    """Cause the endings and count the slots, by one probe or two; empty: there were none."""
    name, capacity, probed = f"after-{kind}", conductor.capacity, _probed(conductor)
    caused = _cause(conductor, name, kind, cells)
    if caused and repeated and probed is not None and kind in _REPEATED:
        _REPEATED[kind](conductor, name, *probed)
    if not caused or not settle(conductor, name):
        return []
    return probe_again_where_short(conductor, name, capacity)


for _kind in (*FAILURES, *HANG_UPS, *OTHER_ENDINGS):
    scenario(f"after-{_kind}")(partial(_play, _kind))


def _where(conductor: Conductor, kind: str) -> list[Cell]:
    """The routes that share the slots probed, each with a mode to cause it in.

    A route with two such modes is there with both of them: with the other one when all routes have
    been used.
    """
    modes = _modes_of(kind)
    plain = next((mode for mode in modes if _sharing(conductor, mode)), "")
    if plain in {"", "tools"} or "tools" not in modes:
        return [(route, plain) for route in _sharing(conductor, plain)]
    both = _sharing(conductor, "tools")
    routes = _sharing(conductor, plain)
    once = [
        (route, "tools" if route in both and n % 2 else plain) for n, route in enumerate(routes)
    ]
    again = [
        (route, plain if mode == "tools" else "tools") for route, mode in once if route in both
    ]
    return [*once, *again]


def _sharing(conductor: Conductor, mode: str) -> list[RoutePlan]:
    """The routes with this mode that share the slots probed."""
    probed = _probed(conductor)
    if probed is None:
        return []
    scope = conductor.plan.promises.cap.scope if conductor.plan.promises.cap else "global"
    routes = conductor.routes_with(mode)
    if scope in {"provider", "model"}:
        routes = [route for route in routes if route.provider == probed[0].provider]
    if scope == "model":
        routes = [route for route in routes if route.model == probed[0].model]
    return routes


def _modes_of(kind: str) -> tuple[str, ...]:
    if kind in FAILURES:
        return FAILURES[kind][0]
    return HANG_UPS[kind][0] if kind in HANG_UPS else _ANY


def _offset_of(kind: str) -> int:
    """Each kind begins with another route, so that all routes are used by some kind."""
    return list(FAILURES).index(kind) if kind in FAILURES else 0


def _probed(conductor: Conductor) -> tuple[RoutePlan, str] | None:
    for mode in _ANY:
        if routes := conductor.routes_with(mode):
            return routes[0], mode
    return None


def probe(conductor: Conductor, name: str, part: str) -> None:
    """Offer five times the cap, held, and count how many are let in."""
    probed = _probed(conductor)
    assert probed is not None
    route, mode = probed
    offered = OFFERED * conductor.limit
    with conductor.round(
        name, route=route.name, mode=mode, gate=True, offered=offered, part=part
    ) as round_:
        for _ in range(offered):
            round_.send(route, mode, hold="head", tokens=4)
        conductor.capacity = round_.snapshot_twice()


def probe_again_where_short(conductor: Conductor, name: str, capacity: int) -> list[int]:
    """How many were let in by each probe: one that misses slots is followed by another."""
    probe(conductor, name, "probe")
    counts = [conductor.capacity]
    while counts[-1] < capacity and len(counts) < _PROBES:
        gevent.sleep(_LATER_S)
        probe(conductor, name, "probe")
        counts.append(conductor.capacity)
    return counts


def _cause(conductor: Conductor, name: str, kind: str, chosen: list[Cell]) -> bool:
    """Make a request end in this way on each of the routes; False where they did not."""
    modes = {mode for _, mode in chosen}
    mode = modes.pop() if len(modes) == 1 else ""
    with conductor.round(name, mode=mode, gate=True, offered=len(chosen), part="cause") as round_:
        if kind in FAILURES:
            _fail(round_, chosen, FAILURES[kind][1])
        elif kind == "timeout":
            return _time_out(round_, chosen)
        elif kind == "hang-up-queued":
            _disconnect_queued(conductor, round_, chosen)
        else:
            _disconnect_held(conductor, round_, chosen, HANG_UPS[kind][1])
    return True


def _fail(round_: ActiveRound, cells: list[Cell], directives: Directives) -> None:
    """One by one, so that no two fall into one window of a circuit breaker by chance."""
    for cell in cells:
        exchange = round_.send(*cell, **directives)
        exchange.expected_failure = True
        exchange.over.wait(timeout=20)


def _time_out(round_: ActiveRound, cells: list[Cell]) -> bool:
    """All at once, since each takes as long as the router's timeout."""
    exchanges = [round_.send(*cell, hold="head", tokens=4) for cell in cells]
    for exchange in exchanges:
        exchange.expected_failure = True
    wait_until(lambda: all(exchange.outcome for exchange in exchanges), _TIMES_OUT_WITHIN_S)
    return all(exchange.outcome for exchange in exchanges)


def _disconnect_held(
    conductor: Conductor, round_: ActiveRound, cells: list[Cell], hold: str
) -> None:
    """All are held, and all of their clients disconnect."""
    exchanges = [round_.send(*cell, hold=hold, tokens=4) for cell in cells]
    round_.wait_held(len(exchanges), within_s=_HELD_WITHIN_S)
    if hold == "first":
        wait_until(
            lambda: all(e.first_ns is not None or e.outcome for e in exchanges), _HELD_WITHIN_S
        )
    _disconnect(exchanges)
    wait_until(lambda: not conductor.calls_open(), _NOTICED_WITHIN_S)


def _disconnect_queued(conductor: Conductor, round_: ActiveRound, cells: list[Cell]) -> None:
    """All slots are occupied, and clients that wait for one disconnect."""
    for _ in range(conductor.limit):
        round_.send(*cells[0], hold="head", tokens=4)
    round_.wait_held(min(conductor.capacity, conductor.limit), within_s=_HELD_WITHIN_S)
    exchanges = [round_.send(*cell, tokens=4) for cell in cells]
    wait_sent(exchanges, _HELD_WITHIN_S)
    gevent.sleep(0.1)
    round_.snapshot(settled=False)
    _disconnect(exchanges)
    gevent.sleep(_QUEUE_NOTICED_S)


def _disconnect(exchanges: list[Exchange]) -> None:
    for exchange in exchanges:
        exchange.expected_failure = True
        exchange.disconnect()
    for exchange in exchanges:
        exchange.over.wait(timeout=2)


def settle(conductor: Conductor, name: str) -> bool:
    """Wait until all calls ended, then a breaker's recovery time, then until a request succeeds."""
    wait_until(lambda: not conductor.calls_open(), _IDLE_WITHIN_S)
    gevent.sleep(conductor.plan.promises.recovery_s)
    probed = _probed(conductor)
    assert probed is not None
    route, mode = probed
    give_up = time.monotonic() + _WARM_WITHIN_S + conductor.plan.promises.recovery_s
    with conductor.round(name, route=route.name, mode=mode, part="warm") as round_:
        while time.monotonic() < give_up:
            exchange = round_.send(route, mode, tokens=4)
            exchange.timeout_s = 2.0
            exchange.over.wait(timeout=3)
            if exchange.outcome == "answered":
                return True
            gevent.sleep(0.1)
    return False
