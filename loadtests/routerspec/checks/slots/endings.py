"""How a request can end badly, and by which traces the evidence tells that it did. Pure.

Decides the kinds and their words. Refuses to know what becomes of a router afterwards.

Direction of doubt: an ending that left no trace of its kind did not happen.
"""

from __future__ import annotations

from collections.abc import Callable

from fake_providers.records.evidence import Call
from routerspec.history.history import History, StartHistory
from routerspec.records.observations import Observation

KINDS = {
    "error": "an error of its provider",
    "reset": "a connection that the provider reset before its answer",
    "timeout": "a provider that did not answer in time",
    "malformed": "an answer of the provider that breaks off in the midst of its JSON",
    "cut": "a stream that the provider reset half-way",
    "hang-up-queued": "a client that left while it waited for a slot",
    "hang-up-before-head": "a client that left its stream before the first byte",
    "hang-up-mid-stream": "a client that left its stream after the first piece",
    "hang-up-non-streaming": "a client that left while its answer was being made",
}


def has_mode(kind: str, history: History) -> bool:
    """Whether some route has a mode in which a request can end so."""
    modes = {"chat", "stream"}
    if kind in {"cut", "hang-up-before-head", "hang-up-mid-stream"}:
        modes = {"stream"}
    elif kind in {"malformed", "hang-up-non-streaming"}:
        modes = {"chat"}
    return any(mode in modes for _, mode in history.cells)


def ended_so(kind: str, start: StartHistory, client: Observation) -> bool:
    """The evidence has it: the request ended as it was meant to."""
    calls = start.calls_of.get(client.nonce, ())
    if kind.startswith("hang-up"):
        left_ns = client.hang_up_ns
        if client.outcome != "hung_up" or client.sent_ns is None or left_ns is None:
            return False
        if kind == "hang-up-queued":  # it may still be called for, by a router that did not notice
            return all(call.read_ns > left_ns for call in calls)
        return any(
            call.read_ns < left_ns <= call.outer_end_ns and _LEFT[kind](call, left_ns)
            for call in calls
        )
    if kind == "timeout" and client.outcome in {"hung_up", "timed_out"}:
        return False  # the router may have given it up because its client had
    return any(_FAILED[kind](call) for call in calls)


def ended_otherwise(kind: str, start: StartHistory, client: Observation) -> bool:
    """It ended badly too, but not so: what was lost may have been lost by it.

    Doubt: only an answer of whole calls ended well, and a refusal without any call.
    """
    calls = start.calls_of.get(client.nonce, ())
    if ended_so(kind, start, client) or (client.outcome == "refused" and not calls):
        return False
    return client.outcome != "answered" or not all(call.finished for call in calls)


_LEFT: dict[str, Callable[[Call, int], bool]] = {
    "hang-up-before-head": lambda call, left_ns: call.head_ns is None or call.head_ns > left_ns,
    "hang-up-mid-stream": lambda call, left_ns: (
        call.first_ns is not None and call.first_ns < left_ns
    ),
    "hang-up-non-streaming": lambda call, _: not call.stream,
}
"""How far the call was when its client left."""

_FAILED: dict[str, Callable[[Call], bool]] = {
    "error": lambda call: call.status is not None and call.status >= 500,
    "reset": lambda call: call.ended_by == "cut" and call.head_ns is None,
    "cut": lambda call: call.ended_by == "cut" and call.head_ns is not None,
    "malformed": lambda call: call.status == 200 and call.ended_by == "fake" and not call.finished,
    "timeout": lambda call: call.ended_by == "peer",
}
