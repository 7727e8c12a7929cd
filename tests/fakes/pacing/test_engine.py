"""The engine: slots, queue, loads and evictions, without a socket or a clock."""

from __future__ import annotations

import random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from fake_providers.pacing.jobs import FOREVER, Job
from fake_providers.pacing.profiles import PROFILES
from fake_providers.pacing.scheduler import SECOND, Engine

GPU = PROFILES["ollama-gpu-8b"]
LOAD = 6 * SECOND


def job(model: str = "a", **more: object) -> Job:
    made = Job(model=model, load_ns=LOAD)
    for name, value in more.items():
        setattr(made, name, value)
    return made


def warm(engine: Engine, *models: str, now: int = 0) -> int:
    """Load ``models`` one after another; the time at which all are idle."""
    for model in models:
        one = job(model)
        engine.arrive(one, now)
        now += LOAD
        engine.tick(now)
        assert one.phase == "running"
        engine.leave(one, now)
    return now


def arrived(engine: Engine, now: int, *jobs: Job) -> tuple[Job, ...]:
    for each in jobs:
        engine.arrive(each, now)
    return jobs


def phases(*jobs: Job) -> list[str]:
    return [each.phase for each in jobs]


# -- slots -----------------------------------------------------------------------------------


def test_a_slot_is_handed_over_first_come_first_served() -> None:
    engine = Engine(GPU)
    now = warm(engine, "a")
    one, two, three = arrived(engine, now, job(), job(), job())
    assert phases(one, two, three) == ["running", "waiting", "waiting"]
    engine.leave(one, now + 5)
    assert phases(two, three) == ["running", "waiting"]
    assert two.slot_ns == now + 5
    assert two.loaded_ns == two.arrived_ns == now
    engine.leave(three, now + 6)
    engine.leave(two, now + 7)
    assert engine.resident()[0].idle


def test_whoever_leaves_the_queue_costs_nobody_a_turn() -> None:
    engine = Engine(GPU, slots=2)
    now = warm(engine, "a")
    jobs = arrived(engine, now, *(job() for _ in range(5)))
    engine.leave(jobs[2], now + 1)
    engine.leave(jobs[0], now + 2)
    assert phases(*jobs) == ["over", "running", "over", "running", "waiting"]


def test_each_model_has_slots_of_its_own_and_a_model_may_have_fewer() -> None:
    engine = Engine(GPU, slots=2)
    now = warm(engine, "a")
    embeds = arrived(engine, now, *(job("e", slots=1) for _ in range(2)))
    engine.tick(now + LOAD)
    chats = arrived(engine, now + LOAD, *(job() for _ in range(3)))
    assert phases(*embeds, *chats) == ["running", "waiting", "running", "running", "waiting"]


def test_a_hosted_server_lets_everybody_in() -> None:
    engine = Engine(PROFILES["hosted-fast"])
    jobs = arrived(engine, 0, *(job(load_ns=0) for _ in range(2000)))
    assert set(phases(*jobs)) == {"running"}
    assert engine.due() is None


# -- loads -----------------------------------------------------------------------------------


def test_one_load_at_a_time_and_those_behind_wait_whatever_their_model() -> None:
    engine = Engine(GPU)
    now = warm(engine, "warm")
    a, b, a2, passing = arrived(engine, now, job("a"), job("b"), job("a"), job("warm"))
    assert phases(a, b, a2, passing) == ["loading", "queued", "queued", "running"]
    engine.tick(now + LOAD)
    assert phases(a, b, a2) == ["running", "loading", "queued"]
    engine.tick(now + 2 * LOAD)
    assert phases(b, a2) == ["running", "waiting"]
    assert a2.loaded_ns == now + 2 * LOAD


def test_a_load_is_its_first_requesters_and_ends_with_it() -> None:
    engine = Engine(GPU)
    owner, next_one = arrived(engine, 0, job(), job())
    engine.leave(owner, LOAD - 1)
    assert phases(owner, next_one) == ["over", "loading"]
    assert engine.due() == LOAD - 1 + LOAD
    engine.tick(LOAD - 1 + LOAD)
    assert phases(next_one) == ["running"]
    assert next_one.loaded_ns == 2 * LOAD - 1


def test_impatient_clients_can_keep_a_model_cold_for_ever() -> None:
    engine = Engine(GPU)
    now = 0
    for _ in range(20):
        one = job()
        engine.arrive(one, now)
        now += LOAD - 1
        engine.tick(now)
        engine.leave(one, now)
    assert engine.resident() == ()


def test_a_load_that_is_looked_at_late_still_ended_when_it_ended() -> None:
    engine = Engine(GPU)
    (one,) = arrived(engine, 0, job())
    engine.tick(LOAD + 12345)
    assert (one.loaded_ns, one.slot_ns) == (LOAD, LOAD)


