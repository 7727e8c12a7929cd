"""All replicas at once, undisturbed: together, in bursts, and one slot after another."""

from __future__ import annotations

from typing import Final

import gevent

from routerspec.limits import IN_TURN
from routerspec.scenarios.engine.conductor import Conductor
from routerspec.scenarios.engine.registry import scenario
from routerspec.scenarios.replicas import cluster

_BURSTS: Final = 4
_ENOUGH: Final = 2
_HANDED_OVER_WITHIN_S: Final = 3.0
_APART_S: Final = 0.02


@scenario("replicas")
def replicas(conductor: Conductor) -> None:
    """Each replica by itself, all together, in bursts, and with slots that are handed over."""
    if cluster.cell(conductor) is None:
        return
    for replica in range(1, conductor.replicas + 1):
        _alone(conductor, replica)
    over = cluster.together(conductor, "replicas", part="together") > conductor.limit
    if conductor.routes_with("stream"):
        cluster.together(conductor, "replicas", part="together", hold="first", mode="stream")
    _in_turn(conductor)
    for _ in range(_ENOUGH if over else _BURSTS):
        cluster.burst(conductor, "replicas", "burst")


def _alone(conductor: Conductor, replica: int) -> None:
    """Twice the cap offered to one replica."""
    count = 2 * conductor.limit
    with cluster.gated(conductor, "replicas", f"replica {replica}", count) as round_:
        cluster.send(conductor, round_, count, to=[replica])
        cluster.look_twice(round_)


def _in_turn(conductor: Conductor) -> None:
    """A queue over all replicas, in a known order, and one slot after the other that comes free."""
    limit = conductor.limit
    releases = min(limit, 4) + conductor.replicas
    count = limit + releases + conductor.replicas
    with cluster.gated(conductor, "replicas", IN_TURN, count) as round_:
        for number in range(count):
            cluster.send(conductor, round_, 1, to=[number % conductor.replicas + 1])
            if number + 1 == limit:
                round_.wait_held(limit)
            gevent.sleep(_APART_S)
        round_.snapshot(settled=round_.settle())
        for _ in range(releases):
            arrived = conductor.calls_arrived()
            round_.release_oldest(1)
            if not round_.wait_arrived(arrived + 1, within_s=_HANDED_OVER_WITHIN_S):
                break
        cluster.look_twice(round_)
