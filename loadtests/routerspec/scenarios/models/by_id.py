"""One model of the list, requested by its id while the list is fresh."""

from __future__ import annotations

from urllib.parse import quote

import gevent

from routerspec.limits import TRIES
from routerspec.scenarios.engine.conductor import Conductor
from routerspec.scenarios.engine.exchange import Exchange
from routerspec.scenarios.engine.model_lists import model_ids
from routerspec.scenarios.engine.registry import scenario
from routerspec.scenarios.engine.rounds import ActiveRound
from routerspec.scenarios.models.lists import ensure_fresh
from routerspec.scenarios.models.quiet import in_quiet

_AT_ONCE = 5
_TIMES = 2
_WITHIN_S = 10.0


@scenario("list-by-id")
def list_by_id(conductor: Conductor) -> None:
    """Find ids and their spelling in a path, then request one in the first half of the TTL."""
    with conductor.round("list-by-id", offered=3, part="find") as round_:
        ids = _candidates(_over(round_.send_list()))
        if not ids:
            return
        _over(round_.send_list(looked_for=ids))
        paths = {name: path for name in ids if (path := _path_of(round_, name))}
        if len(paths) < len(ids):
            _over(round_.send_list(looked_for=ids))
    if paths:
        name, path = next(iter(paths.items()))
        in_quiet(conductor, conductor.ttl_s, lambda: _ask(conductor, name, path))


def _over(exchange: Exchange) -> Exchange:
    exchange.over.wait(timeout=_WITHIN_S)
    return exchange


def _candidates(whole: Exchange) -> tuple[str, ...]:
    """The first id of the list, and the first with a slash, or without, beside it."""
    try:
        ids = [name for name in model_ids(whole.raw) if "-epoch-" not in name]
    except ValueError:
        return ()
    return tuple({("/" in name): name for name in reversed(ids)}.values())[::-1]


def _ask(conductor: Conductor, model: str, path: str) -> None:
    ensure_fresh(conductor, "list-by-id")
    with conductor.round("list-by-id", offered=_TIMES * _AT_ONCE, part="ask") as round_:
        for pause in (0.0, 0.2 * conductor.ttl_s):
            gevent.sleep(pause)
            exchanges = [round_.send_list(model=model, path=path) for _ in range(_AT_ONCE)]
            for exchange in exchanges:
                _over(exchange)


def _path_of(round_: ActiveRound, model: str) -> str:
    """The id with its slashes plain or percent-encoded, whichever the router accepts.

    Empty: it accepts neither, each of them tried several times.
    """
    spellings = dict.fromkeys([quote(model, safe="/:"), quote(model, safe="")])
    for _ in range(TRIES):
        for path in spellings:
            if _over(round_.send_list(model=model, path=path)).status == 200:
                return path
    return ""
