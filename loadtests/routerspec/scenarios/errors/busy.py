"""Providers that are busy and say for how long: ``provider-busy``."""

from __future__ import annotations

from typing import Final

from routerspec.limits import BUSY_S
from routerspec.scenarios.engine.batches import batches, one_each, warm
from routerspec.scenarios.engine.conductor import Conductor
from routerspec.scenarios.engine.registry import scenario

_BUSY: Final = (429, 503)
"""The statuses with which a provider says that it is busy."""
_BUSY_OF: Final = {"anthropic": (429, 529)}


@scenario("provider-busy")
def provider_busy(conductor: Conductor) -> None:
    """One route of each provider: each attempt is refused with a Retry-After."""
    requests = [
        (route, mode, _BUSY_OF.get(route.provider, _BUSY)[number])
        for number in range(len(_BUSY))
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
