"""The scheduler: slots, queue, loads and evictions, without a socket or a clock."""

from __future__ import annotations

import random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from fake_providers.pacing.jobs import FOREVER, Job
from fake_providers.pacing.profiles import PROFILES
from fake_providers.pacing.scheduler import SECOND, Scheduler

GPU = PROFILES["ollama-gpu-8b"]
LOAD = 6 * SECOND


def job(model: str = "a", **more: object) -> Job:
    made = Job(model=model, load_ns=LOAD)
    for name, value in more.items():
        setattr(made, name, value)
    return made


def warm(scheduler: Scheduler, *models: str, now: int = 0) -> int:
    """Load ``models`` one after another; the time at which all are idle."""
    for model in models:
        one = job(model)
        scheduler.arrive(one, now)
        now += LOAD
        scheduler.tick(now)
        assert one.phase == "running"
        scheduler.leave(one, now)
    return now


def arrived(scheduler: Scheduler, now: int, *jobs: Job) -> tuple[Job, ...]:
    for each in jobs:
        scheduler.arrive(each, now)
    return jobs


def phases(*jobs: Job) -> list[str]:
    return [each.phase for each in jobs]


# -- slots -----------------------------------------------------------------------------------


def test_a_slot_is_handed_over_first_come_first_served() -> None:
    scheduler = Scheduler(GPU)
    now = warm(scheduler, "a")
    one, two, three = arrived(scheduler, now, job(), job(), job())
    assert phases(one, two, three) == ["running", "waiting", "waiting"]
    scheduler.leave(one, now + 5)
    assert phases(two, three) == ["running", "waiting"]
    assert two.slot_ns == now + 5
    assert two.loaded_ns == two.arrived_ns == now
    scheduler.leave(three, now + 6)
    scheduler.leave(two, now + 7)
    assert scheduler.resident()[0].idle


def test_leaving_the_queue_delays_no_other_job() -> None:
    scheduler = Scheduler(GPU, slots=2)
    now = warm(scheduler, "a")
    jobs = arrived(scheduler, now, *(job() for _ in range(5)))
    scheduler.leave(jobs[2], now + 1)
    scheduler.leave(jobs[0], now + 2)
    assert phases(*jobs) == ["over", "running", "over", "running", "waiting"]


def test_each_model_has_slots_of_its_own_and_a_model_may_have_fewer() -> None:
    scheduler = Scheduler(GPU, slots=2)
    now = warm(scheduler, "a")
    embeds = arrived(scheduler, now, *(job("e", slots=1) for _ in range(2)))
    scheduler.tick(now + LOAD)
    chats = arrived(scheduler, now + LOAD, *(job() for _ in range(3)))
    assert phases(*embeds, *chats) == ["running", "waiting", "running", "running", "waiting"]


def test_a_hosted_server_lets_everybody_in() -> None:
    scheduler = Scheduler(PROFILES["hosted-fast"])
    jobs = arrived(scheduler, 0, *(job(load_ns=0) for _ in range(2000)))
    assert set(phases(*jobs)) == {"running"}
    assert scheduler.due() is None


# -- loads -----------------------------------------------------------------------------------


def test_one_load_at_a_time_and_those_behind_wait_whatever_their_model() -> None:
    scheduler = Scheduler(GPU)
    now = warm(scheduler, "warm")
    a, b, a2, passing = arrived(scheduler, now, job("a"), job("b"), job("a"), job("warm"))
    assert phases(a, b, a2, passing) == ["loading", "queued", "queued", "running"]
    scheduler.tick(now + LOAD)
    assert phases(a, b, a2) == ["running", "loading", "queued"]
    scheduler.tick(now + 2 * LOAD)
    assert phases(b, a2) == ["running", "waiting"]
    assert a2.loaded_ns == now + 2 * LOAD


def test_a_load_is_its_first_requesters_and_ends_with_it() -> None:
    scheduler = Scheduler(GPU)
    owner, next_one = arrived(scheduler, 0, job(), job())
    scheduler.leave(owner, LOAD - 1)
    assert phases(owner, next_one) == ["over", "loading"]
    assert scheduler.due() == LOAD - 1 + LOAD
    scheduler.tick(LOAD - 1 + LOAD)
    assert phases(next_one) == ["running"]
    assert next_one.loaded_ns == 2 * LOAD - 1


def test_impatient_clients_can_keep_a_model_cold_for_ever() -> None:
    scheduler = Scheduler(GPU)
    now = 0
    for _ in range(20):
        one = job()
        scheduler.arrive(one, now)
        now += LOAD - 1
        scheduler.tick(now)
        scheduler.leave(one, now)
    assert scheduler.resident() == ()


def test_a_load_that_is_polled_late_keeps_its_end_time() -> None:
    scheduler = Scheduler(GPU)
    (one,) = arrived(scheduler, 0, job())
    scheduler.tick(LOAD + 12345)
    assert (one.loaded_ns, one.slot_ns) == (LOAD, LOAD)


