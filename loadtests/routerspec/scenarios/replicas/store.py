"""The store of the replicas: restarted with nothing in it, and gone."""

from __future__ import annotations

from typing import Final

import gevent

from routerspec.limits import AWAKE_S, KEPT_OUT_S, WITHOUT_STORE, fault_s
from routerspec.scenarios.engine.conductor import Conductor
from routerspec.scenarios.engine.registry import scenario
from routerspec.scenarios.engine.waiting import wait_sent
from routerspec.scenarios.replicas import cluster

_SENT_WITHIN_S: Final = 3.0


@scenario("store-restarted")
def store_restarted(conductor: Conductor) -> None:
    """All slots occupied over all replicas, the store is empty, and everybody asks again."""
    if cluster.cell(conductor) is None or not conductor.plan.services:
        return
    limit = conductor.limit
    route, mode = cluster.cell(conductor) or (conductor.plan.routes[0], "chat")
    with conductor.round(
        "store-restarted", route=route.name, mode=mode, gate=True,
        offered=cluster.offered(conductor), part="restarted",
    ) as round_:  # fmt: skip
        cluster.send(conductor, round_, limit)
        round_.wait_held(limit)
        cluster.send(conductor, round_, cluster.offered(conductor) - limit)
        round_.snapshot(settled=round_.settle())
        for service in conductor.plan.services:
            conductor.router.disturb(round_.number, "restarted", service=service)
        cluster.send(conductor, round_, max(2 * limit, conductor.replicas))
        cluster.watch(round_, max(fault_s(cluster.cap_of(conductor)), AWAKE_S) + cluster.MARGIN_S)
    cluster.as_before(conductor, "store-restarted", cluster.settling_s(conductor))


@scenario("store-gone")
def store_gone(conductor: Conductor) -> None:
    """The store is killed with calls in flight, and requests are sent while there is none."""
    if cluster.cell(conductor) is None or not conductor.plan.services:
        return
    limit = conductor.limit
    stream = "stream" if conductor.routes_with("stream") else ""
    route, mode = cluster.cell(conductor) or (conductor.plan.routes[0], "chat")
    with conductor.round(
        "store-gone", route=route.name, mode=stream or mode, gate=True, offered=limit, part="gone"
    ) as round_:
        cluster.send(conductor, round_, limit, hold="first" if stream else "head", mode=stream)
        round_.wait_held(limit)
        round_.snapshot(settled=round_.settle())
        for service in conductor.plan.services:
            conductor.router.disturb(round_.number, "gone", service=service)
        round_.release()
    gevent.sleep(fault_s(cluster.cap_of(conductor)) + cluster.MARGIN_S)
    _without(conductor)
    cluster.as_before(conductor, "store-gone", cluster.settling_s(conductor))


def _without(conductor: Conductor) -> None:
    """Requests to each replica, when every lease is over, and then the store is there again."""
    each = conductor.limit + 1
    route, mode = cluster.cell(conductor) or (conductor.plan.routes[0], "chat")
    with conductor.round(
        "store-gone", route=route.name, mode=mode, gate=True,
        offered=each * conductor.replicas, part=WITHOUT_STORE,
    ) as round_:  # fmt: skip
        sent = cluster.send(conductor, round_, each * conductor.replicas)
        wait_sent(sent, _SENT_WITHIN_S)
        cluster.watch(round_, KEPT_OUT_S + cluster.MARGIN_S)
        for service in conductor.plan.services:
            conductor.router.disturb(round_.number, "back", service=service)
        cluster.watch(round_, cluster.lease_s(conductor) + AWAKE_S + cluster.MARGIN_S)
