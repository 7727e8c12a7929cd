"""Client timeouts shorten for a router that serves no client, never for one that serves any."""

from __future__ import annotations

from routerspec.scenarios.engine.backpressure import CLIENT_TIMEOUT_S, Backpressure
from routerspec.scenarios.engine.exchange import Exchange


def ended(*outcomes: str, mode: str = "chat") -> list[Exchange]:
    """Exchanges that ended with these outcomes, without a router."""
    its = []
    for outcome in outcomes:
        exchange = Exchange(
            host="", method="POST", path="/", headers={}, body=b"", timeout_s=1, mode=mode
        )
        exchange.outcome = outcome  # type: ignore[assignment]
        its.append(exchange)
    return its


UNSERVED = ended("timed_out", "hung_up")


def test_three_unserved_rounds_shorten_the_timeout() -> None:
    backpressure = Backpressure()
    for _ in range(2):
        backpressure.saw(UNSERVED)
    assert backpressure.timeout_s == CLIENT_TIMEOUT_S
    backpressure.saw(UNSERVED)
    assert backpressure.timeout_s < CLIENT_TIMEOUT_S


def test_any_response_restores_the_timeout() -> None:
    for outcome in ("answered", "refused", "failed"):
        backpressure = Backpressure()
        for _ in range(5):
            backpressure.saw(UNSERVED)
        backpressure.saw(ended("timed_out", outcome))
        assert backpressure.timeout_s == CLIENT_TIMEOUT_S


def test_disconnects_and_list_requests_do_not_count() -> None:
    backpressure = Backpressure()
    for exchanges in (UNSERVED, UNSERVED, ended("hung_up"), ended("answered", mode="list"), []):
        backpressure.saw(exchanges)
    assert backpressure.timeout_s == CLIENT_TIMEOUT_S
    backpressure.saw(UNSERVED)
    assert backpressure.timeout_s < CLIENT_TIMEOUT_S
