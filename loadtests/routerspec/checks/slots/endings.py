"""How a request can end badly, and what the evidence has of each kind of ending.

An ending that left no trace of its kind did not happen.
"""

from __future__ import annotations

from collections.abc import Callable

from fake_providers.records.evidence import Call
from routerspec.history.history import History, StartHistory
from routerspec.records.observations import STREAMED, Observation

KINDS = {
    "error": "an error of the provider",
    "reset": "a connection that the provider reset before its response headers",
    "timeout": "a provider that did not answer in time",
    "malformed": "an answer of the provider that ends in the middle of its JSON",
    "cut": "a stream that the provider reset half-way",
    "hang-up-queued": "a client that disconnected while it waited for a slot",
    "hang-up-before-head": "a client that disconnected before the first byte of its stream",
    "hang-up-mid-stream": "a client that disconnected after the first piece of its stream",
    "hang-up-non-streaming": "a client that disconnected before its whole answer was ready",
}

FAILOVER = "failover"
"""One more: the request fails at an instance and is served by another. ``failover/permit``."""
FAILING = "failing"
"""The part in which as many requests as there are slots do so at once, held at the second."""
IN_WORDS = {**KINDS, FAILOVER: "a call that failed and was made again at another instance"}


def has_mode(kind: str, history: History) -> bool:
    """Whether some route has a mode in which a request can end so."""
    modes = {"chat", *STREAMED}
    if kind in {"cut", "hang-up-before-head", "hang-up-mid-stream"}:
        modes = set(STREAMED)
    elif kind in {"malformed", "hang-up-non-streaming"}:
        modes = {"chat"}
    return any(mode in modes for _, mode in history.cells)


def ended_so(kind: str, start: StartHistory, client: Observation) -> bool:
    """The evidence shows that the request ended as it was meant to."""
    calls = start.calls_of.get(client.nonce, ())
    if kind.startswith("hang-up"):
        left_ns = client.hang_up_ns
        if client.outcome != "hung_up" or client.sent_ns is None or left_ns is None:
            return False
        if kind == "hang-up-queued":  # a router that did not notice may still call for it
            return all(call.read_ns > left_ns for call in calls)
        return any(
            call.read_ns < left_ns <= call.outer_end_ns and _LEFT[kind](call, left_ns)
            for call in calls
        )
    if kind == FAILOVER and not any(call.finished for call in calls):
        return False
    if kind == "timeout" and client.outcome in {"hung_up", "timed_out"}:
        return False  # the router may have given it up because its client had
    return any(_FAILED[kind](call) for call in calls)


def ended_otherwise(kind: str, start: StartHistory, client: Observation) -> bool:
    """It ended badly, but in another way: a slot may have been lost by that.

    Only an answer of whole calls ended well, and a refusal without any call.
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
"""How far the call was when its client disconnected."""

_FAILED: dict[str, Callable[[Call], bool]] = {
    "error": lambda call: call.status is not None and call.status >= 500,
    "reset": lambda call: call.ended_by == "cut" and call.head_ns is None,
    "cut": lambda call: call.ended_by == "cut" and call.head_ns is not None,
    "malformed": lambda call: call.status == 200 and call.ended_by == "fake" and not call.finished,
    "timeout": lambda call: call.ended_by == "peer",
    FAILOVER: lambda call: not call.finished,
}
