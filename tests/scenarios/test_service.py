"""A start is given up where its router serves nobody, and for nothing that a sound router does."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fake_providers.records.ledger import Ledger
from routerspec.promises import Cap, ModelList, Promises
from routerspec.records.load_plan import LoadPlan
from routerspec.scenarios import overhead
from routerspec.scenarios.engine import conductor as conductors
from routerspec.scenarios.engine import service as services
from routerspec.scenarios.engine.conductor import Conductor
from routerspec.scenarios.engine.exchange import Exchange
from routerspec.scenarios.engine.filled import Filled
from routerspec.scenarios.engine.service import GivenUp, Service
from tests.scenarios.test_rounds import ROUTE

CAP = Promises(cap=Cap(limit=4))


def exchange(mode: str = "chat", *, round_number: int = 1) -> Exchange:
    """One that was never made."""
    its = Exchange(
        host="", method="POST", path="/", headers={}, body=b"", timeout_s=1, mode=mode,
        route="openai", round=round_number,
    )  # fmt: skip
    its._sock = SimpleNamespace(shutdown=lambda how: None)
    return its


@dataclass
class Played:
    """A service, its clock, and the fakes that it looks at."""

    promises: Promises = CAP
    latency_s: float = 0.0
    impatient: bool = False
    alone: bool = False
    elsewhere: str = ""
    now: float = 1000.0
    open: int = 0
    arrived: int = 0
    lists_open: int = 0
    said: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.service = Service(
            promises=self.promises,
            latency_s={"openai": self.latency_s},
            look=self.look,
            say=self.said.append,
            impatient=self.impatient,
            alone=self.alone,
            shown_elsewhere=lambda: self.elsewhere,
        )
        served = exchange()
        served.outcome = "answered"
        self.service.begins(served)
        self.service.ends(served)
        self.service.round_over(1)

    def look(self) -> Any:
        lists = {"openai": SimpleNamespace(fetches=0, open=self.lists_open)}
        return SimpleNamespace(
            open={"openai": self.open}, arrived={"openai": self.arrived}, lists=lists
        )

    def waiting(
        self, mode: str = "chat", count: int = 3, *, round_number: int = 1
    ) -> list[Exchange]:
        """Clients that sent their requests now."""
        clients = [exchange(mode, round_number=round_number) for _ in range(count)]
        for client in clients:
            client.sent_ns = int(self.now * 1e9)
            self.service.begins(client)
        return clients

    def refuse(self, status: int = 429) -> None:
        refused = exchange()
        refused.outcome, refused.status = "refused", status
        self.service.begins(refused)
        self.service.ends(refused)

    def pass_(self, seconds: float, *, every_s: float = 0.0, refused: bool = False) -> None:
        """Time goes by; a call arrives every so often, and requests are refused all the time."""
        until, next_ = self.now + seconds, self.now + every_s
        while self.now < until:
            self.now += 0.25
            if every_s and self.now >= next_:
                self.arrived, next_ = self.arrived + 1, next_ + every_s
            if refused:
                self.refuse()
            self.service.tick(self.now)


def test_clients_give_up_where_nothing_is_open_and_nothing_moves() -> None:
    played = Played()
    clients = played.waiting()
    played.pass_(10)
    assert not any(client.gave_up for client in clients)
    played.pass_(2)
    assert all("nothing open at any provider" in client.gave_up for client in clients)
    assert not played.service.given_up  # A request by itself has to show that.
    assert played.service.take_suspect() == ("openai", "chat")
    assert any("slots were free and no call arrived" in line for line in played.said)
    assert not played.service.stands_still  # One round is not enough.


@pytest.mark.parametrize("kind", ["held", "queue", "list"])
def test_a_router_that_waits_for_its_providers_or_serves_its_queue_is_waited_for(kind: str) -> None:
    played = Played()
    clients = played.waiting()
    played.open, played.lists_open = int(kind == "held"), int(kind == "list")
    played.pass_(38, every_s=0.5 if kind == "queue" else 0.0)
    assert not any(client.gave_up for client in clients)


def test_a_slow_router_is_measured_by_its_own_latency() -> None:
    played = Played(latency_s=1.5)
    clients = played.waiting()
    played.pass_(29)
    assert not any(client.gave_up for client in clients)
    assert played.service.served_within_s("openai") == 30
    played.pass_(35, every_s=6.0)
    assert not played.service.given_up


def test_a_circuit_breaker_has_its_recovery_time_and_more() -> None:
    played = Played(promises=Promises(recovery_s=20.0))
    clients = played.waiting()
    played.pass_(21)
    assert not any(client.gave_up for client in clients)
    assert played.service.served_within_s("openai") == 22


def test_a_list_is_waited_for_as_long_as_a_dead_provider_may_delay_it() -> None:
    lists = ModelList(ttl_s=1, partial=True, partial_within_s=20)
    played = Played(promises=Promises(model_list=lists))
    clients = played.waiting("list")
    played.pass_(21)
    assert not any(client.gave_up for client in clients)
    played.pass_(4)
    assert all(client.gave_up for client in clients)
    assert played.service.take_suspect() is None


def test_a_router_that_lets_in_one_call_now_and_then_is_given_up_once_that_took_long() -> None:
    played = Played()
    played.waiting(count=30)
    played.pass_(12, every_s=1.5)
    assert not played.service.given_up
    played.pass_(12, every_s=1.5)
    assert "another limit than the cap?" in played.service.given_up
    again = Played(impatient=True)
    again.waiting(count=30)
    again.pass_(12, every_s=1.5)
    assert again.service.given_up


def test_a_router_may_pause_between_attempts_while_a_provider_fails() -> None:
    played = Played()
    for client in played.waiting(count=30):
        client.expected_failure = True
    played.pass_(38, every_s=5.0)
    assert not played.service.given_up


def test_clients_are_stopped_once_and_later_ones_are_given_some_time() -> None:
    played = Played(impatient=True)
    played.waiting(count=30)
    played.pass_(12, every_s=1.5)
    assert played.service.given_up
    later = played.waiting()
    played.pass_(6, every_s=1.5)
    assert not any(client.gave_up for client in later)
    played.pass_(4, every_s=1.5)
    assert all(client.gave_up for client in later)


def test_three_rounds_in_which_nothing_moves_are_enough_of_their_kind() -> None:
    played = Played()
    for number in (1, 2, 3):
        assert not played.service.stands_still
        for client in played.waiting(round_number=number):
            played.pass_(12)
            client.outcome = "timed_out"
            played.service.ends(client)
    assert played.service.stands_still


def test_what_other_starts_have_shown_is_not_shown_again() -> None:
    played = Played()
    clients = played.waiting()
    played.elsewhere = "another limit than the cap"
    played.pass_(7, every_s=0.25)
    assert played.service.given_up == "another limit than the cap"
    assert played.service.limited
    assert not any(client.gave_up for client in clients)
    played.pass_(2, every_s=0.25)
    assert all(client.gave_up for client in clients)


def test_a_start_that_plays_everything_is_given_more_time() -> None:
    played = Played(alone=True)
    played.waiting(count=30)
    played.pass_(36, every_s=1.5)
    assert not played.service.given_up


def test_refusals_count_while_slots_are_free_and_no_others() -> None:
    saturated = Played(open=4)
    saturated.pass_(40, refused=True)
    assert not saturated.service.given_up
    limited = Played(open=1)
    limited.pass_(25, every_s=2.0, refused=True)
    assert "requests were refused by the router with 429" in limited.service.given_up
    busy = Played(open=1)
    busy.pass_(40, every_s=0.25, refused=True)
    assert not busy.service.given_up


@pytest.mark.parametrize(
    ("ends", "suspect"),
    [
        (["timed_out"], ("openai", "chat")),
        (["refused"], ("openai", "chat")),
        (["timed_out", "answered"], None),
        (["hung_up"], None),
        ([], None),
    ],
    ids=["timed out", "refused", "one answered", "disconnected", "none"],
)
def test_a_round_that_served_nobody_is_looked_into(
    ends: list[Any], suspect: tuple[str, str] | None
) -> None:
    played = Played()
    for end in ends:
        client = exchange(round_number=2)
        client.outcome, client.status = end, 503 if end == "refused" else None
        played.service.ends(client)
    played.service.round_over(2)
    assert played.service.take_suspect() == suspect


def test_what_was_never_served_and_what_a_scenario_makes_fail_is_not_looked_into() -> None:
    played = Played()
    embedding, failing = exchange("embeddings", round_number=2), exchange(round_number=3)
    embedding.outcome, failing.outcome = "timed_out", "failed"
    failing.expected_failure = True
    for client in (embedding, failing):
        played.service.ends(client)
        played.service.round_over(client.round)
        assert played.service.take_suspect() is None


def test_fewer_slots_are_known_to_fill_after_three_rounds_without_doubt() -> None:
    filled = Filled()
    for number in (1, 2, 2):
        filled.saw(number, held=1, open_=1, kept_out=True, limit=4)
    filled.saw(3, held=1, open_=1, kept_out=False, limit=4)
    assert filled.most is None
    filled.saw(4, held=1, open_=1, kept_out=True, limit=4)
    assert filled.most == 1
    filled.saw(5, held=2, open_=2, kept_out=False, limit=4)
    assert filled.most is None


class Silent(Conductor):
    """A conductor whose router answers one request, and then none; its fakes do."""

    answers = 1

    def make(self, exchange: Exchange) -> None:
        through = exchange.host == self.host
        served = not through or self.answers > 0
        exchange.sent_ns = time.monotonic_ns()
        exchange.outcome = "answered" if served else "timed_out"
        exchange.over.set()
        if through:
            self.answers -= 1
            self.service.begins(exchange)
            self.service.ends(exchange)


def test_a_start_is_left_once_a_request_by_itself_is_not_let_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overhead, "_IN_TURN_S", {"chat": 0.0, "stream": 0.0})
    monkeypatch.setattr(services, "SERVED_WITHIN_S", 0.02)
    monkeypatch.setattr(conductors, "_TRY_AGAIN_S", 0.0)
    plan = LoadPlan(
        token="ab", folder=str(tmp_path), control="http://127.0.0.1:9", routes=(ROUTE,),
        headers={}, list_path="/v1/models", scenarios=(), seed=1, promises=Promises(),
    )  # fmt: skip
    log = Ledger(tmp_path / "observations.jsonl", role="observations", run="ab")
    played: list[str] = []
    conductor = Silent(plan, "http://router", log, lambda *_: None, played.append)
    health = SimpleNamespace(openai="http://fake", ollama="http://fake", anthropic=None)
    now = SimpleNamespace(open={}, arrived={})
    fakes = SimpleNamespace(health=lambda: health, now=lambda: now)
    monkeypatch.setattr(conductor, "control", fakes)
    conductor.gives_up = True
    monkeypatch.setattr(conductor, "jobs", SimpleNamespace(put=lambda job: job()))
    with pytest.raises(GivenUp, match=r"a request by itself \(openai:chat\) was not let in"):
        overhead.overhead(conductor)
    assert played[-1] == "still-served openai:chat"
    with pytest.raises(GivenUp):
        conductor.check_service()
