"""Checks of several replicas: what accuses, and what must not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from routerspec.checks import REGISTRY
from routerspec.checks.check import TargetFacts
from routerspec.judge import judge
from routerspec.plan.starts import plan_starts
from routerspec.promises import Cap, ModelList, Promises
from routerspec.targets import load_target
from routerspec.verdict import CheckResult, Kind, Outcome, Standing
from tests.corpus.builder import LIMIT, Start, run_of
from tests.corpus.stories import replicas as told
from tests.corpus.stories.replicas import BOUND, LEASED, REPLICAS, VICTIM, Client, Play, queue

CHECKS = tuple(id_ for id_ in REGISTRY if id_.startswith(("cap/replica", "cap/store-")))
STATIC = Cap(limit=4, scope="cluster", coordination="static")


def judged(check: str, *starts: Start, cap: Cap = LEASED) -> CheckResult:
    """What the judge makes of these starts."""
    promises = Promises(cap=cap, model_list=told.LISTS)
    (result,) = judge.judge(run_of(*starts, selected=(check,), promises=promises)).checks
    return result


def start(cap: int = LIMIT) -> Start:
    return Start(replicas=REPLICAS, cap=cap)


# -- the union at rest -----------------------------------------------------------------------


def test_a_multiple_of_the_cap_is_named() -> None:
    its = start()
    told.together(its, "replicas", 0, part="together", held=2 * REPLICAS)
    found = judged("cap/replicas", its)
    assert found.outcome is Outcome.VIOLATED
    assert found.summary == (
        "6 at once over 3 replicas, cap 2: 3 times the cap, one for each replica"
    )


def test_calls_seen_once_accuse_nobody() -> None:
    its = start()
    clients = [Client(replica=n % 3 + 1, read=0.11, end=2.05) for n in range(9)]
    play = Play(its, "replicas", 0, clients, part="together", lasts=3, release=2)
    play.look(0.8, settled=True)
    play.release()
    found = judged("cap/replicas", its)
    assert (found.outcome, found.reason[:26]) == (
        Outcome.INCONCLUSIVE,
        "one snapshot showed 9 call",
    )


@pytest.mark.parametrize(("held", "cap"), [(3, STATIC), (4, STATIC)])
def test_fixed_parts_may_leave_a_rest_unused(held: int, cap: Cap) -> None:
    its = start(cap=4)
    told.together(its, "replicas", 0, part="together", held=held)
    assert judged("cap/replicas", its, cap=cap).outcome is Outcome.HELD


def test_without_fixed_parts_all_slots_must_be_seen_in_use() -> None:
    its = start(cap=4)
    told.together(its, "replicas", 0, part="together", held=3)
    found = judged("cap/replicas", its, cap=replace(LEASED, limit=4))
    assert found.outcome is Outcome.INCONCLUSIVE
    assert found.reason.startswith("never exercised: at most 3 of 4 slots")


def test_a_replica_that_nobody_asked_leaves_it_open() -> None:
    its = start()
    clients = [
        Client(replica=n % 2 + 1, read=0.11 if n < 2 else 2.1, end=2.05 if n < 2 else 2.5)
        for n in range(9)
    ]
    play = Play(its, "replicas", 0, clients, part="together", lasts=3, release=2)
    play.look(0.8, 1.1, settled=True)
    play.release()
    found = judged("cap/replicas", its)
    assert found.reason == "never exercised: replica 3 answered no client"


# -- killed ----------------------------------------------------------------------------------


def kill(*, closed: float, back: float, rounds: int = 1) -> Start:
    """``closed``: when the provider, and the victim's client, saw that it had been killed."""
    its = start()
    for turn in range(rounds):
        mine, other = told.held_by_victim()
        mine.end, mine.closed = closed, True
        waiting = queue(5, replicas=told.OTHERS)
        waiting[0].read = back
        play = Play(its, "replica-killed", 40 * turn, [mine, other, *waiting], part=str(turn + 1))
        play.look(0.8, settled=True)
        play.done(1.0, "killed", replica=VICTIM)
        play.look(*(1.2 + 0.3 * n for n in range(16)))
        play.done(6.0, "started", replica=VICTIM)
        play.release()
    told.together(its, "replica-killed", 40 * rounds, part="after")
    return its


def test_a_killed_replica_has_no_calls_though_a_provider_has_not_noticed() -> None:
    assert judged("cap/replica-killed", kill(closed=8.5, back=1.1)).outcome is Outcome.HELD


