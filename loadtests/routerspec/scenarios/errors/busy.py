"""Providers that are busy and say for how long: ``provider-busy``."""

from __future__ import annotations

from routerspec.limits import BUSY_S
from routerspec.scenarios.engine.batches import batches, one_each, warm
from routerspec.scenarios.engine.conductor import Conductor
from routerspec.scenarios.engine.registry import scenario


@scenario("provider-busy")
def provider_busy(conductor: Conductor) -> None:
    """One route of each provider: each attempt is refused with a Retry-After."""
    requests = [
        (route, mode, status)
        for status in (429, 503)
        for route, mode in one_each(conductor, "chat", "stream")
    ]
    warm(conductor, "provider-busy")
    with conductor.transcripts():
        for batch in batches(conductor, requests):
            with conductor.round("provider-busy", offered=len(batch)) as round_:
                for route, mode, status in batch:
                    exchange = round_.send(
                        route,
                        mode,
                        raw=True,
                        retry_rejected=False,
                        status=status,
                        retry_after=BUSY_S,
                    )
                    exchange.expected_failure = True
