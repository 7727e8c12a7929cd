"""The end of a stream: wire/ending, wire/conventions."""

from __future__ import annotations

from typing import Final

from routerspec.checks import both_sides
from routerspec.checks.both_sides import KEPT, Look, Pair
from routerspec.checks.check import Check
from routerspec.history.history import History
from routerspec.promises import Promises
from routerspec.verdict import Finding, Kind
from routerspec.wire.answer import Answer, Choice

SCENARIOS: Final = ("wire-answers", "wire-failures")
_GOOD_ENDS: Final = frozenset({"stop", "tool_calls", "function_call"})
"""Finish reasons that claim a good end. Others (error, length) admit that something is missing."""


def _ending(history: History, _promises: Promises) -> Finding:
    return both_sides.judge(
        history,
        SCENARIOS,
        _look,
        modes=("stream",),
        what="stream",
        held="streams, each with one ending in its place",
    )


def _look(pair: Pair) -> Look | None:
    sent, read = pair.sent, pair.read
    if sent is None or read is None or pair.broken_off:
        return None
    if not pair.complete:
        return _made_up(pair, sent, read)
    if not pair.delivered:
        return None
    broken = _fault(sent, read)
    if not broken:
        return KEPT
    return Look(
        broken=broken,
        sentence=f"The provider ended the stream for the client of nonce {pair.client.nonce} as "
        f"{_told(sent)}; the client has {broken}.",
        facts=(*both_sides.both_excerpts(pair, *_needles(read)), _client(read)),
    )


def _made_up(pair: Pair, sent: Answer, read: Answer) -> Look | None:
    """An ending that no provider sent; None: it shows nothing."""
    call = pair.call
    if call is None or call.finished or sent.ended or call.ended_by in {"peer", "shutdown"}:
        return None
    finish = next((c.finish for c in read.choices if c.finish in _GOOD_ENDS), "")
    if read.errors or not (finish or (read.ends and not read.finished)):
        return KEPT
    marker = f"finish reason {finish!r}" if finish else "the end marker of a stream"
    return Look(
        broken="an ending that no provider sent",
        sentence=f"The provider broke off its stream for the client of nonce {pair.client.nonce} "
        f"without a finish; the client read {marker}.",
        facts=(*both_sides.both_excerpts(pair), _client(read)),
    )


def _fault(sent: Answer, read: Answer) -> str:
    """What is wrong about the ending of a stream whose provider ended it well; empty: nothing."""
    if read.errors:
        return "an error for a good ending"
    for choice in read.choices:
        if fault := _choice_fault(sent.choice(choice.index), choice):
            return fault
    ollama = read.dialect == "ollama"
    if ollama and read.after_end:
        return "lines after done: true"
    if read.ends or (read.finished and not ollama):
        return ""
    return "no line with done: true" if ollama else "no finish reason and no [DONE]"


def _choice_fault(sent: Choice | None, read: Choice) -> str:
    if len(read.finishes) > max(1, len(sent.finishes) if sent else 0):
        return f"{len(read.finishes)} finish reasons"
    if read.after_finish and not (sent and sent.after_finish):
        return "content after the finish reason"
    return ""


def _told(answer: Answer) -> str:
    finishes = ", ".join(repr(f) for choice in answer.choices for f in choice.finishes)
    return f"finish {finishes or 'none'}, {answer.ends} end markers"


def _client(read: Answer) -> str:
    if read.dialect == "ollama":
        return (
            "ollama-python does not stop at done: true: it delivers each line after it, and misses "
            "none of them"
        )
    return (
        "openai-python stops at [DONE], or at the end of the stream without an error: it delivers "
        "each chunk before that, whatever its finish reason"
    )


def _needles(read: Answer) -> tuple[str, ...]:
    late = [text.strip("'") for choice in read.choices for text in choice.after_finish]
    return (*late, '"finish_reason":"', '"finish_reason": "', '"done":true', '"done": true')


def _conventions(history: History, _promises: Promises) -> Finding:
    return both_sides.judge(
        history,
        ("wire-answers",),
        _look_at_conventions,
        modes=("stream",),
        what="stream",
        held="streams as the clients of their dialect expect them",
    )


