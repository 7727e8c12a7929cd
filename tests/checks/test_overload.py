"""overload/*: which clients a saturated router refuses, and how."""

from __future__ import annotations

from typing import Any

import pytest

from routerspec.checks import REGISTRY
from routerspec.judge import judge
from routerspec.limits import SLOTS_FREE
from routerspec.promises import Cap, Promises
from routerspec.verdict import CheckResult, Kind, Outcome
from tests.corpus.builder import LIMIT, Start, run_of
from tests.corpus.stories.overload import BOUNDED, REJECTING, saturated


def judged(start: Start, promises: Promises, check: str = "overload/answer") -> CheckResult:
    return judge.judge(run_of(start, selected=(check,), promises=promises)).checks[0]


def saturated_start(**fields: Any) -> Start:
    start = Start()
    saturated(start, **fields)
    return start


@pytest.mark.parametrize(
    ("promises", "fields", "outcome"),
    [
        (REJECTING, {"refused": (0.01,) * 3}, Outcome.HELD),
        (REJECTING, {"refused": (0.01,) * 3, "status": 503}, Outcome.HELD),
        (REJECTING, {"refused": (0.01,) * 3, "status": 500}, Outcome.VIOLATED),
        (REJECTING, {"refused": (0.01,), "status": 500}, Outcome.INCONCLUSIVE),
        (REJECTING, {"waiting": 3}, Outcome.VIOLATED),
        (REJECTING, {"waiting": 3, "until": 1.0}, Outcome.INCONCLUSIVE),
        (REJECTING, {"waiting": 2, "refused": (0.01,)}, Outcome.INCONCLUSIVE),
        (REJECTING, {}, Outcome.INCONCLUSIVE),
        (BOUNDED, {"refused": (0.01, 0.01, 1.1, 1.2)}, Outcome.HELD),
        (BOUNDED, {"refused": (0.01, 0.01, 0.01, 0.01)}, Outcome.VIOLATED),
        (BOUNDED, {"refused": (0.01, 0.01, 0.01, 1.01)}, Outcome.INCONCLUSIVE),
        (BOUNDED, {"refused": (0.6, 0.6, 0.6, 0.6)}, Outcome.HELD),
        (BOUNDED, {"refused": (0.01, 0.01, 0.01), "waiting": 2}, Outcome.INCONCLUSIVE),
        (BOUNDED, {"refused": (1.4,) * 5}, Outcome.HELD),
        (BOUNDED, {"refused": (1.6,) * 5}, Outcome.VIOLATED),
        (BOUNDED, {"waiting": 5}, Outcome.VIOLATED),
    ],
)
def test_a_saturated_router(promises: Promises, fields: dict[str, Any], outcome: Outcome) -> None:
    result = judged(saturated_start(**fields), promises)
    assert result.outcome is outcome, result


def test_an_untried_bound_does_not_accuse() -> None:
    promised = Cap(limit=LIMIT, queue_limit=300, queue_timeout_s=1.0)
    result = judged(saturated_start(refused=(1.2,) * 5), Promises(cap=promised))
    assert result.outcome is Outcome.HELD, result


UNTRIED = Promises(cap=Cap(limit=LIMIT, queue_limit=100, queue_timeout_s=60.0))


def test_a_queue_that_refuses_at_once_is_no_queue_however_long_its_timeout() -> None:
    """100 places for 60 s are promised, and 15 of 20 clients are refused after 0.26 s."""
    result = judged(saturated_start(refused=(0.26,) * 15, waiting=5), UNTRIED)
    assert result.outcome is Outcome.VIOLATED
    assert result.witness is not None
    assert "at least 15 of them with places left in the queue" in result.witness.sentence


def test_as_many_as_the_queue_cannot_hold_may_be_refused_at_once() -> None:
    sound = saturated_start(refused=(0.01,) * 3, waiting=100)
    assert judged(sound, UNTRIED).outcome is Outcome.HELD


def test_a_queue_without_a_stated_timeout_may_refuse_when_it_likes() -> None:
    promises = Promises(cap=Cap(limit=LIMIT, queue_limit=100))
    result = judged(saturated_start(refused=(0.26,) * 15, waiting=5), promises)
    assert result.outcome is Outcome.HELD


def test_a_free_slot_does_not_accuse() -> None:
    """Its last snapshot names one call: a slot was free, and the refusal may have another cause."""
    start = saturated_start(refused=(0.01,) * 3, status=500)
    start.snapshot(1, 2.95, [], [])
    result = judged(start, REJECTING)
    assert (result.outcome, result.witness) == (Outcome.INCONCLUSIVE, None)


def test_a_client_that_a_provider_saw_is_not_read() -> None:
    """An agent that was refused its second call had one of the slots."""
    start = saturated_start(refused=(0.01,) * 3)
    for nonce in (LIMIT + 1, LIMIT + 2, LIMIT + 3):
        start.call(nonce, read=0.201, end=0.205)
    assert judged(start, REJECTING).numbers["refused"] == 0


