"""The conductor: leads one start of the router through its scenarios, with the users as hands.

Decides when requests leave, when the fakes are asked what they hold and when they are let go, and
writes all of it down as it happens. Refuses to judge: which promise a round tries is the
scenario's business, and what it proves the judge's.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import gevent
import gevent.queue

from fake_providers import wants
from fake_providers.evidence import Stall
from fake_providers.ledger import Ledger
from routerspec.control import Control, Now
from routerspec.load_plan import LoadPlan, RoutePlan
from routerspec.observations import EpochMoved, Held, Look, Released, Round, RoundEnd
from routerspec.scenarios.exchange import Exchange
from routerspec.scenarios.wire import request_body, request_path

LOOKS_APART_S = 0.27
"""Two looks prove a hold when they are 250 ms apart; a little more, so that they surely are."""

SETTLE_S = 0.5
WRITTEN_WITHIN_S = 10.0
PATIENCE_S = 40.0
_POLL_S = 0.02
_STALL_NS = 10_000_000
_HEARTBEAT_S = 0.01


class Conductor:
    """What the scenarios of one start share: the plan, the log, the fakes and the hands."""

    def __init__(
        self,
        plan: LoadPlan,
        host: str,
        log: Ledger,
        report: Callable[[Exchange, str], None],
        announce: Callable[[str], None] = lambda label: None,
    ) -> None:
        """``report`` is told of every finished exchange and of what broke it (mostly empty).

        ``announce`` is told of each round as it begins: ``hold-head openai:chat``.
        """
        self.plan = plan
        self.host = host
        self.log = log
        self.control = Control(plan.control)
        self.rng = random.Random(plan.seed)  # noqa: S311 - a seed to play again, no secret
        self.jobs: gevent.queue.Queue[Callable[[], None]] = gevent.queue.Queue()
        self.latency_s: dict[str, float] = {}
        """Route -> how long one request alone took to its provider, from the smoke round."""
        self.absent: set[tuple[str, str]] = set()
        """Implied (route, mode) pairs that the router turned out not to have."""
        self._report = report
        self._announce = announce
        self._nonces = plan.first_nonce - 1
        self._rounds = 0
        self._lists = 0

    @property
    def limit(self) -> int:
        """The promised cap. Only for scenarios of a target that promises one."""
        assert self.plan.promises.cap is not None
        return self.plan.promises.cap.limit

    @property
    def ttl_s(self) -> float:
        """The promised TTL of the model list. Only where one is promised."""
        assert self.plan.promises.model_list is not None
        return self.plan.promises.model_list.ttl_s

    def routes_with(self, mode: str) -> list[RoutePlan]:
        """The routes that have ``mode``, in the target's order."""
        return [
            route
            for route in self.plan.routes
            if mode in route.modes and (route.name, mode) not in self.absent
        ]

    def cells(self) -> list[tuple[RoutePlan, str]]:
        """Every (route, mode) whose held rounds are this start's to play."""
        share = self.plan.cells
        return [
            (route, mode)
            for route in self.plan.routes
            for mode in route.modes
            if (route.name, mode) not in self.absent
            and (not share or f"{route.name}:{mode}" in share)
        ]

    def generation(
        self, route: RoutePlan, mode: str, *, round_: int, model: str = "", **told: Any
    ) -> Exchange:
        """A generation request with a nonce of its own; ``told`` goes into its token."""
        self._nonces += 1
        prompt = f"Repeat after me: {wants.token(self.plan.token, self._nonces, **told)}"
        return Exchange(
            host=self.host,
            method="POST",
            path=request_path(route, mode),
            headers={**self.plan.headers, **route.headers},
            body=request_body(route, mode, model or route.model, prompt),
            patience_s=PATIENCE_S,
            stream=mode == "stream",
            run=self.plan.token,
            nonce=self._nonces,
            round=round_,
            route=route.name,
            mode=mode,
        )

    def list_request(self, *, round_: int) -> Exchange:
        """A request for the router's model list."""
        self._lists += 1
        return Exchange(
            host=self.host,
            method="GET",
            path=self.plan.list_path,
            headers=self.plan.headers,
            body=b"",
            patience_s=PATIENCE_S,
            nonce=self._lists,
            round=round_,
            route="models",
            mode="list",
        )

    def make(self, exchange: Exchange) -> None:
        """Make one exchange in this greenlet, write it down and report it."""
        exchange.run_to_end()
        is_list = exchange.mode == "list"
        self.log.append(exchange.list_observation() if is_list else exchange.observation())
        self._report(exchange, exchange.error)
        if exchange.killed:
            raise gevent.GreenletExit

    @contextmanager
    def round(
        self,
        scenario: str,
        *,
        route: str = "",
        mode: str = "",
        gate: bool = False,
        offered: int = 0,
        part: str = "",
    ) -> Iterator[RoundInPlay]:
        """Play one round: opened and closed in the log, its gate opened and its clients awaited."""
        self._rounds += 1
        name = f"g{self._rounds}" if gate else ""
        played = RoundInPlay(self, self._rounds, name)
        self.log.append(
            Round(
                round=self._rounds,
                scenario=scenario,
                at_ns=time.monotonic_ns(),
                route=route,
                mode=mode,
                gate=name,
                offered=offered,
                part=part,
            )
        )
        self._announce(f"{scenario} {route}{':' if mode else ''}{mode} {part}".rstrip())
        try:
            yield played
            played.finish()
        except BaseException:
            played.abandon()
            raise

    def beat(self) -> None:
        """Confess when this process was kept from running; runs until killed."""
        while True:
            due = time.monotonic_ns() + int(_HEARTBEAT_S * 1e9)
            gevent.sleep(_HEARTBEAT_S)
            late = time.monotonic_ns() - due
            if late > _STALL_NS:
                self.log.append(Stall(at_ns=time.monotonic_ns(), stalled_ns=late))