def test_slots_that_come_back_late_once_accuse_nobody() -> None:
    found = judged("cap/replica-killed", kill(closed=1.01, back=4.0))
    assert found.outcome is Outcome.INCONCLUSIVE
    assert "1 times slots came back late" in found.reason


def test_slots_that_come_back_late_three_times_accuse() -> None:
    found = judged("cap/replica-killed", kill(closed=1.01, back=4.0, rounds=3))
    assert found.outcome is Outcome.VIOLATED
    assert found.witness is not None
    assert "they came back 3.00 s later; 2.00 s are promised" in found.witness.sentence


def test_a_late_slot_beside_a_stall_is_no_evidence() -> None:
    its = kill(closed=1.01, back=4.0, rounds=3)
    for turn in range(3):
        its.stall(40 * turn + 2.0, 0.3)
    assert judged("cap/replica-killed", its).outcome is Outcome.INCONCLUSIVE


def test_nothing_is_late_where_nothing_is_promised() -> None:
    its = kill(closed=1.01, back=4.0, rounds=3)
    cap = replace(LEASED, recovers_within_s=None)
    assert judged("cap/replica-killed", its, cap=cap).outcome is Outcome.HELD


# -- paused, cut off -------------------------------------------------------------------------


def test_a_lease_that_a_pause_outlasts_is_no_violation() -> None:
    its = start()
    told.paused(its, 0, over=2.1, until=4.51)
    found = judged("cap/replica-paused", its)
    assert (found.outcome, found.kind, found.numbers["most"]) == (Outcome.HELD, Kind.SHOULD, 3)
    assert found.numbers["back_ms"] == 10


def test_calls_that_are_given_up_late_after_a_pause_are_open_to_doubt() -> None:
    its = start()
    told.paused(its, 0, over=2.1, until=6.5)
    found = judged("cap/replica-paused", its)
    assert (found.outcome, found.kind) == (Outcome.INCONCLUSIVE, Kind.SHOULD)


def test_calls_that_are_never_given_up_after_a_pause_are_discouraged() -> None:
    its = start()
    told.paused(its, 0, over=2.1)
    found = judged("cap/replica-paused", its)
    assert (found.outcome, found.standing) == (Outcome.VIOLATED, Standing.DISCOURAGED)


def test_slots_bound_to_a_connection_must_outlast_a_pause() -> None:
    its = start()
    told.paused(its, 0, over=2.1, until=4.51)
    found = judged("cap/replica-paused", its, cap=BOUND)
    assert (found.outcome, found.standing) == (Outcome.VIOLATED, Standing.VIOLATED)


def test_a_fence_that_is_a_little_late_is_no_proof() -> None:
    """More calls than the cap for 700 ms: a busy machine may delay a replica's timer."""
    its = start()
    told.cut_off(its, 0, fenced=2.9)
    found = judged("cap/replica-cut-off", its)
    assert found.outcome is Outcome.INCONCLUSIVE
    assert found.reason.startswith("one snapshot showed 3 calls")


def test_a_stall_between_the_snapshots_is_no_proof() -> None:
    its = start()
    told.cut_off(its, 0, fenced=None)
    for tenth in range(20, 90, 2):
        its.stall(tenth / 10, 0.12)
    found = judged("cap/replica-cut-off", its)
    assert found.outcome is Outcome.INCONCLUSIVE
    assert "the harness stalled meanwhile" in found.reason


def test_a_replica_that_is_cut_off_without_calls_shows_nothing() -> None:
    its = start()
    clients = [Client(replica=1, read=0.11), Client(replica=1, read=0.12)]
    play = Play(its, "replica-cut-off", 0, [*clients, *queue(5, replicas=told.OTHERS)])
    play.look(0.8, settled=True)
    play.done(1.0, "cut-off", replica=VICTIM, service="redis")
    play.look(*(1.2 + 0.3 * n for n in range(11)))
    play.release()
    told.together(its, "replica-cut-off", 20, part="after")
    found = judged("cap/replica-cut-off", its)
    assert found.reason == (
        "never exercised: no call was held when replica 3 was cut off from redis"
    )


# -- the store -------------------------------------------------------------------------------


def without_store(*, sent: float, read: float) -> Start:
    """The store is killed at 1.0; a client of each replica is sent, one of which is let in."""
    its = start()
    play = Play(its, "store-gone", 0, [], part="gone", lasts=1.5, release=1.1)
    play.done(1.0, "gone", service="redis")
    play.release()
    clients = [Client(replica=n, sent=sent - 1.6, read=3.9, end=4.5) for n in (1, 2, 3)]
    clients[0].read = read - 1.6
    play = Play(its, "store-gone", 1.6, clients, part="without the store", release=4.0)
    play.done(3.8, "back", service="redis")
    play.release()
    told.together(its, "store-gone", 20, part="after")
    return its


