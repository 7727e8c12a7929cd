"""models/by-id, -dead-provider, -failure-not-cached, -failing-throttled, -leader-hang-up: doubt."""

from __future__ import annotations

from typing import Any

import pytest

from routerspec.judge import judge
from routerspec.promises import ModelList, Promises
from routerspec.verdict import CheckResult, Kind, Outcome
from tests.corpus.builder import TTL, Start, run_of
from tests.corpus.stories.model_list_faults import (
    BOTH,
    PARTIAL,
    by_id,
    dead,
    deaths,
    failing,
    left,
    one_by_one,
    well,
)


def judged(check: str, *starts: Start, **info: Any) -> CheckResult:
    info = {"promises": PARTIAL} | info
    return judge.judge(run_of(*starts, selected=(check,), **info)).checks[0]


# By id

BY_ID = "models/by-id"


def test_the_witness_names_the_request_by_id() -> None:
    start = Start()
    by_id(start, 0, again=True)
    result = judged(BY_ID, start)
    assert result.outcome is Outcome.VIOLATED
    assert result.witness is not None
    assert "by a client's request for openai/fake-chat alone that was sent" in (
        result.witness.sentence
    )


def test_a_request_for_the_whole_list_may_have_prompted_the_fetch() -> None:
    start = Start()
    number = by_id(start, 0)
    start.fetch(0.205, 0.21)
    start.ask_list(number, 0.2, 0.22, epochs=BOTH)
    assert judged(BY_ID, start).outcome is Outcome.HELD


def test_a_fetch_in_the_second_half_of_the_ttl_is_sound() -> None:
    start = Start()
    number = by_id(start, 0)
    at = 0.1 + TTL / 2
    start.fetch(at, at + 0.01)
    start.ask_list(number, at - 0.01, at + 0.02, epochs={}, model="openai/fake-chat")
    assert judged(BY_ID, start).outcome is Outcome.HELD


@pytest.mark.parametrize("fields", [{"outcome": "refused", "status": 404}, {"model": ""}])
def test_a_router_that_answers_no_id_is_not_judged_by_it(fields: dict[str, Any]) -> None:
    start = Start()
    number = start.round("list-by-id", 0, 1, part="ask")
    start.fetch(0.1, 0.11)
    for index in range(10):
        request: dict[str, Any] = {"epochs": {}, "model": "x", **fields}
        start.ask_list(number, 0.2 + 0.01 * index, 0.205 + 0.01 * index, **request)
    assert judged(BY_ID, start).outcome is Outcome.INCONCLUSIVE


def test_other_explanations_of_a_fetch_for_one_model() -> None:
    start = Start()
    by_id(start, 0, again=True)
    several = Promises(cap=PARTIAL.cap, model_list=PARTIAL.model_list, workers=2)
    assert judged(BY_ID, start, promises=several).outcome is Outcome.INCONCLUSIVE
    start.stall(0.3, 0.1 * TTL)
    assert judged(BY_ID, start).outcome is Outcome.INCONCLUSIVE


def test_by_id_and_partial_are_judged_only_where_they_are_promised() -> None:
    start = Start()
    by_id(start, 0, again=True)
    plain = Promises(model_list=ModelList(ttl_s=TTL))
    for check in (BY_ID, DEAD):
        assert judged(check, start, promises=plain).outcome is Outcome.NOT_APPLICABLE


# A dead provider

DEAD = "models/dead-provider"


def all_deaths() -> Start:
    start = Start()
    deaths(start, 0)
    return start


def test_every_kind_of_death_must_have_been_tried() -> None:
    start = Start()
    well(start, 0)
    dead(start, 1, "down")
    dead(start, 2, "text")
    assert judged(DEAD, start).outcome is Outcome.INCONCLUSIVE
    assert judged(DEAD, all_deaths()).outcome is Outcome.HELD


def test_late_answers_accuse_three_times_out_of_three_only() -> None:
    start = Start()
    well(start, 0)
    for index in range(3):
        dead(start, 10 * (index + 1), "hang", took=1.5)
        expected = Outcome.VIOLATED if index == 2 else Outcome.INCONCLUSIVE
        assert judged(DEAD, start).outcome is expected


def test_one_hang_in_time_excuses_two_late_ones() -> None:
    start = all_deaths()
    for index in range(2):
        dead(start, 10 * (index + 1), "hang", took=1.5)
    assert judged(DEAD, start).outcome is Outcome.HELD