def test_other_options_load_the_model_anew_once_it_is_idle() -> None:
    engine = Engine(GPU)
    now = warm(engine, "a")
    busy, other = arrived(engine, now, job(), job(options=(("num_ctx", 8192),)))
    assert phases(busy, other) == ["running", "queued"]
    engine.leave(busy, now + 5)
    assert phases(other) == ["loading"]
    engine.tick(now + 5 + LOAD)
    assert phases(other) == ["running"]
    assert [runner.options for runner in engine.resident()] == [(("num_ctx", 8192),)]


# -- the queue's bound -----------------------------------------------------------------------


def test_as_coded_the_bound_is_for_calls_whose_model_is_not_loaded() -> None:
    engine = Engine(GPU, most_queued=2)
    now = warm(engine, "warm")
    cold = arrived(engine, now, *(job(f"cold{number}") for number in range(5)))
    assert phases(*cold) == ["loading", "queued", "queued", "refused", "refused"]
    for_warm = arrived(engine, now, *(job("warm") for _ in range(100)))
    assert phases(*for_warm) == ["running"] + ["waiting"] * 99


def test_as_documented_the_bound_is_for_all_that_wait() -> None:
    engine = Engine(GPU, most_queued=3, policy="as_documented")
    now = warm(engine, "warm")
    jobs = arrived(engine, now, *(job("warm") for _ in range(3)), job("x"), job("y"), job("z"))
    assert phases(*jobs) == ["running", "waiting", "waiting", "loading", "queued", "refused"]
    (one,) = arrived(engine, now, job("warm"))
    assert one.phase == "refused"
    engine.leave(one, now)
    engine.leave(jobs[1], now)
    (one,) = arrived(engine, now, job("warm"))
    assert one.phase == "waiting"


# -- evictions -------------------------------------------------------------------------------


def test_an_idle_model_is_unloaded_after_its_keep_alive() -> None:
    engine = Engine(GPU, keep_alive_ns=10 * SECOND)
    now = warm(engine, "a")
    assert engine.due() == now + 10 * SECOND
    engine.tick(now + 10 * SECOND - 1)
    assert len(engine.resident()) == 1
    (one,) = arrived(engine, now + 10 * SECOND - 1, job())
    engine.tick(now + 100 * SECOND)
    assert len(engine.resident()) == 1
    engine.leave(one, now + 100 * SECOND)
    engine.tick(now + 110 * SECOND)
    assert engine.resident() == ()


def test_a_call_may_bring_a_keep_alive_of_its_own() -> None:
    engine = Engine(GPU)
    (stays,) = arrived(engine, 0, job(keep_alive_ns=FOREVER))
    engine.tick(LOAD)
    engine.leave(stays, LOAD)
    assert engine.due() is None
    (goes,) = arrived(engine, LOAD, job(keep_alive_ns=0))
    engine.leave(goes, LOAD + 1)
    assert engine.resident() == ()


def test_a_victim_that_is_busy_is_served_to_its_end_and_blocks_all_behind_it() -> None:
    engine = Engine(GPU, most_loaded=1)
    now = warm(engine, "a")
    busy, late, b, c = arrived(engine, now, job(), job(), job("b"), job("c"))
    assert phases(busy, late, b, c) == ["running", "waiting", "queued", "queued"]
    engine.leave(busy, now + 5)
    assert phases(late, b) == ["running", "queued"]
    engine.leave(late, now + 6)
    assert phases(b, c) == ["loading", "queued"]
    assert engine.resident() == ()


def test_an_idle_victim_makes_room_at_once() -> None:
    engine = Engine(GPU, most_loaded=2)
    now = warm(engine, "a", "b")
    (busy,) = arrived(engine, now, job("a"))
    (one,) = arrived(engine, now, job("c"))
    assert phases(busy, one) == ["running", "loading"]
    assert [runner.model for runner in engine.resident()] == ["a"]


def test_unloading_waits_for_what_is_running() -> None:
    engine = Engine(GPU)
    now = warm(engine, "a")
    (busy,) = arrived(engine, now, job())
    engine.unload("a", now)
    assert len(engine.resident()) == 1
    engine.leave(busy, now + 1)
    assert engine.resident() == ()


# -- company ---------------------------------------------------------------------------------


def test_a_prompt_holds_the_others_up_by_all_it_takes_and_no_gap_by_more_than_a_chunk() -> None:
    engine = Engine(GPU, slots=4)
    now = warm(engine, "a")
    (stream,) = arrived(engine, now, job())
    gap = 16_000_000
    assert engine.gap_ns(stream, gap) == gap
    arrived(engine, now, job(prompt_ns=100_000_000))
    together = round(gap * GPU.slowdown(2))
    stalls = [engine.gap_ns(stream, gap) - together for _ in range(4)]
    assert stalls == [44_000_000, 44_000_000, 12_000_000, 0]


def test_a_stream_in_a_full_server_spikes_as_published() -> None:
    engine = Engine(GPU, slots=4)
    now = warm(engine, "a")
    (stream,) = arrived(engine, now, job())
    alone = engine.gap_ns(stream, 16_000_000)
    arrived(engine, now, job(prompt_ns=10 * SECOND))
    # 60 ms, and what the company costs besides.
    spike = engine.gap_ns(stream, 16_000_000)
    assert spike - round(alone * (GPU.slowdown(2) - 1)) == 60_000_000


