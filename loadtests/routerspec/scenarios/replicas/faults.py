"""Replicas that are killed, paused, or cut off from the store, while they hold calls."""

from __future__ import annotations

import time

import gevent

from routerspec.limits import AWAKE_S, TRIES, fault_s
from routerspec.scenarios.engine.conductor import Conductor
from routerspec.scenarios.engine.registry import scenario
from routerspec.scenarios.engine.rounds import SNAPSHOTS_APART_S
from routerspec.scenarios.replicas import cluster


@scenario("replica-killed")
def replica_killed(conductor: Conductor) -> None:
    """SIGKILL, until its slots are those of others; again where that took longer than promised."""
    if cluster.cell(conductor) is None:
        return
    within_s = cluster.cap_of(conductor).recovers_within_s
    for turn in range(TRIES):
        took_s = _kill(conductor, str(turn + 1), within_s)
        if within_s is None or took_s is None or took_s <= within_s:
            break
    cluster.as_before(conductor, "replica-killed", cluster.settling_s(conductor))


def _kill(conductor: Conductor, part: str, within_s: float | None) -> float | None:
    """How long it took until all slots were occupied again; None: not as long as was waited."""
    victim, limit = conductor.replicas, conductor.limit
    for_s = (
        fault_s(cluster.cap_of(conductor))
        if within_s is None
        else TRIES * within_s + cluster.MARGIN_S
    )
    if cluster.cap_of(conductor).coordination == "static":
        for_s = min(for_s, cluster.MARGIN_S)
    with cluster.gated(conductor, "replica-killed", part) as round_:
        mine = cluster.fill(conductor, round_, victim)
        conductor.router.disturb(round_.number, "killed", replica=victim)
        began = time.monotonic()
        cluster.watch(round_, for_s, until=lambda held: held >= limit)
        back = round_.held() >= limit
        took_s = time.monotonic() - began
        for exchange in mine:
            exchange.give_up("its replica was killed")
        conductor.router.disturb(round_.number, "started", replica=victim)
    return took_s if back else None


@scenario("replica-paused")
def replica_paused(conductor: Conductor) -> None:
    """SIGSTOP for longer than any lease, and SIGCONT."""
    if cluster.cell(conductor) is None:
        return
    victim, limit = conductor.replicas, conductor.limit
    with cluster.gated(conductor, "replica-paused", "pause") as round_:
        cluster.fill(conductor, round_, victim)
        conductor.router.disturb(round_.number, "paused", replica=victim)
        cluster.watch(round_, fault_s(cluster.cap_of(conductor)) + cluster.MARGIN_S)
        conductor.router.disturb(round_.number, "resumed", replica=victim)
        over = round_.snapshot(settled=False) > limit
        # Back under the cap for a while, or for three times as long as it may take not.
        cluster.watch(round_, AWAKE_S)
        if over and round_.held() > limit:
            cluster.watch(round_, (TRIES - 1) * AWAKE_S + 2 * cluster.MARGIN_S)
    cluster.as_before(conductor, "replica-paused", cluster.settling_s(conductor))


@scenario("replica-cut-off")
def replica_cut_off(conductor: Conductor) -> None:
    """Nothing passes between one replica and the store, then it does again."""
    if cluster.cell(conductor) is None or not conductor.plan.services:
        return
    victim = conductor.replicas
    with cluster.gated(conductor, "replica-cut-off", "cut off") as round_:
        cluster.fill(conductor, round_, victim)
        cluster.send(conductor, round_, conductor.limit, to=[victim])  # A queue of its own.
        cluster.disturb_services(conductor, round_, "cut-off", replica=victim)
        cluster.watch(round_, fault_s(cluster.cap_of(conductor)) + cluster.MARGIN_S)
        cluster.disturb_services(conductor, round_, "rejoined", replica=victim)
        # What it was granted in vain, and what it asks for again, comes now.
        cluster.send(conductor, round_, conductor.limit, to=[victim])
        cluster.watch(round_, cluster.lease_s(conductor) + AWAKE_S + cluster.MARGIN_S)
        round_.release_oldest(1)
        gevent.sleep(SNAPSHOTS_APART_S)
        cluster.watch(round_, AWAKE_S + cluster.MARGIN_S)
    cluster.as_before(conductor, "replica-cut-off", cluster.settling_s(conductor))
