"""Whether a start's router still serves anybody, and what is given up where it does not.

A router that has lost all its slots would be waited for in every round that is left. So a watch
looks at what moves while clients wait, by the fakes' own records:

- Clients wait, nothing is open at any provider, and for ``STILL_S`` nothing arrives there and no
  client gets a response: the clients give up. That alone shows nothing. Before the next round one
  request is sent by itself, on a route that was served before, with no other client there and
  nothing open; and again until a time has passed in which a sound router, or a circuit breaker
  after its ``recovery_s``, serves it. Where none is let in, the rest of the start is given up.
- A router that lets requests in again and again, but rarely, limits them in another way than by its
  slots. The time that passed so, with slots free, is added up over the start, and bounded.

All of it is in the router's favour: a client that gave up accuses nobody, a slow router is measured
by its own latency, and what is given up is inconclusive.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import gevent

from routerspec.errors import RouterspecError
from routerspec.processes.control import Now
from routerspec.promises import Promises
from routerspec.scenarios.engine.exchange import Exchange

CLIENT_TIMEOUT_S: Final = 40.0
"""A client's timeout."""

STILL_S: Final = 10.0
"""With nothing open and nothing moving for so long, clients give up. Longer than three releases of
a slot, which ``slots/handover`` is judged by, than a route under a cap of one is given, and than
the pauses of usual retries."""

STILL_AGAIN_S: Final = 8.0
"""The same on a start after one that was given up."""

SERVED_WITHIN_S: Final = 3.0
"""A request by itself is let in within this time, if the router serves anybody."""

FREE_FOR_S: Final = 12.0
FREE_FOR_AGAIN_S: Final = 5.0
"""So long in all, slots may be free while clients are kept out or refused; again: after a start
that was given up."""

_STANDSTILLS: Final = 3
"""Rounds."""
_LATENCIES: Final = 20
"""Times its latency: how long a slow router is given."""
_BREAKER_CLOSES_S: Final = 2.0
"""After ``recovery_s``, for one request to go through."""
_PARTIAL_S: Final = 2.0
_STARTS: Final = 6
"""As many as a start that plays everything stands for, about."""
_TICK_S: Final = 0.25
_WAITS_S: Final = 0.5
_ARRIVES_S: Final = 0.3
_TOLD_AFTER_S: Final = 3.0
_TOLD_EVERY_S: Final = 5.0
_FOR_NOW: Final = frozenset({408, 429, 500, 502, 503, 504, 529})
"""What a router answers that does not take a request now."""


class GivenUp(Exception):  # noqa: N818 - it names what happened
    """The rest of this start is given up; the message is a clause that says why."""


@dataclass(slots=True)
class _Seen:
    """What there was at the last tick."""

    moved: tuple[int, ...] = ()
    """Counters; any change is progress."""
    moved_at: float = 0.0
    arrived: int = 0
    arrived_at: float = 0.0
    refusals: int = 0