# -- properties ------------------------------------------------------------------------------


class Scheduler(RuleBasedStateMachine):
    """Arrivals, ends and leavings in any order, against a simple account of what must be so."""

    def __init__(self) -> None:
        super().__init__()
        self.slots, self.most_loaded, self.most_queued = 2, 2, 3
        self.engine = Engine(
            GPU,
            slots=self.slots,
            most_loaded=self.most_loaded,
            most_queued=self.most_queued,
            keep_alive_ns=20 * SECOND,
        )
        self.now = 0
        self.jobs: list[Job] = []
        self.told: list[Job] = []

    @rule(model=st.sampled_from("abcd"), keep=st.sampled_from([None, 0, SECOND, FOREVER]))
    def arrive(self, model: str, keep: int | None) -> None:
        self.now += 1
        one = job(model, keep_alive_ns=keep)
        self.jobs.append(one)
        self.engine.arrive(one, self.now)
        if one.phase == "refused":
            assert sum(each.phase == "queued" for each in self.jobs) >= self.most_queued

    @precondition(lambda self: self.jobs)
    @rule(chance=st.randoms(use_true_random=False))
    def leave(self, chance: random.Random) -> None:
        self.now += 1
        one = chance.choice(self.jobs)
        self.jobs.remove(one)
        self.engine.leave(one, self.now)
        assert one.phase == "over"

    @rule(seconds=st.sampled_from([0.001, 1.0, 3.0, 6.0, 25.0]))
    def pass_time(self, seconds: float) -> None:
        self.now += round(seconds * SECOND)
        self.engine.tick(self.now)

    @invariant()
    def nobody_has_more_than_the_slots(self) -> None:
        for model in "abcd":
            running = [e for e in self.jobs if e.model == model and e.phase == "running"]
            assert len(running) <= self.slots

    @invariant()
    def no_slot_is_lost(self) -> None:
        for model in "abcd":
            here = [each.phase for each in self.jobs if each.model == model]
            if "waiting" in here:
                assert here.count("running") == self.slots

    @invariant()
    def first_come_first_served(self) -> None:
        """Of one model's, nobody waits for a slot who got the model before one that runs.

        A call that finds its model loaded passes by those that are queued for it: as coded.
        """
        for model in "abcd":
            here = [each for each in self.jobs if each.model == model]
            here = [each for each in here if each.phase in {"running", "waiting"}]
            here.sort(key=lambda each: each.loaded_ns)  # those of one moment: as they arrived
            order = [each.phase for each in here]
            assert order == sorted(order)
        queued = [each for each in self.jobs if each.phase in {"loading", "queued"}]
        assert queued == list(self.engine.unserved())

    @invariant()
    def one_load_at_a_time_and_never_an_idle_scheduler(self) -> None:
        loading = [each for each in self.jobs if each.phase == "loading"]
        assert len(loading) <= 1
        if any(each.phase == "queued" for each in self.jobs) and not loading:
            # It waits for a victim that is busy.
            assert any(not runner.idle for runner in self.engine.resident())
        if loading:
            due = self.engine.due()
            assert due is not None
            assert self.now < due

    @invariant()
    def no_more_models_than_fit(self) -> None:
        loading = any(each.phase == "loading" for each in self.jobs)
        assert len(self.engine.resident()) + loading <= self.most_loaded

    @invariant()
    def who_is_let_in_is_told(self) -> None:
        """A driver that looks at ``changed`` alone knows everybody's turn."""
        told, self.engine.changed = self.engine.changed, []
        self.told = [each for each in [*self.told, *told] if each.phase == "running"]
        running = {id(each) for each in self.jobs if each.phase == "running"}
        assert running == {id(each) for each in self.told}

    def teardown(self) -> None:
        """When all have left, all that is left is idle, and no load goes on."""
        for one in self.jobs:
            self.engine.leave(one, self.now)
        assert list(self.engine.unserved()) == []
        assert all(runner.idle for runner in self.engine.resident())
        one = job("fresh")
        self.engine.arrive(one, self.now)
        self.engine.tick(self.now + LOAD)
        assert one.phase == "running"


Scheduler.TestCase.settings = settings(
    max_examples=100, stateful_step_count=40, deadline=None, derandomize=True
)
TestScheduler = Scheduler.TestCase


@pytest.mark.parametrize("seed", range(5))
def test_everybody_is_served_in_the_end(seed: int) -> None:
    """With patient clients and no new ones, nobody starves."""
    chance = random.Random(seed)
    engine = Engine(GPU, slots=2, most_loaded=2)
    jobs = [job(chance.choice("abcde")) for _ in range(200)]
    now = 0
    for one in jobs:
        engine.arrive(one, now)
        now += chance.randrange(SECOND)
    served = 0
    while served < len(jobs):
        running = [one for one in jobs if one.phase == "running"]
        if running:
            engine.leave(chance.choice(running), now)
            served += 1
        now += SECOND
        engine.tick(now)
        assert now < 10_000 * SECOND
