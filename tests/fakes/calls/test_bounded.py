"""What the fakes remember of requests is bounded, however many there are."""

from __future__ import annotations

import tracemalloc
from hashlib import blake2b
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from fake_providers.calls.attempts import Attempts
from fake_providers.calls.gates import Gates
from fake_providers.calls.metrics import MAX_MODELS, Metrics
from fake_providers.records.clock import Clock

CHAT = "/v1/chat/completions"


def hash_of(number: int) -> str:
    return blake2b(number.to_bytes(8, "big"), digest_size=8).hexdigest()


def test_many_bodies_take_no_more_memory_than_the_first_few() -> None:
    bodies, max_young = 40_000, 1024
    attempts = Attempts(max_young)
    tracemalloc.start()
    try:
        for number in range(bodies):
            assert attempts.count(CHAT, hash_of(number)) == 1
        size, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(attempts) <= 2 * max_young
    assert attempts.forgotten + len(attempts) == bodies
    assert size < 200 * 2 * max_young
    assert attempts.count(CHAT, hash_of(bodies - 1)) == 2
    assert attempts.count(CHAT, hash_of(bodies - max_young)) == 2
    assert attempts.count(CHAT, hash_of(0)) == 1


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 20)), max_size=200))
def test_a_body_is_counted_exactly_while_it_is_remembered(seen: list[tuple[str, int]]) -> None:
    attempts, exact = Attempts(max_young=8), dict[tuple[str, int], int]()
    order: list[tuple[str, int]] = []
    for key in seen:
        exact[key] = exact.get(key, 0) + 1
        since = order[len(order) - order[::-1].index(key) :] if key in order else order
        count = attempts.count(key[0], hash_of(key[1]))
        if len(set(since)) < 8:
            assert count == exact[key]
        assert 1 <= count <= exact[key]
        assert len(attempts) <= 16
        exact[key] = count
        order.append(key)


class Call:
    """As much of a call as a gate needs."""

    def __init__(self, gate: str) -> None:
        self.gate = gate
        self.held_at = ""
        self.held_ns: int | None = None
        self.let_go_ns: int | None = None
        self.exchange: Any = self
        self.disconnected = False

    async def wait(self) -> None:
        await _pause()

    def wake(self) -> None:
        pass


class _pause:  # noqa: N801 - awaited
    def __await__(self) -> Any:
        yield


def test_gates_where_nobody_waits_are_forgotten() -> None:
    gates = Gates(Clock())
    for number in range(1000):
        call: Any = Call(f"g{number}")
        holding = gates.hold(call, "head")
        holding.send(None)
        assert [one.gate for one in gates.held()] == [call.gate]
        if number % 2:
            gates.release(call.gate, 1)
        else:
            call.disconnected = True
            gates.remove(call)
        holding.close()
    assert not gates._waiting


def test_invented_models_leave_bounded_metrics() -> None:
    metrics = Metrics(("openai",))
    for number in range(3000):
        metrics.begin("openai", CHAT, f"m{number}")
        metrics.end("openai", CHAT, f"m{number}", 404, "fake")
    assert len(metrics.models) <= MAX_MODELS + 1
    assert len(metrics._levels) <= MAX_MODELS
