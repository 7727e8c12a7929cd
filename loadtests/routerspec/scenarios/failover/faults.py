"""One instance fails in each promised way, then all of a provider, then everybody."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import gevent

from routerspec.limits import FAULTS, REFUSED, TRIES, answered_within_s
from routerspec.promises import Failover, Fault
from routerspec.scenarios.engine.conductor import Conductor
from routerspec.scenarios.engine.exchange import Exchange
from routerspec.scenarios.engine.registry import scenario
from routerspec.scenarios.failover.pools import (
    Pool,
    arrived,
    behaving,
    chosen,
    pools,
    recovered,
    returns,
    send_together,
)

_ROUNDS: Final = 10
"""Batches of requests for each fault, at most."""
_QUIET: Final = 2
"""Batches that did not reach the failing instance: it is left alone."""
_LONGER_S: Final = 4.0
"""Until a client gives up, beyond the time in which it is to be answered."""
_FLAPS: Final = 8
_FLAP_S: Final = 0.12


@scenario("failover")
def failover(conductor: Conductor) -> None:
    """Each promised failure at one instance, and good requests until it is asked again."""
    for pool in pools(conductor):
        name = chosen(conductor, "failover", pool)
        for fault, directives in _faults(_promise(conductor)):
            late = 0
            while True:
                now_late = _fail(conductor, pool, name, fault, directives)
                if not returns(conductor, "failover", pool, name, fault):
                    return
                late += now_late
                if not now_late or late >= TRIES:
                    break


def _promise(conductor: Conductor) -> Failover:
    promise = conductor.plan.promises.failover
    assert promise is not None, "a check of failover has selected this"
    return promise


def _faults(promise: Failover) -> Iterator[tuple[Fault, str]]:
    """The promised failures, each in all its forms."""
    for fault, forms in FAULTS.items():
        if fault in promise.on:
            yield from ((fault, directives) for directives in forms)


def _fail(conductor: Conductor, pool: Pool, name: str, fault: Fault, directives: str) -> int:
    """Send requests until enough of them have met the failure, or none does any more.

    Returns how many were answered late: those are tried again until there are enough to tell.
    """
    before, quiet = arrived(conductor, name), 0
    within_s = _client_s(conductor, fault)
    with (
        conductor.round("failover", route=pool.route.name, part=f"{fault}: {name}") as round_,
        behaving(conductor, directives, [name]),
    ):
        for _ in range(_ROUNDS):
            last = arrived(conductor, name)
            send_together(conductor, round_, pool, timeout_s=within_s)
            now = arrived(conductor, name)
            quiet = quiet + 1 if now == last else 0
            enough = now - before >= TRIES or (now > before and quiet >= _QUIET)
            # A refused connection is seen by nobody.
            if enough or (fault == REFUSED and quiet >= _QUIET + len(pool.everybody)):
                break
        return sum(_is_late(exchange, within_s - _LONGER_S) for exchange in round_.exchanges)


def _is_late(exchange: Exchange, within_s: float) -> bool:
    begun_ns = exchange.head_ns or exchange.end_ns
    return exchange.sent_ns is not None and begun_ns - exchange.sent_ns > within_s * 1e9


def _client_s(conductor: Conductor, fault: Fault) -> float:
    timeout_s = conductor.plan.timeout_s
    return answered_within_s(_promise(conductor), fault, timeout_s) + _LONGER_S


@scenario("failover-flapping")
def failover_flapping(conductor: Conductor) -> None:
    """One instance fails and is well by turns, faster than any cooldown; then it is well."""
    for pool in pools(conductor):
        name = chosen(conductor, "failover-flapping", pool)
        part = f"5xx: {name}"
        for _ in range(_FLAPS):
            with (
                conductor.round("failover-flapping", route=pool.route.name, part=part) as round_,
                behaving(conductor, "status=503", [name]),
            ):
                send_together(conductor, round_, pool)
            gevent.sleep(_FLAP_S)
        returns(conductor, "failover-flapping", pool, name, "flapping")


@scenario("failover-fallback")
def failover_fallback(conductor: Conductor) -> None:
    """All instances of a provider fail; the route's fallback is well."""
    for pool in pools(conductor):
        # Attempts that the instances use up leave none for the fallback.
        if pool.fallbacks and len(pool.instances) < _promise(conductor).attempts:
            recovered(conductor, "failover-fallback", pool)
            part = f"5xx: {', '.join(pool.instances)}"
            with (
                conductor.transcripts(),
                conductor.round("failover-fallback", route=pool.route.name, part=part) as round_,
                behaving(conductor, "status=503", pool.instances),
            ):
                send_together(conductor, round_, pool, raw=True)


@scenario("failover-exhausted")
def failover_exhausted(conductor: Conductor) -> None:
    """Everybody fails, for one request after the other: several at once close the whole pool."""
    for pool in pools(conductor):
        recovered(conductor, "failover-exhausted", pool)
        part = f"5xx: {', '.join(pool.everybody)}"
        with (
            conductor.round("failover-exhausted", route=pool.route.name, part=part) as round_,
            behaving(conductor, "status=503", pool.everybody),
        ):
            for number in range(TRIES):
                mode = pool.modes[number % len(pool.modes)]
                exchange = round_.send(pool.route, mode, retry_rejected=False)
                exchange.expected_failure = True
                exchange.over.wait()


@scenario("failover-streams")
def failover_streams(conductor: Conductor) -> None:
    """Streams of one instance break off after two pieces, in every way."""
    for pool in pools(conductor):
        if "stream" not in pool.modes:
            continue
        for directives in ("cut=2", "fin=2", "error=2"):
            name = recovered(conductor, "failover-streams", pool)
            part = f"a stream that breaks off: {name}"
            with (
                conductor.round("failover-streams", route=pool.route.name, part=part) as round_,
                behaving(conductor, directives, [name]),
            ):
                for _ in range(_QUIET):
                    send_together(conductor, round_, pool, modes=("stream",), tokens=6)
