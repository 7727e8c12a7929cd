"""What the rounds of several replicas share: who holds, who waits, and what is looked at.

The last replica is the one that is disturbed, and the first is never: whether the router still
serves anybody is asked of that one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import gevent
import gevent.event

from routerspec.limits import AFTER_FAULT, LARGEST_BURST, OFFERED
from routerspec.promises import Cap
from routerspec.records.load_plan import RoutePlan
from routerspec.records.observations import Disturbed
from routerspec.scenarios.engine.conductor import Conductor
from routerspec.scenarios.engine.crew import at_one_instant
from routerspec.scenarios.engine.exchange import Exchange
from routerspec.scenarios.engine.rounds import SNAPSHOTS_APART_S, ActiveRound
from routerspec.scenarios.engine.waiting import wait_until

_FULL_WITHIN_S: Final = 3.0
_QUIET_S: Final = 0.3
MARGIN_S: Final = 2 * SNAPSHOTS_APART_S


def cap_of(conductor: Conductor) -> Cap:
    """The promised cap. Only for scenarios of a target that promises one."""
    cap = conductor.plan.promises.cap
    assert cap is not None
    return cap


def lease_s(conductor: Conductor) -> float:
    """The promised lease; 0: there is none."""
    return cap_of(conductor).lease_s or 0.0


def settling_s(conductor: Conductor) -> float:
    """How long slots may be missing once a fault is over."""
    return 2 * lease_s(conductor) + _FULL_WITHIN_S


def cell(conductor: Conductor) -> tuple[RoutePlan, str] | None:
    """The first route with a chat, else with a stream: it stands for all. None: there is none, or
    there are no replicas.
    """
    if conductor.replicas < 2:
        return None
    for mode in ("chat", "stream", "tools"):
        if routes := conductor.routes_with(mode):
            return routes[0], mode
    return None


@contextmanager
def gated(
    conductor: Conductor, scenario: str, part: str, count: int = 0, *, mode: str = ""
) -> Iterator[ActiveRound]:
    """A round of the route that stands for all, its gate closed. Only where there is one.

    ``count``: requests that are offered; 0: enough for all slots. ``mode``: another than the
    route's first.
    """
    its = cell(conductor)
    assert its is not None
    route, first = its
    with conductor.round(
        scenario,
        route=route.name,
        mode=mode or first,
        gate=True,
        offered=count or offered(conductor),
        part=part,
    ) as round_:
        yield round_


def disturb_services(
    conductor: Conductor, round_: ActiveRound, what: Disturbed, *, replica: int = 0
) -> None:
    """Disturb all services, or one replica's way to them."""
    for service in conductor.plan.services:
        conductor.router.disturb(round_.number, what, replica=replica, service=service)


def offered(conductor: Conductor) -> int:
    """Requests enough for all slots, with some of every replica left over."""
    return max(OFFERED * conductor.limit, 3 * conductor.replicas)


def send(
    conductor: Conductor,
    round_: ActiveRound,
    count: int,
    *,
    to: Sequence[int] = (),
    hold: str = "head",
    mode: str = "",
    last_byte: gevent.event.Event | None = None,
    retry: bool = True,
) -> list[Exchange]:
    """So many requests, to these replicas in turn (all of them). None is expected to end well."""
    route, its_mode = cell(conductor) or (conductor.plan.routes[0], "chat")
    replicas = to or range(1, conductor.replicas + 1)
    sent = []
    for number in range(count):
        exchange = round_.send(
            route,
            mode or its_mode,
            hold=hold,
            tokens=4,
            replica=replicas[number % len(replicas)],
            last_byte=last_byte,
            retry_rejected=retry,
        )
        exchange.expected_failure = True
        sent.append(exchange)
    return sent


def fill(conductor: Conductor, round_: ActiveRound, victim: int) -> list[Exchange]:
    """Calls of the victim in all slots but one, which another replica has, and a queue at others.

    With a single slot the victim has it.
    """
    limit, others = conductor.limit, others_than(conductor, victim)
    mine = send(conductor, round_, max(1, limit - 1), to=[victim])
    round_.wait_held(len(mine), _FULL_WITHIN_S)
    send(conductor, round_, limit - len(mine), to=others)
    round_.wait_held(limit, _FULL_WITHIN_S)
    send(conductor, round_, offered(conductor), to=others)
    round_.snapshot(settled=round_.settle(_QUIET_S))
    return mine


def others_than(conductor: Conductor, victim: int) -> list[int]:
    """The other replicas."""
    return [number for number in range(1, conductor.replicas + 1) if number != victim]


def watch(round_: ActiveRound, for_s: float, until: Callable[[int], bool] | None = None) -> None:
    """A snapshot again and again; ``until``: enough are held, and one more snapshot is taken."""
    give_up = time.monotonic() + for_s
    while True:
        held = round_.snapshot(settled=False)
        if time.monotonic() >= give_up:
            return
        gevent.sleep(SNAPSHOTS_APART_S)
        if until is not None and until(held):
            round_.snapshot(settled=False)
            return


def idle(conductor: Conductor) -> None:
    """Wait until no call is open at any provider."""
    wait_until(lambda: not conductor.calls_open(), _FULL_WITHIN_S)


def as_before(conductor: Conductor, scenario: str, within_s: float) -> None:
    """All replicas offered at once, when everything is there again: the cap is still one.

    ``within_s``: how long slots may be missing yet.
    """
    idle(conductor)
    together(conductor, scenario, part=AFTER_FAULT, within_s=within_s)


def together(
    conductor: Conductor, scenario: str, *, part: str, hold: str = "head", mode: str = "",
    within_s: float = _FULL_WITHIN_S,
) -> int:  # fmt: skip
    """All replicas offered at once; how many calls were held in the end."""
    with gated(conductor, scenario, part, mode=mode) as round_:
        send(conductor, round_, offered(conductor), hold=hold, mode=mode)
        round_.wait_held(conductor.limit, within_s)
        return look_twice(round_)


def burst(conductor: Conductor, scenario: str, part: str) -> int:
    """The last byte of every request is sent at one instant, to all replicas."""
    wanted = max(LARGEST_BURST * conductor.limit, 3 * conductor.replicas)
    with gated(conductor, scenario, part, wanted) as round_:
        with at_one_instant() as last_byte:
            send(conductor, round_, wanted, last_byte=last_byte)
        round_.wait_saturated()
        return look_twice(round_)


def look_twice(round_: ActiveRound) -> int:
    """A settled snapshot, and a second one in any case where it is full, or more than that."""
    settled = round_.settle()
    held = round_.snapshot(settled=settled)
    if not settled:
        gevent.sleep(SNAPSHOTS_APART_S)
        held = round_.snapshot(settled=False)
        gevent.sleep(2 * SNAPSHOTS_APART_S + 2 * _QUIET_S)
        held = round_.snapshot(settled=False)
    return held
