"""The conductor: leads one start of the router through its scenarios, with the users as hands.

Decides when requests leave, when the fakes are asked what they hold and when they are let go, and
writes all of it down as it happens. Refuses to judge: which promise a round tries is the
scenario's business, and what it proves the judge's.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import gevent
import gevent.queue

from fake_providers.prompt import directives
from fake_providers.records.evidence import Stall
from fake_providers.records.ledger import Ledger
from routerspec.plan.requests import request_body, request_path
from routerspec.processes.control import Control
from routerspec.records.load_plan import LoadPlan, RoutePlan
from routerspec.records.observations import Round
from routerspec.scenarios.engine.backpressure import Backpressure
from routerspec.scenarios.engine.exchange import Exchange
from routerspec.scenarios.engine.rounds import RoundInPlay

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
        self.capacity = 0
        """How many calls the last probe of the slots saw let in at once; 0: there was none."""
        self.backpressure = Backpressure()
        self._report = report
        self._announce = announce
        self._nonces = 0
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
        prompt = f"Repeat after me: {directives.token(self.plan.token, self._nonces, **told)}"
        return Exchange(
            host=self.host,
            method="POST",
            path=request_path(route, mode),
            headers={**self.plan.headers, **route.headers},
            body=request_body(route, mode, model or route.model, prompt),
            patience_s=self.backpressure.patience_s,
            stream=mode == "stream",
            run=self.plan.token,
            nonce=self._nonces,
            round=round_,
            route=route.name,
            mode=mode,
            secrets=self.plan.secrets,
        )

    def list_request(self, *, round_: int, model: str = "", path: str = "") -> Exchange:
        """A request for the router's model list, or for one ``model`` of it, spelt ``path``."""
        self._lists += 1
        return Exchange(
            host=self.host,
            method="GET",
            path=f"{self.plan.list_path}/{path}" if model else self.plan.list_path,
            headers=self.plan.headers,
            body=b"",
            patience_s=self.backpressure.patience_s,
            nonce=self._lists,
            round=round_,
            route="models",
            mode="list",
            listed_model=model,
            secrets=self.plan.secrets,
        )

    def make(self, exchange: Exchange) -> None:
        """Make one exchange in this greenlet, write it down and report it."""
        exchange.run_to_end()
        try:
            is_list = exchange.mode == "list"
            self.log.append(exchange.list_observation() if is_list else exchange.observation())
            self._report(exchange, exchange.error)
        finally:
            if exchange.killed:  # Whatever else goes wrong: a user that is stopped must stop.
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