def test_a_late_error_counts_as_late_and_not_as_missing() -> None:
    start = Start()
    well(start, 0)
    dead(start, 3, "down", took=1.5)
    assert judged(DEAD, start).outcome is Outcome.INCONCLUSIVE


def test_one_client_of_two_does_not_accuse() -> None:
    start = Start()
    well(start, 0)
    dead(start, 3, "down", shown=False)
    start.ask_list(2, 3.01, 3.05, epochs={"ollama": 0})
    assert judged(DEAD, start).outcome is Outcome.INCONCLUSIVE


def all_or_nothing() -> Start:
    start = Start()
    well(start, 0)
    dead(start, 3, "down", shown=False, status=503)
    return start


def test_other_causes_of_an_empty_list() -> None:
    assert judged(DEAD, all_or_nothing()).outcome is Outcome.VIOLATED
    stalled = all_or_nothing()
    stalled.stall(3.1, 0.2)
    assert judged(DEAD, stalled).outcome is Outcome.INCONCLUSIVE
    other_failed = all_or_nothing()
    other_failed.fetch(3.02, 3.03, provider="ollama", status=500)
    assert judged(DEAD, other_failed).outcome is Outcome.INCONCLUSIVE


def test_a_dead_provider_without_a_fetch_proves_nothing() -> None:
    start = Start()
    well(start, 0)
    number = start.round("list-dead", 3, 4, part="openai down")
    start.crowd(number, 3.1, 3.2, clients=2, epochs={}, outcome="refused", status=503)
    assert judged(DEAD, start).outcome is Outcome.INCONCLUSIVE


def test_a_list_of_one_provider_has_no_others() -> None:
    start = Start()
    number = start.round("list-dead", 0, 1, part="well")
    start.ask_list(number, 0.1, 0.2)
    assert judged(DEAD, start).outcome is Outcome.NOT_APPLICABLE


def test_a_model_that_was_not_listed_before_is_not_missed() -> None:
    start = Start()
    number = start.round("list-dead", 0, 1, part="well")
    start.ask_list(number, 0.1, 0.2, epochs={"openai": 0})
    dead(start, 3, "down", shown=False, status=503)
    assert judged(DEAD, start).outcome is Outcome.NOT_APPLICABLE


# Failures that are kept

KEPT = "models/failure-not-cached"


def after_failing(kept: float) -> Start:
    start = Start()
    number = start.round("smoke", 0, 1, part="list")
    start.fetch(0.11, 0.12)
    start.fetch(0.11, 0.12, provider="ollama")
    start.ask_list(number, 0.1, 0.2, epochs=BOTH)
    failing(start, 10, kept=kept)
    return start


@pytest.mark.parametrize(
    ("kept", "outcome"),
    [(0.0, Outcome.HELD), (0.4 * TTL - 0.05, Outcome.HELD), (0.4 * TTL + 0.2, Outcome.VIOLATED)],
)
def test_a_short_cooldown_is_sound_and_a_longer_one_is_not(kept: float, outcome: Outcome) -> None:
    assert judged(KEPT, after_failing(kept)).outcome is outcome


def test_a_fetch_excuses_later_answers() -> None:
    start = after_failing(1.5)
    for provider in ("openai", "ollama"):
        start.fetch(10.3, 12.9, provider=provider)
    assert judged(KEPT, start).outcome is Outcome.HELD


def test_an_honest_error_does_not_accuse_however_long_it_lasts() -> None:
    start = Start()
    number = start.round("smoke", 0, 1, part="list")
    start.ask_list(number, 0.1, 0.2, epochs=BOTH)
    number = start.round("list-failing", 10, 10.1, part="failing")
    start.fetch(10.02, 10.03, status=500)
    start.ask_list(number, 10.01, 10.04, epochs={}, outcome="refused", status=502)
    number = start.round("list-failing", 10.2, 15, part="well again")
    for index in range(30):
        at = 10.3 + 0.1 * index
        start.ask_list(number, at, at + 0.01, epochs={}, outcome="refused", status=502)
    result = judged(KEPT, start)
    assert (result.outcome, result.reason) == (
        Outcome.INCONCLUSIVE,
        "the models did not come back while the list was requested",
    )


def test_a_provider_that_was_never_listed_is_not_missed() -> None:
    start = Start()
    number = start.round("list-failing", 10, 10.1, part="failing")
    start.fetch(10.02, 10.03, status=500)
    start.ask_list(number, 10.01, 10.04, epochs={})
    number = start.round("list-failing", 10.2, 15, part="well again")
    for index in range(30):
        start.ask_list(number, 10.3 + 0.1 * index, 10.31 + 0.1 * index, epochs={})
    assert judged(KEPT, start).outcome is Outcome.INCONCLUSIVE


