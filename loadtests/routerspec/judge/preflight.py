"""Smoke: whether the target works at all, before anything is judged. Pure.

Decides from the ``smoke`` rounds which routes and modes there are, and whether the rest can be
judged. Refuses to hold a failure against the router: when smoke fails, the target file is what
needs a look, and everything else is ``not judged``.
"""

from __future__ import annotations

import dataclasses
import textwrap
from dataclasses import dataclass

from routerspec.checks.answers import tokens
from routerspec.history.history import Cell, History, PlayedRound, StartHistory
from routerspec.judge.preflight_advice import advice, asked
from routerspec.limits import NO_SUCH_MODE
from routerspec.records.observations import Observation
from routerspec.records.run import RouteInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class Smoke:
    """What one request through each route and mode showed."""

    absent: frozenset[Cell]
    """Implied modes that the router does not have."""
    failures: tuple[str, ...]
    """Why nothing else can be judged, one a route and mode; empty when it can."""
    list_failed: str
    """Why nothing of the model list can be judged; empty when it can."""

    @property
    def failed(self) -> str:
        """The first of the failures; empty without one."""
        return self.failures[0] if self.failures else ""


def read(history: History) -> Smoke:
    """Read the smoke of every start that has one and can be believed."""
    routes = {route.name: route for route in history.info.routes}
    absent: set[Cell] = set()
    failed: list[str] = []
    list_failed: list[str] = []
    for start, played in history.rounds("smoke"):
        if start.incidents("smoke"):
            continue
        if played.round.part == "list":
            list_failed += _list(played, history.info.target)
        elif played.round.part == "nonsense":
            failed += _nonsense(start, played)
        else:
            reason, missing = _route(start, played, routes, history.info.target)
            failed += [reason] if reason else []
            absent |= {played.cell} if missing else set()
    failed += _all_absent(history, absent)
    return Smoke(
        absent=frozenset(absent),
        failures=tuple(dict.fromkeys(failed)),
        list_failed=list_failed[0] if list_failed else "",
    )


def without(history: History, absent: frozenset[Cell]) -> History:
    """The history of a target that does not have these modes."""
    cells = tuple(cell for cell in history.cells if cell not in absent)
    return dataclasses.replace(history, cells=cells)


def _route(
    start: StartHistory, played: PlayedRound, routes: dict[str, RouteInfo], target: str
) -> tuple[str, bool]:
    """(why the round failed, whether the mode is just absent)."""
    name, mode = played.cell
    if not played.observations:
        return "", False
    client = played.observations[0]
    route = routes.get(name)
    if client.status in NO_SUCH_MODE and route is not None and route.implied:
        return "", True
    if client.outcome == "answered" and tokens.own_tokens(client) and _good(client.status):
        return "", False
    calls = start.calls_of.get(client.nonce, ())
    return (
        f"smoke failed in start {start.info.name}: route {name}, mode {mode} {_became(client)}, "
        f"and {asked(calls)}; correct the target file of {target} first: {advice(client, calls)}",
        False,
    )


def _good(status: int | None) -> bool:
    return status is not None and 200 <= status < 300


def _became(client: Observation) -> str:
    error = f" ({_short(client.error)})" if client.error else ""
    if client.outcome == "answered" and _good(client.status):
        return f"was answered {client.status} without the text that the provider sent{error}"
    if client.status is not None:
        return f"was {client.outcome.replace('_', ' ')} with status {client.status}{error}"
    return f"{client.outcome.replace('_', ' ')} without a status{error}"


def _short(body: str) -> str:
    """The first of an error's body on one line."""
    return textwrap.shorten(body, 120, placeholder=" ...")


def _list(played: PlayedRound, target: str) -> list[str]:
    return [
        f"smoke failed: the model list {asked.outcome.replace('_', ' ')} with status "
        f"{asked.status}{f' ({asked.error})' if asked.error else ''}; "
        f"correct the target file of {target} first"
        for asked in played.lists
        if asked.outcome != "answered" or not _good(asked.status)
    ]


def _nonsense(start: StartHistory, played: PlayedRound) -> list[str]:
    return [
        f"the router answers {client.status} to a model that does not exist, and "
        f"{asked(start.calls_of.get(client.nonce, ()))}; it is not believed: turn off its default "
        "or fallback model"
        for client in played.observations
        if client.outcome == "answered" and _good(client.status)
    ]


def _all_absent(history: History, absent: set[Cell]) -> list[str]:
    """A route with no mode left is not a route."""
    return [
        f"smoke failed: route {route.name} has none of the modes {', '.join(route.modes)}; "
        f"correct the target file of {history.info.target} first"
        for route in history.info.routes
        if route.modes and all((route.name, mode) in absent for mode in route.modes)
    ]
