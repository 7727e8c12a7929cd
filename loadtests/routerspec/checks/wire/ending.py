"""The end of a stream: wire/ending, wire/conventions."""

from __future__ import annotations

from typing import Final

from routerspec.checks import both_sides
from routerspec.checks.both_sides import KEPT, Look, Pair
from routerspec.checks.check import Check
from routerspec.history.history import History
from routerspec.promises import Promises
from routerspec.verdict import Finding, Kind
from routerspec.wire.answer import Answer, Choice, Dialect

SCENARIOS: Final = ("wire-answers", "wire-failures")
_GOOD_ENDS: Final = frozenset(
    {
        "stop", "tool_calls", "function_call",
        "end_turn", "stop_sequence", "tool_use",
        "completed",
    }
)  # fmt: skip
"""Finish reasons that claim a good end. Others (error, length) admit that something is missing."""
_OUT_OF_ORDER: Final = {
    "two-starts": "two message_start",
    "outside-block": "a delta outside its block",
    "index-reused": "two blocks with one index",
    "after-item": "content after the end of its item",
}
"""Faults of the order of events that are no ending in its place -> what they are. A translation of
interleaved tool calls is left to tools/interleaved."""
_ENDS: Final[dict[Dialect, str]] = {
    "chat": "no finish reason and no [DONE]",
    "ollama": "no line with done: true",
    "anthropic": "no message_stop",
    "responses": "no event that ends the response",
}
"""What is missing in a stream without an end."""
_CLIENTS: Final[dict[Dialect, str]] = {
    "chat": "openai-python stops at [DONE], or at the end of the stream without an error: it "
    "delivers each chunk before that, whatever its finish reason",
    "ollama": "ollama-python does not stop at done: true: it delivers each line after it, and "
    "misses none of them",
    "anthropic": "anthropic-python does not stop at message_stop and misses none; the stream "
    "helper of the TypeScript library raises an error where there is none",
    "responses": "the stream helper of openai-python raises RuntimeError where no response is "
    "completed, and misses no end in between",
}


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
        facts=(
            *(fault.text for fault in read.faults_of(*_OUT_OF_ORDER)[:1]),
            *both_sides.both_excerpts(pair, *_needles(read)),
            _CLIENTS[read.dialect],
        ),
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
        facts=(*both_sides.both_excerpts(pair), _CLIENTS[read.dialect]),
    )


def _fault(sent: Answer, read: Answer) -> str:
    """What is wrong about the ending of a stream whose provider ended it well; empty: nothing."""
    if read.errors:
        return "an error for a good ending"
    for choice in read.choices:
        if fault := _choice_fault(sent.choice(choice.index), choice):
            return fault
    relay = sent.dialect == read.dialect
    mixed = not relay and any(choice.interleaved for choice in sent.choices)
    for kind, what in _OUT_OF_ORDER.items():
        if read.faults_of(kind) and not mixed and not (relay and sent.faults_of(kind)):
            return what
    if fault := _end_fault(sent if relay else None, read):
        return fault
    if read.ends or (read.finished and read.dialect == "chat"):
        return ""
    return "" if relay and read.finished and not sent.ends else _ENDS[read.dialect]


def _end_fault(sent: Answer | None, read: Answer) -> str:
    """What is wrong about the ends that there are; ``sent``: in the same dialect."""
    if sent is not None and (sent.after_end or sent.ends > 1):
        return ""
    if read.dialect == "ollama" and read.after_end:
        return "lines after done: true"
    if read.dialect == "anthropic" and (read.after_end or read.ends > 1):
        return "events after message_stop"
    if read.dialect == "responses" and read.ends > 1:
        return f"{read.ends} events that end the response"
    return ""


def _choice_fault(sent: Choice | None, read: Choice) -> str:
    if len(read.finishes) > max(1, len(sent.finishes) if sent else 0):
        return f"{len(read.finishes)} finish reasons"
    if read.after_finish and not (sent and sent.after_finish):
        return "content after the finish reason"
    return ""


def _told(answer: Answer) -> str:
    finishes = ", ".join(repr(f) for choice in answer.choices for f in choice.finishes)
    return f"finish {finishes or 'none'}, {answer.ends} end markers"


