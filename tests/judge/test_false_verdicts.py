"""False verdicts that made-up histories found, each as the smallest history that shows it.

Each says what the verdict should be.
"""

from __future__ import annotations

from typing import Any

import pytest

from routerspec.judge import judge
from routerspec.promises import Cap, ModelList, Promises, Retries
from routerspec.verdict import CheckResult, Outcome
from tests.corpus.builder import Start, route, run_of

LISTS = Promises(model_list=ModelList(ttl_s=2.0))


def verdict(start: Start, check: str, **info: Any) -> CheckResult:
    return judge.judge(run_of(start, selected=(check,), **info)).checks[0]


def cut_client(start: Start, nonce: int, number: int) -> None:
    """A client of a stream that broke off after the first piece of the first call."""
    start.client(
        nonce,
        number,
        sent=0.05,
        end=0.31,
        text=f"{nonce}@openai-1#0 ",
        mode="stream",
        outcome="failed",
        finish=None,
        error="ConnectionResetError: reset",
    )


def test_a_fetch_given_up_as_it_was_answered_is_not_one_that_anybody_had() -> None:
    """The router waits 0.4 s for a list, and asks again: its close crosses the answer."""
    start = Start(cap=None)
    number = start.round("list-cold", 0, 1)
    start.fetch(0.12, 0.521, held=True)
    start.release(number, 0.52, "lists", 1)
    start.fetch(0.523, 0.525)
    start.crowd(number, 0.1, 0.53)
    assert verdict(start, "models/one-fetch-cold", promises=LISTS).outcome is not Outcome.VIOLATED


def test_nor_is_one_whose_close_crossed_its_answer() -> None:
    """The same, with the second attempt there 1.5 ms before the first is answered."""
    start = Start(cap=None)
    number = start.round("list-cold", 0, 1)
    start.fetch(0.07, 0.454, held=True)
    start.release(number, 0.45, "lists", 1)
    start.fetch(0.4525, 0.456)
    start.crowd(number, 0.06, 0.47)
    assert verdict(start, "models/one-fetch-cold", promises=LISTS).outcome is not Outcome.VIOLATED


def test_a_fetch_made_before_anybody_had_the_list_is_not_one_within_its_ttl() -> None:
    """The same in the first half of a TTL: nobody had been answered when it was asked again."""
    start = Start(cap=None)
    number = start.round("list-warm", 0, 1)
    start.fetch(0.1, 0.501)
    start.fetch(0.502, 0.503)
    start.ask_list(number, 0.09, 0.51)
    assert verdict(start, "models/cached", promises=LISTS).outcome is not Outcome.VIOLATED


def test_a_ttl_from_the_request_counts_from_the_attempt_that_was_given_up() -> None:
    """The first attempt began 0.43 s before the second: its list is refreshed ahead in time."""
    start = Start(cap=None)
    number = start.round("list-expiry", 0, 0.54)
    start.fetch(0.1, 0.501)
    start.fetch(0.53, 0.533)
    start.ask_list(number, 0.09, 0.535)
    number = start.round("list-warm", 0.55, 2)
    start.fetch(1.2, 1.203)
    start.ask_list(number, 1.19, 1.21)
    promises = Promises(model_list=ModelList(ttl_s=2.0, ttl_from="request"))
    assert verdict(start, "models/cached", promises=promises).outcome is not Outcome.VIOLATED


def test_nor_is_one_that_was_asked_for_by_a_model_s_id() -> None:
    start = Start(cap=None)
    number = start.round("list-by-id", 0, 1, part="ask")
    start.fetch(0.1, 0.501)
    start.fetch(0.502, 0.503)
    start.ask_list(number, 0.09, 0.51, epochs={}, model="openai/fake-chat")
    promises = Promises(model_list=ModelList(ttl_s=2.0, by_id=True))
    assert verdict(start, "models/by-id", promises=promises).outcome is not Outcome.VIOLATED


def test_an_error_is_told_once_it_was_sent_however_late_that_was_noted() -> None:
    """The client had the error before the fake came to note that its last byte was sent."""
    start = Start()
    number = start.round("upstream-error", 0, 1)
    nonce = start.nonce()
    start.call(nonce, read=0.11, end=0.203, inner_end=0.2, status=500, pieces=0)
    start.client(nonce, number, sent=0.1, end=0.202, outcome="refused", status=500)
    assert verdict(start, "answers/error-is-error").outcome is Outcome.HELD


