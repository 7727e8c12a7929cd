"""One model of the list, requested by its id while the list is fresh."""

from __future__ import annotations

from urllib.parse import quote

import gevent

from routerspec.scenarios.engine.conductor import Conductor
from routerspec.scenarios.engine.dialects import model_ids
from routerspec.scenarios.engine.registry import scenario
from routerspec.scenarios.engine.rounds import ActiveRound
from routerspec.scenarios.models.lists import ensure_fresh
from routerspec.scenarios.models.quiet import in_quiet

_AT_ONCE = 5
_TIMES = 2
_WITHIN_S = 10.0


@scenario("list-by-id")
def list_by_id(conductor: Conductor) -> None:
    """Find an id and its spelling in a path, then request it in the first half of the TTL."""
    with conductor.round("list-by-id", offered=3, part="find") as round_:
        whole = round_.send_list()
        whole.over.wait(timeout=_WITHIN_S)
        try:
            ids = [name for name in model_ids(whole.raw) if "-epoch-" not in name]
        except ValueError:
            return
        if not ids:
            return
        path = _path_of(round_, ids[0])
    in_quiet(conductor, conductor.ttl_s, lambda: _ask(conductor, ids[0], path))


def _ask(conductor: Conductor, model: str, path: str) -> None:
    ensure_fresh(conductor, "list-by-id")
    with conductor.round("list-by-id", offered=_TIMES * _AT_ONCE, part="ask") as round_:
        for pause in (0.0, 0.2 * conductor.ttl_s):
            gevent.sleep(pause)
            exchanges = [round_.send_list(model=model, path=path) for _ in range(_AT_ONCE)]
            for exchange in exchanges:
                exchange.over.wait(timeout=_WITHIN_S)


def _path_of(round_: ActiveRound, model: str) -> str:
    """The id with its slashes plain or percent-encoded, whichever the router accepts."""
    for path in (quote(model, safe="/:"), quote(model, safe="")):
        exchange = round_.send_list(model=model, path=path)
        exchange.over.wait(timeout=_WITHIN_S)
        if exchange.status == 200:
            return path
    return quote(model, safe="/:")