def test_a_long_cooldown_is_not_waited_for() -> None:
    promises = Promises(model_list=PARTIAL.model_list, recovery_s=30)
    assert judged(KEPT, after_failing(1.5), promises=promises).outcome is Outcome.NOT_APPLICABLE


# Failures that are asked for again

ASKED = "models/failing-throttled"


@pytest.mark.parametrize(
    ("fetches", "outcome"), [(20, Outcome.VIOLATED), (19, Outcome.HELD), (0, Outcome.INCONCLUSIVE)]
)
def test_one_client_without_a_fetch_of_its_own_is_enough(fetches: int, outcome: Outcome) -> None:
    start = Start()
    one_by_one(start, 0, fetches=fetches)
    result = judged(ASKED, start)
    assert (result.outcome, result.kind) == (outcome, Kind.SHOULD)


def test_clients_that_come_slowly_prove_nothing() -> None:
    start = Start()
    number = start.round("list-failing", 0, 9, part="one by one")
    for index in range(20):
        at = 0.1 + 0.2 * index
        start.fetch(at + 0.002, at + 0.004, status=500)
        start.ask_list(number, at, at + 0.01, epochs={}, outcome="refused", status=500)
    assert judged(ASKED, start).outcome is Outcome.INCONCLUSIVE


# The first client leaves

LEFT = "models/leader-hang-up"


def left_without(without: int, *, smoke: bool = True) -> Start:
    start = Start()
    if smoke:
        number = start.round("smoke", 5, 6, part="list")
        start.ask_list(number, 5.1, 5.2, epochs=BOTH)
    left(start, without=without)
    return start


@pytest.mark.parametrize(
    ("without", "outcome"),
    [(0, Outcome.HELD), (1, Outcome.INCONCLUSIVE), (2, Outcome.VIOLATED), (10, Outcome.VIOLATED)],
)
def test_two_clients_left_without_are_needed(without: int, outcome: Outcome) -> None:
    assert judged(LEFT, left_without(without)).outcome is outcome


def test_a_list_with_models_missing_is_no_list() -> None:
    start = Start()
    number = start.round("smoke", 5, 6, part="list")
    start.ask_list(number, 5.1, 5.2, epochs=BOTH)
    number = start.round("list-left", 0, 1)
    start.ask_list(number, 0.1, 0.401, epochs={}, outcome="hung_up", status=None, hang_up=0.4)
    start.fetch(0.12, 0.41, held=True, answered=False, status=None, peer_closed=0.41)
    start.crowd(number, 0.2, 0.45, clients=10, epochs={"ollama": 0})
    assert judged(LEFT, start).outcome is Outcome.VIOLATED


def test_other_causes_of_clients_without_a_list() -> None:
    stalled = left_without(10)
    stalled.stall(0.6, 0.3)
    assert judged(LEFT, stalled).outcome is Outcome.INCONCLUSIVE
    failed = left_without(10)
    failed.fetch(0.45, 0.46, status=500)
    assert judged(LEFT, failed).outcome is Outcome.INCONCLUSIVE


def test_a_fetch_that_was_open_for_long_may_have_been_given_up() -> None:
    start = Start()
    number = start.round("list-left", 0, 5)
    start.ask_list(number, 0.1, 2.001, epochs={}, outcome="hung_up", status=None, hang_up=2.0)
    start.fetch(0.12, 2.01, held=True, answered=False, status=None, peer_closed=2.01)
    start.crowd(number, 0.2, 2.02, clients=10, epochs={}, outcome="refused", status=504)
    assert judged(LEFT, start).outcome is Outcome.INCONCLUSIVE


def test_a_client_that_did_not_join_or_was_answered_before_is_not_counted() -> None:
    start = Start()
    number = start.round("list-left", 0, 5)
    start.ask_list(number, 0.1, 0.401, epochs={}, outcome="hung_up", status=None, hang_up=0.4)
    start.fetch(0.12, 0.7, held=True)
    start.crowd(number, 0.2, 0.25, clients=10, epochs={}, outcome="refused", status=429)
    assert judged(LEFT, start).outcome is Outcome.INCONCLUSIVE


def test_no_client_disconnects_from_a_list_that_is_served_at_once() -> None:
    start = Start()
    number = start.round("list-left", 0, 5)
    start.crowd(number, 0.2, 0.25, clients=11)
    assert judged(LEFT, start).outcome is Outcome.INCONCLUSIVE
