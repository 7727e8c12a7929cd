"""Client timeouts shorten for a router that serves no client, never for one that serves any."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from fake_providers.records.ledger import Ledger
from routerspec.promises import Promises
from routerspec.records.load_plan import LoadPlan
from routerspec.scenarios import overhead
from routerspec.scenarios.engine.backpressure import CLIENT_TIMEOUT_S, Backpressure
from routerspec.scenarios.engine.conductor import Conductor
from routerspec.scenarios.engine.exchange import Exchange
from tests.scenarios.test_rounds import ROUTE


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


def after(*rounds: list[Exchange]) -> Backpressure:
    backpressure = Backpressure()
    for number, exchanges in enumerate(rounds):
        for exchange in exchanges:
            exchange.round = number
            backpressure.saw(exchange)
        backpressure.round_over(number)
    return backpressure


def test_three_unserved_rounds_shorten_the_timeout() -> None:
    assert after(*[UNSERVED] * 2).timeout_s == CLIENT_TIMEOUT_S
    assert after(*[UNSERVED] * 3).timeout_s < CLIENT_TIMEOUT_S
    assert after(*[UNSERVED] * 3).serves_nobody


def test_any_response_restores_the_timeout() -> None:
    for outcome in ("answered", "refused", "failed"):
        backpressure = after(*[UNSERVED] * 5, ended("timed_out", outcome))
        assert backpressure.timeout_s == CLIENT_TIMEOUT_S


def test_disconnects_and_list_requests_do_not_count() -> None:
    rounds: tuple[list[Exchange], ...] = (
        UNSERVED,
        UNSERVED,
        ended("hung_up"),
        ended("answered", mode="list"),
        [],
    )
    assert after(*rounds).timeout_s == CLIENT_TIMEOUT_S
    assert after(*rounds, UNSERVED).timeout_s < CLIENT_TIMEOUT_S


def test_rounds_that_are_open_at_once_are_told_apart() -> None:
    backpressure = after(*[UNSERVED] * 2)
    router, direct = ended("timed_out", "timed_out")
    router.round, direct.round = 8, 9
    backpressure.saw(router)
    backpressure.round_over(9)
    assert not backpressure.serves_nobody
    backpressure.round_over(8)
    assert backpressure.serves_nobody


def test_a_router_that_served_nobody_before_is_given_little_time_until_it_serves() -> None:
    backpressure = Backpressure(unserved=True)
    assert backpressure.timeout_s < CLIENT_TIMEOUT_S
    (served,) = ended("answered")
    backpressure.saw(served)
    backpressure.round_over(served.round)
    assert backpressure.timeout_s == CLIENT_TIMEOUT_S


class Silent(Conductor):
    """A conductor whose router never answers, and whose fakes do."""

    def make(self, exchange: Exchange) -> None:
        through = exchange.host == self.host
        exchange.outcome = "timed_out" if through else "answered"
        if through:
            self.backpressure.saw(exchange)


def test_overhead_is_left_once_the_router_serves_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overhead, "_IN_TURN_S", {"chat": 0.0, "stream": 0.0})
    plan = LoadPlan(
        token="ab", folder=str(tmp_path), control="http://127.0.0.1:9", routes=(ROUTE,),
        headers={}, list_path="/v1/models", scenarios=(), seed=1, promises=Promises(),
    )  # fmt: skip
    log = Ledger(tmp_path / "observations.jsonl", role="observations", run="ab")
    played: list[str] = []
    conductor = Silent(plan, "http://router", log, lambda *_: None, played.append)
    health = SimpleNamespace(openai="http://fake", ollama="http://fake")
    monkeypatch.setattr(conductor, "control", SimpleNamespace(health=lambda: health))
    monkeypatch.setattr(overhead, "_full_load", lambda *_: played.append("full load router"))
    overhead.overhead(conductor)
    assert conductor.backpressure.serves_nobody
    assert [label for label in played if label.endswith("router")] == [
        "overhead openai:chat warming router",
        "overhead openai:chat in turn router",
        "overhead openai:stream warming router",
        "overhead openai:stream in turn router",
    ]
