"""One model of the list, asked for by its id while the list is fresh."""

from __future__ import annotations

from urllib.parse import quote

import gevent

from routerspec.scenarios.engine.conductor import Conductor
from routerspec.scenarios.engine.dialects import model_ids
from routerspec.scenarios.engine.rounds import RoundInPlay
from routerspec.scenarios.models.lists import ensure_fresh

_AT_ONCE = 5
_TIMES = 2
_WITHIN_S = 10.0


def list_by_id(conductor: Conductor) -> None:
    """Find an id and how it is spelt in a path, then ask for it in the first half of the TTL."""
    with conductor.round("list-by-id", offered=3, part="find") as played:
        whole = played.ask_list()
        whole.over.wait(timeout=_WITHIN_S)
        ids = [name for name in model_ids(whole.raw) if "-epoch-" not in name]
        if not ids:
            return
        path = _spelt(played, ids[0])
    ensure_fresh(conductor, "list-by-id")
    with conductor.round("list-by-id", offered=_TIMES * _AT_ONCE, part="ask") as played:
        for pause in (0.0, 0.2 * conductor.ttl_s):
            gevent.sleep(pause)
            asked = [played.ask_list(model=ids[0], path=path) for _ in range(_AT_ONCE)]
            for exchange in asked:
                exchange.over.wait(timeout=_WITHIN_S)


def _spelt(played: RoundInPlay, model: str) -> str:
    """A slash in an id is left as it is or quoted, as the router likes it."""
    for path in (quote(model, safe="/:"), quote(model, safe="")):
        asked = played.ask_list(model=model, path=path)
        asked.over.wait(timeout=_WITHIN_S)
        if asked.status == 200:
            return path
    return quote(model, safe="/:")
