"""Rounds in which tokens are counted while all slots are occupied by held calls."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import gevent

from routerspec.limits import (
    COUNTED_AFTER,
    COUNTED_BESIDE,
    COUNTED_FREE,
    COUNTS,
    COUNTS_WAIT_S,
    NO_SUCH_MODE,
)
from routerspec.plan.requests import COUNT_TOKENS, count_body
from routerspec.records.load_plan import RoutePlan
from routerspec.records.observations import ClientTranscript
from routerspec.scenarios.engine.conductor import Conductor
from routerspec.scenarios.engine.raw_connection import RawRequest
from routerspec.scenarios.engine.registry import scenario
from routerspec.scenarios.engine.rounds import SNAPSHOTS_APART_S, ActiveRound

_END_WITHIN_S: Final = 5.0
"""With free slots, and after the release of the held calls."""
_WITHIN_S: Final = {
    COUNTED_FREE: _END_WITHIN_S,
    COUNTED_BESIDE: COUNTS_WAIT_S + 2 * _END_WITHIN_S,
    COUNTED_AFTER: _END_WITHIN_S,
}


@scenario("count-tokens")
def count_tokens(conductor: Conductor) -> None:
    """Each route of an Anthropic front; again where not all counts came at once."""
    played = set()
    for route, mode in conductor.all_cells():
        if route.front != "anthropic" or route.name in played:
            continue
        played.add(route.name)
        for part in ("", "again"):
            if _round(conductor, route, mode, part) or conductor.service.stands_still:
                break


def _round(conductor: Conductor, route: RoutePlan, mode: str, part: str) -> bool:
    """Count with free slots, while all are occupied, and with free slots again.

    True when a further round would add nothing: the route does not count tokens, or it counted
    while all slots were occupied.
    """
    limit = conductor.limit
    with conductor.round(
        "count-tokens", route=route.name, mode=mode, gate=True, offered=limit + 1, part=part
    ) as round_:
        free = _count(conductor, round_, route, COUNTED_FREE)
        gevent.joinall(free)
        statuses = [_status(each) for each in free]
        if not all(map(_is_good, statuses)):
            return all(status in NO_SUCH_MODE for status in statuses)
        for _ in range(limit + 1):
            round_.send(route, mode, hold="head", tokens=4, retry_rejected=False)
        if not round_.wait_held(limit):
            return False
        round_.snapshot(settled=False)
        apart = gevent.spawn(gevent.sleep, SNAPSHOTS_APART_S)
        beside = _count(conductor, round_, route, COUNTED_BESIDE)
        gevent.joinall([*beside, apart], timeout=COUNTS_WAIT_S)
        round_.snapshot(settled=False)
        round_.release()
        for exchange in round_.exchanges:
            exchange.over.wait(timeout=_END_WITHIN_S)
        waited = not all(each.ready() for each in beside)
        gevent.joinall(beside)
        if not waited and all(_is_good(_status(each)) for each in beside):
            return True
        gevent.joinall(_count(conductor, round_, route, COUNTED_AFTER))
    return False


def _count(
    conductor: Conductor, round_: ActiveRound, route: RoutePlan, part: str
) -> list[gevent.Greenlet]:
    """Count some prompts at once, each on a connection of its own."""
    return [gevent.spawn(_ask, conductor, round_, route, part) for _ in range(COUNTS)]


def _ask(
    conductor: Conductor, round_: ActiveRound, route: RoutePlan, part: str
) -> ClientTranscript | None:
    chat = conductor.generation(route, "chat", round_number=round_.number, tokens=4)
    request = replace(
        RawRequest.of(chat).with_body(count_body(chat.body)),
        target=route.path + COUNT_TOKENS,
    )
    connection = conductor.raw_connection(round_.number)
    try:
        return connection.ask(request, part=part, within_s=_WITHIN_S[part])
    except OSError:
        return None  # It took no connection: nothing was asked.
    finally:
        connection.close()


def _status(count: gevent.Greenlet) -> int | None:
    transcript: ClientTranscript | None = count.value
    return transcript.response.status if transcript and transcript.response else None


def _is_good(status: int | None) -> bool:
    return status is not None and 200 <= status < 300