_UNEXPECTED: Final = ("no-data", "no-choices", "separator")
"""Faults at which official clients fail, though no standard forbids them."""


def _look_at_conventions(pair: Pair) -> Look | None:
    if pair.both is None:
        return None
    sent, read = pair.both
    for kind in _UNEXPECTED:
        faults = read.faults_of(kind)
        if faults and not (pair.relay and sent.faults_of(kind)):
            fault = faults[0]
            return Look(
                broken=kind.replace("-", " "),
                sentence=f"In the stream of the client of nonce {pair.client.nonce} {fault.text}: "
                f"{fault.client}.",
                facts=both_sides.both_excerpts(pair, *_quoted(fault.text)),
            )
    if not pair.relay or read.dialect != "chat" or not read.finished:
        return KEPT
    if read.after_end and not sent.after_end:
        return _late(pair)
    owed = sent.ends - sent.loose_end if sent.stream else read.ends
    if min(1, owed) <= read.ends <= max(1, sent.ends):
        return KEPT
    return Look(
        broken=f"{read.ends} [DONE] for {sent.ends}",
        sentence=f"The provider sent {sent.ends} [DONE] at the end of its stream; the client of "
        f"nonce {pair.client.nonce} read {read.ends}.",
        facts=(
            *both_sides.both_excerpts(pair),
            "openai-python takes the end of the connection for the end of the stream",
        ),
    )


def _late(pair: Pair) -> Look:
    return Look(
        broken="events after [DONE]",
        sentence=f"In the stream that the client of nonce {pair.client.nonce} read, events come "
        "after [DONE].",
        facts=(
            *both_sides.both_excerpts(pair, "[DONE]"),
            "openai-python stops at [DONE], and never sees them",
        ),
    )


def _quoted(text: str) -> tuple[str, ...]:
    """What a fault quotes, to be found in the bytes."""
    return (text.partition(": ")[2].strip("'\""),)


ENDING = Check(
    id="wire/ending",
    promise=Promises,
    scenarios=SCENARIOS,
    judge=_ending,
    promised="A stream has exactly one ending, in its place, and it is the provider's: one finish "
    "reason for each choice with nothing of it after that, or one last line with done: true.",
    proved="The provider ended a stream well, and the client's bytes, read by the standard, have "
    "two finish reasons for one choice, content after one, lines after done: true, an error, or "
    "neither a finish reason nor an end marker; or the provider broke off, and they have a finish "
    "reason of a good end or an end marker without any error.",
    doubt="In the router's favour: usage and [DONE] may come after the finish, comments anywhere; "
    "a missing or second [DONE] and usage that nobody asked for are no violation; what the "
    "provider's own bytes have as well is not the router's. Inconclusive where no stream of a "
    "route was compared.",
    bug="A finish reason in each of the last chunks, a terminator lost at a buffer's end or made "
    "up at the end of the connection: BerriAI/litellm #40260 and #40578, "
    "mozilla-ai/any-llm PR #847.",
    fix="Pass on the provider's finish once, where it came, and nothing of that choice after it; "
    "never write an ending that was not read.",
)
CONVENTIONS = Check(
    id="wire/conventions",
    promise=Promises,
    scenarios=("wire-answers",),
    judge=_conventions,
    promised="A stream keeps to what the official clients of its dialect expect, also where no "
    "standard demands it: the provider's [DONE], once and last, and no event at which they fail.",
    proved="The client's bytes lack the [DONE] that a provider of the same dialect sent, have it "
    "twice, or have events after it; or they have an event without data or without choices, or a "
    "line separator that JSON leaves unescaped and the client takes for the end of a line, and the "
    "provider's bytes have none.",
    doubt="In the router's favour: comments may stand anywhere, and what the provider sent as well "
    "is not the router's. A router that translates owes no [DONE]. Inconclusive where no stream of "
    "a route was compared.",
    bug="Keep-alive events without data, at which openai-python raises JSONDecodeError, and [DONE] "
    "swallowed by a translation: Portkey-AI/gateway #1797.",
    fix="Use bare comments (: keep-alive) to keep a stream alive, and pass [DONE] on.",
    kind=Kind.SHOULD,
)
