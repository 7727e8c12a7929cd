"""Results of tools on their way to the provider: tools/round-trip."""

from __future__ import annotations

from typing import Any

from routerspec.checks import both_sides
from routerspec.checks.both_sides import KEPT, Look, Pair
from routerspec.checks.check import Check
from routerspec.checks.tools.turns import Made, Result, Turn, texts_of, turn_of
from routerspec.history.history import History
from routerspec.promises import Promises
from routerspec.verdict import Finding
from routerspec.wire.answer import quoted
from routerspec.wire.compare import same_json


def _round_trip(history: History, _promises: Promises) -> Finding:
    return both_sides.judge(
        history,
        ("wire-answers",),
        _look,
        what="result of a tool",
        held="histories with results of tools, each result for its call",
    )


def _look(pair: Pair) -> Look | None:
    client = turn_of(pair.request)
    if not client.results:
        return _without_results(pair)
    reason = both_sides.not_owed(pair, "results of tools")
    if reason and not pair.provider_refused:
        return Look(excused=reason)
    if pair.call is None or not pair.arrived:
        return None
    if not _is_usable(client, by_id=pair.front != "ollama"):
        return Look(excused="the client was given a call without a name or an id of its own")
    return _compared(pair, client, turn_of(pair.arrived))


def _compared(pair: Pair, client: Turn, provider: Turn) -> Look:
    assert pair.call is not None
    if pair.back == "ollama" and _is_folded(client, provider, pair.arrived):
        return Look(excused="the translation tells results of tools as text")
    fault = _fault(client, provider, by_id=pair.back != "ollama")
    if not fault and pair.relay:
        fault = _lost_error(client, provider)
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


def _is_usable(client: Turn, *, by_id: bool) -> bool:
    """Whether the client could answer at all with what it was given: see tools/arrive."""
    ids = [call.id for call in client.calls]
    named = all(call.name for call in client.calls)
    return named and (not by_id or (all(ids) and len(set(ids)) == len(ids)))


def _is_folded(client: Turn, provider: Turn, arrived: dict[str, Any]) -> bool:
    """No message of a tool arrived, and every result stands in the text of another message."""
    texts = texts_of(arrived)
    return not provider.results and all(
        any(result.content in text for text in texts) for result in client.results
    )


def _fault(client: Turn, provider: Turn, *, by_id: bool) -> str:
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


def _lost_error(client: Turn, provider: Turn) -> str:
    """A result that its client marked as an error, and that arrived as a good one."""
    good = [result.content for result in provider.results if not result.is_error]
    lost = any(result.is_error and result.content in good for result in client.results)
    return "a failed tool's result is no error any more" if lost else ""


def _belongs(turn: Turn, result: Result, made: Made, *, by_id: bool) -> bool:
    """The result refers to a call that is ``made``, as far as it says."""
    named = [call for call in turn.calls if call.id and call.id == result.refers_to]
    if by_id or named:
        return any(_same(made, call) for call in named)
    if result.name:
        return result.name == made.name
    by_place = turn.results.index(result)
    return by_place >= len(turn.calls) or _same(made, turn.calls[by_place])


def _referred(turn: Turn, result: Result) -> Made | None:
    """The call that this result is for, as its client sees it."""
    if result.refers_to:
        found = [call for call in turn.calls if call.id == result.refers_to]
        return found[0] if len(found) == 1 else None
    found = [call for call in turn.calls if call.name == result.name]
    return found[0] if len(found) == 1 else None


def _same(one: Made, other: Made) -> bool:
    return one.name == other.name and same_json(one.arguments, other.arguments)


def _lines(whose: str, turn: Turn) -> tuple[str, ...]:
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
    "to no call or to another one of the same body; or, with Anthropic's dialect on both sides, "
    "is_error is gone.",
    doubt="In the router's favour: ids may be rewritten on the way out and back; towards Ollama's "
    "dialect a result may refer to its call by id, by name or by its place, and arguments may be "
    "text or an object. What the provider itself refuses is not owed, nor is anything of calls "
    "that the client was given without a name or an id of their own: see tools/arrive. "
    "Inconclusive where no result reached a provider.",
    bug="Ids made up anew in each direction, so that the provider refuses a result for a call that "
    "it never made: RooCodeInc/Roo-Code #10763, anthropics/claude-code #3512.",
    fix="Pass ids on, or map them by a rule that can be undone.",
)
