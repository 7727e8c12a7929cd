"""Answers that are hard to pass on, and failures in streams: the bytes of both sides are kept.

No client here depends on another's answer, and no more requests are in flight than the cap has
slots.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

import gevent

from routerspec.limits import AT_REST_S, BYTES_BEFORE, PIECES_BEFORE, TRIES
from routerspec.records.load_plan import RoutePlan
from routerspec.scenarios.answers.faulty_providers import at_once, batches
from routerspec.scenarios.engine.conductor import Conductor
from routerspec.scenarios.engine.exchange import Exchange
from routerspec.scenarios.engine.prompt import Directives
from routerspec.scenarios.engine.registry import scenario
from routerspec.scenarios.wire.probes import CALLS, PROBES, RESULTS, TOOLS, Probe
from routerspec.wire.answer import ToolCall, decoded
from routerspec.wire.dialects import dialect_of, read

_POLL_S: Final = 0.01
_LATER_S: Final = 0.1
_HELD_WITHIN_S: Final = 5.0
_ENOUGH_ROUTES: Final = 2
_GAP_S: Final = 0.05
"""A reset right after the bytes before it can destroy them unread: the router, which has no head
yet, answers with an error."""
_FAILURES: Final[tuple[tuple[str, Directives], ...]] = (
    ("status", {"status": 500}),
    ("error", {"error": 2, "tokens": 6}),
    ("reset", {"cut": 2, "tokens": 6, "gap": _GAP_S}),
    ("no end", {"clean": 2, "tokens": 6}),
)


class _Asked(NamedTuple):
    route: RoutePlan
    mode: str
    exchange: Exchange


@scenario("wire-answers")
def wire_answers(conductor: Conductor) -> None:
    """One request for each probe, route and mode; the round's part names the probe."""
    with conductor.transcripts():
        for probe in PROBES:
            _ask(conductor, probe)
        _give_back(conductor, _ask(conductor, CALLS))


def _ask(conductor: Conductor, probe: Probe) -> list[_Asked]:
    cells = [cell for cell in conductor.all_cells() if probe.suits(*cell)]
    if probe.once:
        cells = list({route.provider: (route, mode) for route, mode in reversed(cells)}.values())
    asked = _ask_on(conductor, probe, cells)
    rejected = [(its.route, its.mode) for its in asked if _is_rejected(conductor, its.exchange)]
    if rejected:
        gevent.sleep(_LATER_S)
        asked += _ask_on(conductor, probe, rejected)
    return asked


def _is_rejected(conductor: Conductor, exchange: Exchange) -> bool:
    """A rejecting router had not got back the slot of the request before."""
    cap = conductor.plan.promises.cap
    return cap is not None and cap.overload == "reject" and exchange.status in cap.rejections


def _ask_on(conductor: Conductor, probe: Probe, cells: list[tuple[RoutePlan, str]]) -> list[_Asked]:
    asked = []
    for batch in batches(cells, at_once(conductor)):
        with conductor.round("wire-answers", offered=len(batch), part=probe.name) as round_:
            for route, mode in batch:
                fields = probe.fields(route, mode)
                exchange = round_.send(route, mode, raw=True, body=fields, **probe.directives)
                exchange.expected_failure = True  # A router may refuse what it cannot pass on.
                exchange.keeps_body = probe is CALLS
                asked.append(_Asked(route, mode, exchange))
    return asked


def _give_back(conductor: Conductor, asked: Iterable[_Asked]) -> None:
    """Answer the tool calls that the clients have, with the ids that they were given."""
    answered = [(route, mode, turn) for route, mode, e in asked if (turn := _turn(route, e))]
    for batch in batches(answered, at_once(conductor)):
        with conductor.round("wire-answers", offered=len(batch), part=RESULTS) as round_:
            for route, mode, turn in batch:
                exchange = round_.send(route, mode, raw=True, body=TOOLS, earlier=turn)
                exchange.expected_failure = True


