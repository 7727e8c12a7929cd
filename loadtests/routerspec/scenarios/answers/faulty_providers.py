"""Rounds in which a provider stalls, breaks off, or answers an error, one client each.

No client here depends on another's answer. No more requests are in flight than the cap has slots,
so that a rejecting router refuses none of them.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Final, NamedTuple, TypeVar

import gevent

from routerspec.limits import AT_REST_S, BYTES_BEFORE, GONE_S, PIECES_BEFORE, RETRY_AFTER_S, TRIES
from routerspec.plan.requests import comes_whole
from routerspec.records.load_plan import RoutePlan
from routerspec.scenarios.engine.conductor import Conductor
from routerspec.scenarios.engine.prompt import Directives
from routerspec.scenarios.engine.registry import scenario

T = TypeVar("T")
MAX_AT_ONCE: Final = 8
_POLL_S = 0.01
_HELD_WITHIN_S = 5.0
_LONGER_S = 0.1
_ENOUGH_ROUTES = 2
_ENDINGS: Final[tuple[Directives, ...]] = (
    {"cut": 2, "tokens": 6},
    {"fin": 2, "tokens": 6},
    {"clean": 2, "tokens": 6},
    {"error": 2, "tokens": 6},
)
_ENDINGS_OF_ONE_PIECE: Final[tuple[Directives, ...]] = (
    {"cut": 1, "tokens": 6},
    {"fin": 1, "tokens": 6},
    {"clean": 1, "tokens": 6},
    {"error": 1, "tokens": 6},
)
_EACH_ATTEMPT: Final[Directives] = {}
_FIRST_ATTEMPT: Final[Directives] = {"attempts": 1}
_STATUSES: Final = (500, 503, 429)
_STATUSES_OF: Final = {"anthropic": (500, 529, 429)}
"""Provider -> its own statuses in place of the usual ones."""


class _Request(NamedTuple):
    route: RoutePlan
    mode: str
    directives: Directives


@scenario("hold-piece")
def hold_piece(conductor: Conductor) -> None:
    """Each streaming route: a provider that sends eight pieces and then stalls."""
    late = 0
    for route in conductor.routes_with("stream"):
        tries = range(TRIES)
        late += not any(_is_delivered(conductor, route, "stream", number) for number in tries)
        if late >= _ENOUGH_ROUTES:
            return  # Further routes would add no evidence.
    for route in conductor.routes_with("tools"):
        if not comes_whole(route, "tools"):
            _is_delivered(conductor, route, "tools", 0)  # It accuses nobody: once is enough.


def _is_delivered(conductor: Conductor, route: RoutePlan, mode: str, number: int) -> bool:
    """One such stream; True when its client got a piece, or can get none any more."""
    part = f"try {number + 1}"
    with conductor.round(
        "hold-piece", route=route.name, mode=mode, gate=True, offered=1, part=part
    ) as round_:
        exchange = round_.send(
            route,
            mode,
            hold="piece",
            at=PIECES_BEFORE,
            tokens=PIECES_BEFORE + 4,
            pad=BYTES_BEFORE,
        )
        held, give_up = False, time.monotonic() + _HELD_WITHIN_S
        while time.monotonic() < give_up and exchange.outcome is None:
            if held and exchange.first_ns is not None:
                return True
            if not held and round_.held():
                held, give_up = True, time.monotonic() + AT_REST_S
            gevent.sleep(_POLL_S)
        return exchange.outcome is not None or not held


@scenario("leave-before-error")
def leave_before_error(conductor: Conductor) -> None:
    """Clients disconnect while their calls are held; much later the calls fail."""
    routes = conductor.routes_with("chat")[: at_once(conductor)]
    for _ in range(TRIES if routes else 0):
        with conductor.round("leave-before-error", gate=True, offered=len(routes)) as round_:
            exchanges = [round_.send(route, "chat", hold="head", status=503) for route in routes]
            round_.wait_held(len(exchanges))
            for exchange in exchanges:
                exchange.expected_failure = True
                exchange.disconnect()
            gevent.sleep(gone_s(conductor) + _LONGER_S)


def gone_s(conductor: Conductor) -> float:
    """Seconds after a disconnect from which on the router must have noticed it."""
    cancel = conductor.plan.promises.cancel
    return max(GONE_S, cancel.within_s) if cancel else GONE_S


@scenario("cut-stream")
def cut_stream(conductor: Conductor) -> None:
    """Streams that break off after two pieces, in every way; some at the first attempt only."""
    requests = [
        _Request(route, mode, {**_endings(route, mode)[number], **once})
        for once in (_EACH_ATTEMPT, _FIRST_ATTEMPT)
        for number in range(len(_ENDINGS))
        for mode in ("stream", "tools")
        for route in conductor.routes_with(mode)
    ]
    requests += [_Request(route, "chat", {"cut": 0}) for route in conductor.routes_with("chat")]
    _send_all(conductor, "cut-stream", requests)


def _endings(route: RoutePlan, mode: str) -> tuple[Directives, ...]:
    return _ENDINGS_OF_ONE_PIECE if comes_whole(route, mode) else _ENDINGS


@scenario("upstream-error")
def upstream_error(conductor: Conductor) -> None:
    """Every route and mode: its provider answers an error, at each attempt."""
    # Status by status: each route meets one error before a circuit breaker may open.
    requests = [
        _Request(route, mode, {"status": _STATUSES_OF.get(route.provider, _STATUSES)[number]})
        for number in range(len(_STATUSES))
        for route, mode in conductor.all_cells()
    ]
    _send_all(conductor, "upstream-error", requests)


@scenario("retry-after")
def retry_after(conductor: Conductor) -> None:
    """The first attempt gets a Retry-After, where the router promises to honour it."""
    retries = conductor.plan.promises.retries
    if retries is None or not retries.max or not retries.honours_retry_after:
        return
    requests = [
        _Request(route, "chat", {"status": status, "attempts": 1, "retry_after": RETRY_AFTER_S})
        for status in (429, 503)
        for route in conductor.routes_with("chat")
    ]
    _send_all(conductor, "retry-after", requests, part=f"Retry-After {RETRY_AFTER_S}")


def _send_all(conductor: Conductor, name: str, requests: list[_Request], *, part: str = "") -> None:
    for batch in batches(requests, at_once(conductor)):
        with conductor.round(name, offered=len(batch), part=part) as round_:
            for route, mode, directives in batch:
                round_.send(route, mode, **directives).expected_failure = True


def at_once(conductor: Conductor) -> int:
    """Requests that may be in flight together."""
    cap = conductor.plan.promises.cap
    return min(cap.limit, MAX_AT_ONCE) if cap else MAX_AT_ONCE


def batches(requests: list[T], size: int) -> Iterator[list[T]]:
    """The requests in groups of this size."""
    for begin in range(0, len(requests), size):
        yield requests[begin : begin + size]