class RoundInPlay:
    """One round while it is being played."""

    def __init__(self, conductor: Conductor, number: int, gate: str) -> None:
        self.number = number
        self.exchanges: list[Exchange] = []
        self.trouble = ""
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
        **told: Any,
    ) -> Exchange:
        """Hand one generation request to the users. ``hold``: ``head`` or ``first``."""
        if hold:
            told = {"hold": hold, "gate": self._gate, **told}
        exchange = self._conductor.generation(route, mode, round_=self.number, model=model, **told)
        exchange.go = go
        self.exchanges.append(exchange)
        self._conductor.jobs.put(lambda: self._offer(exchange, route, mode, told))
        return exchange

    def ask_list(self, go: gevent.event.Event | None = None) -> Exchange:
        """Hand one request for the model list to the users."""
        exchange = self._conductor.list_request(round_=self.number)
        exchange.go = go
        self.exchanges.append(exchange)
        self._conductor.jobs.put(lambda: self._conductor.make(exchange))
        return exchange

    def _offer(self, first: Exchange, route: RoutePlan, mode: str, told: dict[str, Any]) -> None:
        """Make an exchange; where a rejecting router refuses it while we hold, offer it again."""
        cap = self._conductor.plan.promises.cap
        exchange = first
        while True:
            self._conductor.make(exchange)
            refused = exchange.outcome == "refused" and cap is not None
            if self._open or not refused or cap is None or exchange.status not in cap.reject_status:
                return
            gevent.sleep(0.1)
            exchange = self._conductor.generation(route, mode, round_=self.number, **told)
            self._again.append(exchange)

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
        return max(SETTLE_S, min(5 * latency * len(self.exchanges), 5.0))

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

    def wait_held(self, count: int, within_s: float = 5.0) -> bool:
        """Wait until ``count`` calls are held."""
        give_up = time.monotonic() + within_s
        while time.monotonic() < give_up:
            if self.held() >= count:
                return True
            gevent.sleep(_POLL_S)
        return False

    def look(self, *, settled: bool) -> int:
        """Ask the fakes what they hold, write it down, and tell how many calls that is."""
        asked_ns = time.monotonic_ns()
        now = self._conductor.control.now()
        told_ns = time.monotonic_ns()
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
            Look(
                round=self.number,
                asked_ns=asked_ns,
                at_ns=now.at_ns,
                told_ns=told_ns,
                held=held,
                open=now.open,
                waiting=waiting,
                settled=settled,
            )
        )
        return len(held)

    def look_twice(self, *, quiet_s: float = 0.0) -> int:
        """Settle and look; where more than the cap is held, look again a quarter second later."""
        settled = self.settle(quiet_s)
        held = self.look(settled=settled)
        if not settled:
            gevent.sleep(LOOKS_APART_S)
            held = self.look(settled=False)
        return held

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
            RoundEnd(round=self.number, at_ns=time.monotonic_ns(), trouble="")
        )

    def finish(self) -> None:
        """Let everything go, wait for every client, and close the round in the log."""
        self.release()
        give_up = time.monotonic() + PATIENCE_S + 5
        for exchange in self.exchanges:
            exchange.over.wait(timeout=max(0.0, give_up - time.monotonic()))
        for exchange in self._again:
            exchange.over.wait(timeout=max(0.0, give_up - time.monotonic()))
        unfinished = sum(e.outcome is None for e in [*self.exchanges, *self._again])
        if unfinished:
            self.trouble = self.trouble or f"{unfinished} clients never came to an end"
        self._conductor.log.append(
            RoundEnd(round=self.number, at_ns=time.monotonic_ns(), trouble=self.trouble)
        )
