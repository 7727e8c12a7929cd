"""What a router refuses by itself: told for each start, unless a promise explains it."""

from __future__ import annotations

from typing import Any

import pytest

from routerspec.judge import judge
from routerspec.judge.verdict_json import as_object
from routerspec.promises import Cap, Promises
from routerspec.report import words
from routerspec.verdict import Outcome, Verdict
from tests.corpus.builder import LIMIT, Start, route, run_of

QUEUE = Cap(limit=LIMIT)
REJECT = Cap(limit=LIMIT, overload="reject")


def judged(start: Start, cap: Cap = QUEUE, **promises: Any) -> Verdict:
    selected = ("cap/each-route", "cap/streams")
    promised = Promises(cap=cap, **promises)
    return judge.judge(run_of(start, selected=selected, promises=promised))


def with_refusals(
    start: Start | None = None, *, at: float = 20.0, status: int = 429, seen: bool = False
) -> Start:
    """Five requests of a round are refused, and a sixth is answered."""
    start = start or Start()
    number = start.round("hold-head", at, at + 5, route="openai", mode="chat")
    start.exchange(number, sent=at + 0.1, end=at + 0.3)
    for index in range(5):
        nonce, sent = start.nonce(), at + 0.4 + 0.01 * index
        if seen:
            start.call(nonce, read=sent + 0.001, end=sent + 0.002, status=status)
        start.client(nonce, number, sent=sent, end=sent + 0.005, outcome="refused", status=status)
    return start


@pytest.mark.parametrize("status", [408, 429, 503])
def test_requests_that_the_router_itself_refused_are_counted(status: int) -> None:
    verdict = judged(with_refusals(status=status))
    (its,) = verdict.refusals
    assert (its.start, its.status, its.count, its.requests) == ("one", status, 5, 6)
    assert words.notes(verdict) == [
        f"start one: 5 of 6 requests were refused by the router itself with {status}; no provider "
        "saw them: another limit than the cap?"
    ]
    assert list(as_object(verdict)["refusals"]) == [
        {"start": "one", "status": status, "count": 5, "requests": 6}
    ]


def test_a_check_that_they_hollow_out_names_them() -> None:
    verdict = judged(with_refusals())
    each_route, streams = verdict.checks
    assert each_route.outcome is Outcome.INCONCLUSIVE
    assert "never exercised" in each_route.reason
    assert "the router itself refused 5 of 6 of these requests with 429" in each_route.reason
    assert "refused" not in streams.reason


@pytest.mark.parametrize("status", [400, 404, 422, 500])
def test_a_status_that_is_about_the_request_is_no_limit(status: int) -> None:
    assert judged(with_refusals(status=status)).refusals == ()


def test_a_refusal_of_the_provider_is_not_the_routers() -> None:
    assert judged(with_refusals(seen=True)).refusals == ()


def held_then_refused(apart: float, status: int = 429) -> Start:
    """The slots are occupied until 1.5 s; the refusals come ``apart`` seconds later."""
    start = Start()
    start.held_round("hold-head", 0, offered=LIMIT)
    return with_refusals(start, at=1.1 + apart, status=status)


@pytest.mark.parametrize(
    ("cap", "apart", "explained"),
    [
        (REJECT, 0.0, True),
        (REJECT, 0.2, True),
        (REJECT, 1.5, False),
        (QUEUE, 0.0, False),
        (Cap(limit=LIMIT, queue_limit=1), 0.0, True),
        (Cap(limit=LIMIT, queue_timeout_s=1.0), 0.0, True),
        (Cap(limit=LIMIT, overload="reject", reject_status=(503,)), 0.0, False),
    ],
)
def test_a_promised_rejection_is_explained_while_the_slots_are_occupied(
    cap: Cap, apart: float, explained: bool
) -> None:
    assert (judged(held_then_refused(apart), cap).refusals == ()) is explained


@pytest.mark.parametrize(("recovery_s", "explained"), [(0.0, False), (5.0, True)])
def test_a_breaker_that_is_promised_explains_what_it_refuses(
    recovery_s: float, explained: bool
) -> None:
    start = Start()
    number = start.round("upstream-error", 0, 1, route="openai", mode="chat")
    nonce = start.nonce()
    start.call(nonce, read=0.1, end=0.2, status=500)
    start.client(nonce, number, sent=0.1, end=0.3, outcome="refused", status=502)
    verdict = judged(with_refusals(start, at=1.0, status=503), recovery_s=recovery_s)
    assert (verdict.refusals == ()) is explained


@pytest.mark.parametrize(
    ("recovery_s", "why"),
    [
        (0.0, "asking no provider, after its failure: a circuit breaker?"),
        (5.0, "asking no provider, in the recovery time after a provider's failure"),
    ],
)
def test_a_check_that_an_open_breaker_hollows_out_says_so(recovery_s: float, why: str) -> None:
    start = Start()
    number = start.round("upstream-error", 0, 2, route="openai", mode="chat")
    nonce = start.nonce()
    start.call(nonce, read=0.1, end=0.2, status=500)
    start.client(nonce, number, sent=0.1, end=0.3, outcome="refused", status=502)
    for at in (0.5, 0.6):
        start.client(
            start.nonce(), number, sent=at, end=at + 0.1, mode="stream", outcome="refused",
            status=503,
        )  # fmt: skip
    run = run_of(
        start,
        selected=("answers/error-is-error",),
        routes=(route("openai", "chat", "stream"),),
        promises=Promises(recovery_s=recovery_s),
    )
    (result,) = judge.judge(run).checks
    assert result.reason == (
        "no provider's error reached a client (openai:stream); in start one the router itself "
        f"refused 2 of 3 of these requests with 503, {why}"
    )


@pytest.mark.parametrize(("clients", "explained"), [(LIMIT, True), (0, False)])
def test_requests_on_their_way_and_clients_that_left_may_occupy_the_slots(
    clients: int, explained: bool
) -> None:
    start = Start()
    number = start.round("hold-head", 0, 1, route="openai", mode="chat")
    for _ in range(clients):
        start.client(
            start.nonce(), number, sent=0.1, end=0.2, outcome="hung_up", hang_up=0.2, status=None
        )
    assert (judged(with_refusals(start, at=0.4), REJECT).refusals == ()) is explained
