"""slots/return-after-KIND: which evidence accuses, and which causes excuse."""

from __future__ import annotations

from typing import Any

import pytest

from routerspec.checks import REGISTRY
from routerspec.checks.slots.endings import KINDS
from routerspec.judge.judge import judge
from routerspec.promises import Cap, Promises
from routerspec.records.observations import Round, Snapshot
from routerspec.verdict import CheckResult, Outcome
from tests.corpus.builder import BASE_NS, LIMIT, Start, route, run_of
from tests.corpus.stories.slots import ended, probed, warmed

KIND = "error"
ROUTES = (route("openai", "chat", "stream"),)


def judged(start: Start, kind: str = KIND, promises: Promises | None = None) -> CheckResult:
    id_ = f"slots/return-after-{kind}"
    promises = promises or Promises(cap=Cap(limit=LIMIT))
    (result,) = judge(run_of(start, selected=(id_,), promises=promises, routes=ROUTES)).checks
    return result


@pytest.mark.parametrize(
    ("counts", "outcome"),
    [
        ((LIMIT,), Outcome.HELD),
        ((1, LIMIT), Outcome.HELD),
        ((1, 1), Outcome.VIOLATED),
        ((1,), Outcome.INCONCLUSIVE),  # once proves nothing
        ((0, 0), Outcome.INCONCLUSIVE),  # a breaker lets nobody in, and loses no slot
        ((1, 0), Outcome.INCONCLUSIVE),
        ((), Outcome.INCONCLUSIVE),
    ],
)
def test_two_probes_with_some_slots_and_not_all_accuse(
    counts: tuple[int, ...], outcome: Outcome
) -> None:
    assert judged(probed(KIND, *counts)).outcome is outcome


@pytest.mark.parametrize("before", [None, 1])
def test_free_slots_before_the_ending_prove_nothing(before: int | None) -> None:
    start = Start()
    if before is not None:
        start.held_round(f"after-{KIND}", 0, held=before, part="before")
    ended(start, KIND, 10)
    warmed(start, KIND, 15)
    for turn in (20, 30):
        start.held_round(f"after-{KIND}", turn, held=1, part="probe")
    result = judged(start)
    assert result.outcome is Outcome.INCONCLUSIVE
    assert "not all slots were occupied before" in result.reason


def then(start: Start, kind: str, at: float, *counts: int) -> Start:
    """One more ending, and probes that admit N clients."""
    ended(start, kind, at)
    warmed(start, kind, at + 5)
    for turn, count in enumerate(counts):
        start.held_round(f"after-{kind}", at + 10 * (turn + 1), held=count, part="probe")
    return start


def test_the_probe_of_another_ending_is_the_control_of_the_next() -> None:
    assert judged(then(probed("reset", LIMIT), KIND, 40, 1, 1)).outcome is Outcome.VIOLATED


CAP = 4
FOUR = Promises(cap=Cap(limit=CAP))


def four(before: int = CAP) -> Start:
    """A start of a router with four slots, of which N are in use in the first probe."""
    start = Start(cap=CAP)
    start.held_round("after-reset", 0, held=before, offered=2 * CAP, part="before")
    return start


@pytest.mark.parametrize(
    ("resets", "errors", "outcome"),
    [
        ((3, 3), (3,), Outcome.HELD),  # what was lost before is not held against it
        ((3, 3), (2, 2), Outcome.VIOLATED),
        ((4,), (3, 3), Outcome.VIOLATED),
        ((3, 3), (2, 3), Outcome.HELD),
        ((1, 1), (1, 1), Outcome.INCONCLUSIVE),  # no slot to lose that would not leave none
        ((0, 0), (1, 1), Outcome.INCONCLUSIVE),
    ],
)
def test_only_slots_lost_since_the_last_probe_count(
    resets: tuple[int, ...], errors: tuple[int, ...], outcome: Outcome
) -> None:
    start = then(four(), "reset", 20, *resets)
    then(start, KIND, 60, *errors)
    assert judged(start, promises=FOUR).outcome is outcome
    reset = Outcome.HELD if resets == (4,) else Outcome.VIOLATED
    if 0 not in resets:
        assert judged(start, "reset", FOUR).outcome is reset


