"""Stories: what is played, on which router, with which promises, and what goes wrong around it.

A story is drawn from a generator of chance (of the standard library, or of Hypothesis, which
shrinks it: the first of every choice is the plainest). What a story leaves open, such as the
latency of a single message, is drawn from its seed while it is played.
"""

from __future__ import annotations

import dataclasses
import random
from dataclasses import dataclass
from typing import Final

from tests.judge.model.records import Cancel, Cap, ModelList, Promises, Retries


@dataclass(frozen=True, slots=True)
class Route:
    """A route of the router: its provider, its modes, and the calls that a request makes."""

    provider: str
    modes: tuple[str, ...]
    calls: tuple[str, ...] = ("chat",)
    """The family of each call, in order; the last one is the answer's."""
    streams: bool = True
    """Its streams are asked of the provider as streams."""
    side_by_side: bool = False
    """Its calls are made at once, where the cap counts requests."""
    gathers: bool = False
    """Whole answers are asked of the provider as streams, too."""


NOTHING: Final = Promises()

ROUTES = {
    "openai": Route("openai", ("chat", "stream", "embeddings")),
    "ollama": Route("ollama", ("chat", "stream")),
    "agent": Route("openai", ("chat", "stream"), ("chat", "chat")),
    "rag": Route("ollama", ("chat", "stream"), ("embeddings", "chat")),
    "fan": Route("openai", ("chat", "stream"), ("chat", "chat"), side_by_side=True),
    "gather": Route("ollama", ("chat", "stream"), gathers=True),
    "plain": Route("openai", ("chat", "stream"), streams=False),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """Everything that is decided before a history is played."""

    play: str
    seed: int = 0
    rule: str = ""
    """The rule that the router breaks; empty: it is sound."""
    routes: tuple[str, ...] = ("openai",)
    promises: Promises = NOTHING

    # The router, within what a sound one may do.
    span: str = "call"
    """A permit is taken for a ``call``, or for a whole client ``request``."""
    frees: str = "early"
    """A permit comes back as the provider's end is read, or (``late``) after the client's."""
    closes_first: bool = True
    """The provider's call is closed before the permit of one that failed or left comes back."""
    order: str = "fifo"
    hears: str = "watch"
    """A hang-up is seen at once, at the next ``write``, or ``never``."""
    hears_within: float = 0.0
    """How much of the promised time (or of half a second) that takes at most."""
    retries: int = 0
    """How often a failed call is tried again, where nothing is promised about it."""
    holds_retries: bool = False
    """One permit for all attempts."""
    tells: str = "event"
    """What a client receives when a stream broke off: an error event, a broken connection, or
    just an ``end``."""
    shows_all: bool = False
    """An agent's answer shows the answers of all its calls."""
    preface: str = ""
    breaker: bool = False
    """After a failure everything is refused for the promised recovery time."""
    think_ms: float = 0.0
    """How long the router takes for a step of its own, at the mean."""

    batches: bool = False
    """Embeddings that come at once are asked for in one call."""
    heads_early: bool = False
    """The head of a stream is sent before anything is known of its answer."""
    falls_back: bool = False
    """A call that failed for good is made to the other provider."""
    polls: bool = False
    """The router makes calls of its own, to see whether its providers are there."""

    # Its model list.
    stale: bool = False
    """An expired list is served while the new one is fetched."""
    ahead: bool = False
    """A list is fetched again in the second half of its TTL."""
    prefetch: bool = False
    timer: bool = False
    """The router fetches lists by itself."""
    one_entry: bool = False
    """The lists of all providers are one cache entry."""
    leader_owns: bool = False
    """A fetch ends with the client that caused it; another client's takes its place."""
    gives_up_s: float = 0.0
    """A fetch is given up after so long, and tried once more; 0: after ten seconds."""
    rest: float = 0.15
    """Of the TTL: how long a provider whose list failed is left alone."""
    whole_seconds: bool = False
    """The age of a list is counted in whole seconds."""

    # Everything around it.
    lag_ms: float = 0.0
    """How long a message takes on its way, at the mean."""
    stall_ms: float = 0.0
    """The longest stall of the fakes and of the load, which they report."""
    again: bool = False
    """Everything is played once more, on a second start."""
    dies: bool = False
    """The router dies in the last scenario."""

    @property
    def cells(self) -> list[tuple[str, str]]:
        return [(name, mode) for name in self.routes for mode in ROUTES[name].modes]


def draw_promises(rng: random.Random) -> Promises:
    """Any promises that a target file can make, with numbers that are soon played."""
    cap: Cap | None = None
    if rng.randrange(12) != 11:
        overload = rng.choice(("queue", "queue", "reject"))
        bounded = overload == "queue" and rng.randrange(3) == 2
        cap = Cap(
            limit=rng.choice((2, 2, 3, 1)),
            scope=rng.choice(("global", "global", "global", "provider", "model", "key", "process")),
            overload="queue" if overload == "queue" else "reject",
            queue_limit=rng.choice((4, 1, 0, 300, None)) if bounded else None,
            queue_timeout_s=rng.choice((None, 1.0, 2.5)) if bounded else None,
            counts=rng.choice(("calls", "calls", "requests")),
        )
    model_list: ModelList | None = None
    if rng.randrange(12) != 11:
        model_list = ModelList(
            ttl_s=rng.choice((2.0, 1.0, 3.0)),
            ttl_from=rng.choice(("receipt", "receipt", "request")),
            partial=rng.choice((True, False)),
            partial_within_s=rng.choice((1.0, 2.0, 0.5)),
            by_id=rng.choice((True, False)),
            under_cap=rng.randrange(5) == 4,
        )
    cancel = None if rng.randrange(4) == 3 else Cancel(within_s=rng.choice((0.5, 1.0, 0.2)))
    retries = None
    if rng.randrange(3) != 2:
        retries = Retries(max=rng.choice((1, 0, 2)), honours_retry_after=rng.choice((True, False)))
    return Promises(
        cap=cap,
        model_list=model_list,
        cancel=cancel,
        retries=retries,
        keys=rng.choice(("own", "own", "own", "passthrough")),
        workers=rng.choice((1, 1, 1, 2)),
        recovery_s=rng.choice((0.0, 0.0, 0.5)),
    )


def draw(rng: random.Random, play: str, rule: str = "") -> Story:
    """A story of this play, with a router that keeps every rule but this one."""
    promises = draw_promises(rng)
    names = list(ROUTES)
    count = rng.choice((2, 1, 3))
    first = rng.randrange(len(names))
    routes = tuple(names[(first + 2 * index) % len(names)] for index in range(count))
    return Story(
        play=play,
        rule=rule,
        routes=routes,
        promises=promises,
        span=rng.choice(("call", "request")),
        frees=rng.choice(("early", "late")),
        closes_first=rng.choice((True, False)),
        order=rng.choice(("fifo", "random", "lifo")),
        hears=rng.choice(("watch", "write", "never")),
        hears_within=rng.choice((0.02, 0.0, 0.3, 0.7)),
        retries=rng.choice((0, 1, 3)),
        holds_retries=rng.choice((False, True)),
        tells=rng.choice(("event", "break", "end")),
        shows_all=rng.choice((False, True)),
        preface=rng.choice(("", "", "Sources: 17 books\n")),
        breaker=rng.choice((False, True)),
        think_ms=rng.choice((0.2, 0.0, 2.0)),
        batches=rng.choice((False, True)),
        heads_early=rng.randrange(3) == 2,
        falls_back=rng.randrange(4) == 3,
        polls=rng.randrange(8) == 7,
        stale=rng.choice((False, True)),
        ahead=rng.choice((False, True)),
        prefetch=rng.randrange(6) == 5,
        timer=rng.randrange(10) == 9,
        one_entry=rng.choice((False, True)),
        leader_owns=rng.choice((False, True)),
        gives_up_s=rng.choice((0.0, 0.0, 0.4)),
        rest=rng.choice((0.15, 0.3)),
        whole_seconds=rng.randrange(4) == 3,
        lag_ms=rng.choice((0.1, 0.0, 1.0, 5.0)),
        stall_ms=rng.choice((0.0, 0.0, 0.0, 12.0, 60.0, 400.0)),
        again=rng.randrange(8) == 7,
        dies=rng.randrange(25) == 24,
        seed=rng.randrange(1 << 16),
    )


def simpler(story: Story) -> list[Story]:
    """Stories that are one step plainer, the greatest steps first."""
    plain = Story(play=story.play)
    found: list[Story] = []
    if len(story.routes) > 1:
        found += [dataclasses.replace(story, routes=(name,)) for name in story.routes]
    for field in dataclasses.fields(Story):
        if field.name not in {"play", "rule", "routes", "seed", "promises"} and getattr(
            story, field.name
        ) != getattr(plain, field.name):
            found.append(dataclasses.replace(story, **{field.name: getattr(plain, field.name)}))
    promises = story.promises
    for field in dataclasses.fields(Promises):
        plainest = getattr(Promises(), field.name)
        if getattr(promises, field.name) != plainest:
            less = dataclasses.replace(promises, **{field.name: plainest})
            found.append(dataclasses.replace(story, promises=less))
    if promises.cap is not None and promises.cap != Cap(limit=promises.cap.limit):
        less = dataclasses.replace(promises, cap=Cap(limit=promises.cap.limit))
        found.append(dataclasses.replace(story, promises=less))
    found += [dataclasses.replace(story, seed=seed) for seed in range(8) if seed < story.seed]
    return found
