"""The results of a smoke run, for the author of a target file. Pure: run and verdict to text.

Each route and mode, an unknown model, the router's own background requests, and the promises that
cannot be tested with the file as it is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import msgspec
from rich.console import Console

from routerspec.checks import REGISTRY
from routerspec.history import history as histories
from routerspec.history.history import History, PlayedRound, StartHistory
from routerspec.judge import preflight
from routerspec.markup.paragraphs import write
from routerspec.records.observations import ListObservation, Observation
from routerspec.records.run import RecordedRun
from routerspec.report import words
from routerspec.verdict import Outcome, Verdict

_NS = 1e9
_FOR_AGENTS = ("anthropic", "responses")


def render(
    recorded: RecordedRun, verdict: Verdict, console: Console, *, and_then: bool = True
) -> int:
    """Print the results, pass or fail, and (``and_then``) the next command.

    Returns the exit status.
    """
    history = histories.build(recorded)
    smoked = preflight.read(history)
    for line in _lines(history, smoked):
        write(console, line)
    for note in words.notes(verdict):
        write(console, note)
    died = [start.cut_short for start in history.starts if start.router_died and start.cut_short]
    broken = died or [c.reason for c in verdict.checks if c.outcome is Outcome.HARNESS_ERROR]
    unjudged = [c.reason for c in verdict.checks if c.outcome is Outcome.NOT_JUDGED]
    failures = (broken or unjudged)[:1]
    if smoked.failures and not broken:
        failures = [*smoked.failures, *filter(None, [smoked.list_failed])]
    for failure in failures:
        write(console, _as_failed(failure))
    if failures:
        return 4
    if smoked.broken:
        write(console, f"{verdict.target} {verdict.version}: its answers break HTTP, see above.")
        return 1
    if smoked.emptied:
        write(console, f"{verdict.target} {verdict.version}: tool calls lose their arguments.")
        return 1
    passed = f"{verdict.target} {verdict.version}: smoke passed."
    if and_then:
        passed += f" Next: {recorded.info.command.replace(' smoke', ' verify', 1)}"
    write(console, passed)
    return 0


def _as_failed(reason: str) -> str:
    return reason if reason.startswith("smoke failed") else f"smoke failed: {reason}"


def _lines(history: History, smoked: preflight.Smoke) -> Iterator[str]:
    for start, played in preflight.rounds(history):
        if played.round.part == "nonsense":
            yield from _nonsense(start, played, history)
        elif played.round.part == "list":
            yield from _list(played, history)
        else:
            yield from _route(played, smoked)
    for start, played in history.rounds("idle"):
        yield _idle(start, played)
    for reason, checks in _cannot_be_tried(history).items():
        yield f"promised but not testable: {', '.join(checks)}: {reason}"


def _route(played: PlayedRound, smoked: preflight.Smoke) -> Iterator[str]:
    name, mode = played.cell
    for client in played.observations[:1]:
        absent = " (the router does not have it)" if played.cell in smoked.absent else ""
        absent = f", {smoked.broken[played.cell]}" if played.cell in smoked.broken else absent
        absent = ", without the arguments of its call" if played.cell in smoked.emptied else absent
        status = "" if client.status is None else f" {client.status}"
        took = (client.end_ns - client.started_ns) / _NS
        yield f"{name}:{mode}{_at(client)}: {client.outcome}{status} after {took:.3f} s{absent}"


def _at(record: Observation | ListObservation) -> str:
    return f" of replica {record.replica}" if record.replica > 1 else ""


def _list(played: PlayedRound, history: History) -> Iterator[str]:
    promised = history.info.promises.model_list
    paths = promised.paths if promised else ()
    where = f" at {paths[0]}" if paths else ""
    for listing in played.lists[:1]:
        shown = ", ".join(sorted(listing.epochs)) or "no provider"
        yield (
            f"model list{where}{_at(listing)}: {listing.outcome} {listing.status}, with the models "
            f"of {shown}"
        )
    if (others := preflight.other_lists(played)) and not paths:
        yield (
            f"another model list: {others}; it is not judged: state the path of the list that is "
            "cached, or all of them, in promises.model_list.path"
        )


def _nonsense(start: StartHistory, played: PlayedRound, history: History) -> Iterator[str]:
    fronts = {route.name: route.front for route in history.info.routes}
    for client in played.observations[:1]:
        calls = start.calls_of.get(client.nonce, ())
        by = "the provider" if calls else "the router itself"
        status = "nothing" if client.status is None else client.status
        front = fronts.get(client.route, "openai")
        where = f" on the front {front}" if front in _FOR_AGENTS else ""
        yield f"unknown model{where}: {status}, from {by}"
        if where and client.outcome == "refused" and (shape := _foreign_shape(client, front)):
            yield f"its error is no error of that API: {shape}; clients go by its status alone"
        if client.outcome == "answered" and calls and (calls[-1].status or 0) >= 400:
            yield (
                f"the provider answered {calls[-1].status} to the unknown model, the client "
                f"received {status}: answers/error-is-error"
            )


def _foreign_shape(client: Observation, front: str) -> str:
    """What an error lacks that every error of the API has; empty: nothing, or it is not all here.

    A record has the beginning of an error's body.
    """
    if not client.json_error and not client.error.startswith("{"):
        return "it is not JSON"
    try:
        body = msgspec.json.decode(client.error)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return ""
    error = body.get("error") if isinstance(body, dict) else None
    if not isinstance(error, dict) or not isinstance(error.get("message"), str):
        return "it has no error.message"
    if front == "anthropic" and body.get("type") != "error":
        return 'it has no "type": "error"'
    if front == "anthropic" and not isinstance(error.get("type"), str):
        return "it has no error.type"
    return ""


def _idle(start: StartHistory, played: PlayedRound) -> str:
    """The requests that the router made while no client made any."""
    seconds = (played.until_ns - played.from_ns) / _NS
    requests: Counter[str] = Counter()
    for records in (start.fetches, start.calls):
        requests.update(
            f"{each.provider} {each.route}"
            for each in records
            if played.from_ns <= each.read_ns <= played.until_ns
        )
    if not requests:
        return f"background requests in {seconds:.1f} s: none"
    counted = ", ".join(f"{at} {n} times ({n / seconds:.1f}/s)" for at, n in requests.items())
    return f"background requests in {seconds:.1f} s: {counted}"


def _cannot_be_tried(history: History) -> dict[str, list[str]]:
    """Reason -> the checks of promises that cannot be tested with this file or router."""
    groups: dict[str, list[str]] = {}
    for check, reason in history.info.not_applicable.items():
        if not REGISTRY[check].needs(history.info.promises):
            groups.setdefault(reason, []).append(check)
    return groups
