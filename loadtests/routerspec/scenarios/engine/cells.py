"""Routes and modes in an order in which neighbours share neither."""

from __future__ import annotations

from itertools import zip_longest

from routerspec.records.load_plan import RoutePlan
from routerspec.scenarios.engine.conductor import Conductor

Cell = tuple[RoutePlan, str]


def by_turns(conductor: Conductor) -> list[Cell]:
    """Chats and streams by turns, over all routes; of a cap that is not global, over one route."""
    cap = conductor.plan.promises.cap
    cells = conductor.all_cells()
    if cap is not None and cap.scope in {"provider", "model"}:
        cells = [cell for cell in cells if cell[0] is cells[0][0]]
    chats = [cell for cell in cells if cell[1] == "chat"]
    streams = [cell for cell in cells if cell[1] == "stream"]
    pairs = zip_longest(chats, [*streams[1:], *streams[:1]])
    return [cell for pair in pairs for cell in pair if cell is not None]
