"""Streams that their provider cuts short: answers/cut-is-no-success, answers/no-replay.

Only the markers of a good end claim success; a client that received an error of any wording, and
one for whom some call was finished (a retry, an agent's next step, another provider), is left out.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Final

from fake_providers.prompt.instances import WORD, base_of
from fake_providers.records.evidence import Call
from routerspec.checks import cells, results, witness
from routerspec.checks.answers import tokens
from routerspec.checks.check import Check
from routerspec.history.history import Cell, History, PlayedRound, StartHistory
from routerspec.promises import Promises
from routerspec.records.observations import STREAMED, Observation
from routerspec.verdict import Finding, Witness

SCENARIOS = ("cut-stream",)
MODES = ("chat", "stream", "tools")
GOOD_ENDS: Final = frozenset(
    {
        "stop",
        "tool_calls",
        "function_call",
        "end_turn",
        "eos",
        "tool_use",
        "stop_sequence",
        "completed",
    }
)
"""Finish reasons that claim a good end. Others (error, abort, length) admit a short answer."""

_TOKEN = re.compile(rf"(\d{{1,15}})@({WORD})-(\d{{1,15}})#(?:end)?\d")

CutShort = tuple[StartHistory, PlayedRound, Observation, tuple[Call, ...]]


def _cut_is_no_success(history: History, _promises: Promises) -> Finding:
    tried: Counter[Cell] = Counter()
    for start, played, client, calls in _cut_short(history):
        if any(call.finished for call in calls):
            continue
        tried[client.route, client.mode] += 1
        if marker := claims_success(client):
            sentence = (
                f"The client of nonce {client.nonce} received {marker} for an answer that its "
                "provider cut short."
            )
            shown = _witness(start, played, client, calls, sentence)
            return results.violated(f"cut short, reported as finished: {_cell(client)}", shown)
    expected = cells.streaming(history) or [c for c in history.cells if c[1] in MODES]
    return _held(expected, tried, "cut short", "none reported as finished")


def claims_success(client: Observation) -> str:
    """The marker of a good end that this client received without any error; empty: none."""
    if client.outcome != "answered" or client.error or client.hang_up_ns is not None:
        return ""
    if client.finish in GOOD_ENDS:
        return f"finish {client.finish!r}"
    return "the end of the stream ([DONE])" if client.done and client.finish is None else ""


def _no_replay(history: History, _promises: Promises) -> Finding:
    tried: Counter[Cell] = Counter()
    for start, played, client, calls in _cut_short(history):
        if client.mode not in STREAMED or not any(call.stream and call.pieces for call in calls):
            continue
        tried[client.route, client.mode] += 1
        pair = None if client.error else _mixed(start, client, calls)
        if pair is not None:
            sentence = (
                f"The client of nonce {client.nonce} received the beginning of one attempt and "
                "then another attempt, as one answer."
            )
            shown = _witness(start, played, client, pair, sentence)
            return results.violated(f"attempts mixed: {_cell(client)}", shown)
    streams = cells.streaming(history)
    return _held(streams, tried, "cut short after its first pieces", "no two attempts mixed")


def _cell(client: Observation) -> str:
    return f"{client.route}:{client.mode}"


def _mixed(
    start: StartHistory, client: Observation, calls: tuple[Call, ...]
) -> tuple[Call, Call] | None:
    """A call that was cut short and a later attempt of the same, both of them in the text."""
    named = {(provider, int(number)) for _, provider, number in _TOKEN.findall(client.text)}
    shown = [call for call in calls if (call.provider, call.call) in named]
    for index, first in enumerate(shown):
        for later in shown[index + 1 :]:
            if _was_cut(first) and later.read_ns > first.inner_end_ns and _same(first, later):
                return first, later
    return None


def _same(one: Call, other: Call) -> bool:
    return (base_of(one.provider), one.route, one.body_hash) == (
        base_of(other.provider),
        other.route,
        other.body_hash,
    )


def _was_cut(call: Call) -> bool:
    """The provider ended it before its finish marker."""
    return not call.finished and (
        call.ended_by == "cut"
        or (call.ended_by == "fake" and call.status == 200 and call.peer_closed_ns is None)
    )


def _cut_short(history: History) -> Iterator[CutShort]:
    """Every client one of whose calls the provider cut short, with its calls for the answer."""
    for start, played in history.rounds(*SCENARIOS):
        for client in played.observations:
            if client.mode not in MODES:
                continue
            calls = tuple(
                call
                for call in start.calls_of.get(client.nonce, ())
                if call.family != "embeddings" and call.read_ns < client.end_ns
            )
            if any(_was_cut(call) for call in calls):
                yield start, played, client, calls


def _held(expected: list[Cell], tried: Mapping[Cell, int], what: str, none_so: str) -> Finding:
    """Held where every one of these cells was tried; else inconclusive."""
    if not expected:
        return results.not_applicable("the target has no route that streams an answer")
    numbers = {cells.name(cell): count for cell, count in sorted(tried.items())}
    reason = f"never exercised: no answer was {what}"
    if reasons := cells.lacking(expected, lambda cell: "" if cell in tried else reason):
        return results.inconclusive(reasons, numbers)
    return results.held(f"{sum(tried.values())} cut short, {none_so}", numbers)


def _witness(
    start: StartHistory,
    played: PlayedRound,
    client: Observation,
    calls: tuple[Call, ...],
    sentence: str,
) -> Witness:
    return Witness(
        sentence=sentence,
        facts=(
            witness.where(start, played),
            witness.nonce_line(played, client),
            f"status {client.status}, finish {client.finish!r}, done {client.done}, "
            f"{client.pieces} pieces",
            tokens.excerpt(client),
            *(witness.attempt_line(start, played, call) for call in calls[:4]),
        ),
    )


CUT_IS_NO_SUCCESS = Check(
    id="answers/cut-is-no-success",
    promise=Promises,
    scenarios=SCENARIOS,
    judge=_cut_is_no_success,
    promised="An answer that its provider cut short is never reported as finished.",
    proved="No call for the client was finished by its provider, at least one was cut short, and "
    "the client received a finish reason of a good end, [DONE] or done: true.",
    doubt="In the router's favour: a client that received an error, a finish reason that admits a "
    "failure, and a client for whom any other call was finished are left out. A stream that just "
    "ends claims nothing. Inconclusive where a streaming route was never cut short.",
    bug="The end of the connection is taken for the end of the answer, a missing finish reason is "
    "made up, an error in the stream is dropped: BerriAI/litellm #40260 and #40578, "
    "NVIDIA/TensorRT-LLM PR #18289, mozilla-ai/any-llm PR #847.",
    fix="Send a finish marker only when the provider's was read; otherwise send an error event, or "
    "reset the connection.",
)
NO_REPLAY = Check(
    id="answers/no-replay",
    promise=Promises,
    scenarios=SCENARIOS,
    judge=_no_replay,
    promised="No answer mixes two attempts: once pieces were sent, no attempt starts over.",
    proved="A provider cut a stream short, the same call (path and body) came again, and the "
    "client's text has tokens of both.",
    doubt="In the router's favour: calls with another body (an agent's steps, a continuation) and "
    "clients that received an error between the two are left out. Inconclusive where a streaming "
    "route was never cut short after its first pieces.",
    bug="A retry around the whole stream that runs again after pieces were forwarded: "
    "apache/shenyu #6647, aden-hive/hive #5923, NuGuardAI/nuguard #455.",
    fix="Retry before the first byte is forwarded, or not at all.",
)
