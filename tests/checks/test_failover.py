"""failover/*: what accuses a router whose instances fail, and what is too little."""

from __future__ import annotations

from typing import Any

import pytest

from routerspec.judge import judge
from routerspec.limits import REQUESTS_TO_RETURN
from routerspec.promises import Cap, Failover, Promises
from routerspec.verdict import CheckResult, Outcome
from tests.corpus.builder import CAP, LIMIT, Start, run_of
from tests.corpus.stories.failover import (
    FAILING,
    FALLBACK,
    FIELDS,
    PROMISES,
    all_is_well,
    clients_left,
    exhausted,
    failed_call,
    failed_over,
    faulty,
    flapped,
    other_call,
    permits,
    smoked,
    with_transcripts,
)
from tests.corpus.stories.faulty_providers import begun, cut_short, ended

HELD, VIOLATED = Outcome.HELD, Outcome.VIOLATED
UNCLEAR, NOT_APPLICABLE = Outcome.INCONCLUSIVE, Outcome.NOT_APPLICABLE


def judged(check: str, start: Start, **info: Any) -> CheckResult:
    return judge.judge(run_of(start, selected=(f"failover/{check}",), **FIELDS | info)).checks[0]


def outcome(check: str, start: Start, **info: Any) -> Outcome:
    return judged(check, start, **info).outcome


def begin(smoke: bool = True) -> Start:
    start = Start()
    if smoke:
        smoked(start)
    return start


def faults(start: Start, part: str = FAILING, scenario: str = "failover") -> int:
    return start.round(scenario, 1, 30, route="openai", part=part)


# -- served -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("waits", "expected"),
    [
        ((0.0, 0.0, 0.0), HELD),
        ((2.0, 2.0, 2.0), VIOLATED),
        ((2.0, 2.0), UNCLEAR),
        ((2.0, 2.0, 2.0, 0.0), UNCLEAR),
    ],
)
def test_answers_are_late_three_times_of_three(waits: tuple[float, ...], expected: Outcome) -> None:
    start = begin()
    number = faults(start)
    for at, wait in enumerate(waits):
        failed_over(start, number, 2 + 4 * at, waits=wait)
    assert outcome("served", start) is expected


def test_a_late_answer_beside_a_stall_accuses_nobody() -> None:
    start = begin()
    number = faults(start)
    for at in range(3):
        failed_over(start, number, 2 + 4 * at, waits=2.0)
        start.stall(2.5 + 4 * at, 0.2)
    assert outcome("served", start) is HELD


def test_a_client_that_waits_in_vain_is_late() -> None:
    start = begin()
    number = faults(start)
    for at in range(3):
        nonce = start.nonce()
        failed_call(start, nonce, 2.01 + 4 * at)
        start.client(
            nonce, number, sent=2 + 4 * at, end=5 + 4 * at, outcome="timed_out", status=None
        )
    assert judged("served", start).summary == "served late: 5xx"


def test_an_instance_that_fails_by_itself_excuses() -> None:
    start = begin()
    number, nonce = faults(start), start.nonce()
    failed_call(start, nonce, 2.01)
    failed_call(start, nonce, 2.1, provider="ollama")
    start.client(nonce, number, sent=2, end=2.2, outcome="refused", status=503)
    assert outcome("served", start) is UNCLEAR


def test_more_failing_instances_than_attempts_excuse() -> None:
    start = begin()
    number = faults(start, "5xx: openai, openai-2")
    failed_over(start, number, 2, others=0)
    assert outcome("served", start) is UNCLEAR
    assert outcome("asked", start) is UNCLEAR


def test_a_closed_port_of_an_instance_that_had_served_nothing_shows_nothing() -> None:
    start = begin()
    number, nonce = faults(start, "refused: openai"), start.nonce()
    call = other_call(start, nonce, 2.1)
    start.client(nonce, number, sent=2, end=2.2, text=start.whole(nonce, call))
    promises = Promises(failover=Failover(within_s=1.0, on=("refused",)))
    assert outcome("served", start, promises=promises) is UNCLEAR