def test_a_fetch_given_up_and_made_again_is_not_two_for_one_client() -> None:
    """The close of the first was on its way when the second arrived: one client, one fetch."""
    start = Start(cap=None)
    number = start.round("list-cold", 0, 1)
    start.fetch(0.12, 0.6, held=True)
    start.release(number, 0.55, "lists", 1)
    start.crowd(number, 0.1, 0.65)
    alone = start.round("list-slow", 10, 12, part="slow")
    start.fetch(10.1, 10.52, answered=False, status=None, peer_closed=10.52)
    start.fetch(10.5, 10.51)
    start.ask_list(alone, 10.09, 10.53)
    assert verdict(start, "models/one-fetch-cold", promises=LISTS).outcome is Outcome.HELD


def test_a_timer_s_fetch_is_not_that_of_a_client_who_had_its_answer() -> None:
    """Answered from the cache; 0.18 s later a timer that ticks every 1.1 TTL fetches again."""
    start = Start(cap=None)
    number = start.round("list-slow", 0, 4, part="slow")
    start.fetch(0.1, 1.7, held=True)
    start.ask_list(number, 0.09, 1.71)
    start.ask_list(number, 2.5, 2.51)
    start.fetch(2.69, 2.695)
    found = verdict(start, "models/ttl-from-receipt", promises=LISTS)
    assert found.outcome is not Outcome.VIOLATED


def test_a_timer_that_ticks_between_rounds_fetches_for_nobody_in_one() -> None:
    """Every 3.3 s, also while no round is played; it happens to tick as clients ask for a model."""
    start = Start(cap=None)
    number = start.round("list-cold", 0, 1)
    start.fetch(0.1, 0.103)
    start.ask_list(number, 0.09, 0.11)
    start.fetch(3.4, 3.403)
    number = start.round("list-by-id", 6, 7, part="ask")
    start.fetch(6.02, 6.03)
    start.ask_list(number, 6.01, 6.04, epochs={}, model="openai/fake-chat")
    start.fetch(6.7, 6.703)
    start.ask_list(number, 6.69, 6.71, epochs={}, model="openai/fake-chat")
    promises = Promises(model_list=ModelList(ttl_s=3.0, by_id=True))
    assert verdict(start, "models/by-id", promises=promises).outcome is not Outcome.VIOLATED


def test_clients_cut_off_by_the_router_s_death_did_not_go_without_a_provider_s_models() -> None:
    start = Start(cap=None)
    start.finished, start.router_exit = False, 9
    well = start.round("list-dead", 0, 1, part="well")
    start.ask_list(well, 0.1, 0.2, epochs={"openai": 0, "ollama": 0})
    number = start.round("list-dead", 4, 5, part="openai text")
    start.fetch(4.1, 4.2)
    for _ in range(2):
        start.ask_list(number, 4.09, 4.21, epochs={}, outcome="failed", status=None)
    promises = Promises(model_list=ModelList(ttl_s=2.0, partial=True, partial_within_s=1.0))
    found = verdict(start, "models/dead-provider", promises=promises)
    assert found.outcome is not Outcome.VIOLATED


def test_clients_whose_requests_are_in_one_call_are_not_kept_out() -> None:
    """Five embeddings are asked for in one call, twice: nobody waits for the other slot."""
    start = Start()
    for begin in (0.0, 10.0):
        number = start.round("hold-head", begin, begin + 3, route="openai", mode="embeddings")
        nonces = [start.nonce() for _ in range(5)]
        call = start.call(
            *nonces, read=begin + 0.11, end=begin + 1.5, family="embeddings", held=True
        )
        for nonce in nonces:
            start.client(
                nonce,
                number,
                sent=begin + 0.1,
                end=begin + 1.6,
                text=f"embedding:{nonce}",
                mode="embeddings",
                finish=None,
            )
        start.snapshot(number, begin + 0.8, [call], nonces)
        start.release(number, begin + 1.4, "gate", 1)
    found = verdict(start, "slots/reached", routes=(route("openai", "embeddings"),))
    assert found.outcome is not Outcome.VIOLATED


