"""Clients that disconnect at once, in every phase of a request: ``hang-ups``.

As in ``routerspec.scenarios.cap.hang_ups``, with fewer pieces.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from routerspec.limits import LEFT_AFTER_PIECES, LEFT_STREAM, LEFT_WHOLE, PASSED_ON_S
from tests.judge.model.clients import Client
from tests.judge.model.conductor import Conductor, RoundInPlay

APART_S = 1.05
WAVES = 2
ENOUGH_ROUNDS = 3
PIECES = 12
GAP_S = 0.06
IN_PHASE_WITHIN_S = 5.0
AGAIN_WITHIN_S = 0.4
CLOSED_WITHIN_S = 0.1
AT_REST_WITHIN_S = 3.0
QUIET_S = 0.15
RETRY_S = 0.05
KEPT_OUT_S = 0.3
POLL_S = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """Where the provider holds a call, and what its client has received when it leaves."""

    hold: str
    directives: dict[str, Any] = field(default_factory=dict)
    received: Callable[[Client], bool] = lambda _: True
    runs: bool = False
    """The clients leave while the provider still sends."""
    unread: bool = False


PHASES = {
    "before-head": Phase(hold="head"),
    "after-head": Phase(hold="open", received=lambda client: client.head_ns is not None),
    "after-piece-1": Phase(hold="first", received=lambda client: client.first_ns is not None),
    "after-piece-n": Phase(
        hold="piece",
        directives={"at": LEFT_AFTER_PIECES, "tokens": LEFT_AFTER_PIECES + 4},
        received=lambda client: client.pieces >= LEFT_AFTER_PIECES,
    ),
    "while-streaming": Phase(
        hold="piece",
        directives={"at": PIECES, "tokens": PIECES + 4, "gap": GAP_S},
        received=lambda client: client.first_ns is not None,
        runs=True,
    ),
    "unread": Phase(hold="piece", directives={"at": 6, "tokens": 8}, unread=True),
}


async def hang_ups(c: Conductor) -> None:
    """Each route and mode, left in each phase; until it is shown that slots are missing."""
    short = beyond = 0
    for route, mode in c.story.cells:
        for phase in LEFT_STREAM if mode == "stream" else LEFT_WHOLE:
            if phase == "queued" and not _queued(c):
                continue
            held = await _round(c, (route, mode), phase)
            short += held < c.limit
            beyond += held > c.limit
            if ENOUGH_ROUNDS in (short, beyond):
                return


def _queued(c: Conductor) -> int:
    cap = c.promises.cap
    assert cap is not None
    if cap.overload == "reject":
        return 0
    return cap.limit if cap.queue_limit is None else min(cap.limit, cap.queue_limit)


async def _round(c: Conductor, cell: tuple[str, str], phase: str) -> int:
    async def play(played: RoundInPlay) -> int:
        if phase == "queued":
            await _leave_queue(c, played, cell)
        else:
            await _leave_in_waves(c, played, cell, PHASES[phase])
        for _ in range(2 * c.limit):
            played.ask(*cell, hold="head")
        await played.wait_held(c.limit, 0.5)
        await c.wait_until(lambda: _at_rest(c), AT_REST_WITHIN_S)
        settled = await played.settle(QUIET_S)
        held = await played.snapshot(settled=settled)
        late = held < c.limit and await played.wait_held(c.limit, 0.5)
        if late or (held == c.limit and not settled):
            held = await played.snapshot(settled=await played.settle(QUIET_S))
        if held > c.limit:
            await c.nap(APART_S)
            held = await played.snapshot(settled=await played.settle(QUIET_S))
        return held

    held = await c.round("hang-ups", play, route=cell[0], mode=cell[1], gate=True, part=phase)
    assert isinstance(held, int)
    return held


async def _leave_queue(c: Conductor, played: RoundInPlay, cell: tuple[str, str]) -> None:
    """All slots are occupied; clients queue and disconnect."""
    for _ in range(c.limit):
        played.ask(*cell, hold="head")
    await played.wait_held(c.limit)
    waiting = [played.ask(*cell, hold="head", retry_rejected=False) for _ in range(_queued(c))]
    await c.wait_until(lambda: all(e.sent_ns or e.outcome for e in waiting), IN_PHASE_WITHIN_S)
    await played.snapshot(settled=await played.settle(QUIET_S))
    _leave(waiting)


async def _leave_in_waves(
    c: Conductor, played: RoundInPlay, cell: tuple[str, str], phase: Phase
) -> None:
    for wave in range(WAVES):
        within_s = AGAIN_WITHIN_S if wave else IN_PHASE_WITHIN_S
        clients = await _in_phase(c, played, cell, phase, within_s)
        if cell[1] == "stream":
            passed_on_s = PASSED_ON_S / (10 if wave else 1)
            await c.wait_until(partial(_all, phase.received, clients), passed_on_s)
        _leave(clients)
        if len(clients) < c.limit:
            return
        await c.wait_until(lambda: not played.held(), CLOSED_WITHIN_S)


async def _in_phase(
    c: Conductor, played: RoundInPlay, cell: tuple[str, str], phase: Phase, within_s: float
) -> list[Client]:
    """As many clients as the cap, those whose calls came to the phase in time."""

    def ask() -> Client:
        client = played.ask(*cell, hold=phase.hold, retry_rejected=False, **phase.directives)
        client.unread = phase.unread
        return client

    began = c.clock.now
    give_up = began + int(within_s * 1e9)
    clients = [ask() for _ in range(c.limit)]
    there = _there(c, played, clients, phase)
    while len(there) < len(clients) and c.clock.now < give_up:
        await c.nap(POLL_S)
        if any(client.outcome == "refused" for client in clients):
            await c.nap(RETRY_S)
            clients = [ask() if client.outcome == "refused" else client for client in clients]
            began = c.clock.now
        elif phase.unread and c.clock.now - began > KEPT_OUT_S * 1e9 and not _queued(c):
            _read_on(clients, there)
        elif all(client.outcome for client in clients):
            break
        there = _there(c, played, clients, phase)
    _read_on(clients, there)
    return there


def _read_on(clients: list[Client], there: list[Client]) -> None:
    for client in clients:
        if client not in there:
            client.read_on()


def _there(c: Conductor, played: RoundInPlay, clients: list[Client], phase: Phase) -> list[Client]:
    """The clients whose calls are where they leave them, by what the fakes hold."""
    waiting = [client for client in clients if client.waiting]
    if phase.runs:
        return waiting if len(c.fakes.calls) >= c.limit else []
    return [client for client in waiting if played.holds(client)]


def _all(received: Callable[[Client], bool], clients: list[Client]) -> bool:
    return all(map(received, clients))


def _at_rest(c: Conductor) -> bool:
    """Every call that is open is held."""
    return len(c.fakes.calls) <= len(c.fakes.held())


def _leave(clients: list[Client]) -> None:
    for client in clients:
        client.leave()
