"""Model lists of all replicas: stampedes, a slow fetch, and one whose replica is killed."""

from __future__ import annotations

import time
from typing import Final

import gevent
import gevent.event

from routerspec.limits import COARSE_CLOCK_S, LIST_CLIENTS, TRIES
from routerspec.scenarios.engine.conductor import Conductor
from routerspec.scenarios.engine.crew import at_one_instant
from routerspec.scenarios.engine.registry import scenario
from routerspec.scenarios.engine.waiting import wait_sent, wait_until
from routerspec.scenarios.models.lists import wait_expired, wait_fetch_held

_HELD_S: Final = 0.4
"""How long the fetch of a stampede is held: shorter than any lock lasts."""
_LONGEST_LOCK_S: Final = 4.0
"""A longer lock is not outwaited: routers give up a fetch that takes much longer."""
_BEYOND_LOCK: Final = 1.5
_TRIES: Final = 3
_JOINING: Final = 10
_SENT_WITHIN_S: Final = 3.0
_SLACK_S: Final = 0.15


@scenario("lists-replicas")
def lists_replicas(conductor: Conductor) -> None:
    """All clients at once over all replicas: never fetched, expired, and with a slow provider."""
    if conductor.replicas < 2 or conductor.plan.promises.model_list is None:
        return
    _stampede(conductor, "cold", _HELD_S)
    for attempt in range(_TRIES):
        wait_expired(conductor, slack=COARSE_CLOCK_S if attempt else _SLACK_S)
        if _stampede(conductor, "again" if attempt else "expired", _HELD_S):
            break
    lock_s = conductor.plan.promises.model_list.lock_s
    if lock_s is not None and lock_s <= _LONGEST_LOCK_S:
        wait_expired(conductor, slack=_SLACK_S)
        _stampede(conductor, "slow", _BEYOND_LOCK * lock_s)


def _stampede(conductor: Conductor, part: str, held_s: float) -> bool:
    """Play one; True when it caused a fetch at all."""
    before = conductor.list_fetches()
    with conductor.round("lists-replicas", offered=LIST_CLIENTS, part=part) as round_:
        conductor.control.lists(hold_next=1)
        with at_one_instant() as last_byte:
            for number in range(LIST_CLIENTS):
                round_.send_list(last_byte, replica=number % conductor.replicas + 1)
        wait_sent(round_.exchanges, _SENT_WITHIN_S)
        wait_fetch_held(conductor)
        gevent.sleep(held_s)
        round_.release_lists()
    return conductor.list_fetches() > before


@scenario("lists-replica-killed")
def lists_replica_killed(conductor: Conductor) -> None:
    """The replica that fetches is killed, with clients of the others waiting for its list."""
    lists = conductor.plan.promises.model_list
    if conductor.replicas < 2 or lists is None or lists.lock_s is None:
        return
    victim = conductor.replicas
    wait_expired(conductor, slack=_SLACK_S)
    with conductor.round("lists-replica-killed", offered=_JOINING + 1, part="killed") as round_:
        conductor.control.lists(hold_next=1)
        first = round_.send_list(replica=victim)
        first.expected_failure = True
        wait_fetch_held(conductor)
        joining = [
            round_.send_list(replica=number % (victim - 1) + 1) for number in range(_JOINING)
        ]
        wait_sent(joining, _SENT_WITHIN_S)
        gevent.sleep(_HELD_S / 2)
        conductor.router.disturb(round_.number, "killed", replica=victim)
        give_up = time.monotonic() + TRIES * lists.lock_s + COARSE_CLOCK_S
        wait_until(
            lambda: all(each.outcome is not None for each in joining),
            give_up - time.monotonic(),
        )
        round_.release_lists()
        conductor.router.disturb(round_.number, "started", replica=victim)