def test_a_list_given_up_at_its_own_deadline_was_not_taken_along_by_the_leader() -> None:
    """Lists are promised within 0.4 s, dead providers or not: clients get an error after 0.3 s."""
    start = Start(cap=None)
    number = start.round("list-left", 0, 1)
    start.ask_list(number, 0.1, 0.251, epochs={}, outcome="hung_up", status=None, hang_up=0.25)
    start.fetch(0.12, 0.56, held=True)
    for _ in range(10):
        start.ask_list(number, 0.13, 0.43, epochs={}, outcome="refused", status=504)
    start.release(number, 0.55, "lists", 1)
    start.ask_list(start.round("smoke", 2, 3, part="list"), 2.1, 2.2)
    promises = Promises(model_list=ModelList(ttl_s=2.0, partial=True, partial_within_s=0.4))
    found = verdict(start, "models/leader-hang-up", promises=promises)
    assert found.outcome is not Outcome.VIOLATED


def test_a_call_beside_the_answer_s_own_is_not_the_answer() -> None:
    """Two calls at once: the one that is passed on is cut, and so is its client; not the other."""
    start = Start()
    number = start.round("load", 0, 40)
    nonce = start.nonce()
    start.call(nonce, read=0.1, end=0.3, body="01", stream=True, ended_by="cut", pieces=1)
    start.call(nonce, read=0.11, end=0.2, body="02")
    cut_client(start, nonce, number)
    assert verdict(start, "answers/whole").outcome is not Outcome.VIOLATED


@pytest.mark.parametrize(
    "calls",
    [
        (
            {"read": 30.1, "end": 30.2},
            {"read": 30.3, "end": 30.4, "stream": True, "ended_by": "cut", "pieces": 1},
        ),
        (
            {"read": 30.1, "end": 30.2, "stream": True, "ended_by": "cut", "pieces": 1},
            {"read": 30.2001, "end": 30.3},
        ),
    ],
)
def test_a_cut_call_beside_a_finished_one_owes_no_whole_answer(
    calls: tuple[dict[str, Any], ...],
) -> None:
    """An agent makes both; the client sees the cut one, and an error."""
    cut = 21 + calls.index(next(call for call in calls if "ended_by" in call))
    start = Start()
    number = start.round("load", 0, 40)
    for index in range(20):
        start.exchange(number, sent=index + 0.1, end=index + 0.5)
    nonce = start.nonce()
    for body, call in enumerate(calls, start=1):
        start.call(nonce, body=f"{body:02}", **call)
    start.client(
        nonce,
        number,
        sent=30.0,
        end=30.5,
        text=f"{nonce}@openai-{cut}#0 ",
        mode="stream",
        finish=None,
        error="upstream broke off",
    )
    seen = start.observations[-1]
    start.observations[-1] = type(seen)(
        **{name: getattr(seen, name) for name in seen.__struct_fields__} | {"done": False}
    )
    assert verdict(start, "answers/whole").outcome is Outcome.HELD


def test_a_retry_for_nobody_in_a_moment_of_ours_is_not_none_at_all() -> None:
    """Three of three are tried again 1.2 s after their clients left; at one of them we stalled."""
    start = Start()
    for begin in (0.0, 10.0, 20.0):
        number = start.round("leave-before-error", begin, begin + 3)
        nonce = start.nonce()
        for read, end in ((0.11, 1.3), (1.4, 1.5)):
            start.call(nonce, read=begin + read, end=begin + end, status=503, pieces=0)
        start.client(
            nonce,
            number,
            sent=begin + 0.1,
            end=begin + 0.2,
            outcome="hung_up",
            status=None,
            hang_up=begin + 0.19,
        )
    start.stall(21.0, 0.3)
    promises = Promises(cap=Cap(limit=2), retries=Retries(max=1))
    assert verdict(start, "answers/attempts", promises=promises).outcome is not Outcome.HELD


def test_two_calls_of_one_request_are_not_two_slots_that_came_back() -> None:
    """A cap of two requests, of two calls each. After an error one request gets in: not both."""
    start = Start()
    _probe(start, 0, "before", let_in=2)
    caused = start.round("after-error", 10, 11, part="cause")
    nonce = start.nonce()
    start.call(nonce, read=10.1, end=10.2, status=500, pieces=0)
    start.client(nonce, caused, sent=10.05, end=10.3, outcome="refused", status=502)
    start.exchange(start.round("after-error", 12, 13, part="warm"), sent=12.1, end=12.3)
    _probe(start, 20, "probe", let_in=1)
    _probe(start, 30, "probe", let_in=1)
    promises = Promises(cap=Cap(limit=2, counts="requests"))
    found = verdict(start, "slots/return-after-error", promises=promises)
    assert found.outcome is not Outcome.HELD


