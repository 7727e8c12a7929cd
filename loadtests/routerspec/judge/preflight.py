"""Preflight: whether the target works at all, before anything is judged. Pure.

Decides from the ``smoke`` rounds which routes and modes there are, and whether the rest can be
judged. A failure is not held against the router: the target file must be corrected first, and
everything else is ``not judged``. An answer whose HTTP is broken although its provider answered
well is the router's: ``wire/http`` judges it, and the other checks the other modes. So it is with
a tool call that arrives without its arguments, for ``tools/arrive``.
"""

from __future__ import annotations

import dataclasses
import textwrap
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from fake_providers.records.evidence import Call
from routerspec.checks import broken_answers, cells
from routerspec.checks.answers import tokens
from routerspec.history.history import Cell, History, PlayedRound, StartHistory
from routerspec.judge.preflight_advice import FURTHER, advice, other_front, received, wrong_provider
from routerspec.limits import NO_SUCH_MODE
from routerspec.records.observations import ListObservation, Observation
from routerspec.records.providers import base_of
from routerspec.records.run import RouteInfo

_OK = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Smoke:
    """What one request through each route and mode showed."""

    absent: frozenset[Cell]
    """Implied modes that the router does not have: not once in the run did one answer."""
    unsteady: str
    """Why only violations can be believed: a mode that is absent now and then. Mostly empty."""
    failures: tuple[str, ...]
    """Why nothing else can be judged, one a route and mode; empty when it can."""
    list_failed: str
    """Why nothing of the model list can be judged; empty when it can."""
    broken: Mapping[Cell, str] = field(default_factory=dict)
    """Modes whose answers break HTTP though their provider answered well, and how."""
    emptied: frozenset[Cell] = frozenset()
    """Tool calls that arrive without the arguments that their provider sent."""

    @property
    def left_out(self) -> frozenset[Cell]:
        """Modes that nothing but ``wire/http`` and ``tools/arrive`` is judged on."""
        return self.absent.union(self.broken, self.emptied)

    @property
    def reasons(self) -> tuple[str, ...]:
        """Every reason for which something is not judged."""
        return tuple(filter(None, [*self.failures, self.list_failed]))

    @property
    def failed(self) -> str:
        """The first of the failures; empty without one."""
        return self.failures[0] if self.failures else ""


def read(history: History) -> Smoke:
    """Read the smoke of every start that has one and can be believed.

    What was tried again counts as it was answered last.
    """
    routes = {route.name: route for route in history.info.routes}
    missing: set[Cell] = set()
    broken: dict[Cell, str] = {}
    emptied: set[Cell] = set()
    failed: list[str] = []
    list_failed: list[str] = []
    further = _further(history)
    for start, played in rounds(history):
        if played.round.part == "list":
            list_failed += _list(played, history.info.target)
        elif played.round.part == "nonsense":
            failed += _nonsense(start, played)
        elif how := _broken(start, played):
            broken[played.cell] = how
        elif _is_emptied(start, played):
            emptied.add(played.cell)
        else:
            reason, gone = _route(start, played, routes, history.info.target, further)
            failed += [reason] if reason else []
            missing |= {played.cell} if gone else set()
    absent = frozenset(missing - _answered(history, missing))
    failed += _all_absent(history, absent, further)
    failed += _all_broken(history, absent, broken)
    return Smoke(
        absent=absent,
        unsteady=_unsteady(missing - absent),
        failures=tuple(dict.fromkeys(failed)),
        list_failed=list_failed[0] if list_failed else "",
        broken=broken,
        emptied=frozenset(emptied),
    )


def rounds(history: History) -> list[tuple[StartHistory, PlayedRound]]:
    """The rounds that count: of each start, route, mode, part and replica the last one.

    None of a start whose router died: what it did not answer is no fault of the target file.
    """
    last: dict[tuple[str, Cell, str, int], tuple[StartHistory, PlayedRound]] = {}
    for start, played in history.rounds("smoke"):
        if start.router_died:
            continue
        if not start.incidents("smoke") and (played.observations or played.lists):
            which = (start.info.name, played.cell, played.round.part, _asked_replica(played))
            last[which] = (start, played)
    return list(last.values())


