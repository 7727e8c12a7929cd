"""Answers whose HTTP a client cannot read although their provider answered well. Pure.

The provider's whole answer is in its own record, so the fault is neither the provider's nor the
target file's: a parse error, or an answer that never ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from fake_providers.records.evidence import Call
from routerspec.history.history import StartHistory
from routerspec.records.columns import MISSING
from routerspec.records.observations import (
    PARSE_ERRORS,
    STREAMED,
    ListObservation,
    Observation,
)

_NO_END: Final = "no end after"
_CLOSED: Final = ("connection closed", "Incomplete response")
"""Of the parser's words: it read as far as the connection went."""
_REDIRECTION: Final = 300
_FAILED: Final = 500
_TOO_MANY: Final = 429


def unparsable(client: Observation, calls: Sequence[Call]) -> str:
    """What the client's HTTP parser says of the answer; empty: it could read it.

    A connection that was closed too early is another matter: nobody can tell by whom.
    """
    if not cannot_be_parsed(client):
        return ""
    # What comes before its provider has noted its own end is as little HTTP as what comes later.
    whole = bool(calls) and all(map(is_whole, calls))
    return client.error if _is_good(client) and whole else ""


def cannot_be_parsed(client: Observation | ListObservation) -> bool:
    """What came was no HTTP to the client's parser."""
    error = client.error
    broken = client.outcome == "failed" and error.startswith(PARSE_ERRORS)
    return broken and not any(words in error for words in _CLOSED)


def endless(client: Observation, calls: Sequence[Call]) -> str:
    """That the answer never ended, with everything of it received; empty: it did end.

    Of a stream its last event was read; of any other answer the head, and its body never ended.
    """
    if client.outcome != "timed_out" or not client.error.startswith(_NO_END):
        return ""
    received = client.done or client.finish is not None or client.mode not in STREAMED
    if not received or not _is_good(client) or not _answered_whole(client, calls):
        return ""
    what = "its last event" if client.mode in STREAMED else "its head"
    return f"{client.error}, with {what} received"


def is_whole(call: Call) -> bool:
    """Its provider answered well, and the router took all of it."""
    return (
        call.finished
        and call.status == 200
        and call.ended_by == "fake"
        and call.peer_closed_ns is None
    )


def failed_before(start: StartHistory, at_ns: int) -> bool:
    """Whether a call of a provider had failed by then: a circuit breaker may be open.

    Smoke's model that no provider has is none: a provider that answers 404 is well.
    """
    calls = start.calls
    status = calls.numbers("status")
    failed = (status >= _FAILED) | (status == _TOO_MANY) | (status == MISSING)
    failed |= calls.are("ended_by", "cut")
    return bool((failed & (calls.numbers("read_ns") < at_ns)).any())


def cut_off(client: Observation, calls: Sequence[Call]) -> str:
    """That the connection was closed in the middle of an answer; empty: it was not."""
    error = client.error
    if client.outcome != "failed" or not error.startswith(PARSE_ERRORS):
        return ""
    cut = any(words in error for words in _CLOSED)
    return error if cut and _is_good(client) and _answered_whole(client, calls) else ""


def reason(client: Observation, calls: Sequence[Call]) -> str:
    """How the router broke the HTTP of this answer, as a clause; empty: it did not."""
    return unparsable(client, calls) or endless(client, calls) or cut_off(client, calls)


def _is_good(client: Observation) -> bool:
    status = client.status
    return client.hang_up_ns is None and status is not None and 200 <= status < _REDIRECTION


def _answered_whole(client: Observation, calls: Sequence[Call]) -> bool:
    """All that the providers were asked for this client was answered whole before its end."""
    return bool(calls) and all(
        is_whole(call) and call.outer_end_ns < client.end_ns for call in calls
    )