def _probe(start: Start, begin: float, part: str, *, let_in: int, polls: int = 0) -> None:
    number = start.round("after-error", begin, begin + 5, route="openai", mode="chat", part=part)
    nonces = [start.nonce() for _ in range(5)]
    held = [
        start.call(nonce, read=begin + 0.11, end=begin + 1.5, body=body, held=True)
        for nonce in nonces[:let_in]
        for body in ("01", "02")
    ]
    for nonce in nonces:
        start.client(nonce, number, sent=begin + 0.1, end=begin + 4)
    start.snapshot(number, begin + 0.8, held, nonces, open_=len(held) + polls)
    start.release(number, begin + 1.4, "gate", len(held))


def test_a_call_of_the_router_s_own_is_not_a_slot_that_came_back() -> None:
    """After an error one of two requests gets in, and the router asks whether openai is there."""
    start = Start()
    _probe(start, 0, "before", let_in=2)
    caused = start.round("after-error", 10, 11, part="cause")
    nonce = start.nonce()
    start.call(nonce, read=10.1, end=10.2, status=500, pieces=0)
    start.client(nonce, caused, sent=10.05, end=10.3, outcome="refused", status=502)
    start.exchange(start.round("after-error", 12, 13, part="warm"), sent=12.1, end=12.3)
    _probe(start, 20, "probe", let_in=1, polls=1)
    promises = Promises(cap=Cap(limit=2, counts="requests"))
    found = verdict(start, "slots/return-after-error", promises=promises)
    assert found.outcome is not Outcome.HELD


def test_a_call_closed_because_another_failed_is_not_open_for_the_cap() -> None:
    """Two calls a request: one fails, the close of the other crosses its end, its slot is free."""
    start = Start()
    number = start.round("load", 0, 40)
    for begin in (1.0, 1.01, 1.205):
        nonce = start.nonce()
        start.call(nonce, read=begin, end=begin + 0.3, body="01")
        failing = begin == 1.0
        start.call(nonce, read=begin, end=begin + 0.2, body="02", status=500 if failing else 200)
        start.client(
            nonce,
            number,
            sent=begin - 0.01,
            end=begin + 0.31,
            outcome="refused" if failing else "answered",
            status=502 if failing else 200,
        )
    promises = Promises(cap=Cap(limit=2, counts="requests"))
    found = verdict(start, "cap/under-load", promises=promises)
    assert found.outcome is not Outcome.VIOLATED


def test_a_call_sent_as_another_failed_is_not_open_for_the_cap() -> None:
    """Two calls a request, each tried again: one failed for good before the other's retry came."""
    start = Start()
    number = start.round("load", 0, 40)
    for begin in (1.0, 1.45, 1.46):
        nonce = start.nonce()
        failing = begin == 1.0
        start.call(nonce, read=begin, end=begin + 0.2, body="01", status=500 if failing else 200)
        start.call(nonce, read=begin + 0.01, end=begin + 0.21, body="02")
        if failing:
            start.call(nonce, read=1.4, end=1.6, body="01", status=500)
        start.client(
            nonce,
            number,
            sent=begin - 0.01,
            end=1.8,
            outcome="refused" if failing else "answered",
            status=502 if failing else 200,
        )
    promises = Promises(cap=Cap(limit=2, counts="requests"))
    found = verdict(start, "cap/under-load", promises=promises)
    assert found.outcome is not Outcome.VIOLATED


def test_a_client_whose_text_is_of_a_cut_call_was_not_sent_the_whole_of_another() -> None:
    """Two calls a request, one after the other had been cut: that one's pieces were passed on."""
    start = Start()
    number = start.round("load", 0, 40)
    nonce = start.nonce()
    start.call(nonce, read=0.1, end=0.2, body="02", stream=True, ended_by="cut", pieces=1)
    start.call(nonce, read=0.2, end=0.3, body="01")
    cut_client(start, nonce, number)
    assert verdict(start, "answers/whole").outcome is not Outcome.VIOLATED


def test_clients_that_shared_a_fetch_were_not_spared_one() -> None:
    """Three fetches that fail take half a second each: twenty clients come while they do."""
    start = Start(cap=None)
    number = start.round("list-failing", 0, 2, part="one by one")
    for index in range(20):
        sent = 0.1 + 0.025 * index
        if index % 7 == 0:
            start.fetch(sent + 0.001, sent + 0.18, status=500)
        start.ask_list(number, sent, sent + 0.01, epochs={}, outcome="refused", status=502)
    found = verdict(start, "models/failing-throttled", promises=LISTS)
    assert found.outcome is Outcome.INCONCLUSIVE


