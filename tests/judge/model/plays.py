"""Plays: which scenarios make a history, for which promises; and the playing of a story."""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

from routerspec.records.run import RecordedRun
from tests.judge.model import records
from tests.judge.model import scenarios_of_calls as calls
from tests.judge.model import scenarios_of_hang_ups as disconnects
from tests.judge.model import scenarios_of_lists as lists
from tests.judge.model.conductor import Conductor
from tests.judge.model.records import Cancel, Cap, ModelList, Promises, Retries
from tests.judge.model.router import SHORT_TIMEOUT_S
from tests.judge.model.rules import RULES
from tests.judge.model.story import ROUTES, Story

Scenario = Callable[[Conductor], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Play:
    """The scenarios of one start, and what they need of the promises."""

    scenarios: tuple[Scenario, ...]
    needs: tuple[str, ...] = ()
    """``cap``, ``queue``, ``model_list``, ``cancel``, ``retries``, ``two`` (providers)."""
    cap: int | None = -1
    """The cap of the start; -1: as promised."""


def _after(kind: str) -> Scenario:
    return partial(calls.after, kind=kind)


PLAYS: dict[str, Play] = {
    "holds": Play(
        scenarios=(calls.smoke, calls.hold_head, calls.hold_first, calls.hold_across),
        needs=("cap",),
    ),
    "burst": Play(scenarios=(calls.smoke, calls.burst), needs=("cap",)),
    "hold-long": Play(scenarios=(calls.smoke, calls.hold_long), needs=("cap",)),
    "attempts": Play(scenarios=(calls.smoke, calls.attempts), needs=("cap",)),
    "hang-ups": Play(scenarios=(calls.smoke, disconnects.hang_ups), needs=("cap",)),
    "spread": Play(scenarios=(calls.smoke, calls.spread), needs=("cap", "workers")),
    "load": Play(scenarios=(calls.smoke, calls.load), needs=("cap",)),
    "handover": Play(
        scenarios=(calls.smoke, calls.handover, calls.hung_provider), needs=("cap", "queue")
    ),
    "one": Play(scenarios=(calls.one_each,), needs=("cap",), cap=1),
    "overload": Play(scenarios=(calls.smoke, calls.overload), needs=("cap",)),
    **{
        f"after-{kind}": Play(
            scenarios=(calls.smoke, _after(kind)),
            needs=("cap", "queue") if kind == "hang-up-queued" else ("cap",),
        )
        for kind in calls.KINDS
    },
    "lists": Play(
        scenarios=(
            lists.list_cold,
            calls.smoke,
            lists.smoke_list,
            lists.idle,
            lists.list_expiry,
            lists.list_warm,
            lists.list_refresh,
        ),
        needs=("model_list",),
    ),
    "lists-left": Play(
        scenarios=(lists.list_left, calls.smoke, lists.smoke_list, lists.list_by_id),
        needs=("model_list",),
    ),
    "lists-dead": Play(scenarios=(calls.smoke, lists.list_dead), needs=("model_list", "two")),
    "lists-failing": Play(scenarios=(calls.smoke, lists.list_failing), needs=("model_list",)),
    "house": Play(
        scenarios=(calls.smoke, lists.list_behind_cap, lists.list_slow),
        needs=("model_list", "cap"),
    ),
    "uncapped": Play(
        scenarios=(lists.list_cold, calls.smoke), needs=("model_list", "cap"), cap=None
    ),
    "hold-piece": Play(scenarios=(calls.smoke, calls.hold_piece)),
    "slow-stream": Play(scenarios=(calls.smoke, calls.idle_timeout)),
    "leave-before-error": Play(scenarios=(calls.smoke, calls.leave_before_error)),
    "cut-stream": Play(scenarios=(calls.smoke, calls.cut_stream)),
    "upstream-error": Play(scenarios=(calls.smoke, calls.upstream_error)),
    "retry-after": Play(scenarios=(calls.smoke, calls.retry_after), needs=("retries",)),
    "answers": Play(
        scenarios=(
            calls.smoke,
            calls.leave_before_error,
            calls.cut_stream,
            calls.retry_after,
            calls.upstream_error,
        ),
        needs=("retries",),
    ),
    "overhead": Play(scenarios=(calls.smoke, calls.overhead, calls.hidden_cap), cap=None),
    "hang-up": Play(scenarios=(calls.smoke, calls.hang_up)),
    "hang-up-queued": Play(
        scenarios=(calls.smoke, calls.hang_up_queued), needs=("cap", "queue", "cancel")
    ),
    "keys": Play(scenarios=(calls.smoke, calls.keys), needs=("model_list",)),
}


def fitted(story: Story) -> Story:
    """The story with every promise that its play needs, and what its rule wants."""
    if story.rule:
        story = RULES[story.rule].fit(story)
    needs = PLAYS[story.play].needs
    promises = story.promises
    if "cap" in needs and promises.cap is None:
        promises = dataclasses.replace(promises, cap=Cap(limit=2))
    if "queue" in needs and promises.cap is not None and promises.cap.overload != "queue":
        promises = dataclasses.replace(
            promises, cap=dataclasses.replace(promises.cap, overload="queue")
        )
    if "model_list" in needs and promises.model_list is None:
        promises = dataclasses.replace(promises, model_list=ModelList(ttl_s=2.0))
    if "cancel" in needs and promises.cancel is None:
        promises = dataclasses.replace(promises, cancel=Cancel(within_s=0.5))
    if "retries" in needs and promises.retries is None:
        promises = dataclasses.replace(promises, retries=Retries(max=1, honours_retry_after=True))
    if "workers" in needs:
        promises = dataclasses.replace(promises, workers=2)
    routes = story.routes
    if "two" in needs and len({ROUTES[name].provider for name in routes}) < 2:
        routes = tuple(dict.fromkeys((*routes[:1], "ollama", "openai")))
    return dataclasses.replace(story, promises=promises, routes=routes)


@dataclass(frozen=True, slots=True)
class Played:
    """What playing a story came to."""

    run: RecordedRun
    broken: int
    """How often the router broke its rule."""


def play(story: Story) -> Played:
    """Play a story to its history."""
    story = fitted(story)
    attempts = (1, 2) if story.again else (1,)
    played = [_start(story, attempt) for attempt in attempts]
    run = records.run_of(
        *(start for start, _ in played),
        promises=story.promises,
        routes={name: ROUTES[name].modes for name in story.routes},
        seed=story.seed,
    )
    return Played(run, played[0][1])


def _start(story: Story, attempt: int) -> tuple[records.Start, int]:
    """One start, and how often its router broke its rule."""
    its = PLAYS[story.play]
    promises: Promises = story.promises
    cap = promises.cap.limit if promises.cap else None
    start = records.Start(
        name=story.play if attempt == 1 else f"{story.play}-again",
        token="k3" if attempt == 1 else "k4",
        cap=cap if its.cap == -1 else its.cap,
        ttl_s=promises.model_list.ttl_s if promises.model_list else None,
        workers=promises.workers,
        attempt=attempt,
    )
    if story.play == "slow-stream":
        start.timeout_s = SHORT_TIMEOUT_S
    conductor = Conductor(story, start)

    async def everything() -> None:
        if story.prefetch or story.timer:
            await conductor.nap(0.1)
        for number, scenario in enumerate(its.scenarios, start=1):
            last = number == len(its.scenarios)
            if story.dies and attempt == 1 and last and scenario is not calls.smoke:
                conductor.clock.after(conductor.rng.uniform(0.0, 2.0), conductor.router.die)
            await scenario(conductor)
        await conductor.nap(0.2)

    conductor.clock.run(everything())
    conductor.fakes.close()
    start.observations += conductor.world.load_stall.reports(conductor.clock.now)
    start.router_exit = 9 if conductor.router.dead else None
    return start, conductor.router.broken
