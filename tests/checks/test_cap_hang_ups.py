"""cap/hang-ups: every phase in which clients leave, by what was seen of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from fake_providers.records.evidence import Call
from routerspec.judge.judge import judge
from routerspec.limits import LEFT_STREAM
from routerspec.promises import Cap, Promises
from routerspec.records.observations import Observation, Snapshot
from routerspec.verdict import CheckResult, Outcome
from tests.corpus.builder import LIMIT, Start, ns, route, run_of
from tests.corpus.stories.limits import SENT, left_in

PHASES = tuple(SENT)


def judged(start: Start, cap: Cap | None = None, routes: Any = None) -> CheckResult:
    promises = Promises(cap=cap or Cap(limit=LIMIT))
    routes = routes or (route("openai", "stream"),)
    run = run_of(start, selected=("cap/hang-ups",), promises=promises, routes=routes)
    (result,) = judge(run).checks
    return result


def every_phase(but: str = "", play: Callable[[Start], None] | None = None, **fields: Any) -> Start:
    """All phases of a sound router; ``but`` one with other fields, or played by ``play``."""
    start = Start()
    for number, phase in enumerate(LEFT_STREAM):
        if phase == but and play is not None:
            play(start)
        else:
            left_in(start, 10 * number, phase, **(fields if phase == but else {}))
    return start


def test_a_sound_router_is_held_in_the_phases_that_are_named() -> None:
    result = judged(every_phase())
    assert result.outcome is Outcome.HELD
    assert all(phase in result.summary for phase in LEFT_STREAM)
    assert {result.numbers[f"left {phase}"] for phase in LEFT_STREAM} == {1}


@pytest.mark.parametrize("phase", PHASES)
def test_calls_that_run_on_beside_new_ones_are_a_violation_in_each_phase(phase: str) -> None:
    result = judged(every_phase(phase, closed=False))
    assert result.outcome is Outcome.VIOLATED
    assert f"openai:stream:{phase}" in result.summary
    assert result.numbers["openai:stream"] == 2 * LIMIT


@pytest.mark.parametrize("phase", PHASES)
def test_calls_that_run_on_and_keep_their_slots_are_sound(phase: str) -> None:
    assert judged(every_phase(phase, closed=False, fill=0)).outcome is Outcome.HELD


@pytest.mark.parametrize("phase", LEFT_STREAM)
def test_a_phase_that_was_not_played_is_not_held(phase: str) -> None:
    result = judged(every_phase(phase, play=lambda _: None))
    assert result.outcome is Outcome.INCONCLUSIVE
    assert result.reason == f"never tried (openai:stream:{phase})"
    assert f"left {phase}" not in result.numbers


@pytest.mark.parametrize("phase", PHASES)
def test_not_all_calls_were_open_as_their_clients_left(phase: str) -> None:
    result = judged(every_phase(phase, leave=LIMIT - 1))
    assert result.outcome is Outcome.INCONCLUSIVE
    assert f"openai:stream:{phase}" in result.reason


@pytest.mark.parametrize("phase", PHASES)
def test_slots_that_were_not_occupied_afterwards_prove_nothing(phase: str) -> None:
    result = judged(every_phase(phase, fill=LIMIT - 1))
    assert result.outcome is Outcome.INCONCLUSIVE
    assert f"at most {LIMIT - 1} of {LIMIT} slots" in result.reason


def test_clients_that_left_before_their_piece_came_were_in_another_phase() -> None:
    result = judged(every_phase("after-piece-1", leave_at=0.14))
    assert result.outcome is Outcome.INCONCLUSIVE
    assert "0 clients disconnected there" in result.reason


def test_a_call_that_ran_on_had_sent_no_more_when_its_client_left() -> None:
    """All eight pieces had come; the router reads the other five for nobody, once released."""
    start = every_phase("after-piece-n", closed=False, fill=0, leave_at=0.4)
    left = {
        record.nonce: index
        for index, record in enumerate(start.observations)
        if isinstance(record, Observation) and record.hang_up_ns == ns(40.4)
    }
    for nonce, index in left.items():
        start.observations[index] = msgspec.structs.replace(start.observations[index], pieces=8)
        for at, call in enumerate(start.evidence):
            if isinstance(call, Call) and nonce in call.nonces:
                start.evidence[at] = msgspec.structs.replace(call, pieces=13)
    assert len(left) == LIMIT
    assert judged(start).outcome is Outcome.HELD


def test_calls_that_still_send_are_named_by_no_snapshot() -> None:
    """One of a client that left may still run beside those that are held."""
    start = every_phase()
    for index, record in enumerate(start.observations):
        if isinstance(record, Snapshot):
            more = {"openai": len(record.held) + 1}
            start.observations[index] = msgspec.structs.replace(record, open=more)
    assert judged(start).outcome is Outcome.INCONCLUSIVE


def test_a_router_that_rejects_has_no_queue_to_leave() -> None:
    start = every_phase("queued", play=lambda _: None)
    assert judged(start, Cap(limit=LIMIT, overload="reject")).outcome is Outcome.HELD
    assert judged(start, Cap(limit=LIMIT, queue_limit=0)).outcome is Outcome.HELD


def test_a_route_that_calls_its_provider_without_streaming_has_no_pieces() -> None:
    start = Start()
    for number, phase in enumerate(LEFT_STREAM):
        if phase in ("queued", "before-head", "after-head"):
            left_in(start, 10 * number, phase, stream=False)
        else:
            round_ = start.round(
                "hang-ups", 10 * number, 10 * number + 6, route="openai", mode="stream", part=phase
            )
            start.exchange(round_, sent=10 * number + 0.1, end=10 * number + 0.3, mode="stream")
    assert judged(start).outcome is Outcome.HELD