def test_other_options_load_the_model_anew_once_it_is_idle() -> None:
    scheduler = Scheduler(GPU)
    now = warm(scheduler, "a")
    busy, other = arrived(scheduler, now, job(), job(options=(("num_ctx", 8192),)))
    assert phases(busy, other) == ["running", "queued"]
    scheduler.leave(busy, now + 5)
    assert phases(other) == ["loading"]
    scheduler.tick(now + 5 + LOAD)
    assert phases(other) == ["running"]
    assert [runner.options for runner in scheduler.resident()] == [(("num_ctx", 8192),)]


# -- the queue's bound -----------------------------------------------------------------------


def test_as_coded_the_bound_is_for_calls_whose_model_is_not_loaded() -> None:
    scheduler = Scheduler(GPU, max_queued=2)
    now = warm(scheduler, "warm")
    cold = arrived(scheduler, now, *(job(f"cold{number}") for number in range(5)))
    assert phases(*cold) == ["loading", "queued", "queued", "refused", "refused"]
    for_warm = arrived(scheduler, now, *(job("warm") for _ in range(100)))
    assert phases(*for_warm) == ["running"] + ["waiting"] * 99


def test_as_documented_the_bound_is_for_all_that_wait() -> None:
    scheduler = Scheduler(GPU, max_queued=3, policy="as_documented")
    now = warm(scheduler, "warm")
    jobs = arrived(scheduler, now, *(job("warm") for _ in range(3)), job("x"), job("y"), job("z"))
    assert phases(*jobs) == ["running", "waiting", "waiting", "loading", "queued", "refused"]
    (one,) = arrived(scheduler, now, job("warm"))
    assert one.phase == "refused"
    scheduler.leave(one, now)
    scheduler.leave(jobs[1], now)
    (one,) = arrived(scheduler, now, job("warm"))
    assert one.phase == "waiting"


# -- evictions -------------------------------------------------------------------------------


def test_an_idle_model_is_unloaded_after_its_keep_alive() -> None:
    scheduler = Scheduler(GPU, keep_alive_ns=10 * SECOND)
    now = warm(scheduler, "a")
    assert scheduler.due() == now + 10 * SECOND
    scheduler.tick(now + 10 * SECOND - 1)
    assert len(scheduler.resident()) == 1
    (one,) = arrived(scheduler, now + 10 * SECOND - 1, job())
    scheduler.tick(now + 100 * SECOND)
    assert len(scheduler.resident()) == 1
    scheduler.leave(one, now + 100 * SECOND)
    scheduler.tick(now + 110 * SECOND)
    assert scheduler.resident() == ()


def test_a_call_may_bring_a_keep_alive_of_its_own() -> None:
    scheduler = Scheduler(GPU)
    (stays,) = arrived(scheduler, 0, job(keep_alive_ns=FOREVER))
    scheduler.tick(LOAD)
    scheduler.leave(stays, LOAD)
    assert scheduler.due() is None
    (goes,) = arrived(scheduler, LOAD, job(keep_alive_ns=0))
    scheduler.leave(goes, LOAD + 1)
    assert scheduler.resident() == ()


def test_a_victim_that_is_busy_is_served_to_its_end_and_blocks_all_behind_it() -> None:
    scheduler = Scheduler(GPU, max_loaded=1)
    now = warm(scheduler, "a")
    busy, late, b, c = arrived(scheduler, now, job(), job(), job("b"), job("c"))
    assert phases(busy, late, b, c) == ["running", "waiting", "queued", "queued"]
    scheduler.leave(busy, now + 5)
    assert phases(late, b) == ["running", "queued"]
    scheduler.leave(late, now + 6)
    assert phases(b, c) == ["loading", "queued"]
    assert scheduler.resident() == ()


def test_an_idle_victim_makes_room_at_once() -> None:
    scheduler = Scheduler(GPU, max_loaded=2)
    now = warm(scheduler, "a", "b")
    (busy,) = arrived(scheduler, now, job("a"))
    (one,) = arrived(scheduler, now, job("c"))
    assert phases(busy, one) == ["running", "loading"]
    assert [runner.model for runner in scheduler.resident()] == ["a"]


def test_unloading_waits_for_running_calls() -> None:
    scheduler = Scheduler(GPU)
    now = warm(scheduler, "a")
    (busy,) = arrived(scheduler, now, job())
    scheduler.unload("a", now)
    assert len(scheduler.resident()) == 1
    scheduler.leave(busy, now + 1)
    assert scheduler.resident() == ()


# -- company ---------------------------------------------------------------------------------


def test_a_prompt_holds_the_others_up_by_all_it_takes_and_no_gap_by_more_than_a_chunk() -> None:
    scheduler = Scheduler(GPU, slots=4)
    now = warm(scheduler, "a")
    (stream,) = arrived(scheduler, now, job())
    gap = 16_000_000
    assert scheduler.gap_ns(stream, gap) == gap
    arrived(scheduler, now, job(prompt_ns=100_000_000))
    together = round(gap * GPU.slowdown(2))
    stalls = [scheduler.gap_ns(stream, gap) - together for _ in range(4)]
    assert stalls == [44_000_000, 44_000_000, 12_000_000, 0]


