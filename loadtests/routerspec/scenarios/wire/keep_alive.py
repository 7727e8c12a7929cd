"""Two requests on one connection, and requests after providers have closed idle connections."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

import gevent
import gevent.pool

from routerspec.limits import CLOSED_FOR_S, KEEP_S, NO_END_S, TRIES
from routerspec.records.load_plan import RoutePlan
from routerspec.records.observations import ClientTranscript
from routerspec.scenarios.engine.conductor import Conductor
from routerspec.scenarios.engine.raw_connection import RawConnection, RawRequest
from routerspec.scenarios.engine.registry import scenario
from routerspec.scenarios.engine.rounds import ActiveRound

NEXT: Final = "the next after "
IDLE: Final = "idle connections of providers"
_AT_ONCE: Final = 4
_IDLE_ROUNDS: Final = 6
_BODY: Final = 20_000
_LARGE: Final = 1_200_000
_LATENCIES: Final = 20
_OK: Final = 200


@scenario("wire-keep-alive")
def wire_keep_alive(conductor: Conductor) -> None:
    """Idle connections; then pairs of requests on one connection, on a route of each provider."""
    chats = conductor.routes_with("chat")
    with conductor.transcripts():
        if chats:
            _idle_connections(conductor, chats)
        for route in {route.provider: route for route in reversed(chats)}.values():
            _Pairs(conductor, route).play()


class _Pairs:
    """The pairs on one route."""

    def __init__(self, conductor: Conductor, route: RoutePlan) -> None:
        self._conductor, self._route = conductor, route
        self._within_s = max(NO_END_S, _LATENCIES * conductor.latency_s.get(route.name, 0.0))
        self._number = 0

    def play(self) -> None:
        """Every pair, a few at once; then the one whose other client disconnects."""
        name = self._route.name
        firsts = self._firsts()
        with self._conductor.round(
            "wire-keep-alive", route=name, mode="chat", offered=2 * len(firsts)
        ) as round_:
            self._number = round_.number
            together = gevent.pool.Pool(at_once(self._conductor))
            for part, first in firsts.items():
                together.spawn(self._try, part, first)
            together.join()
        if (self._route, "stream") in self._conductor.all_cells():
            with self._conductor.round(
                "wire-keep-alive", route=name, mode="chat", offered=3
            ) as round_:
                self._number = round_.number
                self._beside_a_disconnect(round_)

    def _firsts(self) -> Mapping[str, Callable[[], RawRequest]]:
        """What the first request of a pair gets -> that request."""
        padding = "x" * _BODY

        def padded(request: RawRequest) -> RawRequest:
            """With a body that a server which refuses by the head leaves unread."""
            return request.with_body(
                re.sub(rb'"content":"', b'"content":"%b ' % padding.encode(), request.body, count=1)
            )

        firsts: dict[str, Callable[[], RawRequest]] = {
            "an answer": self._usual,
            "an error of the provider": lambda: self._usual(status=400),
            "a refusal of no JSON": lambda: self._usual().with_body(b"{" + padding.encode()),
            "a refusal of an unknown path": lambda: replace(
                padded(self._usual()), target="/v1/nothing-here"
            ),
            "a refusal of an unknown model": lambda: padded(
                self._usual(model=self._route.nonsense_model)
            ),
            "a large body": lambda: self._usual(body={"metadata": {"padding": "x" * _LARGE}}),
        }
        if any(name.lower() == "authorization" for name, _ in self._usual().fields):
            firsts["a refusal without a key"] = lambda: padded(self._usual()).with_fields(
                authorization=None
            )
        if (self._route, "stream") in self._conductor.all_cells():
            firsts["a stream"] = lambda: self._usual("stream")
        return firsts

    def _usual(self, mode: str = "chat", **how: Any) -> RawRequest:
        exchange = self._conductor.generation(
            self._route, mode, round_number=self._number, **{"tokens": 2} | how
        )
        return RawRequest.of(exchange)

    def _try(self, part: str, first: Callable[[], RawRequest]) -> None:
        for _ in range(TRIES):
            connection = self._conductor.raw_connection(self._number)
            try:
                connection.ask(first(), part=part, within_s=self._within_s)
                if not connection.is_open or _is_good(self._next(connection, part)):
                    return
            finally:
                connection.close()

    def _next(self, connection: RawConnection, part: str) -> ClientTranscript:
        return connection.ask(self._usual(), part=NEXT + part, within_s=self._within_s)

    def _beside_a_disconnect(self, round_: ActiveRound) -> None:
        part = "another client's disconnect"
        for _ in range(TRIES):
            connection = self._conductor.raw_connection(self._number)
            try:
                connection.ask(self._usual(), part=part, within_s=self._within_s)
                other = round_.send(self._route, "stream", tokens=20, gap=0.05)
                other.disconnect_after_pieces = 1
                other.over.wait(timeout=self._within_s)
                if not connection.is_open or _is_good(self._next(connection, part)):
                    return
            finally:
                connection.close()


def at_once(conductor: Conductor) -> int:
    """How many requests are in flight: no more than there are slots."""
    cap = conductor.plan.promises.cap
    return min(_AT_ONCE, cap.limit) if cap else _AT_ONCE


def _is_good(transcript: ClientTranscript) -> bool:
    """It needs no second try: it was answered, or the connection was closed."""
    answer = transcript.response
    return transcript.lost or bool(answer and answer.status == _OK and transcript.ended)


def _idle_connections(conductor: Conductor, routes: list[RoutePlan]) -> None:
    """A few requests at once, again and again, each time after idle connections were closed."""
    count = at_once(conductor)
    conductor.control.connections(keep_s=KEEP_S)
    try:
        with conductor.round("wire-keep-alive", offered=_IDLE_ROUNDS * count, part=IDLE) as round_:
            together = gevent.pool.Pool(count)
            for _ in range(_IDLE_ROUNDS):
                for index in range(count):
                    route = routes[index % len(routes)]
                    together.spawn(_ask_once, conductor, route, round_.number)
                together.join()
                gevent.sleep(KEEP_S + CLOSED_FOR_S)
    finally:
        conductor.control.connections(keep_s=None)


def _ask_once(conductor: Conductor, route: RoutePlan, number: int) -> None:
    exchange = conductor.generation(route, "chat", round_number=number, tokens=2)
    connection = conductor.raw_connection(number)
    try:
        within_s = max(NO_END_S, _LATENCIES * conductor.latency_s.get(route.name, 0.0))
        connection.ask(RawRequest.of(exchange), part=route.name, within_s=within_s)
    finally:
        connection.close()
