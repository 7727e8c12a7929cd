"""cancel/*: whether a disconnect reaches the provider, and which calls it ends."""

from __future__ import annotations

from typing import Any

import pytest

from routerspec.checks import REGISTRY
from routerspec.judge import judge
from routerspec.promises import Cancel, Cap, Promises
from routerspec.records.run import RouteInfo
from routerspec.verdict import CheckResult, Outcome
from tests.corpus.builder import Start, route, run_of
from tests.corpus.stories.cancel import PROMISES, control, hang_up, queue

REACHES, STAYS, SPARES = (
    "cancel/reaches-provider",
    "cancel/queued-stays-home",
    "cancel/spares-others",
)
CHAT = (route("openai"),)


def judged(
    check: str, start: Start, routes: tuple[RouteInfo, ...] = CHAT, promises: Promises = PROMISES
) -> CheckResult:
    info = run_of(start, selected=(check,), routes=routes, promises=promises)
    return judge.judge(info).checks[0]


def hang_ups(*took: float | None, **fields: Any) -> Start:
    start = Start()
    control(start, 0)
    for index, one in enumerate(took):
        hang_up(start, 2 + 3 * index, took=one, **fields)
    return start


@pytest.mark.parametrize(
    ("took", "outcome"),
    [
        ((0.002,), Outcome.HELD),
        ((0.99,), Outcome.HELD),
        ((None, None, None), Outcome.VIOLATED),
        ((1.1, 1.2, 1.5), Outcome.VIOLATED),
        ((None, None), Outcome.INCONCLUSIVE),
        ((None, None, None, 0.5), Outcome.INCONCLUSIVE),
        ((None, 0.01), Outcome.INCONCLUSIVE),
        ((), Outcome.INCONCLUSIVE),
    ],
)
def test_a_deadline_accuses_three_times_of_three(
    took: tuple[float | None, ...], outcome: Outcome
) -> None:
    result = judged(REACHES, hang_ups(*took))
    assert result.outcome is outcome, result


@pytest.mark.parametrize(("stalled", "outcome"), [(0.05, "violated"), (0.1, "inconclusive")])
def test_a_stall_of_a_tenth_of_the_deadline_takes_a_hang_up_out(
    stalled: float, outcome: str
) -> None:
    start = hang_ups(None, None, None)
    start.stall(5.3, stalled)
    assert judged(REACHES, start).outcome.value == outcome


def test_late_at_different_places_is_not_three_of_three() -> None:
    start = Start()
    control(start, 0)
    for index, part in enumerate(("non-streaming", "before-head", "between-pieces")):
        hang_up(start, 2 + 3 * index, part, took=None)
    routes = (route("openai", "chat", "stream"),)
    assert judged(REACHES, start, routes).outcome is Outcome.INCONCLUSIVE


def test_a_route_and_mode_without_a_disconnect_is_reported_as_missing() -> None:
    result = judged(REACHES, hang_ups(0.01), (route("openai", "chat", "embeddings"),))
    assert result.outcome is Outcome.INCONCLUSIVE
    assert "openai:embeddings" in result.reason


def test_a_stream_that_asks_its_provider_without_streaming_has_no_pieces_to_leave_between() -> None:
    start = Start()
    control(start, 0)
    hang_up(start, 2, "before-head")
    for index, record in enumerate(start.evidence):
        start.evidence[index] = type(record)(
            **{f: getattr(record, f) for f in record.__struct_fields__ if f != "stream"},
            stream=False,
        )
    routes = (route("openai", "stream"),)
    assert judged(REACHES, start, routes).outcome is Outcome.HELD


@pytest.mark.parametrize(
    ("fields", "outcome"),
    [
        ({"ran": 0}, Outcome.HELD),
        ({"ran": 2}, Outcome.VIOLATED),
        ({"ran": 1}, Outcome.INCONCLUSIVE),
        ({"ran": 1, "disconnects": 1}, Outcome.VIOLATED),
        ({"ran": 4, "waited": 0.9}, Outcome.INCONCLUSIVE),
        ({"ran": 0, "waited": 0.9}, Outcome.INCONCLUSIVE),
        ({"ran": 0, "disconnects": 0}, Outcome.INCONCLUSIVE),
    ],
)
def test_a_client_that_left_the_queue_a_second_before_the_release(
    fields: dict[str, Any], outcome: Outcome
) -> None:
    start = Start()
    queue(start, 0, **fields)
    result = judged(STAYS, start)
    assert result.outcome is outcome, result


def test_a_longer_promise_gives_the_queue_longer() -> None:
    start = Start()
    queue(start, 0, ran=4)
    slow = Promises(cap=Cap(limit=2), cancel=Cancel(within_s=5.0))
    assert judged(STAYS, start, promises=slow).outcome is Outcome.INCONCLUSIVE


@pytest.mark.parametrize(
    ("cap", "applies"),
    [
        (Cap(limit=2), True),
        (Cap(limit=2, overload="reject"), False),
        (Cap(limit=2, queue_limit=0), False),
        (Cap(limit=2, queue_timeout_s=0.5), False),
        (Cap(limit=2, queue_timeout_s=2.0), True),
        (None, False),
    ],
)
def test_a_queue_must_be_promised_to_be_left(cap: Cap | None, *, applies: bool) -> None:
    needs = REGISTRY[STAYS].needs
    assert (not needs(Promises(cap=cap, cancel=Cancel(within_s=1.0)))) is applies
    assert needs(Promises(cap=cap))


@pytest.mark.parametrize(("rounds", "outcome"), [(1, "inconclusive"), (2, "violated")])
def test_neighbours_are_ended_twice_or_not_at_all(rounds: int, outcome: str) -> None:
    start = hang_ups(*(0.002,) * rounds, neighbour_ends=True)
    assert judged(SPARES, start).outcome.value == outcome


def test_a_call_older_than_any_that_was_left_alone_may_have_timed_out() -> None:
    """Its upstream timeout is 1.5 s, and a client happens to leave just before."""
    start = hang_ups(0.002, 0.002, neighbour_ends=True, age=1.5)
    assert judged(SPARES, start).outcome is Outcome.INCONCLUSIVE


def test_without_a_concurrent_client_no_other_was_spared() -> None:
    start = Start()
    control(start, 0)
    assert judged(SPARES, start).outcome is Outcome.INCONCLUSIVE
