"""Clients that share one limit: their key, their requests, and the time until it is free again."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any, Final, Unpack

import gevent
import gevent.event

from routerspec.limits import window_slack_s
from routerspec.promises import Limits
from routerspec.records.load_plan import RoutePlan
from routerspec.scenarios.engine.conductor import Conductor
from routerspec.scenarios.engine.crew import at_one_instant
from routerspec.scenarios.engine.exchange import Exchange
from routerspec.scenarios.engine.prompt import Directives
from routerspec.scenarios.engine.rounds import ActiveRound

TIMEOUT_S: Final = 10.0
_UNKNOWN_KEY: Final = frozenset({401, 403})
_MAX_TOKENS: Final = {
    "openai": "max_tokens",
    "anthropic": "max_tokens",
    "responses": "max_output_tokens",
}
_FEW: Final = 8


@dataclass(slots=True, kw_only=True)
class LimitedClients:
    """Where the requests go, and whose key they carry."""

    conductor: Conductor
    limits: Limits
    route: RoutePlan
    mode: str
    key: str = ""
    """The name of their key, ``key 2``; empty: the key of all clients."""
    own_keys: bool = False
    """The limit is each key's, and the router takes any: a fresh one has used nothing."""
    _keys: int = 0
    _used_at: float = field(default=0.0)

    @classmethod
    def of(cls, conductor: Conductor) -> LimitedClients | None:
        """Those of this start; None where no limit is promised, or there is no chat."""
        limits = conductor.plan.promises.limits
        for mode in ("chat", "stream", "completions"):
            if limits is not None and (routes := conductor.routes_with(mode)):
                own = limits.scope == "key"
                return cls(
                    conductor=conductor, limits=limits, route=routes[0], mode=mode, own_keys=own
                )
        return None

    @property
    def slack_s(self) -> float:
        """What is granted to a window beyond its length."""
        return window_slack_s(self.limits.window_s)

    def next_limit(self) -> None:
        """Have a limit of which nothing is used: that of a fresh key, or wait for a window."""
        if self.own_keys:
            self._keys += 1
            self.key = f"key {self._keys}"
        elif self._used_at:
            until = self._used_at + self.limits.window_s + self.slack_s
            gevent.sleep(max(0.0, until - time.monotonic()))

    def send(
        self,
        round_: ActiveRound,
        *,
        max_tokens: int = _FEW,
        last_byte: gevent.event.Event | None = None,
        **directives: Unpack[Directives],
    ) -> Exchange:
        """Have a user send a request with their key."""
        told: Directives = {"tokens": 2}
        told.update(directives)
        body: dict[str, Any] = {"options": {"num_predict": max_tokens}}
        if self.route.front in _MAX_TOKENS:
            body = {_MAX_TOKENS[self.route.front]: max_tokens}
        exchange = round_.send(
            self.route, self.mode, body=body, retry_rejected=False, last_byte=last_byte, **told
        )
        exchange.expected_failure, exchange.timeout_s = True, TIMEOUT_S
        if self.key:
            exchange.headers = {**exchange.headers, **self._key_field()}
        return exchange

    def one(self, round_: ActiveRound, **directives: Unpack[Directives]) -> Exchange:
        """The same, and wait for the answer."""
        exchange = self.send(round_, **directives)
        exchange.over.wait()
        self._used_at = time.monotonic()
        return exchange

    def at_once(
        self, round_: ActiveRound, count: int, *, max_tokens: int = _FEW, **told: Unpack[Directives]
    ) -> list[Exchange]:
        """The same with ``count`` requests that are complete at one instant."""
        with at_one_instant() as last_byte:
            sent = [
                self.send(round_, max_tokens=max_tokens, last_byte=last_byte, **told)
                for _ in range(count)
            ]
        gevent.joinall([gevent.spawn(each.over.wait) for each in sent])
        self._used_at = time.monotonic()
        return sent

    def knows(self, exchange: Exchange) -> bool:
        """Whether the router took its key; if it did not, the next ones have the usual one."""
        if self.key and exchange.status in _UNKNOWN_KEY:
            self.own_keys, self.key = False, ""
            return False
        return True

    def _key_field(self) -> dict[str, str]:
        value = f"sk-rs-{self.conductor.plan.token}-{self._keys}"
        if self.route.front == "anthropic":
            return {"x-api-key": value}
        return {"Authorization": f"Bearer {value}"}


def is_refused(exchange: Exchange) -> bool:
    """The router or a provider answered with an error."""
    return exchange.outcome == "refused"