def _asked_replica(played: PlayedRound) -> int:
    """The replica that the requests of such a round were sent to."""
    requests: tuple[Observation | ListObservation, ...] = (*played.observations, *played.lists)
    return requests[0].replica


def _further(history: History) -> Mapping[str, Sequence[str]]:
    """Route -> the parts of its further round that were answered with a provider's text."""
    answered: defaultdict[str, list[str]] = defaultdict(list)
    for _, played in history.rounds(FURTHER):
        for client in played.observations:
            right = client.outcome == "answered" and _good(client.status)
            if (
                right
                and tokens.own_tokens(client)
                and played.round.part not in answered[client.route]
            ):
                answered[client.route].append(played.round.part)
    return answered


def _answered(history: History, missing: set[Cell]) -> set[Cell]:
    """Those of the cells in which any request of the run had an answer, in the route's dialect."""
    if not missing:
        return set()
    return {
        (client.route, client.mode)
        for start in history.starts
        for played in start.rounds
        if played.round.scenario != FURTHER
        for client in played.observations
        if (client.route, client.mode) in missing and _good(client.status)
    }


def _unsteady(unsteady: set[Cell]) -> str:
    names = ", ".join(map(cells.name, sorted(unsteady)))
    statuses = " or ".join(map(str, sorted(NO_SUCH_MODE)))
    return names and (
        f"the router answers {statuses} now and then, as if it had no such mode: {names}"
    )


def notes(smoke: Smoke) -> list[str]:
    """What a reader must know of modes that hardly anything is judged on; mostly nothing."""
    broken: defaultdict[str, list[str]] = defaultdict(list)
    for cell, how in sorted(smoke.broken.items()):
        broken[how].append(cells.name(cell))
    found = [
        f"the router's answers break HTTP where the provider answered well ({how}): see wire/http. "
        f"Everything else is judged on other modes than {', '.join(names)}."
        for how, names in broken.items()
    ]
    if smoke.emptied:
        names = ", ".join(map(cells.name, sorted(smoke.emptied)))
        found.append(
            "tool calls arrive without the arguments that their provider sent: see tools/arrive. "
            f"Everything else is judged on other modes than {names}."
        )
    return found


def without(history: History, absent: frozenset[Cell]) -> History:
    """The history of a target that does not have these modes."""
    left = tuple(cell for cell in history.cells if cell not in absent)
    return dataclasses.replace(history, cells=left)


def _broken(start: StartHistory, played: PlayedRound) -> str:
    """How the answer of the round breaks HTTP by the router's fault; mostly empty."""
    client = next(iter(played.observations), None)
    if client is None:
        return ""
    return _short(broken_answers.reason(client, start.calls_of.get(client.nonce, ())))


def _is_emptied(start: StartHistory, played: PlayedRound) -> bool:
    """A tool call was answered well by its provider, and its client got none of the arguments."""
    client = next(iter(played.observations), None)
    if client is None or client.mode != "tools" or client.outcome != "answered":
        return False
    calls = start.calls_of.get(client.nonce, ())
    sent = bool(calls) and calls[-1].finished and calls[-1].status == _OK
    return sent and _good(client.status) and not tokens.own_tokens(client)


def _route(
    start: StartHistory,
    played: PlayedRound,
    routes: dict[str, RouteInfo],
    target: str,
    further: Mapping[str, Sequence[str]],
) -> tuple[str, bool]:
    """(why the round failed, whether the mode is just absent)."""
    name, mode = played.cell
    if not played.observations:
        return "", False
    client = played.observations[0]
    route = routes.get(name)
    if client.status in NO_SUCH_MODE and route is not None and route.implied:
        return "", True
    calls = start.calls_of.get(client.nonce, ())
    if client.outcome == "answered" and tokens.own_tokens(client) and _good(client.status):
        return _elsewhere(route, client, calls, target), False
    return (
        f"smoke failed in start {start.info.name}: {_replica(client)}route {name}, mode {mode} "
        f"{_became(client)}, "
        f"and {received(calls)}; correct the target file of {target} first: "
        f"{advice(client, calls, further.get(name, ()))}",
        False,
    )


