"""Providers whose lists fail: one of two is dead, or all are for a while.

What a provider is told stands before a round begins and is taken back after it has ended, so that
the rounds' own times say when it was so.
"""

from __future__ import annotations

import time
from typing import Any, Final

import gevent

from routerspec.limits import LONGEST_RECOVERY_S
from routerspec.scenarios.engine.conductor import Conductor
from routerspec.scenarios.engine.exchange import Exchange
from routerspec.scenarios.models.lists import COARSE_CLOCK_S, wait_expired

_FAULTS: Final[dict[str, dict[str, Any]]] = {
    "down": {"status": 503},
    "text": {"nonsense": "text"},
    "shape": {"nonsense": "shape"},
    "hang": {"hold_next": 1_000_000},
}
_LATE_TIMES: Final = 3
_LATE_S: Final = 0.5
_APART_S: Final = 0.2
"""Longer than a provider that failed may be left alone without anybody promising it."""
_THROTTLED: Final = 20
_PAUSE_S: Final = 0.01


def list_dead(conductor: Conductor) -> None:
    """One provider after the other is down, talks nonsense and hangs; the rest are well."""
    shown = _all_there(conductor, frozenset())
    if len(shown) < 2:
        return
    for provider in sorted(shown):
        if _all_there(conductor, shown) < shown:
            return
        wait_expired(conductor, slack=0.15)
        for how in _FAULTS:
            if not _dead(conductor, provider, how):
                return


def _all_there(conductor: Conductor, wanted: frozenset[str]) -> frozenset[str]:
    """Ask until the list shows ``wanted`` (or two providers); who was in it at last."""
    recovery_s = min(conductor.plan.promises.recovery_s, LONGEST_RECOVERY_S)
    give_up = time.monotonic() + recovery_s + 1.0
    with conductor.round("list-dead", part="well") as played:
        while True:
            asked = played.ask_list()
            asked.over.wait(timeout=10)
            shown = frozenset(asked.list_observation().epochs) if asked.outcome else frozenset()
            enough = shown >= wanted if wanted else len(shown) > 1
            if enough or time.monotonic() > give_up:
                return shown
            gevent.sleep(_APART_S)


def _dead(conductor: Conductor, provider: str, how: str) -> bool:
    """Play it until the provider was asked, and a hang once more where the list came late.

    False when it was late every time.
    """
    late = 0
    for slack in (0.0, 0.15, COARSE_CLOCK_S, COARSE_CLOCK_S):
        if slack:
            wait_expired(conductor, slack=slack)
        else:
            gevent.sleep(_APART_S)
        before = conductor.control.now().lists[provider].fetches
        in_time = _dead_once(conductor, provider, how)
        late += not in_time
        if conductor.control.now().lists[provider].fetches > before and in_time:
            return True
        if late == _LATE_TIMES:
            return False
    return True


def _dead_once(conductor: Conductor, provider: str, how: str) -> bool:
    """Two at once, so that neither is alone with what it causes. True when both came in time."""
    lists = conductor.plan.promises.model_list
    assert lists is not None
    conductor.control.lists(provider=provider, **_FAULTS[how])
    try:
        with conductor.round("list-dead", offered=2, part=f"{provider} {how}") as played:
            asked = [played.ask_list() for _ in range(2)]
            give_up = time.monotonic() + lists.partial_within_s + _LATE_S
            for exchange in asked:
                exchange.over.wait(timeout=max(0.0, give_up - time.monotonic()))
            if how == "hang":
                played.release_lists()
    finally:
        conductor.control.lists(provider=provider, status=None, nonsense=None, hold_next=0)
    return all(_took_s(exchange) <= lists.partial_within_s for exchange in asked)


def _took_s(exchange: Exchange) -> float:
    return (exchange.end_ns - (exchange.sent_ns or exchange.started_ns)) / 1e9


def list_failing(conductor: Conductor) -> None:
    """All lists fail for a moment and are well again; then they fail for client after client."""
    for slack in (0.15, COARSE_CLOCK_S):
        wait_expired(conductor, slack=slack)
        if _fail(conductor):
            break
    _ask_on(conductor)
    # A cache that counts whole seconds would be fresh for some of those that come one by one.
    wait_expired(conductor, slack=COARSE_CLOCK_S)
    conductor.control.lists(status=500)
    try:
        with conductor.round("list-failing", offered=_THROTTLED, part="one by one") as played:
            for _ in range(_THROTTLED):
                played.ask_list().over.wait(timeout=10)
                gevent.sleep(_PAUSE_S)
    finally:
        conductor.control.lists(status=None)


def _fail(conductor: Conductor) -> bool:
    """Two clients find the lists failing; True when a provider was asked."""
    before = _fetches(conductor)
    conductor.control.lists(status=500)
    try:
        with conductor.round("list-failing", offered=2, part="failing") as played:
            for exchange in [played.ask_list() for _ in range(2)]:
                exchange.over.wait(timeout=10)
    finally:
        conductor.control.lists(status=None)
    return _fetches(conductor) > before


def _fetches(conductor: Conductor) -> int:
    return sum(state.fetches for state in conductor.control.now().lists.values())


def _ask_on(conductor: Conductor) -> None:
    """The providers are well again: ask for a TTL, or until the list is there."""
    gevent.sleep(min(conductor.plan.promises.recovery_s, LONGEST_RECOVERY_S))
    give_up = time.monotonic() + conductor.ttl_s + COARSE_CLOCK_S
    with conductor.round("list-failing", part="well again") as played:
        while time.monotonic() < give_up:
            asked = played.ask_list()
            asked.over.wait(timeout=10)
            if asked.outcome and len(asked.list_observation().epochs) == _shown(conductor):
                return
            gevent.sleep(min(0.04 * conductor.ttl_s, 0.1))


def _shown(conductor: Conductor) -> int:
    """How many providers are asked for a list at all."""
    return sum(state.fetches > 0 for state in conductor.control.now().lists.values())
