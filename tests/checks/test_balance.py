"""balance/* and breaker/*: what accuses, what excuses, and what chance explains."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from itertools import cycle, islice
from typing import Any

import pytest

from routerspec.checks import chance
from routerspec.judge import judge
from routerspec.limits import BREAKER_CAUSES
from routerspec.promises import Balance, Cancel, Cap, ModelList, Promises
from routerspec.verdict import CheckResult, Outcome
from tests.corpus.builder import Start, run_of
from tests.corpus.stories import balance as told
from tests.corpus.stories import breaker
from tests.corpus.stories.balance import FURTHER, POOL, ROUTES, TWO, promising

HELD, VIOLATED = Outcome.HELD, Outcome.VIOLATED
UNCLEAR, NOT_APPLICABLE = Outcome.INCONCLUSIVE, Outcome.NOT_APPLICABLE
TURNS = tuple(islice(cycle(POOL), 66))


def judged(check: str, start: Start, promises: Promises, **info: Any) -> CheckResult:
    fields: dict[str, Any] = {"routes": ROUTES, "instances": TWO, "promises": promises} | info
    return judge.judge(run_of(start, selected=(check,), **fields)).checks[0]


def fresh() -> Start:
    return Start(further=FURTHER)


# -- chance -------------------------------------------------------------------------------------


def test_the_tails_are_those_of_the_binomial_distribution() -> None:
    assert chance.at_least(0, 5, 0.3) == pytest.approx(1)
    assert chance.at_least(5, 5, 0.5) == pytest.approx(1 / 32)
    assert chance.at_most(1, 5, 0.5) == pytest.approx(6 / 32)
    assert chance.at_least(94, 100, 0.4) < 1e-20
    assert (chance.at_most(0, 9, 0.0), chance.at_least(9, 9, 1.0)) == (1, 1)
    assert chance.none_after(0, 4, 4) == pytest.approx(1)
    assert chance.none_after(2, 2, 1) == pytest.approx(1 / 3)
    assert chance.none_after(3, 2, 9) == 0


# -- spread -------------------------------------------------------------------------------------


def spread(names: Sequence[str], spoil: Any = None, **promise: Any) -> CheckResult:
    start = fresh()
    told.spread(start, names)
    if spoil:
        spoil(start)
    return judged("balance/spread", start, promising(**promise))


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (TURNS, HELD),
        (POOL[:1] * 33 + POOL[1:] * 33, HELD),  # in whatever order
        (POOL[:1] * 39 + POOL[1:] * 27, HELD),  # within the tolerance
        (POOL[:1] * 42 + POOL[1:] * 24, VIOLATED),
        (POOL[:1] * 66, VIOLATED),
        (TURNS[:40], UNCLEAR),
        ((), UNCLEAR),
    ],
)
def test_taking_turns_is_counted(names: Sequence[str], expected: Outcome) -> None:
    assert spread(names, policy="round-robin").outcome is expected


@pytest.mark.parametrize(
    ("promise", "shares", "expected"),
    [
        ({"policy": "random"}, (1, 1), HELD),
        ({"policy": "random"}, (1.2, 1), HELD),
        ({"policy": "random"}, (9, 1), VIOLATED),
        ({"policy": "random"}, (1, 0), VIOLATED),
        ({"policy": "weighted", "weights": (3, 1)}, (3, 1), HELD),
        ({"policy": "weighted", "weights": (3, 1)}, (1, 1), VIOLATED),
        ({"policy": "weighted", "weights": (3,)}, (3, 1), HELD),
    ],
)
def test_who_draws_lots_is_given_chance(
    promise: dict[str, Any], shares: tuple[float, float], expected: Outcome
) -> None:
    lots = random.Random(7)
    names = lots.choices(POOL, weights=shares, k=240)
    assert spread(names, **promise).outcome is expected


def test_a_sound_policy_that_draws_lots_holds_in_every_one_of_many_runs() -> None:
    """The edge of the tolerance is far from a share that is due: one run in a million."""
    lots = random.Random(3)
    seen: Counter[str] = Counter()
    for _ in range(400):
        count = sum(lots.random() < 1 / 3 for _ in range(360))
        tail = min(chance.at_least(count, 360, 0.4), chance.at_most(count, 360, 1 / 3 * 0.8))
        seen["accused"] += 6 * tail < chance.ACCUSES
        seen["undecided"] += 6 * tail < 1e-3
    assert (seen["accused"], seen["undecided"]) == (0, 0)


def failing_before(start: Start) -> None:
    number = start.round("after-error", 0, 0.05, route="openai", mode="chat")
    told.failed(start, number, 0.01, "openai-2")


def own_calls(start: Start) -> None:
    start.call(read=1, end=1.1, provider="openai-2", run="")


@pytest.mark.parametrize(
    "spoil",
    [failing_before, own_calls, lambda start: start.stall(1, 0.2)],
    ids=["failed before", "calls of its own", "a stall"],
)
def test_what_may_have_kept_an_instance_out_excuses(spoil: Any) -> None:
    assert spread(POOL[:1] * 66, spoil, policy="round-robin").outcome is UNCLEAR
    assert spread(TURNS, spoil, policy="round-robin").outcome is HELD


def test_without_a_policy_the_spread_is_told() -> None:
    found = spread(POOL[:1] * 66)
    assert (found.outcome, found.numbers["openai"]) == (NOT_APPLICABLE, 66)
    assert "openai 66, openai-2 0" in found.reason


def busy(*rounds: Sequence[str], **promise: Any) -> CheckResult:
    start = Start(cap=4, further=FURTHER)
    for index, names in enumerate(rounds):
        told.filled(start, 4.0 * index, names)
    promises = promising(policy="least-busy")
    if promise:
        promises = Promises(**{"cap": Cap(limit=4), "balance": promises.balance} | promise)
    return judged("balance/spread", start, promises)


BOTH = (*POOL, *POOL)


@pytest.mark.parametrize(
    ("rounds", "expected"),
    [
        ((BOTH,) * 6, HELD),
        ((BOTH,) * 3, UNCLEAR),
        ((*((BOTH,) * 6), ("openai", "openai", "openai-2")), UNCLEAR),  # once is no habit
        ((("openai",) * 3,), VIOLATED),
        ((("openai-2", "openai-2", "openai", "openai"),) * 2, VIOLATED),
        ((BOTH[:1],) * 6, UNCLEAR),
    ],
)
def test_a_busy_instance_is_not_chosen_beside_an_idle_one(
    rounds: tuple[Sequence[str], ...], expected: Outcome
) -> None:
    assert busy(*rounds).outcome is expected


def test_several_processes_know_their_own_calls_alone() -> None:
    assert busy(("openai",) * 4, workers=2).outcome is UNCLEAR


# -- a dead one ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("later", "expected"),
    [
        (("openai",) * 20, HELD),
        (("openai",) * 16 + ("openai-2",) * 2, HELD),  # ejected once more
        (("openai",) * 16 + ("openai-2",) * 3, VIOLATED),
        (("openai",) * 5, UNCLEAR),
        (("",) * 20, VIOLATED),
        (("", "", "openai") * 6, HELD),  # of refusals each other check tells
    ],
)
def test_a_dead_instance_is_left_alone_for_its_cooldown(
    later: Sequence[str], expected: Outcome
) -> None:
    start = fresh()
    told.dead_beside(start, later)
    assert judged("balance/dead", start, promising(ejected_within=2)).outcome is expected


def test_what_comes_after_the_cooldown_is_another_matter() -> None:
    start = fresh()
    told.dead_beside(start, ("openai",) * 90 + ("openai-2",) * 20)
    assert judged("balance/dead", start, promising(ejected_within=2)).outcome is HELD


@pytest.mark.parametrize(
    ("lists", "expected"),
    [((True,), HELD), ((False, True), HELD), ((False, False), HELD), ((False,) * 3, VIOLATED)],
)
def test_a_dead_instance_takes_no_list_from_the_others(
    lists: Sequence[bool], expected: Outcome
) -> None:
    start = fresh()
    told.dead_beside(start, ("openai",) * 20, lists=lists)
    found = judged("balance/dead", start, promising(ejected_within=2))
    assert found.outcome is expected


def test_a_list_accuses_only_where_one_is_promised() -> None:
    start = fresh()
    told.dead_beside(start, ("openai",) * 20, lists=(False,) * 3)
    ejecting = promising(ejected_within=2)
    without = Promises(cap=ejecting.cap, balance=ejecting.balance, recovery_s=1.0)
    assert judged("balance/dead", start, without).outcome is HELD
    with_list = Promises(
        cap=ejecting.cap, balance=ejecting.balance, recovery_s=1.0, model_list=ModelList(ttl_s=2)
    )
    assert judged("balance/dead", start, with_list).outcome is VIOLATED


def test_ejection_must_be_promised_with_its_cooldown() -> None:
    start = fresh()
    told.dead_beside(start, POOL * 10)
    assert judged("balance/dead", start, promising(policy="random")).outcome is NOT_APPLICABLE
    endless = Promises(balance=promising(ejected_within=2).balance)
    assert judged("balance/dead", start, endless).outcome is NOT_APPLICABLE


# -- sessions -----------------------------------------------------------------------------------

A, B, MOVED = ("openai",) * 4, ("openai-2",) * 4, ("openai", "openai", "openai-2", "openai-2")


@pytest.mark.parametrize(
    ("sessions", "expected"),
    [
        ((A, B), HELD),
        ((A,), UNCLEAR),  # nothing was kept apart
        ((A, B, *(A,) * 6, MOVED, *(A,) * 7), UNCLEAR),
        ((A, B, A, MOVED), VIOLATED),
        ((("openai",),), UNCLEAR),
    ],
)
def test_sessions_stay(sessions: tuple[Sequence[str], ...], expected: Outcome) -> None:
    start = fresh()
    told.sessions(start, *sessions)
    found = judged("balance/affinity", start, promising(affinity="x-session"))
    assert found.outcome is expected


def test_a_session_may_have_to_move() -> None:
    start = fresh()
    told.sessions(start, MOVED)
    number = start.round("after-error", 0.6, 0.9, route="openai", mode="chat")
    told.failed(start, number, 0.7, "openai")
    found = judged("balance/affinity", start, promising(affinity="x-session"))
    assert found.outcome is UNCLEAR


# -- caps ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("held", "limit", "cap", "expected"),
    [
        (POOL, 1, 4, HELD),
        (("openai", "openai"), 1, 4, VIOLATED),
        (("openai", "openai"), 2, 2, UNCLEAR),  # the other one is idle for want of a shared slot
        (("openai", "openai"), 2, 4, VIOLATED),  # and here for nothing
        (("openai", "openai", "openai-2"), 2, 4, HELD),
        (POOL, 2, 2, UNCLEAR),  # never full
        ((), 1, 4, VIOLATED),
    ],
)
def test_instances_have_caps_and_none_is_idle(
    held: Sequence[str], limit: int, cap: int, expected: Outcome
) -> None:
    start = Start(cap=cap, further=FURTHER)
    told.beyond(start, held)
    promises = Promises(cap=Cap(limit=cap), balance=promising(instance_cap=limit).balance)
    assert judged("balance/cap", start, promises).outcome is expected


def test_a_session_may_wait_for_its_own_instance() -> None:
    start = Start(cap=4, further=FURTHER)
    told.beyond(start, POOL[:1], part="openai session")
    told.beyond(start, POOL, begin=10)
    promises = Promises(cap=Cap(limit=4), balance=promising(instance_cap=1).balance)
    assert judged("balance/cap", start, promises).outcome is HELD


def test_one_session_can_break_the_cap_of_its_instance() -> None:
    start = Start(cap=4, further=FURTHER)
    told.beyond(start, POOL[1:] * 3, part="openai session")
    promises = Promises(cap=Cap(limit=4), balance=promising(instance_cap=2).balance)
    assert judged("balance/cap", start, promises).outcome is VIOLATED


# -- breakers -----------------------------------------------------------------------------------

BREAKING = Promises(
    recovery_s=1.0, cancel=Cancel(within_s=1.0), balance=Balance(policy="random", ejected_within=2)
)
UNSTATED = Promises(recovery_s=1.0)
ALONE = POOL[1:] * 60


@pytest.mark.parametrize("kind", ["errors", breaker.LEFT])
@pytest.mark.parametrize(
    ("after", "expected"),
    [
        (POOL, HELD),
        (ALONE, VIOLATED),
        (ALONE[:12], UNCLEAR),  # twelve may be chance
        ((*ALONE, "openai"), HELD),
        ((), UNCLEAR),
    ],
)
def test_what_clients_do_opens_no_breaker(
    kind: str, after: Sequence[str], expected: Outcome
) -> None:
    start = fresh()
    breaker.after_clients(start, after, kind)
    assert judged("breaker/client-errors", start, BREAKING).outcome is expected


def shut(start: Start, count: int, *, served: bool = False) -> None:
    breaker.after_clients(start, (), before=POOL[:1] * 30)
    for index in range(count):
        told.refused(start, 3, 2.4 + 0.01 * index)
    if served:
        told.asked(start, 3, 2.5, ("openai",))


@pytest.mark.parametrize(
    ("count", "served", "expected"), [(3, False, VIOLATED), (2, False, UNCLEAR), (3, True, HELD)]
)
def test_a_provider_of_one_instance_is_not_closed(
    count: int, served: bool, expected: Outcome
) -> None:
    start = Start()
    shut(start, count, served=served)
    found = judged("breaker/client-errors", start, BREAKING, instances={})
    assert found.outcome is expected


def test_a_real_failure_excuses_and_few_errors_prove_nothing() -> None:
    start = fresh()
    breaker.after_clients(start, ALONE)
    told.failed(start, 2, 2.15, "openai")
    assert judged("breaker/client-errors", start, BREAKING).outcome is UNCLEAR
    start = fresh()
    breaker.after_clients(start, POOL)
    causes = [line for line in start.evidence if line.status == 400]
    assert len(causes) == BREAKER_CAUSES
    start.evidence.remove(causes[0])
    assert judged("breaker/client-errors", start, BREAKING).outcome is UNCLEAR
    assert judged("breaker/client-errors", start, Promises()).outcome is NOT_APPLICABLE


@pytest.mark.parametrize(
    ("held", "how", "expected"),
    [
        (1, {}, HELD),
        (2, {}, VIOLATED),
        (0, {}, UNCLEAR),
        (1, {"others": 2}, UNCLEAR),
        (2, {"alone": 2}, UNCLEAR),  # its breaker was not seen open
    ],
)
def test_one_call_is_let_through(held: int, how: dict[str, int], expected: Outcome) -> None:
    start = fresh()
    breaker.tried_again(start, held, **how)
    assert judged("breaker/half-open", start, BREAKING).outcome is expected


def test_a_router_that_asks_by_itself_may_know_that_it_is_well() -> None:
    start = fresh()
    breaker.tried_again(start, 3)
    start.fetch(2, 2.1)
    assert judged("breaker/half-open", start, BREAKING).outcome is UNCLEAR


def test_each_process_may_let_one_through() -> None:
    start = fresh()
    breaker.tried_again(start, 2)
    promises = Promises(recovery_s=1.0, workers=2)
    assert judged("breaker/half-open", start, promises).outcome is HELD


def test_when_a_breaker_opens_must_be_promised_to_miss_it() -> None:
    start = fresh()
    breaker.tried_again(start, 2, alone=2)
    assert judged("breaker/half-open", start, UNSTATED).outcome is NOT_APPLICABLE


@pytest.mark.parametrize(("kind", "expected"), [("errors", VIOLATED), (breaker.LEFT, UNCLEAR)])
def test_a_policy_by_latency_may_avoid_who_was_slow(kind: str, expected: Outcome) -> None:
    start = fresh()
    breaker.after_clients(start, ALONE, kind)
    assert judged("breaker/client-errors", start, UNSTATED).outcome is expected
