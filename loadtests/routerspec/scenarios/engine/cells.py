"""Routes and modes in an order in which neighbours share neither."""

from __future__ import annotations

from collections import Counter
from itertools import zip_longest

from routerspec.records.load_plan import RoutePlan
from routerspec.records.providers import base_of
from routerspec.scenarios.engine.conductor import Conductor

Cell = tuple[RoutePlan, str]


def by_turns(conductor: Conductor) -> list[Cell]:
    """Chats and streams by turns, over the routes that may occupy all slots together."""
    cells = _sharing(conductor)
    chats = [cell for cell in cells if cell[1] == "chat"]
    streams = [cell for cell in cells if cell[1] == "stream"]
    pairs = zip_longest(chats, [*streams[1:], *streams[:1]])
    return [cell for pair in pairs for cell in pair if cell is not None]


def _sharing(conductor: Conductor) -> list[Cell]:
    """Of a cap that is not global one route; of instances with caps those of the most instances.

    A call that waits for an instance of its own may hold a slot meanwhile.
    """
    promises, cells = conductor.plan.promises, conductor.all_cells()
    if promises.cap is not None and promises.cap.scope in {"provider", "model"}:
        return [cell for cell in cells if cell[0] is cells[0][0]]
    if promises.balance is not None and promises.balance.instance_cap is not None:
        instances = Counter(base_of(name) for name in conductor.control.now().open)
        most = max((instances[route.provider] for route, _ in cells), default=0)
        return [cell for cell in cells if instances[cell[0].provider] == most]
    return cells
