"""Tool calls on their way to the client: tools/arrive, tools/interleaved."""

from __future__ import annotations

from collections.abc import Iterable

from routerspec.checks import both_sides, results
from routerspec.checks.both_sides import KEPT, Look, Pair
from routerspec.checks.check import Check
from routerspec.checks.tools.turns import turn_of
from routerspec.history.history import History
from routerspec.promises import Promises
from routerspec.verdict import Finding, Kind, Outcome
from routerspec.wire.answer import Answer, Choice, Dialect, ToolCall, quoted
from routerspec.wire.compare import arguments_of, unmatched

SCENARIOS = ("wire-answers",)
_CALLS = ('"tool_calls":[', '"tool_calls": [', "tool_use", "function_call")
_CUT = frozenset(
    {"length", "max_tokens", "max_output_tokens", "model_context_window_exceeded", "incomplete"}
)
"""Finish reasons of answers that were cut at their limit."""
_JOINED: dict[Dialect, str] = {
    "chat": "openai-python joins the fragments of calls by their index, and appends ids and names",
    "ollama": "ollama-python takes each entry of tool_calls for a call",
    "anthropic": "anthropic-python joins the fragments of a call by the index of its block",
    "responses": "openai-python joins the fragments of calls by output_index, and ends with those "
    "of the last response",
}


def _arrive(history: History, _promises: Promises) -> Finding:
    return both_sides.judge(
        history,
        SCENARIOS,
        _look,
        what="tool call",
        held="answers with tool calls, each call with its name, arguments and id",
    )


def _look(pair: Pair) -> Look | None:
    if not pair.request.get("tools") or _results_in(pair.request):
        return None
    if reason := both_sides.not_owed(pair, "tools"):
        return Look(excused=reason)
    if pair.sent is not None and pair.sent.calls and pair.withheld:
        return _withheld(pair, pair.sent)
    if pair.both is None or _is_interleaved(pair.both[0]):
        return None
    sent, read = pair.both
    return _compared(pair, sent, read) if sent.calls else _not_asked(pair, read)


def _results_in(request: dict[str, object]) -> bool:
    """The request gives back results of tools: see tools/round-trip."""
    return bool(turn_of(request).results)


def _is_interleaved(answer: Answer) -> bool:
    return any(choice.interleaved for choice in answer.choices)


def _compared(pair: Pair, sent: Answer, read: Answer) -> Look:
    cut = {choice.index for choice in sent.choices if choice.finish in _CUT}
    for choice in sent.choices:
        if choice.index in cut:
            continue
        theirs = read.choice(choice.index) or Choice(index=choice.index)
        lost, made_up = unmatched(choice.calls, theirs.calls)
        if lost or made_up:
            return _broken(pair, choice, theirs, _named(lost, made_up))
        if pair.front != "ollama" and (wrong := _id_fault(theirs)):
            return _broken(pair, choice, theirs, wrong)
    for fault in read.faults_of("arguments", "no-index", "call-disagrees"):
        if not (pair.relay and sent.faults_of(fault.kind)):
            return Look(
                broken="malformed tool call",
                sentence=f"In the answer that the client of nonce {pair.client.nonce} read, "
                f"{fault.text}.",
                facts=(fault.client, *both_sides.both_excerpts(pair, *_CALLS)),
            )
    same = [c.id for c in sent.calls] == [c.id for c in read.calls]
    return Look(notes=() if same or not pair.relay else ("ids rewritten",))


def _named(lost: list[ToolCall], made_up: list[ToolCall]) -> str:
    if not made_up:
        return f"{len(lost)} tool call{'s' * (len(lost) > 1)} lost"
    if not lost:
        return f"{len(made_up)} tool call{'s' * (len(made_up) > 1)} made up or doubled"
    one, other = lost[0], made_up[0]
    if one.name == other.name and _number_changed(one, other):
        return "a number in the arguments changed"
    if len(lost) > len(made_up):
        return "tool calls merged"
    return "another tool call"


def _number_changed(one: ToolCall, other: ToolCall) -> bool:
    """They differ in numbers only, as after a detour through floating point."""
    try:
        return _as_floats(arguments_of(one)) == _as_floats(arguments_of(other))
    except (ValueError, OverflowError):
        return False


def _as_floats(value: object) -> object:
    if isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, dict):
        return {name: _as_floats(its) for name, its in value.items()}
    return [_as_floats(its) for its in value] if isinstance(value, list) else value


def _id_fault(choice: Choice) -> str:
    ids = [call.id for call in choice.calls]
    if not all(ids):
        return "a tool call without an id"
    return "two tool calls with one id" if len(set(ids)) < len(ids) else ""