def test_a_first_probe_that_is_not_full_invalidates_all_later_ones() -> None:
    start = then(four(before=3), "reset", 20, 3)
    result = judged(then(start, KIND, 60, 2, 2), promises=FOUR)
    assert (result.outcome, "not all slots were occupied" in result.reason) == (
        Outcome.INCONCLUSIVE,
        True,
    )


def test_a_second_round_of_endings_is_judged_by_the_probes_after_it() -> None:
    start = then(four(), KIND, 20, CAP)
    assert judged(then(start, KIND, 60, 3, 3), promises=FOUR).outcome is Outcome.VIOLATED


def test_a_router_that_lets_no_single_request_succeed_is_not_accused() -> None:
    result = judged(probed(KIND, 1, 1, warm=False))
    assert (result.outcome, "succeeded" in result.reason) == (Outcome.INCONCLUSIVE, True)


def test_a_breaker_that_lets_one_in_to_try_and_refuses_the_rest_is_not_accused() -> None:
    start = probed(KIND, warm=False)
    for at in (20.0, 30.0):
        number, _, _ = start.held_round(f"after-{KIND}", at, held=1, offered=1, part="probe")
        for turn in range(8):
            fields: dict[str, Any] = {"sent": at + 0.2 + turn / 20, "status": 503}
            nonce, end = start.nonce(), at + 0.21 + turn / 20
            start.client(nonce, number, outcome="refused", end=end, **fields)
    rejecting = Promises(cap=Cap(limit=LIMIT, overload="reject"))
    assert judged(start, promises=rejecting).outcome is Outcome.INCONCLUSIVE
    warmed(start, KIND, 16)  # a single request succeeded: it was no breaker
    assert judged(start, promises=rejecting).outcome is Outcome.VIOLATED


def test_a_router_that_gives_held_calls_up_is_not_accused() -> None:
    start = probed(KIND, 1, 1)
    for played in [r for r in start.observations if isinstance(r, Round) and r.part == "probe"]:
        at = (played.at_ns - BASE_NS) / 1e9
        nonce = start.nonce()
        start.call(nonce, read=at + 0.11, end=at + 0.5, ended_by="peer", peer_closed=at + 0.5)
        gone: dict[str, Any] = {"outcome": "refused", "status": 504}
        start.client(nonce, played.round, sent=at + 0.1, end=at + 0.6, **gone)
    assert judged(start).outcome is Outcome.INCONCLUSIVE


@pytest.mark.parametrize(
    ("at", "seconds", "outcome"),
    [
        (20.7, 0.3, Outcome.INCONCLUSIVE),  # in the first probe, and it takes both
        (20.7, 0.2, Outcome.VIOLATED),
        (12.0, 0.3, Outcome.VIOLATED),  # before the probes
    ],
)
def test_a_machine_that_stood_still_in_a_probe_excuses(
    at: float, seconds: float, outcome: Outcome
) -> None:
    start = probed(KIND, 1, 1)
    start.stall(at, seconds)
    assert judged(start).outcome is outcome


def test_a_call_of_somebody_else_is_no_slot_of_the_probe_before() -> None:
    start = Start()
    number, calls, nonces = start.held_round(f"after-{KIND}", 0, held=1, part="before")
    start.observations = [r for r in start.observations if not isinstance(r, Snapshot)]
    start.snapshot(number, 0.8, calls, nonces, open_=LIMIT)  # one slot, and a call that lingers
    then(start, KIND, 10, 1, 1)
    assert judged(start).outcome is Outcome.INCONCLUSIVE


@pytest.mark.parametrize("kind", KINDS)
def test_an_ending_that_did_not_happen_says_nothing(kind: str) -> None:
    start = Start()
    start.held_round(f"after-{kind}", 0, part="before")
    number = start.round(f"after-{kind}", 10, 12, part="cause")
    nonce = start.nonce()
    start.client(nonce, number, sent=10.1, end=10.2, outcome="refused", status=400)
    warmed(start, kind, 15)
    for turn in (20, 30):
        start.held_round(f"after-{kind}", turn, held=1, part="probe")
    result = judged(start, kind)
    assert result.outcome is Outcome.INCONCLUSIVE
    assert "never exercised" in result.reason