def test_a_client_that_is_refused_while_the_port_is_closed_accuses() -> None:
    start = begin()
    number = faults(start, "refused: openai")
    start.client(start.nonce(), number, sent=2, end=2.2, outcome="refused", status=502)
    promises = Promises(failover=Failover(within_s=1.0, on=("refused",)))
    assert outcome("served", start, promises=promises) is VIOLATED
    assert judged("asked", start, promises=promises).summary == "nobody else asked: refused"


def test_every_promised_failure_must_have_been_met() -> None:
    start = begin()
    faulty(start, 1)
    both = Promises(failover=Failover(within_s=1.0, on=("5xx", "reset")))
    assert "reset" in judged("served", start, promises=both).reason
    assert "reset" in judged("asked", start, promises=both).reason


# -- asked --------------------------------------------------------------------------------------


def test_nobody_else_is_asked() -> None:
    start = begin()
    failed_over(start, faults(start), 2, others=0)
    assert judged("asked", start).summary == "nobody else asked: 5xx"
    assert outcome("served", start) is VIOLATED


def test_one_doubled_call_does_not_accuse() -> None:
    start = begin()
    number = faults(start)
    failed_over(start, number, 2, others=2)
    failed_over(start, number, 4)
    assert outcome("asked", start) is HELD


def test_a_hedge_is_no_second_request() -> None:
    start = begin()
    number = faults(start)
    for at in (2.0, 4.0):
        nonce = start.nonce()
        other_call(start, nonce, at + 0.02)
        failed_call(start, nonce, at + 0.01, end=at + 0.2)
        last = other_call(start, nonce, at + 0.3)
        start.client(nonce, number, sent=at, end=at + 0.5, text=start.whole(nonce, last))
    assert outcome("asked", start) is HELD


def test_a_route_of_several_calls_is_left_out() -> None:
    start = begin(smoke=False)
    number = start.round("smoke", 0, 0.5, route="openai", mode="chat", part="route")
    nonce = start.nonce()
    start.call(nonce, read=0.1, end=0.2)
    call = start.call(nonce, read=0.21, end=0.3)
    start.client(nonce, number, sent=0.05, end=0.4, text=start.whole(nonce, call))
    faulty(start, 1, others=2)
    exhausted(start, 20, calls=5)
    assert outcome("asked", start) is UNCLEAR
    assert outcome("attempts", start) is UNCLEAR


# -- one answer ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("streams", "expected"), [(3, HELD), (2, UNCLEAR)])
def test_streams_that_break_off_are_counted(streams: int, expected: Outcome) -> None:
    start = begin()
    number = faults(start, "a stream that breaks off: openai", "failover-streams")
    for at in range(streams):
        nonce = start.nonce()
        call = cut_short(start, nonce, 2.01 + at, ended_by="cut")
        text = begun(nonce, call)
        ended(
            start,
            start.client(
                nonce, number, sent=2 + at, end=2.5 + at, text=text, mode="stream", outcome="failed"
            ),
        )
    assert outcome("one-answer", start) is expected


def test_a_stream_that_was_held_back_may_be_replaced() -> None:
    start = begin()
    number = faults(start, "a stream that breaks off: openai", "failover-streams")
    for at in range(3):
        nonce = start.nonce()
        cut_short(start, nonce, 2.01 + at, ended_by="cut")
        other = other_call(start, nonce, 2.3 + at, stream=True)
        text = start.whole(nonce, other)
        start.client(nonce, number, sent=2 + at, end=2.5 + at, text=text, mode="stream")
    assert outcome("one-answer", start) is UNCLEAR


# -- permit -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("back", "expected"), [(LIMIT, HELD), (LIMIT - 1, VIOLATED), (LIMIT + 1, VIOLATED)]
)
def test_a_permit_comes_back_once(back: int, expected: Outcome) -> None:
    start = begin()
    permits(start, 1, back=back)
    assert outcome("permit", start) is expected


@pytest.mark.parametrize("cap", [None, Cap(limit=2, scope="process")])
def test_without_a_cap_there_is_no_permit(cap: Cap | None) -> None:
    promises = Promises(cap=cap, failover=Failover(within_s=1.0))
    assert outcome("permit", all_is_well(), promises=promises) is NOT_APPLICABLE


# -- client errors ------------------------------------------------------------------------------


