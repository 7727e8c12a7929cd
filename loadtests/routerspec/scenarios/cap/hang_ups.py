"""Rounds in which as many clients as the cap disconnect at once, in every phase of a request.

Wave after wave comes to the same phase and disconnects, then others are held before the head: calls
that run on while their slot is taken again pile up above the cap. The fakes hold every call in the
end, so that they are counted at rest. Only where a snapshot shows too many is a second one taken.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import gevent
import gevent.event

from routerspec.limits import (
    LEFT_AFTER_PIECES,
    LEFT_ONE_PIECE,
    LEFT_STREAM,
    LEFT_WHOLE,
    OFFERED,
    PASSED_ON_S,
)
from routerspec.plan.requests import comes_whole
from routerspec.records.load_plan import RoutePlan
from routerspec.records.observations import STREAMED
from routerspec.scenarios.engine.conductor import Conductor
from routerspec.scenarios.engine.exchange import Exchange
from routerspec.scenarios.engine.prompt import Directives
from routerspec.scenarios.engine.registry import scenario
from routerspec.scenarios.engine.rounds import ActiveRound
from routerspec.scenarios.engine.waiting import wait_sent, wait_until

APART_S: Final = 1.05
"""Two snapshots this far apart show a slot that was released while its call ran on."""
_WAVES: Final = 2
_ENOUGH_ROUNDS: Final = 3
_PIECES: Final = 50
_GAP_S: Final = 0.02
"""Streams that are left while they run are held in the end, after a second of pieces."""
_IN_PHASE_WITHIN_S: Final = 5.0
_AGAIN_WITHIN_S: Final = 0.4
"""A router that keeps the slots of calls that run on admits no second wave."""
_CLOSED_WITHIN_S: Final = 0.1
_AT_REST_WITHIN_S: Final = 3.0
_QUIET_S: Final = 0.15
_RETRY_S: Final = 0.05
_KEPT_OUT_S: Final = 0.3
"""A router that rejects has let in a client by then."""
_POLL_S: Final = 0.01

Received = Callable[[Exchange], bool]


def _nothing(_: Exchange) -> bool:
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class _Phase:
    """Where the provider holds a call, and what its client has received when it leaves."""

    hold: str
    directives: Directives = field(default_factory=lambda: Directives(tokens=4))
    received: Received = _nothing
    runs: bool = False
    """The clients leave as soon as they have received that, while the provider still sends."""
    unread: bool = False


_PHASES: Final = {
    "before-head": _Phase(hold="head"),
    "after-head": _Phase(hold="open", received=lambda client: client.head_ns is not None),
    "after-piece-1": _Phase(hold="first", received=lambda client: client.first_ns is not None),
    "after-piece-n": _Phase(
        hold="piece",
        directives={"at": LEFT_AFTER_PIECES, "tokens": LEFT_AFTER_PIECES + 4},
        received=lambda client: client.content.pieces >= LEFT_AFTER_PIECES,
    ),
    "while-streaming": _Phase(
        hold="piece",
        directives={"at": _PIECES, "tokens": _PIECES + 4, "gap": _GAP_S},
        received=lambda client: client.first_ns is not None,
        runs=True,
    ),
    "unread": _Phase(hold="piece", directives={"at": _PIECES, "tokens": _PIECES + 4}, unread=True),
}


@scenario("hang-ups")
def hang_ups(conductor: Conductor) -> None:
    """Each route and mode, left in each phase; until it is shown that slots are missing."""
    short = beyond = 0
    for route, mode in conductor.all_cells():
        for phase in _phases(route, mode):
            if phase == "queued" and not _queued(conductor):
                continue
            held = _round(conductor, route, mode, phase)
            short += held < conductor.limit
            beyond += held > conductor.limit
            if _ENOUGH_ROUNDS in (short, beyond) or conductor.service.stands_still:
                return


def _phases(route: RoutePlan, mode: str) -> tuple[str, ...]:
    if mode not in STREAMED:
        return LEFT_WHOLE
    return LEFT_ONE_PIECE if comes_whole(route, mode) else LEFT_STREAM


def _queued(conductor: Conductor) -> int:
    """How many clients to have in the queue; 0 where there is none."""
    cap = conductor.plan.promises.cap
    assert cap is not None
    if cap.overload == "reject":
        return 0
    return cap.limit if cap.queue_limit is None else min(cap.limit, cap.queue_limit)


def _round(conductor: Conductor, route: RoutePlan, mode: str, phase: str) -> int:
    """Play one phase; how many calls were held in the end."""
    limit = conductor.limit
    with conductor.round(
        "hang-ups", route=route.name, mode=mode, gate=True, offered=OFFERED * limit, part=phase
    ) as round_:
        if phase == "queued":
            _leave_queue(conductor, round_, route, mode)
        else:
            _leave_in_waves(conductor, round_, (route, mode), _PHASES[phase])
        for _ in range(2 * limit):
            round_.send(route, mode, hold="head", tokens=4)
        round_.wait_saturated()
        wait_until(lambda: _at_rest(conductor), _AT_REST_WITHIN_S)
        settled = round_.settle(_QUIET_S)
        held = round_.snapshot(settled=settled)
        late = held < limit and round_.wait_saturated()
        if late or (held == limit and not settled):  # Calls of those that left were closed late.
            held = round_.snapshot(settled=round_.settle(_QUIET_S))
        if held > limit:
            gevent.sleep(APART_S)
            held = round_.snapshot(settled=round_.settle(_QUIET_S))
    return held


def _leave_queue(conductor: Conductor, round_: ActiveRound, route: RoutePlan, mode: str) -> None:
    """All slots are occupied; clients queue and disconnect."""
    for _ in range(conductor.limit):
        round_.send(route, mode, hold="head", tokens=4)
    round_.wait_held(conductor.limit)
    waiting = [
        round_.send(route, mode, hold="head", tokens=4, retry_rejected=False)
        for _ in range(_queued(conductor))
    ]
    wait_sent(waiting, _IN_PHASE_WITHIN_S)
    round_.snapshot(settled=round_.settle(_QUIET_S))
    _leave(waiting)


def _leave_in_waves(
    conductor: Conductor, round_: ActiveRound, cell: tuple[RoutePlan, str], phase: _Phase
) -> None:
    for wave in range(_WAVES):
        within_s = _AGAIN_WITHIN_S if wave else _IN_PHASE_WITHIN_S
        clients = _in_phase(conductor, round_, cell, phase, within_s)
        if cell[1] in STREAMED:  # A whole answer is often passed on when it is whole.
            passed_on_s = PASSED_ON_S / (10 if wave else 1)
            wait_until(partial(_all, phase.received, clients), passed_on_s)
        _leave(clients)
        if len(clients) < conductor.limit:
            return
        wait_until(lambda: not round_.held(), _CLOSED_WITHIN_S)


def _in_phase(
    conductor: Conductor,
    round_: ActiveRound,
    cell: tuple[RoutePlan, str],
    phase: _Phase,
    within_s: float,
) -> list[Exchange]:
    """As many clients as the cap, those whose calls came to the phase in time; the others wait.

    Sent again while a rejecting router has not taken its slots back yet.
    """

    def send() -> Exchange:
        client = round_.send(*cell, hold=phase.hold, retry_rejected=False, **phase.directives)
        client.unread = gevent.event.Event() if phase.unread else None
        client.expected_failure = True
        return client

    began = time.monotonic()
    give_up = began + within_s
    clients = [send() for _ in range(conductor.limit)]
    there = _there(conductor, clients, phase)
    while len(there) < len(clients) and time.monotonic() < give_up:
        gevent.sleep(_POLL_S)
        if any(client.outcome == "refused" for client in clients):
            gevent.sleep(_RETRY_S)
            clients = [send() if client.outcome == "refused" else client for client in clients]
            began = time.monotonic()
        elif phase.unread and time.monotonic() - began > _KEPT_OUT_S and not _queued(conductor):
            _read_on(clients, there)
        elif all(client.outcome is not None for client in clients):
            break
        there = _there(conductor, clients, phase)
    _read_on(clients, there)
    return there


def _read_on(clients: list[Exchange], there: list[Exchange]) -> None:
    """Have those read that are not in the phase: they may have been refused."""
    for client in clients:
        if client.unread is not None and client not in there:
            client.unread.set()


def _there(conductor: Conductor, clients: list[Exchange], phase: _Phase) -> list[Exchange]:
    """The clients whose calls are where they leave them, by what the fakes hold."""
    now = conductor.control.now()
    waiting = [client for client in clients if client.waiting]
    if phase.runs:
        # Open calls that are not held yet: the fakes do not say whose they are.
        return waiting if sum(now.open.values()) >= conductor.limit else []
    token = conductor.plan.token
    held = {nonce for call in now.held if call.run == token for nonce in call.nonces}
    return [client for client in waiting if client.nonce in held]


def _all(received: Received, clients: list[Exchange]) -> bool:
    return all(map(received, clients))


def _at_rest(conductor: Conductor) -> bool:
    """Every call that is open is held."""
    now = conductor.control.now()
    return sum(now.open.values()) <= len(now.held)


def _leave(clients: list[Exchange]) -> None:
    for client in clients:
        client.expected_failure = True
        client.disconnect()
