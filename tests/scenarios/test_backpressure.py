"""A router that serves nobody any more is waited for less; one that serves somebody never is."""

from __future__ import annotations

from routerspec.scenarios.engine.backpressure import PATIENCE_S, Backpressure
from routerspec.scenarios.engine.exchange import Exchange


def ended(*outcomes: str, mode: str = "chat") -> list[Exchange]:
    """Exchanges that ended so; of nobody's router."""
    its = []
    for outcome in outcomes:
        exchange = Exchange(
            host="", method="POST", path="/", headers={}, body=b"", patience_s=1, mode=mode
        )
        exchange.outcome = outcome  # type: ignore[assignment]
        its.append(exchange)
    return its


IN_VAIN = ended("timed_out", "hung_up")


def test_three_rounds_in_vain_shorten_the_patience() -> None:
    backpressure = Backpressure()
    for _ in range(2):
        backpressure.saw(IN_VAIN)
    assert backpressure.patience_s == PATIENCE_S
    backpressure.saw(IN_VAIN)
    assert backpressure.patience_s < PATIENCE_S


def test_whoever_is_served_or_refused_gives_all_of_it_back() -> None:
    for outcome in ("answered", "refused", "failed"):
        backpressure = Backpressure()
        for _ in range(5):
            backpressure.saw(IN_VAIN)
        backpressure.saw(ended("timed_out", outcome))
        assert backpressure.patience_s == PATIENCE_S


def test_leavers_and_lists_say_nothing() -> None:
    backpressure = Backpressure()
    for exchanges in (IN_VAIN, IN_VAIN, ended("hung_up"), ended("answered", mode="list"), []):
        backpressure.saw(exchanges)
    assert backpressure.patience_s == PATIENCE_S
    backpressure.saw(IN_VAIN)
    assert backpressure.patience_s < PATIENCE_S
