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
    with cluster.gated(conductor, "store-restarted", "restarted") as round_:
        cluster.send(conductor, round_, limit)
        round_.wait_held(limit)
        cluster.send(conductor, round_, cluster.offered(conductor) - limit)
        round_.snapshot(settled=round_.settle())
        cluster.disturb_services(conductor, round_, "restarted")
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
    with cluster.gated(conductor, "store-gone", "gone", limit, mode=stream) as round_:
        cluster.send(conductor, round_, limit, hold="first" if stream else "head", mode=stream)
        round_.wait_held(limit)
        round_.snapshot(settled=round_.settle())
        cluster.disturb_services(conductor, round_, "gone")
        round_.release()
    gevent.sleep(fault_s(cluster.cap_of(conductor)) + cluster.MARGIN_S)
    _without(conductor)
    cluster.as_before(conductor, "store-gone", cluster.settling_s(conductor))


def _without(conductor: Conductor) -> None:
    """Requests to each replica, when every lease is over, and then the store is there again."""
    each = conductor.limit + 1
    with cluster.gated(conductor, "store-gone", WITHOUT_STORE, each * conductor.replicas) as round_:
        sent = cluster.send(conductor, round_, each * conductor.replicas)
        wait_sent(sent, _SENT_WITHIN_S)
        cluster.watch(round_, KEPT_OUT_S + cluster.MARGIN_S)
        cluster.disturb_services(conductor, round_, "back")
        cluster.watch(round_, cluster.lease_s(conductor) + AWAKE_S + cluster.MARGIN_S)