def test_what_was_sent_before_every_lease_was_over_accuses_nobody() -> None:
    found = judged("cap/store-gone", without_store(sent=3.5, read=3.6))
    assert found.outcome is Outcome.INCONCLUSIVE


def test_what_was_let_in_when_the_store_was_back_accuses_nobody() -> None:
    assert judged("cap/store-gone", without_store(sent=4.1, read=5.41)).outcome is Outcome.HELD


def test_what_was_let_in_without_the_store_accuses() -> None:
    assert judged("cap/store-gone", without_store(sent=4.1, read=4.2)).outcome is Outcome.VIOLATED


def test_a_call_in_flight_that_could_have_ended_must_not_be_cut_off() -> None:
    its = start()
    told.gone(its, 0, cut=True)
    found = judged("cap/store-gone", its)
    assert (found.outcome, found.summary) == (Outcome.VIOLATED, "a call in flight was cut off")


def test_a_replica_by_itself_must_not_pass_the_cap() -> None:
    its = start()
    told.gone(its, 0, each=3)
    found = judged("cap/store-gone", its, cap=replace(LEASED, store_loss="local"))
    assert (found.outcome, found.summary) == (
        Outcome.VIOLATED,
        "3 at once of one replica without the store, cap 2",
    )


# -- the model list --------------------------------------------------------------------------


def lists(taken: float | None) -> tuple[Start, ...]:
    first, second = start(), Start("two", token="k4", replicas=REPLICAS)
    told.lists(first, 0, "cold")
    told.fetcher_killed(second, 0, taken=taken)
    return first, second


@pytest.mark.parametrize(
    ("taken", "outcome"),
    [(0.9, Outcome.HELD), (2.0, Outcome.INCONCLUSIVE), (None, Outcome.VIOLATED)],
)
def test_another_replica_fetches_in_place_of_a_killed_one(
    taken: float | None, outcome: Outcome
) -> None:
    assert judged("models/one-fetch-cluster", *lists(taken)).outcome is outcome


# -- where they apply ------------------------------------------------------------------------


def applies(check: str, cap: Cap, *, replicas: int = 3, started: bool = True) -> str:
    """Why it does not; empty: it does."""
    promises = Promises(cap=cap, model_list=ModelList(ttl_s=1.0))
    facts = TargetFacts(
        promises=promises, is_started=started, placeholders=frozenset(), replicas=replicas
    )
    return REGISTRY[check].needs(promises) or REGISTRY[check].needs_target(facts)


def test_they_apply_to_a_cap_of_a_cluster_with_replicas_of_our_own() -> None:
    assert [applies(check, LEASED) for check in CHECKS] == [""] * len(CHECKS)
    assert all(applies(check, LEASED, replicas=1) for check in CHECKS)
    assert all(applies(check, Cap(limit=4)) for check in CHECKS)
    attached = [check for check in CHECKS if not applies(check, LEASED, started=False)]
    assert attached == ["cap/replicas"]


def test_what_is_not_promised_is_not_judged() -> None:
    nothing = Cap(limit=4, scope="cluster")
    assert [check for check in CHECKS if not applies(check, nothing)] == ["cap/replicas"]
    local = replace(LEASED, store_loss="local")
    left_out = {check for check in CHECKS if applies(check, local)}
    assert left_out == {"cap/replica-cut-off", "cap/store-restarted"}
    stores = {"cap/replica-cut-off", "cap/store-restarted", "cap/store-gone"}
    assert {check for check in CHECKS if applies(check, STATIC)} == stores
    assert applies("cap/replica-paused", replace(LEASED, lease_s=60.0)).startswith("a lease of")


def test_starts_of_several_replicas_are_planned_only_where_there_are_some() -> None:
    plain = plan_starts(load_target("reference"), REGISTRY.values())
    assert not any(its.replicas for its in plain)
    assert not any("spread" in its.scenarios for its in plain)
    several = plan_starts(load_target("reference:cluster"), REGISTRY.values())
    assert {its.name for its in several if its.replicas} == {
        "replicas", "replica-killed", "replica-paused", "replica-cut-off", "store-restarted",
        "store-gone",
    }  # fmt: skip