def test_a_stream_in_a_full_server_spikes_as_published() -> None:
    scheduler = Scheduler(GPU, slots=4)
    now = warm(scheduler, "a")
    (stream,) = arrived(scheduler, now, job())
    alone = scheduler.gap_ns(stream, 16_000_000)
    arrived(scheduler, now, job(prompt_ns=10 * SECOND))
    # 60 ms, and what the company costs besides.
    spike = scheduler.gap_ns(stream, 16_000_000)
    assert spike - round(alone * (GPU.slowdown(2) - 1)) == 60_000_000


# -- properties ------------------------------------------------------------------------------


class SchedulerMachine(RuleBasedStateMachine):
    """Arrivals, completions and disconnects in any order, against a simple model."""

    def __init__(self) -> None:
        super().__init__()
        self.slots, self.max_loaded, self.max_queued = 2, 2, 3
        self.scheduler = Scheduler(
            GPU,
            slots=self.slots,
            max_loaded=self.max_loaded,
            max_queued=self.max_queued,
            keep_alive_ns=20 * SECOND,
        )
        self.now = 0
        self.jobs: list[Job] = []
        self.changed: list[Job] = []

    @rule(model=st.sampled_from("abcd"), keep=st.sampled_from([None, 0, SECOND, FOREVER]))
    def arrive(self, model: str, keep: int | None) -> None:
        self.now += 1
        one = job(model, keep_alive_ns=keep)
        self.jobs.append(one)
        self.scheduler.arrive(one, self.now)
        if one.phase == "refused":
            assert sum(each.phase == "queued" for each in self.jobs) >= self.max_queued

    @precondition(lambda self: self.jobs)
    @rule(chance=st.randoms(use_true_random=False))
    def leave(self, chance: random.Random) -> None:
        self.now += 1
        one = chance.choice(self.jobs)
        self.jobs.remove(one)
        self.scheduler.leave(one, self.now)
        assert one.phase == "over"

    @rule(seconds=st.sampled_from([0.001, 1.0, 3.0, 6.0, 25.0]))
    def pass_time(self, seconds: float) -> None:
        self.now += round(seconds * SECOND)
        self.scheduler.tick(self.now)

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
        assert queued == list(self.scheduler.queued())

    @invariant()
    def one_load_at_a_time_and_never_an_idle_scheduler(self) -> None:
        loading = [each for each in self.jobs if each.phase == "loading"]
        assert len(loading) <= 1
        if any(each.phase == "queued" for each in self.jobs) and not loading:
            # It waits for a victim that is busy.
            assert any(not runner.idle for runner in self.scheduler.resident())
        if loading:
            due = self.scheduler.due()
            assert due is not None
            assert self.now < due

    @invariant()
    def no_more_models_than_fit(self) -> None:
        loading = any(each.phase == "loading" for each in self.jobs)
        assert len(self.scheduler.resident()) + loading <= self.max_loaded

    @invariant()
    def who_is_let_in_is_told(self) -> None:
        """A driver that looks at ``changed`` alone knows everybody's turn."""
        changed, self.scheduler.changed = self.scheduler.changed, []
        self.changed = [each for each in [*self.changed, *changed] if each.phase == "running"]
        running = {id(each) for each in self.jobs if each.phase == "running"}
        assert running == {id(each) for each in self.changed}

    def teardown(self) -> None:
        """When all have left, all that is left is idle, and no load goes on."""
        for one in self.jobs:
            self.scheduler.leave(one, self.now)
        assert list(self.scheduler.queued()) == []
        assert all(runner.idle for runner in self.scheduler.resident())
        one = job("fresh")
        self.scheduler.arrive(one, self.now)
        self.scheduler.tick(self.now + LOAD)
        assert one.phase == "running"


SchedulerMachine.TestCase.settings = settings(
    max_examples=100, stateful_step_count=40, deadline=None, derandomize=True
)
TestScheduler = SchedulerMachine.TestCase


@pytest.mark.parametrize("seed", range(5))
def test_everybody_is_served_in_the_end(seed: int) -> None:
    """With patient clients and no new ones, no client starves."""
    chance = random.Random(seed)
    scheduler = Scheduler(GPU, slots=2, max_loaded=2)
    jobs = [job(chance.choice("abcde")) for _ in range(200)]
    now = 0
    for one in jobs:
        scheduler.arrive(one, now)
        now += chance.randrange(SECOND)
    served = 0
    while served < len(jobs):
        running = [one for one in jobs if one.phase == "running"]
        if running:
            scheduler.leave(chance.choice(running), now)
            served += 1
        now += SECOND
        scheduler.tick(now)
        assert now < 10_000 * SECOND
