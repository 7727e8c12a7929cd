"""One round while it is being played: its requests, its looks, and its release.

Decides when a round counts as settled and what a look writes down. Refuses to know why the round
is played, and judges nothing.
"""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import gevent
import gevent.event

from routerspec.processes.control import Now
from routerspec.records.load_plan import RoutePlan
from routerspec.records.observations import EpochMoved, Held, Released, RoundEnd, Snapshot
from routerspec.scenarios.engine.backpressure import PATIENCE_S
from routerspec.scenarios.engine.exchange import Exchange
from routerspec.scenarios.engine.waiting import wait_until

if TYPE_CHECKING:
    from routerspec.scenarios.engine.conductor import Conductor

SNAPSHOTS_APART_S = 0.27
"""Two looks prove a hold when they are 250 ms apart; a little more, so that they surely are."""

SETTLE_S = 0.5
WRITTEN_WITHIN_S = 10.0
_POLL_S = 0.02
_AGAIN_S = 0.1


class RoundInPlay:
    """One round while it is being played."""

    def __init__(self, conductor: Conductor, number: int, gate: str) -> None:
        self.number = number
        self.exchanges: list[Exchange] = []
        self.incident = ""
        self._conductor = conductor
        self._gate = gate
        self._open = not gate
        self._again: list[Exchange] = []

    def ask(
        self,
        route: RoutePlan,
        mode: str,
        *,
        hold: str = "",
        model: str = "",
        go: gevent.event.Event | None = None,
        retry_rejected: bool = True,
        **told: Any,
    ) -> Exchange:
        """Hand one generation request to the users. ``hold``: ``head`` or ``first``.

        ``insist``: offer it again for as long as a rejecting router refuses it while we hold.
        """
        if hold:
            told = {"hold": hold, "gate": self._gate, **told}
        exchange = self._conductor.generation(route, mode, round_=self.number, model=model, **told)
        exchange.go = go
        self.exchanges.append(exchange)
        if retry_rejected:
            self._conductor.jobs.put(lambda: self._offer(exchange, route, mode, told))
        else:
            self._conductor.jobs.put(lambda: self._conductor.make(exchange))
        return exchange

    def ask_list(
        self, go: gevent.event.Event | None = None, *, model: str = "", path: str = ""
    ) -> Exchange:
        """Hand one request for the model list, or for one ``model`` of it, to the users."""
        exchange = self._conductor.list_request(round_=self.number, model=model, path=path)
        exchange.go = go
        self.exchanges.append(exchange)
        self._conductor.jobs.put(lambda: self._conductor.make(exchange))
        return exchange

    def _offer(self, first: Exchange, route: RoutePlan, mode: str, told: dict[str, Any]) -> None:
        """Make an exchange; where a rejecting router refuses it while we hold, offer it again."""
        exchange = first
        self._conductor.make(exchange)
        while self._refused_in_vain(exchange):
            gevent.sleep(_AGAIN_S)
            if self._open:
                return
            exchange = self._conductor.generation(route, mode, round_=self.number, **told)
            self._again.append(exchange)
            self._conductor.make(exchange)

    def _refused_in_vain(self, exchange: Exchange) -> bool:
        cap = self._conductor.plan.promises.cap
        return (
            not self._open
            and cap is not None
            and exchange.outcome == "refused"
            and exchange.status in cap.reject_status
        )

    def settle(self, quiet_s: float = 0.0) -> bool:
        """Wait until every request is written and no call arrives any more.

        True once nothing arrived for ``quiet_s`` (by default as long as the slowest route of
        the round makes it, at least half a second). False as soon as the fakes hold more than the
        cap, which needs no settling; and when calls keep arriving, as endless retries do.
        """
        quiet_ns = int((quiet_s or self._settling_time()) * 1e9)
        give_up = time.monotonic() + WRITTEN_WITHIN_S + quiet_ns / 1e9
        while time.monotonic() < give_up:
            now = self._conductor.control.now()
            if self._beyond_cap(now):
                return False
            unwritten = [e for e in self.exchanges if e.sent_ns is None and e.outcome is None]
            moments = [e.sent_ns or e.end_ns for e in self.exchanges]
            last = max([now.last_arrival_ns or 0, *moments])
            if not unwritten and now.at_ns - last >= quiet_ns:
                return True
            gevent.sleep(_POLL_S)
        return False

    def _settling_time(self) -> float:
        latency = max(
            (self._conductor.latency_s.get(e.route, 0.0) for e in self.exchanges), default=0
        )
        return max(SETTLE_S, 5 * latency * len(self.exchanges))

    def _beyond_cap(self, now: Now) -> bool:
        cap = self._conductor.plan.promises.cap
        if cap is None:
            return False
        ours = [call for call in now.held if call.run == self._conductor.plan.token]
        if cap.scope in {"provider", "model"}:
            counted = max(Counter(call.provider for call in ours).values(), default=0)
        else:
            counted = len(ours)
        return counted > cap.limit

    def held(self) -> int:
        """How many calls of this start the fakes hold now."""
        now = self._conductor.control.now()
        return sum(call.run == self._conductor.plan.token for call in now.held)

    def holds(self, exchange: Exchange) -> bool:
        """Whether the fakes hold a call of this very request now."""
        now = self._conductor.control.now()
        token = self._conductor.plan.token
        return any(call.run == token and exchange.nonce in call.nonces for call in now.held)

    def wait_held(self, count: int, within_s: float = 5.0) -> bool:
        """Wait until ``count`` calls are held."""
        return wait_until(lambda: self.held() >= count, within_s, _POLL_S)

    def wait_full(self) -> bool:
        """Wait until as many are held as the cap lets in, at most as long as settling takes."""
        return self.wait_held(self._conductor.limit, self._settling_time())

    def snapshot(self, *, settled: bool) -> int:
        """Ask the fakes what they hold, write it down, and tell how many calls that is."""
        asked_ns = time.monotonic_ns()
        now = self._conductor.control.now()
        answered_ns = time.monotonic_ns()
        token = self._conductor.plan.token
        held = tuple(
            Held(provider=c.provider, call=c.call, nonces=c.nonces, read_ns=c.read_ns)
            for c in now.held
            if c.run == token
        )
        waiting = tuple(
            e.nonce for e in [*self.exchanges, *self._again] if e.waiting and e.mode != "list"
        )
        self._conductor.log.append(
            Snapshot(
                round=self.number,
                asked_ns=asked_ns,
                at_ns=now.at_ns,
                answered_ns=answered_ns,
                held=held,
                open=now.open,
                waiting=waiting,
                settled=settled,
            )
        )
        return len(held)

    def snapshot_twice(self, *, quiet_s: float = 0.0) -> int:
        """Settle and look; where more than the cap is held, look again a quarter second later."""
        settled = self.settle(quiet_s)
        held = self.snapshot(settled=settled)
        if not settled:
            gevent.sleep(SNAPSHOTS_APART_S)
            held = self.snapshot(settled=False)
        return held

    def let_go(self, count: int) -> None:
        """Let the oldest at the round's gate go; it stays shut."""
        self._conductor.control.let_go(self._gate, count)

    def wait_arrived(self, count: int, within_s: float) -> bool:
        """Wait until so many calls have arrived in all."""
        arrived = self._conductor.control.now
        return wait_until(lambda: sum(arrived().arrived.values()) >= count, within_s, _POLL_S)

    def release(self) -> None:
        """Open the round's gate for good."""
        if not self._open:
            self._open = True
            at_ns = time.monotonic_ns()
            count = self._conductor.control.open_gate(self._gate)
            self._conductor.log.append(
                Released(round=self.number, at_ns=at_ns, what="gate", count=count)
            )

    def release_lists(self) -> None:
        """Let held list fetches go."""
        at_ns = time.monotonic_ns()
        count = self._conductor.control.release_lists()
        self._conductor.log.append(
            Released(round=self.number, at_ns=at_ns, what="lists", count=count)
        )

    def move_epoch(self) -> int:
        """Give the lists of all providers a new epoch, and tell which."""
        before_ns = time.monotonic_ns()
        now = self._conductor.control.now()
        epoch = 1 + max(state.epoch for state in now.lists.values())
        self._conductor.control.lists(epoch=epoch)
        self._conductor.log.append(
            EpochMoved(
                round=self.number, epoch=epoch, before_ns=before_ns, after_ns=time.monotonic_ns()
            )
        )
        return epoch

    def abandon(self) -> None:
        """Close the round in the log without waiting: the load was stopped in the midst of it.

        What it came to until then is told by its records; what it lacks, the judge will miss.
        """
        self._conductor.log.append(
            RoundEnd(round=self.number, at_ns=time.monotonic_ns(), incident="")
        )

    def finish(self) -> None:
        """Let everything go, wait for every client, and close the round in the log."""
        self.release()
        give_up = time.monotonic() + PATIENCE_S + 5
        for exchange in self.exchanges:
            exchange.over.wait(timeout=max(0.0, give_up - time.monotonic()))
        for exchange in self._again:
            exchange.over.wait(timeout=max(0.0, give_up - time.monotonic()))
        self._conductor.backpressure.saw([*self.exchanges, *self._again])
        unfinished = sum(e.outcome is None for e in [*self.exchanges, *self._again])
        if unfinished:
            self.incident = self.incident or f"{unfinished} clients never came to an end"
        self._conductor.log.append(
            RoundEnd(round=self.number, at_ns=time.monotonic_ns(), incident=self.incident)
        )