def _needles(read: Answer) -> tuple[str, ...]:
    late = [text.strip("'") for choice in read.choices for text in choice.after_finish]
    late += [fault.text.partition(": ")[2].strip("'") for fault in read.faults_of(*_OUT_OF_ORDER)]
    return (*late, '"finish_reason":"', '"finish_reason": "', '"done":true', '"done": true',
            "message_delta", "response.completed")  # fmt: skip


def _conventions(history: History, _promises: Promises) -> Finding:
    return both_sides.judge(
        history,
        ("wire-answers",),
        _look_at_conventions,
        modes=("stream",),
        what="stream",
        held="streams as the clients of their dialect expect them",
        must=False,
    )


_UNEXPECTED: Final = (
    "no-data",
    "no-choices",
    "separator",
    "no-start",
    "block-index",
    "no-usage",
    "no-created",
    "no-item",
    "item-twice",
    "item-unfinished",
)
"""Faults at which official clients fail, though no standard forbids them."""


def _look_at_conventions(pair: Pair) -> Look | None:
    if pair.both is None:
        return None
    sent, read = pair.both
    if (unusual := pair.unusual) and sent.choices and not any(map(_is_said, read.choices)):
        return _not_read(pair, unusual) if any(map(_is_said, sent.choices)) else None
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
    if read.loose_end and read.dialect != "chat" and not (pair.relay and sent.loose_end):
        return _loose(pair)
    if not pair.relay or read.dialect != "chat" or not read.finished:
        return KEPT
    return _look_at_done(pair, sent, read)


def _look_at_done(pair: Pair, sent: Answer, read: Answer) -> Look:
    """The [DONE] of chunks: the provider's, once and last."""
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


def _is_said(choice: Choice) -> bool:
    return bool(choice.text or choice.refusal or choice.calls)


def _not_read(pair: Pair, unusual: str) -> Look:
    return Look(
        broken=f"{unusual} is not read",
        sentence=f"The provider's stream has {unusual}, as it may by the standard of "
        f"server-sent events; the client of nonce {pair.client.nonce} read nothing of its answer.",
        facts=both_sides.both_excerpts(pair),
    )


def _loose(pair: Pair) -> Look:
    return Look(
        broken="no empty line after the last event",
        sentence=f"The last event that the client of nonce {pair.client.nonce} read has no empty "
        "line after it: by the standard it is discarded.",
        facts=(
            *both_sides.both_excerpts(pair),
            f"{pair.library} raises an error in its stream helper, or loses the event",
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
    "reason for each choice with nothing of it after that, one last line with done: true, one "
    "message_stop after all blocks, or one event that ends the response.",
    proved="The provider ended a stream well, and the client's bytes, read by the standard, have "
    "two finish reasons for one choice, content after one, lines after done: true, events after "
    "message_stop, two message_start, a delta outside its block, content of a block or an item "
    "after its end, an error, or no end of their dialect; or the provider broke off, and they have "
    "a finish reason of a good end or an end marker without any error.",
    doubt="In the router's favour: usage and [DONE] may come after the finish, comments anywhere; "
    "a missing or second [DONE] and usage that nobody asked for are no violation, nor are several "
    "message_delta, missing content_part or in_progress events and sequence numbers; a stream "
    "without an empty line after its last event may be reported as cut, and events out of order "
    "are no proof where a provider of another dialect interleaved its calls or framed its events "
    "as the standard allows and no provider does; what the provider's own bytes have as well is "
    "not the router's. Inconclusive where "
    "no stream of a route was compared.",
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
    "provider's bytes have none; or they have nothing of an answer that was framed as the standard "
    "allows and no provider does: CR alone as a line end, one event in several data lines; "
    "or they lack what the stream helpers need: message_start or "
    "response.created first, usage where Anthropic has it, dense indexes of blocks, an item before "
    "its content and its end after it, an empty line after the last event.",
    doubt="In the router's favour: comments may stand anywhere, and what the provider sent as well "
    "is not the router's. A router that translates owes no [DONE]. Inconclusive where no stream of "
    "a route was compared.",
    bug="Keep-alive events without data, at which openai-python raises JSONDecodeError, and [DONE] "
    "swallowed by a translation: Portkey-AI/gateway #1797.",
    fix="Use bare comments (: keep-alive) to keep a stream alive, and pass [DONE] on.",
    kind=Kind.SHOULD,
)
