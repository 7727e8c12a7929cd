"""Requests whose first attempt fails, with their bytes: ``request-retries``."""

from __future__ import annotations

from typing import Any, Final

from routerspec.scenarios.engine.batches import batches, warm
from routerspec.scenarios.engine.conductor import Conductor
from routerspec.scenarios.engine.prompt import Directives
from routerspec.scenarios.engine.registry import scenario

_FAULTS: Final[dict[str, Directives]] = {
    "a refusal": {"status": 503, "attempts": 1, "tokens": 3},
    "a reset": {"cut": 0, "attempts": 1, "tokens": 3},
}
_FIELDS: Final[dict[str, dict[str, Any]]] = {
    "openai": {"temperature": 0.25, "top_p": 0.5, "seed": 7, "max_tokens": 64},
    "ollama": {"options": {"temperature": 0.25, "top_p": 0.5, "seed": 7, "num_predict": 64}},
    "anthropic": {"temperature": 0.25, "top_k": 5, "max_tokens": 64},
    "responses": {"temperature": 0.25, "top_p": 0.5, "max_output_tokens": 64},
}


@scenario("request-retries")
def request_retries(conductor: Conductor) -> None:
    """Each route, as a whole answer and as a stream: its provider fails at first."""
    cells = [cell for cell in conductor.all_cells() if cell[1] in {"chat", "stream"}]
    warm(conductor, "request-retries")
    with conductor.transcripts():
        for part, fault in _FAULTS.items():
            for batch in batches(conductor, cells):
                with conductor.round("request-retries", offered=len(batch), part=part) as round_:
                    for route, mode in batch:
                        exchange = round_.send(
                            route,
                            mode,
                            raw=True,
                            body=_FIELDS[route.front],
                            retry_rejected=False,
                            **fault,
                        )
                        exchange.expected_failure = True