def _broken(pair: Pair, sent: Choice, read: Choice, broken: str) -> Look:
    return Look(
        broken=broken,
        sentence=f"The provider made {len(sent.calls)} tool calls in choice {sent.index}; the "
        f"client of nonce {pair.client.nonce} has {len(read.calls)}: {broken}.",
        facts=(
            *_lines("the provider made", sent.calls),
            *_lines("the client joins", read.calls),
            *both_sides.both_excerpts(pair, *_CALLS),
            _JOINED[pair.front],
        ),
    )


def _lines(whose: str, calls: Iterable[ToolCall]) -> list[str]:
    shown = [
        f"{whose} call {call.index}: {call.name}({quoted(call.arguments)}), id {quoted(call.id)}"
        for call in calls
    ]
    return shown[:3] or [f"{whose} no call"]


def _withheld(pair: Pair, sent: Answer) -> Look:
    received = f"status {pair.status}" if pair.status else "no status"
    return Look(
        broken=f"{received} for {len(sent.calls)} tool calls",
        sentence=f"The provider sent an answer of {len(sent.calls)} tool calls to its end; the "
        f"client of nonce {pair.client.nonce} received {received} and no whole response.",
        facts=(*_lines("the provider made", sent.calls), *both_sides.both_excerpts(pair)),
    )


def _not_asked(pair: Pair, read: Answer) -> Look | None:
    """The provider made no call: because it was not given the tools, or it had nothing to call."""
    if pair.arrived.get("tools") or read.calls or not pair.arrived:
        return None
    return Look(
        broken="tools not passed on",
        sentence=f"The client of nonce {pair.client.nonce} offered tools, and its provider was "
        "given none; the client has an answer without tool calls and no error.",
        facts=(
            f"the client sent the fields {', '.join(sorted(pair.request))}",
            f"the provider read the fields {', '.join(sorted(pair.arrived))}",
            *both_sides.both_excerpts(pair),
        ),
    )


def _interleaved(history: History, _promises: Promises) -> Finding:
    finding = both_sides.judge(
        history,
        SCENARIOS,
        _look_at_interleaved,
        modes=("stream",),
        what="interleaved tool call",
        held="streams with interleaved tool calls, each kept apart",
    )
    if finding.outcome is not Outcome.VIOLATED:
        return finding
    return results.observed(f"interleaved calls are not kept apart: {finding.summary}",
                            finding.numbers)  # fmt: skip


def _look_at_interleaved(pair: Pair) -> Look | None:
    if not pair.request.get("tools"):
        return None
    if reason := both_sides.not_owed(pair, "tools"):
        return Look(excused=reason)
    if pair.both is None:
        return None
    sent, read = pair.both
    if not _is_interleaved(sent):
        return None
    for choice in sent.choices:
        theirs = read.choice(choice.index) or Choice(index=choice.index)
        if any(unmatched(choice.calls, theirs.calls)):
            return _broken(pair, choice, theirs, "calls mixed up")
    return KEPT


ARRIVE = Check(
    id="tools/arrive",
    promise=Promises,
    scenarios=SCENARIOS,
    judge=_arrive,
    promised="The client receives as many tool calls as the provider made, each with its name, its "
    "arguments and an id of its own.",
    proved="The provider sent an answer with tool calls to its end, and what the client's bytes "
    "join to, by the rule of the dialect, is not the same multiset of names and arguments as JSON "
    "values, integers exact, or is not what the last response of the stream says; or a call has "
    "no id, or another's; or the client offered tools, the provider was given none, and the client "
    "has no error.",
    doubt="In the router's favour: fragments may be cut and joined anywhere, the order of calls, "
    "ids and the text before calls are free, no arguments are an empty object, calls cut by "
    "max_tokens, by turns or in several lines are left out. A router that refuses tools with a "
    "status of 400 to 499 owes none. Inconclusive where no call was made.",
    bug="Every call gets index 0, so that two become one; an index or an id is lost or restated; "
    "numbers go through a float: ai-dynamo/dynamo PR #4723, mcowger/plexus #691, "
    "AstrBotDevs/AstrBot #6661, apache/maka #1976.",
    fix="Keep the provider's index, or number the calls in the order in which they come.",
)
INTERLEAVED = Check(
    id="tools/interleaved",
    promise=Promises,
    scenarios=SCENARIOS,
    judge=_interleaved,
    promised="Several tool calls are kept apart whose fragments come by turns, or which come in "
    "several lines of Ollama's.",
    proved="Nothing is: whether they are is shown.",
    doubt="Hardly any provider sends fragments by turns, and official accumulators report such "
    "calls early; clients that go by ids keep calls apart that share an index: only observed.",
    bug="The latest call gets every fragment, whatever its index; calls are numbered anew in each "
    "line.",
    fix="Keep the state of each call by choice and index.",
    kind=Kind.OBSERVE,
)
