"""Stories of limits of requests and tokens: at their edge, across windows, after a pause."""

from __future__ import annotations

import msgspec

from routerspec.limits import (
    LIMIT_ACROSS,
    LIMIT_EDGE,
    LIMIT_FAILING,
    LIMIT_PAUSE,
    limit_part,
)
from routerspec.promises import Cap, Limits, Promises
from tests.corpus.builder import LIMIT, Start
from tests.corpus.registry import Story, bad, good
from tests.corpus.stories.keys import change

REQUESTS = 3
WINDOW = 2.0
TOKENS = 300
LIMITS = Limits(requests_per_minute=REQUESTS, window_s=WINDOW)
ALL = (
    "limits/never-more",
    "limits/window",
    "limits/retry-after",
    "limits/refused-is-free",
    "limits/failed-count",
)


def promised(limits: Limits = LIMITS) -> Promises:
    """What the router of these stories promises."""
    return Promises(cap=Cap(limit=LIMIT), limits=limits)


def limited(limits: Limits = LIMITS, name: str = "limits") -> Start:
    """A start with these limits on, and no cap."""
    start = Start(name, cap=None)
    start.settings = msgspec.structs.replace(start.settings, limits=limits)
    return start


class Play:
    """One round of requests that take 10 ms each."""

    def __init__(
        self, start: Start, kind: str, begin: float, key: str, *, scenario: str = "limits"
    ) -> None:
        self.start = start
        self.number = start.round(
            scenario, begin, begin + 8, route="openai", mode="chat", part=limit_part(kind, key)
        )

    def admitted(self, at: float, *, status: int = 200, tokens: int = 4) -> None:
        """A request that its provider answers."""
        nonce = self.start.nonce()
        call = self.start.call(nonce, read=at + 0.003, end=at + 0.006, status=status)
        failed = status != 200
        self.start.client(
            nonce,
            self.number,
            sent=at,
            end=at + 0.009,
            text="" if failed else self.start.whole(nonce, call, tokens - 1),
            outcome="refused" if failed else "answered",
            status=status,
        )

    def refused(self, at: float, *, retry_after: str = "2", status: int = 429) -> None:
        """One that the router refuses."""
        self.start.client(
            self.start.nonce(),
            self.number,
            sent=at,
            end=at + 0.004,
            outcome="refused",
            status=status,
            error='{"error":{"message":"too many requests"}}',
        )
        change(self.start.observations, -1, retry_after=retry_after, json_error=True)

    def burst(self, at: float, admitted: int, *, of: int = 8, tokens: int = 4) -> None:
        """Requests at one instant, of which the first are admitted."""
        for index in range(of):
            when = at + 0.0001 * index
            if index < admitted:
                self.admitted(when, tokens=tokens)
            else:
                self.refused(when)


def at_edge(start: Start, begin: float = 0.0, key: str = "key 1", *, beyond: int = 1) -> None:
    """All of the limit but one, then eight at once, of which so many are admitted."""
    play = Play(start, LIMIT_EDGE, begin, key)
    for index in range(REQUESTS - 1):
        play.admitted(begin + 0.02 * (index + 1))
    play.burst(begin + 0.1, beyond)


def across(
    start: Start, begin: float = 10.0, key: str = "key 2", *, window: float = WINDOW, until: float
) -> None:
    """Four requests each quarter of a second; in each ``window``, the first three are admitted."""
    play = Play(start, LIMIT_ACROSS, begin, key)
    opened, used = begin, 0
    for step in range(round(until / 0.25) + 1):
        for index in range(REQUESTS + 1):
            at = begin + 0.25 * step + 0.02 + 0.0001 * index
            if at >= opened + window:
                opened, used = at, 0
            if used < REQUESTS:
                play.admitted(at)
                used += 1
            else:
                play.refused(at)


