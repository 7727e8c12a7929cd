"""Failures of a provider in a stream: wire/failure-visible."""

from __future__ import annotations

from typing import Final

from fake_providers.records.evidence import Call
from routerspec.checks import both_sides
from routerspec.checks.both_sides import KEPT, Look, Pair
from routerspec.checks.check import Check
from routerspec.history.history import History
from routerspec.promises import Promises
from routerspec.verdict import Finding
from routerspec.wire.answer import Answer

SCENARIOS: Final = ("wire-failures",)
_RAISED: Final = ("not-json", "not-utf8", "not-object", "no-message", "no-data")
"""Faults at which the official client raises: the failure is not missed, however told."""
_IGNORED: Final = ("no-event-name", "ignored-line", "unterminated", "no-choices")
"""Faults with which a failure may be told, and that no official client reads."""


def _failure_visible(history: History, _promises: Promises) -> Finding:
    return both_sides.judge(
        history,
        SCENARIOS,
        _look,
        modes=("stream",),
        what="failure in a stream",
        held="failures in a stream, each seen by its client",
    )


def _look(pair: Pair) -> Look | None:
    if not pair.calls or pair.broken_off or pair.start.router_died:
        return None
    failures = [_failure(pair, call) for call in pair.calls]
    if not all(failures):
        return None  # Another attempt was answered, or an end that tells nothing.
    read = pair.read
    if read is None or not pair.asked.ended or pair.status != 200 or _is_seen(read):
        return KEPT
    if _lacks_its_end(read):
        return Look(notes=("seen by a stream helper alone",))
    if pair.asked.framing == "close" and any(call.ended_by == "cut" for call in pair.calls):
        return Look(excused="a response that ends with its connection looks cut")
    return Look(
        broken="a failure that no client sees",
        sentence=f"The provider failed ({failures[-1]}); the stream of the client of nonce "
        f"{pair.client.nonce} has status 200 and ends in order, without an error that "
        f"{pair.library} sees.",
        facts=(
            *both_sides.both_excerpts(pair, '"error"', "error"),
            _seen(pair, read),
        ),
    )


def _failure(pair: Pair, call: Call) -> str:
    """How this call failed, as its provider told it; empty: not at all, or it told nothing."""
    if call.finished or call.ended_by in {"peer", "shutdown"}:
        return ""
    if call.status is not None and call.status >= 400:
        return f"status {call.status} before the first byte"
    if call.ended_by == "cut":
        return f"its connection was reset after {call.pieces} pieces"
    sent = pair.sent
    if sent is not None and sent.errors and not sent.ended:
        return f"an error after {call.pieces} pieces: {sent.errors[0]}"
    return ""


def _is_seen(read: Answer) -> bool:
    # A response that says itself that it is incomplete is no success to any client.
    incomplete = read.dialect == "responses" and any(
        choice.finish not in {"", "completed"} for choice in read.choices
    )
    return bool(read.errors or incomplete or read.faults_of(*_RAISED))


def _lacks_its_end(read: Answer) -> bool:
    """Without an end a stream helper raises: that of the TypeScript library for a message, that of
    openai-python for a response. Whatever else was to tell the failure was told wrongly.
    """
    has_helper = read.dialect in {"anthropic", "responses"}
    return has_helper and not read.ended and not read.faults_of(*_IGNORED)


def _seen(pair: Pair, read: Answer) -> str:
    ignored = read.faults_of(*_IGNORED)
    if ignored:
        return f"{ignored[0].text}: {ignored[0].client}"
    return f"{pair.library} delivers {read.events} events and raises nothing"


FAILURE_VISIBLE = Check(
    id="wire/failure-visible",
    promise=Promises,
    scenarios=SCENARIOS,
    judge=_failure_visible,
    promised="A failure of the provider in a stream is seen by the client's official library: a "
    "status of 400 or more, an error event in its dialect, or a cut connection.",
    proved="Every call for a streaming client failed (an error status, an error event, a reset), "
    "and its response has status 200, came to its end in order, and has nothing at which the "
    "official library raises an error.",
    doubt="In the router's favour: any status from 400 on, any wording and any error at which the "
    "library raises will do, also after an early head; so will a message without message_stop or a "
    "response without its last event, at which a stream helper raises; a provider that just stops "
    "without an error tells nothing. Inconclusive where no provider of a streaming route failed.",
    bug="A status of 200 sent before the provider answered, and its error as a bare JSON body that "
    "no reader of events sees: arniesaha/agentweave #105, openclaw/clawrouter #101.",
    fix='Wait for the provider\'s status before sending the head; later write data: {"error": '
    "{...}} as an event (on an Anthropic front with its line event: error), or cut the connection.",
)