def _turn(route: RoutePlan, exchange: Exchange) -> list[dict[str, Any]]:
    """The messages so far: the calls of this answer and a result for each; empty without calls."""
    calls = _calls(exchange)
    if not calls:
        return []
    try:
        made = [_call(call, route.front) for call in calls]
    except ValueError:
        return []  # Their arguments are no JSON: a client cannot answer them.
    results = [_result(call, route.front) for call in calls]
    question = {"role": "user", "content": "Where is it, and what time is it there?"}
    return [question, {"role": "assistant", "content": "", "tool_calls": made}, *results]


def _calls(exchange: Exchange) -> tuple[ToolCall, ...]:
    """The tool calls that its client has."""
    dialect = dialect_of(exchange.path)
    if dialect is None or exchange.status != 200:
        return ()
    return read(dialect, exchange.stream, exchange.received).calls


def _call(call: ToolCall, front: str) -> dict[str, Any]:
    if front == "openai":
        function = {"name": call.name, "arguments": call.arguments}
        return {"id": call.id, "type": "function", "function": function}
    arguments = decoded(call.arguments) if call.arguments.strip() else {}
    return {"function": {"name": call.name, "arguments": arguments}}


def _result(call: ToolCall, front: str) -> dict[str, Any]:
    content = f"result {call.index} of {call.name}: 42"
    if front == "openai":
        return {"role": "tool", "tool_call_id": call.id, "content": content}
    return {"role": "tool", "tool_name": call.name, "content": content}


@scenario("hold-arguments")
def hold_arguments(conductor: Conductor) -> None:
    """Each route that streams tool calls: a provider that stalls amid the arguments of one."""
    late = 0
    with conductor.transcripts():
        for route in _streaming_calls(conductor):
            late += not any(_is_delivered(conductor, route, number) for number in range(TRIES))
            if late >= _ENOUGH_ROUTES:
                return  # Further routes would add no evidence.


def _streaming_calls(conductor: Conductor) -> list[RoutePlan]:
    """The routes on which tool calls reach the client of a stream, in fragments."""
    asked = []
    for batch in batches(conductor.routes_with("stream"), at_once(conductor)):
        with conductor.round("hold-arguments", offered=len(batch), part="not held") as round_:
            for route in batch:
                exchange = round_.send(route, "stream", raw=True, body=TOOLS, calls=1)
                exchange.expected_failure, exchange.keeps_body = True, True
                asked.append((route, exchange))
    return [
        route
        for route, exchange in asked
        if route.front == route.provider == "openai" and _calls(exchange)
    ]


def _is_delivered(conductor: Conductor, route: RoutePlan, number: int) -> bool:
    """One such stream; True when some of it came to its client, or nothing can any more."""
    part = f"try {number + 1}"
    with conductor.round(
        "hold-arguments", route=route.name, mode="stream", gate=True, offered=1, part=part
    ) as round_:
        exchange = round_.send(
            route,
            "stream",
            raw=True,
            body=TOOLS,
            hold="piece",
            at=PIECES_BEFORE,
            calls=1,
            args="long",
            cuts=PIECES_BEFORE + 4,
        )
        exchange.expected_failure = True
        held, give_up = False, time.monotonic() + _HELD_WITHIN_S
        while time.monotonic() < give_up and exchange.outcome is None:
            if held and len(exchange.received) >= BYTES_BEFORE:
                return True
            if not held and round_.held():
                held, give_up = True, time.monotonic() + AT_REST_S
            gevent.sleep(_POLL_S)
        return exchange.outcome is not None or not held


@scenario("wire-failures")
def wire_failures(conductor: Conductor) -> None:
    """Every streaming route: its provider fails before the first byte, and after it."""
    routes = conductor.routes_with("stream")
    with conductor.transcripts():
        for name, directives in _FAILURES:
            for batch in batches(routes, at_once(conductor)):
                with conductor.round("wire-failures", offered=len(batch), part=name) as round_:
                    for route in batch:
                        exchange = round_.send(route, "stream", raw=True, **directives)
                        exchange.expected_failure = True
            _succeed(conductor, routes)


def _succeed(conductor: Conductor, routes: list[RoutePlan]) -> None:
    """A good answer on each route: circuit breakers count failures in a row."""
    for batch in batches(routes, at_once(conductor)):
        with conductor.round("wire-failures", offered=len(batch), part="good") as round_:
            for route in batch:
                round_.send(route, "stream").expected_failure = True