def pause(
    start: Start,
    begin: float = 20.0,
    key: str = "key 3",
    *,
    told: str = "2",
    again: float = 2.3,
    come: tuple[bool, ...] = (True, True, True),
    later: float | None = None,
) -> None:
    """Six requests one by one, three admitted; at ``again`` three more, and which are admitted.

    At ``later`` three more that are.
    """
    play = Play(start, LIMIT_PAUSE, begin, key)
    for index in range(REQUESTS):
        play.admitted(begin + 0.02 * (index + 1))
    for index in range(REQUESTS):
        play.refused(begin + 0.1 + 0.02 * index, retry_after=told)
    for index, served in enumerate(come):
        at = begin + again + 0.02 * index
        if served:
            play.admitted(at)
        else:
            play.refused(at, retry_after=told)
    for index in range(0 if later is None else REQUESTS):
        play.admitted(begin + (later or 0.0) + 0.02 * index)


def failing(start: Start, begin: float = 30.0, key: str = "key 4", *, admitted: int) -> None:
    """So many requests one by one, two of three of which fail; then three that are refused."""
    play = Play(start, LIMIT_FAILING, begin, key)
    for index in range(admitted):
        play.admitted(begin + 0.02 * (index + 1), status=200 if index % 3 == 2 else 500)
    for index in range(3):
        play.refused(begin + 0.02 * (admitted + 1 + index))


def sound() -> Start:
    """A start on which the limit of requests is kept."""
    start = limited()
    at_edge(start)
    across(start, until=3.25)
    pause(start)
    failing(start, admitted=REQUESTS)
    return start


@good("limits-kept")
def kept() -> Story:
    return (sound(),), {"selected": ALL, "promises": promised()}


@good("limits-with-an-edge-amid-a-burst")
def amid() -> Story:
    """Of three bursts one has an edge in it: twice as many as in one window are admitted."""
    start = limited()
    at_edge(start, 0.0, "", beyond=1)
    at_edge(start, 3.0, "", beyond=1 + REQUESTS)
    at_edge(start, 6.0, "", beyond=1)
    across(start, until=3.25)
    pause(start)
    failing(start, admitted=REQUESTS)
    return (start,), {"selected": ALL, "promises": promised()}


@good("limits-of-tokens")
def tokens() -> Story:
    """One answer of 180 tokens is let in; the budget, which is not checked before the end, two."""
    limits = Limits(tokens_per_minute=TOKENS, budget=TOKENS, window_s=WINDOW)
    per_minute = limited(Limits(tokens_per_minute=TOKENS, window_s=WINDOW), name="limits-tokens")
    Play(per_minute, LIMIT_EDGE, 0.0, "key 1", scenario="limits-tokens").burst(0.1, 1, tokens=180)
    budget = limited(Limits(budget=TOKENS, window_s=WINDOW), name="limits-budget")
    budget.token = "k4"
    Play(budget, LIMIT_EDGE, 0.0, "key 1", scenario="limits-budget").burst(0.1, 2, tokens=180)
    return (per_minute, budget), {"selected": ALL[:1], "promises": promised(limits)}


@bad("limits/never-more")
def checked_then_counted() -> Story:
    """All eight pass the check before the first is counted: ten, and two windows admit six."""
    start = limited()
    at_edge(start, beyond=8)
    across(start, until=3.25)
    pause(start)
    failing(start, admitted=REQUESTS)
    return (start,), {"promises": promised()}


@bad("limits/window")
def short_window() -> Story:
    """The window is half as long as promised."""
    start = limited()
    at_edge(start)
    across(start, window=WINDOW / 2, until=3.25)
    pause(start)
    failing(start, admitted=REQUESTS)
    return (start,), {"promises": promised()}


@bad("limits/retry-after")
def too_soon() -> Story:
    """One second is told when two are left: three of three are refused again."""
    start = limited()
    at_edge(start)
    across(start, until=3.25)
    pause(start, told="1", again=1.3, come=(False, False, False))
    failing(start, admitted=REQUESTS)
    return (start,), {"promises": promised()}


@bad("limits/refused-is-free")
def refused_are_logged() -> Story:
    """Refused requests stay in the log of the window, so that none is admitted again."""
    start = limited()
    at_edge(start)
    across(start, window=1000.0, until=5.5)
    pause(start)
    failing(start, admitted=REQUESTS)
    return (start,), {"promises": promised()}


@bad("limits/failed-count")
def failed_are_given_back() -> Story:
    """Failed requests are given back: nine are admitted, and two windows admit six."""
    start = limited()
    at_edge(start)
    across(start, until=3.25)
    pause(start)
    failing(start, admitted=3 * REQUESTS)
    return (start,), {"promises": promised()}