def _elsewhere(
    route: RouteInfo | None, client: Observation, calls: Sequence[Call], target: str
) -> str:
    """Why a route whose request another provider than the stated one answered is wrong."""
    reached = sorted({call.provider for call in calls})
    stated = route.provider if route is not None else ""
    if not stated or client.mode == "embeddings" or not reached:
        return ""
    if stated in map(base_of, reached):
        return ""
    return (
        f"smoke failed: route {client.route}, mode {client.mode} leads to {reached[0]}, not to "
        f"{stated}; correct the target file of {target} first: "
        f"{wrong_provider(client.route, reached[0])}"
    )


def _replica(record: Observation | ListObservation) -> str:
    """Which one a sentence is about, where it is not the first."""
    return f"replica {record.replica}, " if record.replica > 1 else ""


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
    others = other_lists(played)
    hint = f": {others} is answered, promises.model_list.path says so" if others else ""
    return [
        f"smoke failed: {_replica(asked)}the router's answer to a request for the model list "
        f"breaks HTTP "
        f"({_short(asked.error)}): see wire/http"
        if _good(asked.status) and broken_answers.cannot_be_parsed(asked)
        else f"smoke failed: {_replica(asked)}the model list {asked.outcome.replace('_', ' ')} "
        f"with status {asked.status}{f' ({asked.error})' if asked.error else ''}; "
        f"correct the target file of {target} first{hint}"
        for asked in played.lists
        if not asked.path and (asked.outcome != "answered" or not _good(asked.status))
    ]


def other_lists(played: PlayedRound) -> str:
    """The paths at which the router has a list that is not judged."""
    return ", ".join(
        asked.path
        for asked in played.lists
        if asked.path and asked.outcome == "answered" and _good(asked.status) and asked.models
    )


def _nonsense(start: StartHistory, played: PlayedRound) -> list[str]:
    """A provider's error that became an answer is for answers/error-is-error to judge."""
    return [
        f"the router answers {client.status} to a model that does not exist, and "
        f"{received(calls)}; results would be meaningless: disable the router's default or "
        "fallback model"
        for client in played.observations
        for calls in (start.calls_of.get(client.nonce, ()),)
        if client.outcome == "answered" and _good(client.status) and not _refused(calls)
    ]


def _refused(calls: Sequence[Call]) -> bool:
    """A provider was asked for the model, and answered nothing but errors."""
    return bool(calls) and all(call.status is not None and call.status >= 400 for call in calls)


def _all_absent(
    history: History, absent: frozenset[Cell], further: Mapping[str, Sequence[str]]
) -> list[str]:
    """A route with no mode left is not a route."""
    return [
        f"smoke failed: route {route.name} has none of the modes {', '.join(route.modes)}; "
        f"correct the target file of {history.info.target} first{_hint(route.name, further)}"
        for route in history.info.routes
        if route.modes and all((route.name, mode) in absent for mode in route.modes)
    ]


def _hint(route: str, further: Mapping[str, Sequence[str]]) -> str:
    return f": {other_front(route, further[route])}" if route in further else ""


def _all_broken(history: History, absent: frozenset[Cell], broken: Mapping[Cell, str]) -> list[str]:
    """With no mode left whose answers can be read, there is nothing to judge but ``wire/http``."""
    there = [cell for cell in history.cells if cell not in absent]
    if not broken or any(cell not in broken for cell in there):
        return []
    first = next(iter(broken.values()))
    return [f"smoke failed: the router's answers break HTTP in every mode ({first}): see wire/http"]