def clients_fault(start: Start, *, served: str, good: int, status: int = 400) -> None:
    name, cell = "failover-client-errors", {"route": "openai", "mode": "chat"}
    before = start.round(name, 1, 2, **cell, part="before")
    start.exchange(before, sent=1.1, end=1.2)
    number, nonce = start.round(name, 3, 4, **cell, part=str(status)), start.nonce()
    failed_call(start, nonce, 3.1, status=status)
    failed_call(start, nonce, 3.3, status=status)
    start.client(nonce, number, sent=3.05, end=3.4, outcome="refused", status=status)
    after = start.round(name, 5, 10, **cell, part="after")
    for number in range(good):
        at = 5.1 + 0.1 * number
        start.exchange(after, sent=at, end=at + 0.05, provider=served, route="openai")


@pytest.mark.parametrize(
    ("served", "good", "expected"),
    [
        ("openai", 1, HELD),
        ("ollama", REQUESTS_TO_RETURN, VIOLATED),
        ("ollama", REQUESTS_TO_RETURN - 1, UNCLEAR),
        ("openai", 0, UNCLEAR),
    ],
)
def test_an_instance_is_left_alone_for_a_clients_error(
    served: str, good: int, expected: Outcome
) -> None:
    start = begin()
    clients_fault(start, served=served, good=good)
    assert outcome("client-errors", start) is expected


def test_a_router_that_asks_nobody_any_more_is_found() -> None:
    start = begin()
    clients_fault(start, served="openai", good=0)
    number = len({r.round for r in start.observations if r.__class__.__name__ == "Round"})
    for turn in range(REQUESTS_TO_RETURN):
        at = 5.1 + 0.1 * turn
        start.client(start.nonce(), number, sent=at, end=at + 0.05, outcome="refused", status=503)
    assert judged("client-errors", start).summary.startswith("all left alone")


def test_a_failure_of_the_provider_is_no_error_of_its_client() -> None:
    start = begin()
    clients_fault(start, served="ollama", good=REQUESTS_TO_RETURN, status=503)
    assert outcome("client-errors", start) is UNCLEAR


# -- returns ------------------------------------------------------------------------------------


def test_an_instance_that_had_served_nothing_before_is_not_missed() -> None:
    start = begin()
    number = start.round("failover-flapping", 1, 9, route="openai", part="after flapping: openai")
    for turn in range(3 * REQUESTS_TO_RETURN):
        at = 5 + 0.1 * turn
        start.exchange(number, sent=at, end=at + 0.05, provider="ollama", route="openai")
    assert outcome("returns", start) is UNCLEAR


def test_requests_within_the_cooldown_do_not_accuse() -> None:
    start = begin()
    flapped(start, 1, returns=False)
    patient = Promises(failover=PROMISES.failover, recovery_s=4.5)
    assert outcome("returns", start, promises=patient) is UNCLEAR


def test_a_stall_excuses() -> None:
    start = begin()
    flapped(start, 1, returns=False)
    start.stall(6, 0.3)
    assert outcome("returns", start) is UNCLEAR


def test_a_long_cooldown_is_not_waited_for() -> None:
    start = begin()
    flapped(start, 1, returns=False)
    long = Promises(failover=PROMISES.failover, recovery_s=60.0)
    assert outcome("returns", start, promises=long) is NOT_APPLICABLE


# -- client left --------------------------------------------------------------------------------


@pytest.mark.parametrize(("late", "expected"), [(0, HELD), (2, UNCLEAR), (3, VIOLATED)])
def test_asked_for_nobody_three_times_of_three(late: int, expected: Outcome) -> None:
    start = begin()
    clients_left(start, 1, late=late)
    assert outcome("client-left", start) is expected


# -- all ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("claimed", "expected"),
    [(f"ollama_chat/{FALLBACK}", HELD), ("ollama_chat/another", VIOLATED), ("another", VIOLATED)],
)
def test_the_router_may_name_the_provider_before_the_model(claimed: str, expected: Outcome) -> None:
    start = Start()
    smoked(start)
    with_transcripts(start, 1, claimed)
    assert outcome("model", start) is expected


def test_without_the_promise_nothing_applies() -> None:
    verdict = judge.judge(
        run_of(all_is_well(), selected=("failover/served",), promises=Promises(cap=CAP))
    )
    assert verdict.checks[0].outcome is NOT_APPLICABLE
