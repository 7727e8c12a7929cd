"""Streams that their provider breaks off: answers/cut-is-no-success, answers/no-replay. Pure.

Decides what a client may be told of an answer that was never finished. Refuses to judge whether
the router tries again, and in which words it tells of the failure.

Direction of doubt: a client that was told of an error in any words is not accused of having been
told of a success, and neither is one for whom some call of its own family was finished: a further
attempt, a further step of an agent, another provider. Only the markers of a good end count.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from fake_providers.records.evidence import Call
from routerspec.checks import results, witness
from routerspec.checks.answers import tokens
from routerspec.checks.check import Check, needs_nothing
from routerspec.history.history import Cell, History, PlayedRound, StartHistory
from routerspec.promises import Promises
from routerspec.records.observations import Observation
from routerspec.verdict import Finding, Witness

SCENARIOS = ("cut-stream",)
MODES = ("chat", "stream")
GOOD_ENDS: Final = frozenset({"stop", "tool_calls", "function_call", "end_turn", "eos"})
"""Finish reasons that claim a good end. Others (error, abort, length) admit that it is short."""

_TOKEN = re.compile(r"(\d{1,15})@([a-z]+)-(\d{1,15})#(?:end)?\d")

Torn = tuple[StartHistory, PlayedRound, Observation, tuple[Call, ...]]


def cut_is_no_success(history: History, _promises: Promises) -> Finding:
    """No client gets a finish marker that no provider sent."""
    seen: dict[Cell, int] = {}
    for start, played, client, calls in _torn(history):
        if any(call.finished for call in calls):
            continue
        cell = client.route, client.mode
        seen[cell] = seen.get(cell, 0) + 1
        if marker := _claims_success(client):
            shown = _told_of_success(start, played, client, calls, marker)
            where = ":".join(cell)
            return results.violated(f"a cut called done: {where}", shown)
    cells = _streaming(history) or [cell for cell in history.cells if cell[1] in MODES]
    return _held(cells, seen, "broken off", "none called finished")


def _claims_success(client: Observation) -> str:
    """The marker of a good end that this client got, unless it was told of an error too."""
    if client.outcome != "answered" or client.error or client.hang_up_ns is not None:
        return ""
    if client.finish in GOOD_ENDS:
        return f"finish {client.finish!r}"
    return "the end of the stream ([DONE])" if client.done and client.finish is None else ""


def _told_of_success(
    start: StartHistory,
    played: PlayedRound,
    client: Observation,
    calls: tuple[Call, ...],
    marker: str,
) -> Witness:
    return Witness(
        sentence=(
            f"The client of nonce {client.nonce} was sent {marker} for an answer that its provider "
            "broke off."
        ),
        facts=_facts(start, played, client, calls),
    )


def no_replay(history: History, _promises: Promises) -> Finding:
    """No answer goes on with a second attempt after pieces of the first.

    Doubt: attempts have one provider, one path and one body; a call with another body (an agent's
    next step, a continuation that says what was there already) is no replay. The earlier one must
    have broken off, and a client that was told so by an error is left out.
    """
    seen: dict[Cell, int] = {}
    for start, played, client, calls in _torn(history):
        if client.mode != "stream" or not any(call.stream and call.pieces for call in calls):
            continue
        cell = client.route, client.mode
        seen[cell] = seen.get(cell, 0) + 1
        pair = None if client.error else _mixed(start, client, calls)
        if pair is not None:
            where = ":".join(cell)
            shown = Witness(
                sentence=(
                    f"The client of nonce {client.nonce} got the beginning of one attempt, and "
                    "then another attempt after it, as one answer."
                ),
                facts=_facts(start, played, client, pair),
            )
            return results.violated(f"attempts mixed: {where}", shown)
    return _held(_streaming(history), seen, "broken off after its first pieces", "no two mixed")


def _mixed(
    start: StartHistory, client: Observation, calls: tuple[Call, ...]
) -> tuple[Call, Call] | None:
    """A call that broke off and a later attempt of the same, both of them in the text."""
    named = {(provider, int(number)) for _, provider, number in _TOKEN.findall(client.text)}
    shown = [call for call in calls if (call.provider, call.call) in named]
    for index, first in enumerate(shown):
        for later in shown[index + 1 :]:
            if _broke_off(first) and later.read_ns > first.inner_end_ns and _same(first, later):
                return first, later
    return None


def _same(one: Call, other: Call) -> bool:
    return (one.provider, one.route, one.body_hash) == (
        other.provider,
        other.route,
        other.body_hash,
    )


def _broke_off(call: Call) -> bool:
    """The provider itself ended it before its finish."""
    return not call.finished and (call.ended_by == "cut" or _ended_early(call))


def _ended_early(call: Call) -> bool:
    return call.ended_by == "fake" and call.status == 200 and call.peer_closed_ns is None


def _torn(history: History) -> Iterator[Torn]:
    """Every client one of whose calls the provider broke off, with its calls for the answer."""
    for start, played in history.rounds(*SCENARIOS):
        for client in played.observations:
            if client.mode not in MODES:
                continue
            calls = tuple(
                call
                for call in start.calls_of.get(client.nonce, ())
                if call.family != "embeddings" and call.read_ns < client.end_ns
            )
            if any(_broke_off(call) for call in calls):
                yield start, played, client, calls


def _streaming(history: History) -> list[Cell]:
    return [cell for cell in history.cells if cell[1] == "stream"]


def _held(cells: list[Cell], seen: dict[Cell, int], what: str, held: str) -> Finding:
    """Held where every one of these cells was tried; else inconclusive."""
    if not cells:
        return results.not_applicable("the target has no route that streams an answer")
    numbers = {":".join(cell): count for cell, count in sorted(seen.items())}
    lacking = [":".join(cell) for cell in cells if cell not in seen]
    if lacking:
        reason = f"never exercised: no answer was {what}"
        return results.inconclusive(results.joined({reason: lacking}), numbers)
    return results.held(f"{sum(seen.values())} cut, {held}", numbers)


def _facts(
    start: StartHistory, played: PlayedRound, client: Observation, calls: tuple[Call, ...]
) -> tuple[str, ...]:
    return (
        witness.where(start, played),
        f"nonce {client.nonce}: {witness.client_line(played, client)}",
        f"status {client.status}, finish {client.finish!r}, done {client.done}, "
        f"{client.pieces} pieces",
        tokens.broken_how(client),
        *(
            f"{witness.call_line(start, played, call)}; status {call.status}, "
            f"{call.pieces} pieces sent, finished {call.finished}"
            for call in calls[:4]
        ),
    )


CHECKS = (
    Check(
        id="answers/cut-is-no-success",
        needs=needs_nothing,
        scenarios=SCENARIOS,
        judge=cut_is_no_success,
        promised="An answer that its provider broke off is never called finished.",
        proved="No call for the client was finished by its provider, at least one was cut short, "
        "and the client got a finish reason of a good end, [DONE] or done: true.",
        doubt="In the router's favour: a client that was told of an error, a finish reason that "
        "admits a failure, and one for whom any further call was finished are left out. A stream "
        "that just ends claims nothing. Inconclusive where a streaming route was never cut.",
        bug="The end of the connection taken for the end of the answer, a missing finish reason "
        "made up, an error in the stream dropped: BerriAI/litellm #40260 and #40578, "
        "NVIDIA/TensorRT-LLM PR #18289, mozilla-ai/any-llm PR #847.",
        fix="Send a finish marker only when the provider's was read; else an error event, or break "
        "the connection off as well.",
    ),
    Check(
        id="answers/no-replay",
        needs=needs_nothing,
        scenarios=SCENARIOS,
        judge=no_replay,
        promised="No answer mixes two attempts: once pieces were sent, nothing is begun anew.",
        proved="A provider broke off a stream, the same call (path and body) came again, and the "
        "client's text has tokens of both.",
        doubt="In the router's favour: calls with another body (an agent's steps, a continuation) "
        "and clients that were told of an error between the two are left out. Inconclusive where a "
        "streaming route was never broken off after its first pieces.",
        bug="A retry around the whole stream that runs again after pieces were passed on: "
        "apache/shenyu #6647, aden-hive/hive #5923, NuGuardAI/nuguard #455.",
        fix="Retry before the first byte was passed on, or not at all.",
    ),
)
