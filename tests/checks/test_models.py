"""models/*: which fetches accuse, and which causes excuse them."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from routerspec.judge import judge
from routerspec.promises import Cap, ModelList, Promises
from routerspec.verdict import CheckResult, Outcome
from tests.corpus.builder import LIMIT, PROMISES, TTL, Start, run_of
from tests.corpus.stories.models import cold, half_expired, refresh, slow, warm, went_back
from tests.corpus.stories.models import lists_behind as behind_story

HALF = TTL / 2


def judged(check: str, *starts: Start, **info: Any) -> CheckResult:
    return judge.judge(run_of(*starts, selected=(check,), **info)).checks[0]


def several_workers() -> Promises:
    return Promises(cap=PROMISES.cap, model_list=PROMISES.model_list, workers=2)


# One fetch


def crowd_with(*fetches: dict[str, Any], clients: int = 12) -> Start:
    start = Start()
    number = start.round("list-cold", 0, 2)
    for fetch in fetches:
        start.fetch(**{"read": 0.12, "end": 0.6} | fetch)
    start.ask_list(number, 0.1, 0.61)  # The first to have the list of the first fetch.
    start.crowd(number, 0.1, 1.9, clients=clients - 1)
    return start


COLD = "models/one-fetch-cold"


@pytest.mark.parametrize(
    ("second", "outcome"),
    [
        ({"read": 0.13}, Outcome.VIOLATED),
        ({"read": 0.5999}, Outcome.HELD),
        ({"read": 0.13, "provider": "ollama"}, Outcome.HELD),
        ({"read": 0.7, "end": 0.8}, Outcome.VIOLATED),
        ({"read": 0.6 + HALF + 0.01, "end": 1.8}, Outcome.HELD),
    ],
    ids=["open-at-once", "as-the-first-is-answered", "other-provider", "in-fresh-half", "later"],
)
def test_a_second_fetch(second: dict[str, Any], outcome: Outcome) -> None:
    assert judged(COLD, crowd_with({}, second)).outcome is outcome


@pytest.mark.parametrize(
    ("closed", "outcome"), [(0.3, Outcome.HELD), (0.45, Outcome.HELD), (0.6, Outcome.VIOLATED)]
)
def test_a_fetch_that_was_given_up_may_be_tried_again(closed: float, outcome: Outcome) -> None:
    first = {"end": closed, "peer_closed": closed, "answered": False, "status": None}
    second = {"read": 0.4 if closed != 0.3 else 0.31, "end": 0.7}
    assert judged(COLD, crowd_with(first, second)).outcome is outcome


@pytest.mark.parametrize("first", [{"status": 500}, {"answered": False, "status": None}])
def test_a_list_that_never_came_may_be_asked_for_again(first: dict[str, Any]) -> None:
    assert judged(COLD, crowd_with(first, {"read": 0.7, "end": 0.8})).outcome is Outcome.HELD


def test_a_stall_excuses_a_fetch_within_the_ttl_but_not_an_overlap() -> None:
    soon = crowd_with({}, {"read": 0.7, "end": 0.8})
    soon.stall(1.0, 0.2 * TTL)
    assert judged(COLD, soon).outcome is Outcome.INCONCLUSIVE
    at_once = crowd_with({}, {"read": 0.13})
    at_once.stall(1.0, 0.2 * TTL)
    assert judged(COLD, at_once).outcome is Outcome.VIOLATED


def test_few_clients_are_no_crowd() -> None:
    result = judged(COLD, crowd_with({}, clients=9))
    assert result.outcome is Outcome.INCONCLUSIVE
    assert "9 clients waited" in result.reason


def test_clients_that_came_after_the_answer_are_no_crowd() -> None:
    start = Start()
    number = start.round("list-cold", 0, 2)
    start.fetch(0.12, 0.3)
    start.crowd(number, 0.4, 0.5)
    assert judged(COLD, start).outcome is Outcome.INCONCLUSIVE


def test_nothing_fetched_is_inconclusive_unless_it_was_fetched_at_start() -> None:
    assert judged(COLD, crowd_with()).outcome is Outcome.INCONCLUSIVE
    start = Start()
    start.fetch(0.1, 0.2)
    number = start.round("list-cold", 1, 2)
    start.crowd(number, 1.1, 1.2)
    assert judged(COLD, start).outcome is Outcome.NOT_APPLICABLE


@pytest.mark.parametrize("check", [COLD, "models/cached", "models/ttl-from-receipt"])
def test_a_router_that_polls_is_not_accused_of_its_clients_fetches(check: str) -> None:
    start = Start()
    cold(start, fetches=3)
    if check != "models/ttl-from-receipt":  # Where nothing is cached, no TTL can be judged.
        warm(start, 0.8)
        start.fetch(0.91, 0.915)
    slow(start, 10, again=True)
    assert judged(check, start).outcome is Outcome.VIOLATED
    start.round("idle", 30, 40)
    start.fetch(35, 35.01)
    result = judged(check, start)
    assert result.outcome is Outcome.INCONCLUSIVE
    assert "1 times without a client's request" in result.reason


def test_a_list_fetched_at_start_or_prompted_by_a_client_is_no_poll() -> None:
    start = Start()
    start.round("smoke", 0, 1, part="other")
    start.fetch(0.5, 0.51)
    cold(start, 10)
    start.round("idle", 11, 20)
    start.fetch(11.1, 11.2)
    assert judged(COLD, start).outcome is not Outcome.INCONCLUSIVE


def test_several_workers_may_fetch_once_each() -> None:
    twice = crowd_with({}, {"read": 0.13})
    assert judged(COLD, twice, promises=several_workers()).outcome is Outcome.INCONCLUSIVE
    thrice = crowd_with({}, {"read": 0.13}, {"read": 0.14})
    assert judged(COLD, thrice, promises=several_workers()).outcome is Outcome.VIOLATED


def test_cold_and_uncapped_read_different_starts() -> None:
    sound, broken = Start("a"), Start("b", token="k4", cap=None)
    cold(sound)
    cold(broken, fetches=2)
    assert judged(COLD, sound, broken).outcome is Outcome.HELD
    assert judged("models/one-fetch-uncapped", sound, broken).outcome is Outcome.VIOLATED
    uncapped = Promises(model_list=PROMISES.model_list)
    assert judged(COLD, broken, promises=uncapped).outcome is Outcome.VIOLATED
    result = judged("models/one-fetch-uncapped", broken, promises=uncapped)
    assert result.outcome is Outcome.NOT_APPLICABLE


def test_a_ttl_counted_from_the_request_ends_earlier() -> None:
    promises = Promises(cap=Cap(limit=LIMIT), model_list=ModelList(ttl_s=TTL, ttl_from="request"))
    start = crowd_with({}, {"read": 0.12 + HALF + 0.01, "end": 1.5})
    assert judged(COLD, start).outcome is Outcome.VIOLATED
    assert judged(COLD, start, promises=promises).outcome is Outcome.HELD
    result = judged("models/ttl-from-receipt", start, promises=promises)
    assert result.outcome is Outcome.NOT_APPLICABLE


def test_a_provider_configured_twice_is_no_stampede() -> None:
    start = crowd_with({}, {"read": 0.13})
    number = start.round("list-slow", 10, 12)
    start.ask_list(number, 10, 11)
    start.fetch(10.1, 10.9)
    assert judged(COLD, start).outcome is Outcome.VIOLATED
    start.fetch(10.2, 10.9)
    result = judged(COLD, start)
    assert result.outcome is Outcome.INCONCLUSIVE
    assert "a single client, alone at the time, caused 2 fetches" in result.reason
    start.ask_list(number, 10.5, 11)
    assert judged(COLD, start).outcome is Outcome.VIOLATED


# Cached


def test_only_the_first_half_of_the_ttl_accuses() -> None:
    for after, outcome in ((HALF - 0.1, Outcome.VIOLATED), (HALF + 0.01, Outcome.INCONCLUSIVE)):
        start = Start()
        start.fetch(0.1, 0.2)
        number = start.round("list-warm", 0.2, 3)
        start.ask_list(number, 0.2, 0.21)
        start.ask_list(number, 0.2 + after - 0.01, 0.2 + after + 0.02)
        start.fetch(0.2 + after, 0.2 + after + 0.01)
        assert judged("models/cached", start).outcome is outcome


def test_a_fetch_for_a_request_sent_before_anybody_had_the_list_does_not_accuse() -> None:
    """A request is blamed only for what it could know, whoever else was open beside it."""
    for beside in (False, True):
        start = Start()
        number = start.round("list-warm", 0, 1)
        start.fetch(0.1, 0.2)
        start.ask_list(number, 0.09, 0.201)
        start.ask_list(number, 0.2003, 0.21)
        if beside:
            start.ask_list(number, 0.203, 0.21)
        start.fetch(0.205, 0.206)
        start.crowd(number, 0.4, 0.45, clients=5)
        assert judged("models/cached", start).outcome is Outcome.HELD


def test_a_client_served_the_list_before_shows_nothing_of_a_slow_fetch() -> None:
    """The router gave the fetch up as it was answered, while clients were served a stale list."""
    start = Start()
    number = start.round("list-warm", 0, 1)
    start.fetch(0.1, 0.5, held=True)
    start.ask_list(number, 0.499, 0.501)
    start.fetch(0.504, 0.505)
    start.ask_list(number, 0.503, 0.506)
    start.crowd(number, 0.6, 0.65, clients=5)
    assert judged("models/cached", start).outcome is Outcome.HELD


def test_requests_beside_a_fetch_do_not_count_as_served_from_the_cache() -> None:
    start = Start()
    number = start.round("list-warm", 0, 1)
    start.fetch(0.1, 0.5, held=True)
    start.fetch(0.51, 0.52)
    start.crowd(number, 0.505, 0.53, clients=10)
    result = judged("models/cached", start)
    assert (result.outcome, result.numbers["served"]) == (Outcome.INCONCLUSIVE, 0)


def test_a_fetch_that_no_client_could_have_prompted_does_not_accuse() -> None:
    start = Start()
    start.fetch(0.1, 0.2)
    number = start.round("list-warm", 0.3, 1)
    start.fetch(0.35, 0.36)
    start.crowd(number, 0.4, 0.45, clients=5)
    assert judged("models/cached", start).outcome is Outcome.HELD


def test_requests_that_were_not_served_do_not_count_as_cached() -> None:
    start = Start()
    start.fetch(0.1, 0.2)
    number = start.round("list-warm", 0.3, 1)
    start.crowd(number, 0.4, 0.45, clients=4)
    start.crowd(number, 0.4, 0.45, clients=4, outcome="refused", status=500)
    result = judged("models/cached", start)
    assert (result.outcome, result.numbers["served"]) == (Outcome.INCONCLUSIVE, 4)


def test_a_round_without_a_stall_counts_beside_one_with() -> None:
    """The scenario plays it once more where the machine stalled."""
    start = Start()
    cold(start)
    warm(start, 0.8)
    start.stall(1.0, 0.5)
    assert judged("models/cached", start).outcome is Outcome.INCONCLUSIVE
    start.fetch(10.0, 10.1)
    start.ask_list(start.round("list-warm", 10, 10.2, part="fill"), 10.0, 10.11)
    warm(start, 10.2)
    assert judged("models/cached", start).outcome is Outcome.HELD


def test_a_stall_makes_cached_inconclusive() -> None:
    start = Start()
    cold(start)
    warm(start, 0.8)
    start.fetch(0.91, 0.915)
    start.stall(0.9, 0.1 * TTL)
    assert judged("models/cached", start).outcome is Outcome.INCONCLUSIVE


# From receipt


@pytest.mark.parametrize(
    ("took", "asked"),
    [(0.5, 1.2), (0.8, 1.0), (0.8, 1.4), (0.8, 0.7)],
    ids=["not-slow", "too-early", "too-late", "during"],
)
def test_a_request_at_another_time_is_no_evidence(took: float, asked: float) -> None:
    start = Start()
    number = start.round("list-slow", 0, 4)
    start.fetch(0.1, 0.1 + took * TTL, held=True)
    start.ask_list(number, 0.09, 0.11 + took * TTL)
    at = 0.1 + asked * TTL
    start.ask_list(number, at, at + 0.03)
    start.fetch(at + 0.01, at + 0.02)
    assert judged("models/ttl-from-receipt", start).outcome is Outcome.INCONCLUSIVE


def test_a_second_fetch_in_the_slow_round_makes_it_inconclusive() -> None:
    start = Start()
    slow(start, 0, again=True)
    start.fetch(0.5, 0.6)
    assert judged("models/ttl-from-receipt", start).outcome is Outcome.INCONCLUSIVE


def test_the_accusing_fetch_comes_after_the_request() -> None:
    start = Start()
    slow(start, 0)
    start.fetch(1.9, 1.91)
    assert judged("models/ttl-from-receipt", start).outcome is Outcome.HELD


def test_the_witness_says_when_a_half_expired_list_was_fetched_again() -> None:
    starts, info = half_expired()
    result = judged("models/ttl-from-receipt", *starts, **info)
    assert result.witness is not None
    assert "took 1.60 s to arrive, and was fetched again 0.81 s" in result.witness.sentence


# Refreshed, no going back


def refreshing(last: int, *, every: float = 0.2) -> Start:
    start = Start()
    start.fetch(0.1, 0.2)
    number = start.round("list-refresh", 0, 20)
    start.moved(number, 0.3, 1)
    for index in range(last):
        start.ask_list(number, 0.5 + every * index, 0.51 + every * index)
    return start


def test_ten_requests_long_after_expiry_prove_that_it_is_never_fetched_again() -> None:
    late = 0.2 + 2 * TTL + 1.3
    needed = int((late - 0.5) / 0.2) + 1 + 10
    assert judged("models/refreshed", refreshing(needed)).outcome is Outcome.VIOLATED
    assert judged("models/refreshed", refreshing(needed - 2)).outcome is Outcome.INCONCLUSIVE


@pytest.mark.parametrize("fields", [{}, {"status": 500}, {"answered": False, "status": None}])
def test_any_fetch_is_asking_again(fields: dict[str, Any]) -> None:
    start = refreshing(45)
    start.fetch(5.0, 5.1, **fields)
    assert judged("models/refreshed", start).outcome is not Outcome.VIOLATED


@pytest.mark.parametrize(
    ("after", "outcome"), [(TTL + 1.2, Outcome.HELD), (TTL + 1.4, Outcome.VIOLATED)]
)
def test_the_old_list_may_be_served_one_ttl_and_a_coarse_clock_longer(
    after: float, outcome: Outcome
) -> None:
    start = Start()
    number = start.round("list-refresh", 0, 20)
    start.moved(number, 0.3, 1)
    start.fetch(0.5, 0.6, epoch=1)
    start.ask_list(number, 0.6 + after, 0.7 + after, epochs={"openai": 0})
    start.ask_list(number, 0.6 + after, 0.7 + after, epochs={"openai": 1})
    assert judged("models/refreshed", start).outcome is outcome
    if outcome is Outcome.VIOLATED:
        result = judged("models/refreshed", start, promises=several_workers())
        assert result.outcome is Outcome.INCONCLUSIVE


def test_a_provider_that_is_missing_is_not_an_old_list() -> None:
    start = Start()
    refresh(start, 0)
    number = start.round("list-refresh", 20, 21, part="more")
    start.ask_list(number, 20.1, 20.2, epochs={})
    assert judged("models/refreshed", start).outcome is not Outcome.VIOLATED


def test_only_real_time_order_shows_going_back() -> None:
    starts, _ = went_back()
    assert judged("models/no-going-back", *starts).outcome is Outcome.VIOLATED
    several = judged("models/no-going-back", *starts, promises=several_workers())
    assert several.outcome is Outcome.INCONCLUSIVE
    start = Start()
    number = start.round("list-refresh", 0, 20)
    start.ask_list(number, 0.1, 0.3, epochs={"openai": 0})
    start.ask_list(number, 0.4, 0.6, epochs={"openai": 1})
    start.ask_list(number, 0.5, 0.9, epochs={"openai": 0})
    start.ask_list(number, 0.7, 0.9, epochs={"ollama": 0})
    start.crowd(number, 1, 2, clients=5, epochs={"openai": 1, "ollama": 0})
    assert judged("models/no-going-back", start).outcome is Outcome.HELD


def test_a_list_that_never_moved_shows_nothing() -> None:
    start = Start()
    number = start.round("list-refresh", 0, 20)
    start.crowd(number, 1, 2, clients=30)
    assert judged("models/no-going-back", start).outcome is Outcome.INCONCLUSIVE


# Behind the cap


def blocked() -> Start:
    (start,), _ = behind_story()
    return start


BEHIND = "models/not-behind-cap"


def test_three_of_three_lists_that_wait_for_the_release() -> None:
    result = judged(BEHIND, blocked())
    assert result.outcome is Outcome.VIOLATED
    assert result.witness is not None
    assert result.witness.facts[0].endswith("list-behind-cap, expired (openai chat)")


def test_other_causes_of_a_delayed_list() -> None:
    stalled = blocked()
    stalled.stall(32, 0.15)
    assert judged(BEHIND, stalled).outcome is Outcome.INCONCLUSIVE
    slow_fetch = blocked()
    slow_fetch.fetch(31, 31.2)
    assert judged(BEHIND, slow_fetch).outcome is Outcome.INCONCLUSIVE
    slow_anyway = blocked()
    number = slow_anyway.round("list-warm", 50, 60)
    slow_anyway.crowd(number, 51, 51.6, clients=3)
    assert judged(BEHIND, slow_anyway).outcome is Outcome.INCONCLUSIVE


def test_one_list_answered_in_time_does_not_accuse() -> None:
    start = blocked()
    start.ask_list(2, 31, 31.1)
    assert judged(BEHIND, start).outcome is Outcome.INCONCLUSIVE


def test_a_list_given_less_than_a_second_does_not_accuse() -> None:
    start = blocked()
    start.ask_list(2, 33.2, 34.2)
    assert judged(BEHIND, start).outcome is Outcome.INCONCLUSIVE


def test_a_list_that_counts_against_the_cap_may_wait() -> None:
    promises = Promises(cap=Cap(limit=LIMIT), model_list=ModelList(ttl_s=TTL, under_cap=True))
    assert judged(BEHIND, blocked(), promises=promises).outcome is Outcome.NOT_APPLICABLE


def test_free_slots_prove_nothing_about_the_list() -> None:
    start = blocked()
    start.settings = msgspec.structs.replace(start.settings, cap=LIMIT + 1)
    assert judged(BEHIND, start).outcome is Outcome.INCONCLUSIVE


def test_where_nothing_is_cached_the_start_of_a_ttl_cannot_be_told() -> None:
    """A second fetch after a slow one then has another cause than the one that would be named."""
    start = Start()
    slow(start, 10, again=True)
    warm(start, 20.8)
    start.fetch(20.5, 20.51)
    start.ask_list(1, 20.49, 20.52)
    start.fetch(20.91, 20.915)
    assert judged("models/cached", start).outcome is Outcome.VIOLATED
    result = judged("models/ttl-from-receipt", start)
    assert result.outcome is Outcome.INCONCLUSIVE
    assert "models/cached is violated" in result.reason


def test_a_slow_list_that_nobody_had_is_not_one_stored_half_expired() -> None:
    """It was given up as it was answered: the next request has every right to a new fetch."""
    start = Start()
    number = start.round("list-slow", 0, 4, part="slow")
    start.fetch(0.1, 1.7, held=True)
    start.ask_list(number, 0.09, 1.71, outcome="refused", status=504)
    start.ask_list(number, 2.5, 2.53, epochs={"openai": 0})
    start.fetch(2.51, 2.52)
    assert judged("models/ttl-from-receipt", start).outcome is Outcome.INCONCLUSIVE


def test_a_new_list_that_nobody_had_does_not_make_the_old_one_too_old() -> None:
    """The slow fetch of the new list was given up as it was answered."""
    start = Start()
    number = start.round("list-refresh", 0, 12)
    start.moved(number, 0.05, 1)
    start.fetch(0.1, 0.5, epoch=1, held=True)
    for index in range(8):
        at = 4.0 + 0.2 * index
        start.ask_list(number, at, at + 0.01)
    start.fetch(5.6, 5.61, epoch=1)
    start.ask_list(number, 5.59, 5.62, epochs={"openai": 1})
    assert judged("models/refreshed", start).outcome is Outcome.HELD


# -- by id --------------------------------------------------------------------------------------


def asked_by_id(
    *statuses: int, named: tuple[bool, bool] = (True, True), spellings: int = 2
) -> Start:
    """A model of the list was requested by its id, its slash plain and encoded by turns."""
    start = Start(cap=None)
    number = start.round("list-by-id", 0, 3, part="find")
    model = "openai/fake-chat"
    for at, has in ((0.1, named[0]), (2.5, named[1])):
        start.ask_list(number, at, at + 0.1)
        start.observations[-1] = msgspec.structs.replace(
            start.observations[-1], named=(model,) if has else ()
        )
    for index, status in enumerate(statuses):
        start.ask_list(
            number, 0.5 + 0.1 * index, 0.55 + 0.1 * index, epochs={}, model=model,
            outcome="answered" if status == 200 else "refused", status=status,
        )  # fmt: skip
        start.observations[-1] = msgspec.structs.replace(
            start.observations[-1],
            models=int(status == 200),
            spelling=(model, "openai%2Ffake-chat")[index % spellings],
        )
    return start


@pytest.mark.parametrize(
    ("start", "expected"),
    [
        (asked_by_id(*[404] * 6), Outcome.VIOLATED),
        (asked_by_id(404, 405, 404, 501, 410, 404), Outcome.VIOLATED),
        (asked_by_id(404, 404, 404, spellings=1), Outcome.VIOLATED),
        (asked_by_id(404, 404, 404, 404), Outcome.INCONCLUSIVE),
        (asked_by_id(404, 404, 404, 404, 404, 200), Outcome.INCONCLUSIVE),
        (asked_by_id(404, 404, 404, 503, 404, 404), Outcome.INCONCLUSIVE),
        (asked_by_id(*[401] * 6), Outcome.INCONCLUSIVE),
        (asked_by_id(*[404] * 6, named=(True, False)), Outcome.INCONCLUSIVE),
        (asked_by_id(*[404] * 6, named=(False, True)), Outcome.INCONCLUSIVE),
    ],
)
def test_a_model_of_the_list_must_be_found_by_its_id_in_either_spelling(
    start: Start, expected: Outcome
) -> None:
    promises = Promises(model_list=ModelList(ttl_s=2.0, by_id=True))
    run = run_of(start, selected=("models/by-id",), promises=promises)
    assert judge.judge(run).checks[0].outcome is expected


def test_requests_by_id_that_were_not_answered_are_named_by_their_status() -> None:
    promises = Promises(model_list=ModelList(ttl_s=2.0, by_id=True))
    start = asked_by_id(404, 404, 503, 404)
    (result,) = judge.judge(run_of(start, selected=("models/by-id",), promises=promises)).checks
    assert "(3 got 404, 1 got 503)" in result.reason