def test_an_unsettled_snapshot_does_not_accuse() -> None:
    start = Start()
    start.held_round(f"after-{KIND}", 0, part="before")
    ended(start, KIND, 10)
    warmed(start, KIND, 15)
    for turn in (20, 30):
        start.held_round(f"after-{KIND}", turn, held=1, part="probe", settled=False)
    assert judged(start).outcome is Outcome.INCONCLUSIVE


def test_no_client_waits_for_a_slot_of_a_router_that_refuses() -> None:
    id_ = "hang-up-queued"
    rejecting = Promises(cap=Cap(limit=LIMIT, overload="reject"))
    assert judged(probed(id_, 1, 1), id_, rejecting).outcome is Outcome.NOT_APPLICABLE


def test_slow_providers_are_tried_on_a_start_of_their_own() -> None:
    assert REGISTRY["slots/return-after-timeout"].start == "short-timeout"


ANSWERED: dict[str, Any] = {"read": 10.11, "end": 10.3}


@pytest.mark.parametrize("kind", KINDS)
def test_an_answer_that_was_whole_is_no_bad_ending(kind: str) -> None:
    start = Start()
    start.held_round(f"after-{kind}", 0, part="before")
    number = start.round(f"after-{kind}", 10, 12, part="cause")
    nonce = start.nonce()
    call = start.call(nonce, **ANSWERED)
    start.client(nonce, number, sent=10.1, end=10.4, text=start.whole(nonce, call))
    warmed(start, kind, 15)
    for turn in (20, 30):
        start.held_round(f"after-{kind}", turn, held=1, part="probe")
    result = judged(start, kind)
    assert (result.outcome, result.reason[:15]) == (Outcome.INCONCLUSIVE, "never exercised")


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.startswith("hang-up")])
def test_a_client_that_leaves_when_its_call_is_over_has_not_hung_up_on_it(kind: str) -> None:
    start = Start()
    start.held_round(f"after-{kind}", 0, part="before")
    number = start.round(f"after-{kind}", 10, 12, part="cause")
    nonce = start.nonce()
    start.call(nonce, first=10.2, **ANSWERED)
    left: dict[str, Any] = {"outcome": "hung_up", "hang_up": 10.4, "status": None}
    start.client(nonce, number, sent=10.1, end=10.5, **left)
    warmed(start, kind, 15)
    for turn in (20, 30):
        start.held_round(f"after-{kind}", turn, held=1, part="probe")
    assert judged(start, kind).outcome is Outcome.INCONCLUSIVE


def test_without_a_stream_there_is_nothing_to_leave_half_way() -> None:
    start = Start()
    start.round("after-error", 0, 1, part="before")
    for kind, outcome in (("hang-up-mid-stream", "not applicable"), ("error", "inconclusive")):
        id_ = f"slots/return-after-{kind}"
        start.round(f"after-{kind}", 2, 3, part="before")
        cap = Promises(cap=Cap(limit=LIMIT))
        run = run_of(start, selected=(id_,), promises=cap, routes=(route("openai", "chat"),))
        assert str(judge(run).checks[0].outcome) == outcome


@pytest.mark.parametrize(("resets", "outcome"), [(0, Outcome.VIOLATED), (1, Outcome.INCONCLUSIVE)])
def test_a_slot_that_another_ending_may_have_lost_is_not_held_against_this_one(
    resets: int, outcome: Outcome
) -> None:
    start = Start()
    start.held_round("after-cut", 0, part="before")
    ended(start, "cut", 10)
    number = max(r.round for r in start.observations if isinstance(r, Round))
    for _ in range(resets):  # an agent's first call, which is no stream
        nonce = start.nonce()
        start.call(nonce, read=10.11, end=10.2, ended_by="cut", headless=True, status=None)
        gone: dict[str, Any] = {"outcome": "refused", "status": 502, "mode": "stream"}
        start.client(nonce, number, sent=10.1, end=10.3, **gone)
    warmed(start, "cut", 15)
    for turn in (20, 30):
        start.held_round("after-cut", turn, held=1, part="probe")
    assert judged(start, "cut").outcome is outcome
