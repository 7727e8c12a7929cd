"""Events as they were sent: wire/framing."""

from __future__ import annotations

from typing import Final

from routerspec.checks import both_sides
from routerspec.checks.both_sides import KEPT, Look, Pair
from routerspec.checks.check import Check
from routerspec.history.history import History
from routerspec.promises import Promises
from routerspec.verdict import Finding
from routerspec.wire.answer import Answer, Fault

_KINDS: Final = (
    "not-json",
    "not-object",
    "not-utf8",
    "no-event-name",
    "ignored-line",
    "unterminated",
    "no-delta",
    "no-message",
    "content",
)
"""Faults that no answer may have, by the standard or by its dialect."""


def _framing(history: History, _promises: Promises) -> Finding:
    return both_sides.judge(
        history,
        ("wire-answers",),
        _look,
        what="answer",
        held="answers, each of whole events",
    )


def _look(pair: Pair) -> Look | None:
    if pair.both is None:
        return None
    sent, read = pair.both
    fault = _fault(pair, sent, read)
    if fault is None:
        return KEPT
    beside = len(read.faults_of(*_KINDS)) - 1
    return Look(
        broken=fault.kind.replace("-", " "),
        sentence=f"In the answer that the client of nonce {pair.client.nonce} read, {fault.text}.",
        facts=(
            f"{fault.client} here" + (f", and at {beside} further places" if beside else ""),
            *both_sides.both_excerpts(pair, fault.text.partition(": ")[2].strip("'\"")),
        ),
    )


def _fault(pair: Pair, sent: Answer, read: Answer) -> Fault | None:
    """The first fault of a kind that the provider's bytes do not have."""
    if not pair.relay and sent.faults:
        return None
    for fault in read.faults_of(*_KINDS):
        if not (pair.relay and sent.faults_of(fault.kind)):
            return fault
    return None


FRAMING = Check(
    id="wire/framing",
    promise=Promises,
    scenarios=("wire-answers",),
    judge=_framing,
    promised="Every event of a stream arrives whole and as an event, and nothing else does: none "
    "is cut or merged, and no comment becomes data. A whole answer is one JSON object.",
    proved="The client's bytes, read by the standard of server-sent events or as JSON lines, have "
    "an event or line that is no JSON object, is no UTF-8, is never dispatched, or lacks what its "
    "dialect's official client needs; the provider's bytes have none of that kind.",
    doubt="In the router's favour: line ends, spaces, comments, ids, names, several data lines, "
    "pieces joined or divided, key order and escapes are free. Broken streams are left out. "
    "Inconclusive where no answer of a route was compared.",
    bug="Lines and reads taken for events: comments passed on as data, only the first event of a "
    "read passed on, JSON cut at the end of a buffer: mnfst/llm-gateway #2053, "
    "jawah/urllib3.future PR #344.",
    fix="Split the stream by the standard (an event ends at an empty line; lines end in CR LF, LF "
    "or CR, also over two reads), and pass on whole events.",
)
