"""Stories of overload: which clients are refused, and how."""

from __future__ import annotations

from typing import Any

from routerspec.promises import Cap, Promises
from tests.corpus.builder import LIMIT, Start
from tests.corpus.registry import Story, bad, good
from tests.corpus.stories.keys import change

REJECTING = Promises(cap=Cap(limit=LIMIT, overload="reject"))
BOUNDED = Promises(cap=Cap(limit=LIMIT, queue_limit=2, queue_timeout_s=1.0))
ALL = ("overload/answer", "overload/retry-after", "overload/json-error")


def saturated(
    start: Start,
    begin: float = 0.0,
    *,
    refused: tuple[float, ...] = (),
    waiting: int = 0,
    until: float = 3.0,
    **answer: Any,
) -> int:
    """Two are held for ``until`` seconds; others come at 0.2 s; the round.

    ``refused``: how long each of those waited that are refused. ``waiting`` more wait to the
    release, and are served. ``answer``: what a refusal is, where it is not 429 as it should be.
    """
    number = start.round("overload", begin, begin + until + 2, route="openai", mode="chat")
    fields: dict[str, Any] = {"status": 429, "retry_after": "1", "json_error": True} | answer
    release = begin + until
    inside = [start.nonce() for _ in range(LIMIT)]
    calls = [start.call(n, read=begin + 0.02, end=release + 0.01, held=True) for n in inside]
    for nonce, call in zip(inside, calls, strict=True):
        start.client(nonce, number, sent=begin, end=release + 0.02, text=start.whole(nonce, call))
    for waited in refused:
        start.client(start.nonce(), number, sent=begin + 0.2, end=begin + 0.2 + waited,
                     outcome="refused", status=fields["status"])  # fmt: skip
        change(
            start.observations,
            -1,
            retry_after=fields["retry_after"],
            json_error=fields["json_error"],
        )
    kept = [start.nonce() for _ in range(waiting)]
    for index, nonce in enumerate(kept):
        at = release + 0.02 + 0.1 * index
        call = start.call(nonce, read=at, end=at + 0.08)
        start.client(nonce, number, sent=begin + 0.2, end=at + 0.09, text=start.whole(nonce, call))
    start.snapshot(number, begin + 0.1, calls, inside, settled=False)
    start.snapshot(number, release - 0.5, calls, [*inside, *kept], settled=False)
    start.snapshot(number, release - 0.1, calls, [*inside, *kept], settled=False)
    start.release(number, release, "gate", LIMIT)
    return number


@good("overload-rejected")
def rejected() -> Story:
    start = Start()
    saturated(start, refused=(0.01, 0.01, 0.02))
    return (start,), {"selected": ALL, "promises": REJECTING}


@good("overload-queued-with-a-bound-and-a-timeout")
def queued() -> Story:
    """Three too many are refused at once, the two in the queue after a second and a little."""
    start = Start()
    saturated(start, refused=(0.01, 0.01, 0.02, 1.01, 1.02))
    return (start,), {"selected": ALL, "promises": BOUNDED}


@good("overload-queued-without-a-bound")
def waited() -> Story:
    start = Start()
    saturated(start, waiting=3)
    return (start,), {"selected": ("overload/queued",)}


@bad("overload/queued")
def sent_away() -> Story:
    start = Start()
    saturated(start, refused=(0.01, 0.01, 0.02))
    return (start,), {}


@bad("overload/answer")
def without_bound() -> Story:
    start = Start()
    saturated(start, waiting=5)
    promises = Promises(cap=Cap(limit=LIMIT, queue_limit=2))
    return (start,), {"promises": promises}


@bad("overload/retry-after")
def no_retry_after() -> Story:
    start = Start()
    saturated(start, refused=(0.01, 0.01, 0.02), retry_after="")
    return (start,), {"promises": REJECTING}


@bad("overload/json-error")
def no_json() -> Story:
    start = Start()
    saturated(start, refused=(0.01, 0.01, 0.02), json_error=False)
    return (start,), {"promises": REJECTING}
