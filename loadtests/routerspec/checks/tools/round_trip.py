"""Results of tools on their way to the provider: tools/round-trip."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from routerspec.checks import both_sides
from routerspec.checks.both_sides import KEPT, Look, Pair
from routerspec.checks.check import Check
from routerspec.history.history import History
from routerspec.promises import Promises
from routerspec.verdict import Finding
from routerspec.wire.answer import decoded, quoted
from routerspec.wire.compare import same_json


@dataclass(frozen=True, slots=True, kw_only=True)
class _Made:
    """A tool call in a history."""

    id: str
    name: str
    arguments: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class _Result:
    """What a tool gave, in a history."""

    refers_to: str
    """The id of its call; empty where it names none."""
    name: str
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Turn:
    calls: tuple[_Made, ...]
    results: tuple[_Result, ...]


def _round_trip(history: History, _promises: Promises) -> Finding:
    return both_sides.judge(
        history,
        ("wire-answers",),
        _look,
        what="result of a tool",
        held="histories with results of tools, each result for its call",
    )


def _look(pair: Pair) -> Look | None:
    client = _turn(pair.request)
    if not client.results:
        return _without_results(pair)
    reason = both_sides.not_owed(pair, "results of tools")
    if reason and not pair.provider_refused:
        return Look(excused=reason)
    if pair.call is None or not pair.arrived:
        return None
    return _compared(pair, client, _turn(pair.arrived))


def _compared(pair: Pair, client: _Turn, provider: _Turn) -> Look:
    assert pair.call is not None
    if pair.back != "chat" and _is_folded(client, provider, pair.arrived):
        return Look(excused="the translation tells results of tools as text")
    fault = _fault(client, provider, by_id=pair.back == "chat")
    if not fault:
        if pair.provider_refused:
            return Look(excused="the provider refused results of tools")
        same = [call.id for call in client.calls] == [call.id for call in provider.calls]
        return KEPT if same or not pair.relay else Look(notes=("ids rewritten",))
    return Look(
        broken=fault,
        sentence=f"The client of nonce {pair.client.nonce} gave back {len(client.results)} results "
        f"of tools with the ids that it had; in what its provider read, {fault}.",
        facts=(
            *_lines("client sent", client),
            *_lines("provider read", provider),
            f"the provider answered with status {pair.call.status}",
        ),
    )


def _without_results(pair: Pair) -> Look | None:
    """A request that offers tools, before any was called: why its client has nothing to answer."""
    if not pair.request.get("tools"):
        return None
    if reason := both_sides.not_owed(pair, "tools"):
        return Look(excused=reason)
    if pair.read is None or pair.read.calls:
        return None
    return Look(excused="no tool call reached the client")  # tools/arrive


def _is_folded(client: _Turn, provider: _Turn, arrived: dict[str, Any]) -> bool:
    """No message of a tool arrived, and every result stands in the text of another message."""
    messages = arrived.get("messages")
    texts = [
        _text(message.get("content"))
        for message in (messages if isinstance(messages, list) else ())
        if isinstance(message, dict)
    ]
    return not provider.results and all(
        any(result.content in text for text in texts) for result in client.results
    )


def _fault(client: _Turn, provider: _Turn, *, by_id: bool) -> str:
    """What is wrong about the history that arrived; empty: nothing.

    ``by_id``: the provider's dialect refers to calls by their ids. Ollama's may do without.
    """
    for call in client.calls:
        if not any(_same(call, other) for other in provider.calls):
            return "a call is not there with its name and arguments"
    for result in client.results:
        theirs = [other for other in provider.results if result.content in other.content]
        if not theirs:
            return "a result is not there"
        if len(theirs) > 1:
            return "a result is there twice"
        made = _referred(client, result)
        if made is not None and not _belongs(provider, theirs[0], made, by_id=by_id):
            return "a result does not refer to its call"
    return ""


def _belongs(turn: _Turn, result: _Result, made: _Made, *, by_id: bool) -> bool:
    """The result refers to a call that is ``made``, as far as it says."""
    named = [call for call in turn.calls if call.id and call.id == result.refers_to]
    if by_id or named:
        return any(_same(made, call) for call in named)
    if result.name:
        return result.name == made.name
    by_place = turn.results.index(result)
    return by_place >= len(turn.calls) or _same(made, turn.calls[by_place])


def _referred(turn: _Turn, result: _Result) -> _Made | None:
    """The call that this result is for, as its client sees it."""
    if result.refers_to:
        found = [call for call in turn.calls if call.id == result.refers_to]
        return found[0] if len(found) == 1 else None
    found = [call for call in turn.calls if call.name == result.name]
    return found[0] if len(found) == 1 else None


def _same(one: _Made, other: _Made) -> bool:
    return one.name == other.name and same_json(one.arguments, other.arguments)


def _turn(request: dict[str, Any]) -> _Turn:
    calls: list[_Made] = []
    results: list[_Result] = []
    messages = request.get("messages")
    for message in messages if isinstance(messages, list) else ():
        if not isinstance(message, dict):
            continue
        made = message.get("tool_calls")
        entries = made if isinstance(made, list) else ()
        calls += [_made(call) for call in entries if isinstance(call, dict)]
        if message.get("role") == "tool":
            results.append(
                _Result(
                    refers_to=str(message.get("tool_call_id") or ""),
                    name=str(message.get("tool_name") or message.get("name") or ""),
                    content=_text(message.get("content")),
                )
            )
    return _Turn(calls=tuple(calls), results=tuple(results))


def _made(call: dict[str, Any]) -> _Made:
    function = call.get("function")
    function = function if isinstance(function, dict) else {}
    arguments = function.get("arguments")
    if isinstance(arguments, str):
        with suppress(ValueError):
            arguments = decoded(arguments) if arguments.strip() else {}
    return _Made(
        id=str(call.get("id") or ""),
        name=str(function.get("name") or ""),
        arguments={} if arguments is None else arguments,
    )


def _text(content: object) -> str:
    if isinstance(content, list):
        return "".join(str(p.get("text", "")) for p in content if isinstance(p, dict))
    return content if isinstance(content, str) else json.dumps(content)


def _lines(whose: str, turn: _Turn) -> tuple[str, ...]:
    calls = (f"call {c.name}({quoted(c.arguments)}), id {quoted(c.id)}" for c in turn.calls)
    results = (
        f"result {quoted(result.content)} for "
        f"{quoted(result.refers_to) if result.refers_to else result.name or 'no call'}"
        for result in turn.results
    )
    shown = [f"the {whose} {line}" for line in (*calls, *results)]
    return tuple(shown[:6]) or (f"the {whose} no call and no result",)


ROUND_TRIP = Check(
    id="tools/round-trip",
    promise=Promises,
    scenarios=("wire-answers",),
    judge=_round_trip,
    promised="A client that answers a tool call with the id that it was given is understood: the "
    "provider reads the call with its name and arguments, and the result refers to it, once.",
    proved="In the provider's own transcript a call of the client's history is missing or has "
    "another name or other arguments (as JSON values), or a result is missing, doubled, or refers "
    "to no call or to another one of the same body.",
    doubt="In the router's favour: ids may be rewritten on the way out and back; towards Ollama's "
    "dialect a result may refer to its call by id, by name or by its place, and arguments may be "
    "text or an object. What the provider itself refuses is not owed. Inconclusive where no result "
    "reached a provider.",
    bug="Ids made up anew in each direction, so that the provider refuses a result for a call that "
    "it never made: RooCodeInc/Roo-Code #10763, anthropics/claude-code #3512.",
    fix="Pass ids on, or map them by a rule that can be undone.",
)
