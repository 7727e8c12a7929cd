"""Stories of circuit breakers: what opens them, and how they close again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from routerspec.limits import BREAKER_CAUSES
from routerspec.promises import Promises
from tests.corpus.builder import CAP, LISTS, Start
from tests.corpus.registry import Story, bad, good
from tests.corpus.stories.balance import FURTHER, POOL, ROUTES, TWO, asked, failed

BREAKING: dict[str, Any] = {
    "promises": Promises(cap=CAP, model_list=LISTS, recovery_s=1.0),
    "routes": ROUTES,
    "instances": TWO,
}
LEFT = "disconnects"


def caused(
    start: Start, number: int, at: float, kind: str = "errors", name: str = "openai"
) -> None:
    """As many errors that are clients' fault, or disconnects, as may open a breaker."""
    for index in range(BREAKER_CAUSES):
        nonce, begun = start.nonce(), at + 0.01 * index
        if kind == LEFT:
            start.call(nonce, read=begun + 0.001, end=begun + 0.004, provider=name,
                       ended_by="peer", peer_closed=begun + 0.004, status=None,
                       headless=True)  # fmt: skip
            start.client(nonce, number, sent=begun, end=begun + 0.003, outcome="hung_up",
                         hang_up=begun + 0.003, status=None)  # fmt: skip
        else:
            start.call(nonce, read=begun + 0.001, end=begun + 0.002, provider=name, status=400)
            start.client(nonce, number, sent=begun, end=begun + 0.004, outcome="refused",
                         status=400)  # fmt: skip


def after_clients(
    start: Start, after: Sequence[str], kind: str = "errors", before: Sequence[str] = POOL * 30
) -> None:
    """Good requests before, what the clients did at the first instance, good requests after."""
    number = start.round("breaker-errors", 0, 1, route="openai", part=f"{kind} before")
    asked(start, number, 0.1, before, step=0.005)
    number = start.round("breaker-errors", 2, 2.2, route="openai", part=f"{kind} cause")
    caused(start, number, 2.01, kind)
    number = start.round("breaker-errors", 2.3, 4, route="openai", part=f"{kind} after")
    asked(start, number, 2.31, after, step=0.005)


@good("clients-errors-open-no-breaker")
def well() -> Story:
    start = Start(further=FURTHER)
    after_clients(start, POOL)
    return (start,), {"selected": ("breaker/client-errors",), **BREAKING}


@bad("breaker/client-errors")
def left_alone() -> Story:
    """Errors of clients have ejected the first instance."""
    start = Start(further=FURTHER)
    after_clients(start, POOL[1:] * 60)
    return (start,), BREAKING


def tried_again(start: Start, held: int, *, alone: int = 6, others: int = 6) -> None:
    """The first instance fails twice and is left alone; then ``held`` calls are sent to it."""
    number = start.round("breaker-half-open", 0, 1, route="openai", part="failing")
    for at in (0.1, 0.11):
        failed(start, number, at, "openai")
    asked(start, number, 0.12, POOL[1:] * alone)
    number = start.round("breaker-half-open", 3, 6, route="openai", part="trial")
    nonces = [start.nonce() for _ in range(held)]
    calls = [
        start.call(nonce, read=3.1 + 0.1 * index, end=5, held=True)
        for index, nonce in enumerate(nonces)
    ]
    for index, (nonce, call) in enumerate(zip(nonces, calls, strict=True)):
        start.client(nonce, number, sent=3.09 + 0.1 * index, end=5.1, text=start.whole(nonce, call))
    asked(start, number, 3.6, POOL[1:] * others)
    open_ = {"openai": held, "openai-2": 0}
    for at in (4.0, 4.3):
        start.snapshot(number, at, calls, nonces, settled=False, open_=open_)
    start.release(number, 4.9, "gate", held)


@good("a-provider-proves-itself-by-one-call")
def one_call() -> Story:
    start = Start(further=FURTHER)
    tried_again(start, 1)
    return (start,), {"selected": ("breaker/half-open",), **BREAKING}


@bad("breaker/half-open")
def herd() -> Story:
    start = Start(further=FURTHER)
    tried_again(start, 2)
    return (start,), BREAKING
