"""Providers whose lists fail: one of two is down, or all are for a while.

A provider is set to fail before a round begins and reset after it ended, so that the round's own
times tell when it failed.
"""

from __future__ import annotations

import time
from typing import Any, Final

import gevent

from routerspec.limits import COARSE_CLOCK_S, LONGEST_RECOVERY_S
from routerspec.records.providers import base_of
from routerspec.scenarios.engine.conductor import Conductor
from routerspec.scenarios.engine.exchange import Exchange
from routerspec.scenarios.engine.registry import scenario
from routerspec.scenarios.engine.waiting import wait_until
from routerspec.scenarios.models.lists import wait_expired
from routerspec.scenarios.models.quiet import in_quiet

_FAULTS: Final[dict[str, dict[str, Any]]] = {
    "down": {"status": 503},
    "text": {"nonsense": "text"},
    "shape": {"nonsense": "shape"},
    "hang": {"hold_next": 1_000_000},
}
_LATE_TIMES: Final = 3
_LATE_S: Final = 0.5
_LATE_STALL_S: Final = 1.0
"""A stall of a tenth of it, or of the promised time if that is less, spoils a round."""
_APART_S: Final = 0.2
"""Longer than a router may leave a failed provider alone without promising a cooldown."""
_THROTTLED: Final = 20
_PAUSE_S: Final = 0.01
_BACKGROUND_S: Final = 0.3
"""For a fetch in the background of an answer that was given already."""


@scenario("list-dead")
def list_dead(conductor: Conductor) -> None:
    """One provider after the other is down, answers garbage and hangs; the others are healthy."""
    shown = _wait_all_listed(conductor, frozenset())
    if len(shown) < 2:
        return
    for provider in sorted(shown):
        if _wait_all_listed(conductor, shown) < shown:
            return
        wait_expired(conductor, slack=0.15)
        for how in _FAULTS:
            if not _dead(conductor, provider, how):
                return


def _wait_all_listed(conductor: Conductor, wanted: frozenset[str]) -> frozenset[str]:
    """Request the list until it shows ``wanted`` (or two providers); those in the last one."""
    recovery_s = min(conductor.plan.promises.recovery_s, LONGEST_RECOVERY_S)
    give_up = time.monotonic() + recovery_s + 1.0
    with conductor.round("list-dead", part="well") as round_:
        while True:
            exchange = round_.send_list()
            exchange.over.wait(timeout=10)
            epochs = exchange.list_observation().epochs if exchange.outcome else {}
            shown = frozenset(epochs)
            enough = shown >= wanted if wanted else len(shown) > 1
            if enough or time.monotonic() > give_up:
                return shown
            gevent.sleep(_APART_S)


def _dead(conductor: Conductor, provider: str, how: str) -> bool:
    """Play it until the provider was asked; again where the list came late.

    False when it was late every time.
    """
    late = 0
    for slack in (0.0, 0.15, COARSE_CLOCK_S, COARSE_CLOCK_S):
        if slack:
            wait_expired(conductor, slack=slack)
        else:
            gevent.sleep(_APART_S)
        before = _fetches(conductor, provider)
        in_time = in_quiet(
            conductor, _partial_s(conductor), lambda: _dead_once(conductor, provider, how)
        )
        late += not in_time
        if _fetches(conductor, provider) > before and in_time:
            return True
        if late == _LATE_TIMES:
            return False
    return True


def _partial_s(conductor: Conductor) -> float:
    lists = conductor.plan.promises.model_list
    assert lists is not None
    return min(lists.partial_within_s, _LATE_STALL_S)


def _fetches(conductor: Conductor, provider: str) -> int:
    """Of its list so far, from all of its instances."""
    lists = conductor.control.now().lists
    return sum(state.fetches for name, state in lists.items() if base_of(name) == provider)


def _dead_once(conductor: Conductor, provider: str, how: str) -> bool:
    """Two clients at once, so that a shared fetch has two. True when both lists came in time."""
    lists = conductor.plan.promises.model_list
    assert lists is not None
    conductor.control.lists(provider=provider, **_FAULTS[how])
    try:
        with conductor.round("list-dead", offered=2, part=f"{provider} {how}") as round_:
            exchanges = [round_.send_list() for _ in range(2)]
            give_up = time.monotonic() + lists.partial_within_s + _LATE_S
            for exchange in exchanges:
                exchange.over.wait(timeout=max(0.0, give_up - time.monotonic()))
            if how == "hang":
                round_.release_lists()
    finally:
        conductor.control.lists(provider=provider, status=None, nonsense=None, hold_next=0)
    return all(_took_s(exchange) <= lists.partial_within_s for exchange in exchanges)


def _took_s(exchange: Exchange) -> float:
    return (exchange.end_ns - (exchange.sent_ns or exchange.started_ns)) / 1e9


@scenario("list-failing")
def list_failing(conductor: Conductor) -> None:
    """All lists fail for a moment and recover; then they fail for client after client."""
    for slack in (0.15, COARSE_CLOCK_S):
        wait_expired(conductor, slack=slack)
        if _fail(conductor):
            break
    _poll_recovered(conductor)
    # A cache that counts whole seconds would still be fresh for some of those clients.
    wait_expired(conductor, slack=COARSE_CLOCK_S)
    conductor.control.lists(status=500)
    try:
        with conductor.round("list-failing", offered=_THROTTLED, part="one by one") as round_:
            for _ in range(_THROTTLED):
                round_.send_list().over.wait(timeout=10)
                gevent.sleep(_PAUSE_S)
    finally:
        conductor.control.lists(status=None)


def _fail(conductor: Conductor) -> bool:
    """Two clients find the lists failing; True when a provider was asked."""
    before = conductor.list_fetches()
    conductor.control.lists(status=500)
    try:
        with conductor.round("list-failing", offered=2, part="failing") as round_:
            for exchange in [round_.send_list() for _ in range(2)]:
                exchange.over.wait(timeout=10)
            # A router that answers with a stale list fetches the new one after its answer.
            return wait_until(lambda: conductor.list_fetches() > before, _BACKGROUND_S)
    finally:
        conductor.control.lists(status=None)


def _poll_recovered(conductor: Conductor) -> None:
    """The providers are healthy again: request lists for a TTL, or until one is complete."""
    gevent.sleep(min(conductor.plan.promises.recovery_s, LONGEST_RECOVERY_S))
    give_up = time.monotonic() + conductor.ttl_s + COARSE_CLOCK_S
    since = time.monotonic_ns()
    with conductor.round("list-failing", part="well again") as round_:
        # As long again as the machine stalled, once.
        while time.monotonic() < give_up + conductor.stalled_s(since):
            exchange = round_.send_list()
            exchange.over.wait(timeout=10)
            if exchange.outcome and len(exchange.list_observation().epochs) == _shown(conductor):
                return
            gevent.sleep(min(0.04 * conductor.ttl_s, 0.1))


def _shown(conductor: Conductor) -> int:
    """How many providers have been asked for a list at all."""
    return sum(state.fetches > 0 for state in conductor.control.now().lists.values())
