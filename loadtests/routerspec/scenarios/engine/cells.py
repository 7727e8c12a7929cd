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
    return _in_turn(_with_room(conductor, _sharing(conductor)))


def all_by_turns(conductor: Conductor) -> list[Cell]:
    """The same over all routes that share the slots."""
    return _in_turn(_sharing(conductor))


def _in_turn(cells: list[Cell]) -> list[Cell]:
    chats = [cell for cell in cells if cell[1] == "chat"]
    streams = [cell for cell in cells if cell[1] == "stream"]
    pairs = zip_longest(chats, [*streams[1:], *streams[:1]])
    return [cell for pair in pairs for cell in pair if cell is not None]


def _sharing(conductor: Conductor) -> list[Cell]:
    """Of a cap that is not global, the cells of one route."""
    cap, cells = conductor.plan.promises.cap, conductor.all_cells()
    if cap is not None and cap.scope in {"provider", "model"}:
        return [cell for cell in cells if cell[0] is cells[0][0]]
    return cells


def _with_room(conductor: Conductor, cells: list[Cell]) -> list[Cell]:
    """Of instances with caps of their own, the cells of the provider with the most instances.

    A call that waits for an instance may hold a slot meanwhile.
    """
    balance = conductor.plan.promises.balance
    if balance is None or balance.instance_cap is None:
        return cells
    instances = Counter(base_of(name) for name in conductor.control.now().open)
    most = max((instances[route.provider] for route, _ in cells), default=0)
    return [cell for cell in cells if instances[cell[0].provider] == most]