def test_a_loud_moment_takes_the_timeout_back() -> None:
    start = saturated_start(refused=(1.6,) * 5)
    start.stall(1.0, 0.2)
    assert judged(start, BOUNDED).outcome is Outcome.INCONCLUSIVE


@pytest.mark.parametrize(
    ("cap", "reason"),
    [
        (None, "no cap is promised"),
        (Cap(limit=2), "a queue is promised, without a bound or a timeout"),
        (Cap(limit=2, queue_timeout_s=30), "a queue timeout of more than 5 s is not waited for"),
        (Cap(limit=2, queue_limit=300), "a queue of more than 256 is not filled"),
        (
            Cap(limit=2, queue_limit=300, queue_timeout_s=30),
            "a queue of more than 256 is not filled, "
            "a queue timeout of more than 5 s is not waited for",
        ),
        (Cap(limit=2, queue_limit=300, queue_timeout_s=2), ""),
        (Cap(limit=2, queue_timeout_s=30, queue_limit=1), ""),
        (Cap(limit=2, overload="reject"), ""),
    ],
)
def test_only_promises_are_judged(cap: Cap | None, reason: str) -> None:
    for name in ("answer", "retry-after", "json-error"):
        assert REGISTRY[f"overload/{name}"].needs(Promises(cap=cap)) == reason


@pytest.mark.parametrize(
    ("check", "lacking"),
    [("overload/retry-after", {"retry_after": ""}), ("overload/json-error", {"json_error": False})],
)
def test_the_recommended_parts_of_a_refusal(check: str, lacking: dict[str, Any]) -> None:
    bare = judged(saturated_start(refused=(0.01,) * 3, **lacking), REJECTING, check)
    assert (bare.outcome, bare.kind) == (Outcome.VIOLATED, Kind.SHOULD)
    assert judged(saturated_start(refused=(0.01,) * 3), REJECTING, check).outcome is Outcome.HELD
    assert (
        judged(saturated_start(refused=(0.01,)), REJECTING, check).outcome is Outcome.INCONCLUSIVE
    )


@pytest.mark.parametrize(
    ("fields", "outcome"),
    [
        ({"waiting": 3}, Outcome.HELD),
        ({"waiting": 1}, Outcome.INCONCLUSIVE),
        ({"refused": (0.01, 0.3)}, Outcome.VIOLATED),
        ({"refused": (0.01,), "waiting": 3}, Outcome.INCONCLUSIVE),
        ({"refused": (0.01, 0.01), "status": 500}, Outcome.VIOLATED),
        ({}, Outcome.INCONCLUSIVE),
    ],
)
def test_an_unbounded_queue_refuses_no_client(fields: dict[str, Any], outcome: Outcome) -> None:
    promises = Promises(cap=Cap(limit=LIMIT))
    result = judged(saturated_start(**fields), promises, "overload/queued")
    assert result.outcome is outcome, result


@pytest.mark.parametrize(
    "cap",
    [
        Cap(limit=LIMIT, overload="reject"),
        Cap(limit=LIMIT, queue_limit=1),
        Cap(limit=LIMIT, queue_timeout_s=9.0),
    ],
)
def test_a_queue_that_may_refuse_need_not_keep_every_client(cap: Cap) -> None:
    result = judged(saturated_start(refused=(0.01,) * 3), Promises(cap=cap), "overload/queued")
    assert result.outcome is Outcome.NOT_APPLICABLE


def asked_again(start: Start, refused: int, status: int = 429) -> Start:
    """Six requests one after the other once all slots are free, the last ``refused`` in vain."""
    number = start.round("overload", 6, 9, route="openai", mode="chat", part=SLOTS_FREE)
    for index in range(6):
        at = 6.2 + index / 10
        if index < 6 - refused:
            start.exchange(number, sent=at, end=at + 0.02)
        else:
            start.client(start.nonce(), number, sent=at, end=at + 0.01, outcome="refused",
                         status=status)  # fmt: skip
    return start


@pytest.mark.parametrize(
    ("check", "promises"),
    [("overload/queued", Promises(cap=Cap(limit=LIMIT))), ("overload/answer", UNTRIED)],
)
def test_a_limit_of_requests_is_told_apart_from_a_queue(check: str, promises: Promises) -> None:
    """Both refuse while all slots are occupied; only one does with all of them free."""

    def found(refused: int, status: int = 429) -> CheckResult:
        start = asked_again(saturated_start(refused=(0.01,) * 3, waiting=2), refused, status)
        return judged(start, promises, check)

    assert found(0).outcome is Outcome.VIOLATED
    assert found(1, 500).outcome is Outcome.VIOLATED
    assert found(1).outcome is Outcome.INCONCLUSIVE
    assert "another limit than the cap" in found(1).reason


def test_a_status_that_is_not_promised_may_be_that_of_another_limit() -> None:
    promises = Promises(cap=Cap(limit=LIMIT, queue_limit=2, reject_status=(503,)))
    start = saturated_start(refused=(0.01,) * 3)
    assert judged(start, promises).outcome is Outcome.VIOLATED
    assert judged(asked_again(start, 1), promises).outcome is Outcome.INCONCLUSIVE