def test_a_client_left_without_the_others_models_is_not_forgotten() -> None:
    """One of two clients got an error while openai was down; ollama's deaths went well."""
    start = Start(cap=None)
    both = {"openai": 0, "ollama": 0}
    for dead, other in (("openai", "ollama"), ("ollama", "openai")):
        for index, how in enumerate(("down", "text", "shape", "hang")):
            begin = 100.0 * (dead == "ollama") + 10.0 * index
            start.ask_list(start.round("list-dead", begin, begin + 1, part="well"),
                           begin + 0.1, begin + 0.2, epochs=both)  # fmt: skip
            number = start.round("list-dead", begin + 4, begin + 5, part=f"{dead} {how}")
            start.fetch(begin + 4.1, begin + 4.2, provider=dead, status=503)
            start.ask_list(number, begin + 4.1, begin + 4.3, epochs={other: 0})
            if (dead, how) == ("openai", "down"):
                start.ask_list(
                    number, begin + 4.1, begin + 4.3, epochs={}, outcome="refused", status=502
                )
            else:
                start.ask_list(number, begin + 4.1, begin + 4.3, epochs={other: 0})
    promises = Promises(model_list=ModelList(ttl_s=2.0, partial=True, partial_within_s=1.0))
    found = verdict(start, "models/dead-provider", promises=promises)
    assert found.outcome is not Outcome.HELD


def _given_up_as_the_leader_left(**others: Any) -> CheckResult:
    """A list given up after 0.4 s and fetched again; a stall of ours kept the leader so long."""
    start = Start(cap=None)
    number = start.round("list-left", 0, 1)
    start.ask_list(number, 0.1, 0.501, epochs={}, outcome="hung_up", status=None, hang_up=0.5006)
    start.fetch(0.12, 0.5, held=True, answered=False, status=None, peer_closed=0.5)
    start.fetch(0.5001, 0.5025)
    for _ in range(8):
        start.ask_list(number, 0.13, 0.503, **others)
    start.release(number, 0.8, "lists", 0)
    start.ask_list(start.round("smoke", 2, 3, part="list"), 2.1, 2.2)
    return verdict(start, "models/leader-hang-up", promises=LISTS)


def test_clients_of_a_fetch_that_was_made_again_share_the_second_attempt_too() -> None:
    assert _given_up_as_the_leader_left().outcome is Outcome.HELD


def test_but_what_they_miss_may_be_that_the_router_gave_up() -> None:
    found = _given_up_as_the_leader_left(epochs={}, outcome="refused", status=504)
    assert found.outcome is Outcome.INCONCLUSIVE
    assert "given it up" in found.reason


def test_the_deadline_of_a_shared_fetch_counts_from_the_request_that_started_it() -> None:
    """0.6 s after the leader's request a list that is promised within 1 s is given up."""
    start = Start(cap=None)
    number = start.round("list-left", 0, 1)
    start.ask_list(number, 0.1, 0.47, epochs={}, outcome="hung_up", status=None, hang_up=0.47)
    start.fetch(0.296, 0.77, held=True)
    for _ in range(8):
        start.ask_list(number, 0.3, 0.725, epochs={}, outcome="refused", status=502)
    start.release(number, 0.77, "lists", 1)
    start.ask_list(start.round("smoke", 2, 3, part="list"), 2.1, 2.2)
    promises = Promises(model_list=ModelList(ttl_s=1.0, partial=True, partial_within_s=1.0))
    found = verdict(start, "models/leader-hang-up", promises=promises)
    assert found.outcome is Outcome.INCONCLUSIVE
    assert "own deadline" in found.reason


def test_clients_that_came_while_the_machine_stalled_prove_no_shared_fetch() -> None:
    """A router without a lock, starved of its processor: it read the others too late."""
    start = Start(cap=None)
    number = start.round("list-cold", 0, 2)
    start.fetch(0.2, 1.2, held=True)
    start.release(number, 1.2, "lists", 1)
    start.crowd(number, 0.1, 1.3)
    assert verdict(start, "models/one-fetch-cold", promises=LISTS).outcome is Outcome.HELD
    start.stall(1.0, 0.4)
    found = verdict(start, "models/one-fetch-cold", promises=LISTS)
    assert found.outcome is Outcome.INCONCLUSIVE
    assert "stalled" in found.reason
