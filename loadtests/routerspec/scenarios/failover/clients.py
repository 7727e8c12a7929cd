"""Clients' own errors at healthy instances, and clients that leave while their call is held."""

from __future__ import annotations

from typing import Final

import gevent

from routerspec.limits import AFTER_FAULT, BEFORE_FAULT, CLIENTS_ERRORS, REQUESTS_TO_RETURN, TRIES
from routerspec.scenarios.answers.faulty_providers import gone_s
from routerspec.scenarios.engine.batches import batches
from routerspec.scenarios.engine.conductor import Conductor
from routerspec.scenarios.engine.registry import scenario
from routerspec.scenarios.failover.pools import Pool, at_once, behaving, pools, recovered

_KEY: Final = 401
_TIMEOUT_S: Final = 10.0
_HELD_WITHIN_S: Final = 5.0
_LONGER_S: Final = 0.1
_EACH: Final = 4
"""Errors of each status: more than usual thresholds of a breaker."""


@scenario("failover-client-errors")
def failover_client_errors(conductor: Conductor) -> None:
    """Good requests, requests that are their clients' fault, and good ones again."""
    own = conductor.plan.promises.keys == "own"
    statuses = [status for status in CLIENTS_ERRORS if not (own and status == _KEY)]
    for pool in pools(conductor):
        count = len(pool.instances)
        _send(conductor, pool, BEFORE_FAULT, [None] * (2 * count))
        for status in statuses:
            _send(conductor, pool, str(status), [status] * (_EACH * count))
        _send(conductor, pool, AFTER_FAULT, [None] * (REQUESTS_TO_RETURN * count))


def _send(conductor: Conductor, pool: Pool, part: str, statuses: list[int | None]) -> None:
    """Requests whose provider answers these statuses; None: good ones."""
    mode = pool.modes[0]
    with conductor.round(
        "failover-client-errors",
        route=pool.route.name,
        mode=mode,
        offered=len(statuses),
        part=part,
    ) as round_:
        for batch in batches(conductor, statuses):
            sent = [
                round_.send(pool.route, mode, retry_rejected=False, status=status)
                if status
                else round_.send(pool.route, mode, retry_rejected=False, tokens=1)
                for status in batch
            ]
            for exchange in sent:
                exchange.expected_failure, exchange.timeout_s = True, _TIMEOUT_S
            for exchange in sent:
                exchange.over.wait()


@scenario("failover-left")
def failover_left(conductor: Conductor) -> None:
    """Clients disconnect while their calls are held; much later the calls fail."""
    for pool in pools(conductor):
        failed = True
        for _ in range(TRIES):
            if failed:
                recovered(conductor, "failover-left", pool)
            with conductor.round(
                "failover-left", route=pool.route.name, mode=pool.modes[0], gate=True
            ) as round_:
                failing = f"hold=head,gate={round_.gate},status=503"
                with behaving(conductor, failing, pool.everybody):
                    exchanges = [
                        round_.send(pool.route, pool.modes[0], retry_rejected=False)
                        for _ in range(min(TRIES, at_once(conductor)))
                    ]
                    round_.wait_held(len(exchanges), _HELD_WITHIN_S)
                    for exchange in exchanges:
                        exchange.expected_failure = True
                        exchange.disconnect()
                    gevent.sleep(gone_s(conductor) + _LONGER_S)
                    failed = conductor.calls_open() > 0
                    round_.release()
                    gevent.sleep(_LONGER_S)