@dataclass(slots=True, kw_only=True)
class Service:
    """What one start's clients and fakes show of it."""

    promises: Promises
    latency_s: dict[str, float]
    """Route -> seconds that a request alone takes to its provider."""
    look: Callable[[], Now]
    """A snapshot of the fakes."""
    say: Callable[[str], None] = lambda text: None
    """What is being waited for, a line now and then."""
    impatient: bool = False
    """An earlier start was given up already."""
    shown_elsewhere: Callable[[], str] = lambda: ""
    """Why the rest of this start is given up, where other starts have shown it."""
    alone: bool = False
    """Everything is played on this start, and there is no fresh one."""
    suspect: tuple[str, str] | None = None
    """(route, mode) of clients that were not served, not looked into yet."""
    given_up: str = ""
    """Why the rest of this start is given up; empty: it is not."""
    limited: bool = False
    """It is, since the router limits requests in another way than by its slots."""
    served: set[tuple[str, str]] = field(default_factory=set)
    in_flight: dict[int, Exchange] = field(default_factory=dict)
    _stood_still: set[int] = field(default_factory=set)
    _free_s: float = 0.0
    _gap_s: float = 0.0
    """Of the time that slots are free: since anything moved."""
    _ended: int = 0
    _requests: int = 0
    _refused: Counter[int] = field(default_factory=Counter)
    _ends: defaultdict[int, list[Exchange]] = field(default_factory=lambda: defaultdict(list))
    _seen: _Seen = field(default_factory=_Seen)
    _told_at: float = 0.0

    @property
    def free_for_s(self) -> float:
        """How long slots may be free, in all, while clients are kept out or refused."""
        if self.alone:
            return _STARTS * FREE_FOR_S
        return FREE_FOR_AGAIN_S if self.impatient else FREE_FOR_S

    @property
    def stands_still(self) -> bool:
        """In enough rounds clients waited in vain, though the router served again without them:
        a further round of several routes would show the same.
        """
        return len(self._stood_still) >= _STANDSTILLS

    def begins(self, exchange: Exchange) -> None:
        """An exchange with the router begins."""
        self.in_flight[id(exchange)] = exchange

    def ends(self, exchange: Exchange) -> None:
        """An exchange with the router ended."""
        self.in_flight.pop(id(exchange), None)
        self._ended += 1
        if exchange.mode == "list":
            return
        self._requests += 1
        if exchange.outcome == "answered":
            self.served.add((exchange.route, exchange.mode))
        if _turned_away(exchange):
            self._refused[exchange.status or 0] += 1
        if exchange.outcome != "hung_up":
            self._ends[exchange.round].append(exchange)

    def round_over(self, number: int) -> None:
        """A round ended, and with it all of its exchanges."""
        ends = self._ends.pop(number, [])
        bad = [e for e in ends if _turned_away(e) or e.outcome == "timed_out"]
        if bad and not any(exchange.outcome == "answered" for exchange in ends):
            self.suspect = (bad[0].route, bad[0].mode)

    def take_suspect(self) -> tuple[str, str] | None:
        """The route and mode to look into now, which served before; None: there is no need."""
        suspect, self.suspect = self.suspect, None
        return suspect if suspect in self.served else None

    def served_within_s(self, route: str) -> float:
        """How long a request by itself on this route is given, again and again."""
        recovery_s = self.promises.recovery_s
        breaker_s = recovery_s + _BREAKER_CLOSES_S if recovery_s else 0.0
        return max(SERVED_WITHIN_S, breaker_s, _LATENCIES * self.latency_s.get(route, 0.0))

    def watch(self) -> None:
        """Look again and again, until killed."""
        while True:
            gevent.sleep(_TICK_S)
            try:
                self.tick(time.monotonic())
            except RouterspecError:  # Whoever plays needs the fakes too, and says so.
                return

    def tick(self, now: float) -> None:
        """Look once, where any client has waited for long or was refused."""
        if not self.given_up and (reason := self.shown_elsewhere()):
            self.limited, self.given_up = True, reason
        refusals = sum(self._refused.values())
        was_refused, self._seen.refusals = refusals > self._seen.refusals, refusals
        waiting = [each for each in self.in_flight.values() if each.waited_s(now) >= _WAITS_S]
        if not waiting and not was_refused:
            self._seen.moved = ()
            return
        if self.given_up:
            self._stop([each for each in waiting if each.waited_s(now) >= STILL_AGAIN_S], now)
        fakes = self.look()
        self._note(fakes, now)
        latency_s = self._latency_s(waiting)
        if now - self._seen.arrived_at < max(_ARRIVES_S, _LATENCIES / 4 * latency_s):
            return
        open_ = sum(fakes.open.values())
        # While a provider fails, routers pause between attempts.
        kept_out = any(not exchange.expected_failure for exchange in waiting)
        if (kept_out and not open_) or (was_refused and open_ < self._limit):
            self._gap_s += _TICK_S
            self._tell(waiting, now)
        if open_ or any(each.open for each in fakes.lists.values()):
            self._seen.moved_at = now
        elif now - self._seen.moved_at >= self._still_s(waiting):
            self._gap_s = 0.0  # A standstill is looked into by itself.
            self._stood_still.update(exchange.round for exchange in waiting)
            self._stop(waiting, now)
        if self._free_s >= self.free_for_s and not self.given_up:
            self.limited, self.given_up = True, self._rarely()
            self._stop(waiting, now)

    def _note(self, fakes: Now, now: float) -> None:
        seen, arrived = self._seen, sum(fakes.arrived.values())
        fetches = sum(each.fetches for each in fakes.lists.values())
        if arrived != seen.arrived or not seen.moved:
            seen.arrived, seen.arrived_at = arrived, now
        moved = (arrived, fetches, self._ended)
        if moved != seen.moved:
            seen.moved, seen.moved_at = moved, now
            self._free_s, self._gap_s = self._free_s + self._gap_s, 0.0

    @property
    def _limit(self) -> int:
        return self.promises.cap.limit if self.promises.cap else 1

    def _latency_s(self, waiting: Sequence[Exchange]) -> float:
        """Of the slowest route that clients wait for; of all routes where none waits."""
        routes = {exchange.route for exchange in waiting} & set(self.latency_s)
        return max((self.latency_s[route] for route in routes or self.latency_s), default=0.0)

    def _still_s(self, waiting: Sequence[Exchange]) -> float:
        still_s = STILL_AGAIN_S if self.impatient else STILL_S
        breaker_s = self.promises.recovery_s + _BREAKER_CLOSES_S
        still_s = max(still_s, breaker_s, _LATENCIES * self._latency_s(waiting))
        lists = self.promises.model_list
        if lists is not None and any(exchange.mode == "list" for exchange in waiting):
            return max(still_s, lists.partial_within_s + _PARTIAL_S)
        return still_s

    def _stop(self, waiting: Sequence[Exchange], now: float) -> None:
        """End the clients that wait, and remember on which route."""
        for exchange in waiting:
            if exchange.mode != "list" and self.suspect is None:
                self.suspect = (exchange.route, exchange.mode)
            exchange.give_up(
                f"no end after {exchange.waited_s(now):.1f} s: given up with nothing open at any "
                "provider and nothing arriving there"
            )

    def _rarely(self) -> str:
        return (
            f"for {self._free_s:.0f} s in all slots were free and nothing was let in"
            f"{self._refusals()}: another limit than the cap?"
        )

    def _refusals(self) -> str:
        """A clause about what the router itself refused; empty for nothing."""
        if not self._refused:
            return ""
        (status, count), *_ = self._refused.most_common(1)
        return f", {count} of {self._requests} requests were refused by the router with {status}"

    def _tell(self, waiting: Sequence[Exchange], now: float) -> None:
        free_s = self._free_s + self._gap_s
        if free_s < _TOLD_AFTER_S or now - self._told_at < _TOLD_EVERY_S:
            return
        self._told_at = now
        clients = f"{len(waiting)} clients to be let in" if waiting else "slots to be used"
        self.say(
            f"{clients}; for {free_s:.0f} s so far slots were free and no call arrived at any "
            f"provider{self._refusals()}"
        )


def _turned_away(exchange: Exchange) -> bool:
    """Refused for now, or broken off, by the router itself as far as a client can tell."""
    if exchange.expected_failure:
        return False
    refused = exchange.outcome == "refused" and exchange.status in _FOR_NOW
    return refused or exchange.outcome == "failed"
