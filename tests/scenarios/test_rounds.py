"""What a round sends: prompts with directives, body fields, retries of rejected requests."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import gevent
import gevent.event
import pytest

from fake_providers.prompt import behaviour, directives, forms
from fake_providers.records.ledger import Ledger
from routerspec.promises import Cap, Promises
from routerspec.records.load_plan import LoadPlan, RoutePlan
from routerspec.scenarios.engine import rounds
from routerspec.scenarios.engine.exchange import Exchange
from routerspec.scenarios.engine.prompt import Directives
from routerspec.scenarios.engine.rounds import ActiveRound
from routerspec.scenarios.engine.session import Session

ROUTE = RoutePlan(
    name="openai", provider="openai", front="openai", path="", model="openai/m",
    nonsense_model="openai/none", modes=("chat", "stream"), implied=False,
)  # fmt: skip
VALID: dict[str, str] = {
    "redirect": "v1/x",
    "status": "500",
    "newline": "1",
    "text": "utf8",
    "args": "long",
    "order": "interleaved",
    "before": "text",
    "ids": "foreign",
    "finish": "length",
    "usage": "empty-delta",
    "eol": "crlf",
    "thinking": "redacted",
}
"""Values of directives that do not take every small number."""


class RejectingSession(Session):
    """A session whose router rejects the first ``rejections`` requests; nothing is sent."""

    rejections = 0
    made: list[Exchange]

    def make(self, exchange: Exchange) -> None:
        self.made.append(exchange)
        rejected = len(self.made) <= self.rejections
        exchange.outcome, exchange.status = ("refused", 429) if rejected else ("answered", 200)


@pytest.fixture
def session(tmp_path: Path) -> RejectingSession:
    plan = LoadPlan(
        token="ab", folder=str(tmp_path), control="http://127.0.0.1:9", routes=(ROUTE,),
        headers={}, list_path="/v1/models", scenarios=(), seed=1,
        promises=Promises(cap=Cap(limit=4, overload="reject")),
    )  # fmt: skip
    log = Ledger(tmp_path / "observations.jsonl", role="observations", run="ab")
    session = RejectingSession(plan, "http://127.0.0.1:9", log, lambda *_: None)
    session.made = []
    return session


def sent(exchange: Exchange) -> tuple[dict[str, Any], dict[str, str]]:
    """The JSON body of a request, and the directives that a fake finds in it."""
    return json.loads(exchange.body), directives.find_tokens(exchange.body)[2]


def test_a_request_carries_its_directives_and_its_place_at_the_gate(
    session: RejectingSession,
) -> None:
    exchange = ActiveRound(session, 1, "g1").send(ROUTE, "stream", hold="first", tokens=4, gap=0.01)
    body, found = sent(exchange)
    assert found == {"hold": "first", "gate": "g1", "tokens": "4", "gap": "0.01"}
    assert (body["model"], body["stream"]) == ("openai/m", True)
    assert (exchange.route, exchange.round, exchange.stream) == ("openai", 1, True)


def test_an_unknown_directive_fails_where_it_is_written(session: RejectingSession) -> None:
    misspelt = cast("Directives", {"token": 4})
    with pytest.raises(TypeError, match="no such directive: token"):
        ActiveRound(session, 1, "").send(ROUTE, "chat", **misspelt)
    assert session.jobs.empty()


def test_the_fakes_accept_every_directive() -> None:
    for name in Directives.__annotations__:
        wanted = behaviour.for_attempt({name: VALID.get(name, "1")}, 1)
        behaviour.apply(wanted, behaviour.Behaviour())
    assert Directives.__annotations__.keys() >= forms.OF_CONTENT | forms.OF_FRAMING


def test_fields_of_the_body_are_added_or_replaced(session: RejectingSession) -> None:
    extra = {"stream_options": {"include_usage": True}, "stream": None}
    body, _ = sent(ActiveRound(session, 1, "").send(ROUTE, "stream", body=extra))
    assert (body["stream_options"], body["stream"]) == ({"include_usage": True}, None)
    assert body["messages"]


def test_a_rejected_request_is_sent_again_as_it_was(
    session: RejectingSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("routerspec.scenarios.engine.rounds._RETRY_S", 0.0)
    session.rejections = 2
    round_ = ActiveRound(session, 1, "g1")
    round_.send(ROUTE, "chat", hold="head", model="openai/other", body={"seed": 7}, tokens=2)
    session.jobs.get()()
    bodies = [sent(exchange) for exchange in session.made]
    assert len(bodies) == 3
    for body, found in bodies:
        assert (body["model"], body["seed"]) == ("openai/other", 7)
        assert found == {"hold": "head", "gate": "g1", "tokens": "2"}
    assert len({exchange.nonce for exchange in session.made}) == 3


def test_a_request_is_sent_once_where_rejection_is_a_result(session: RejectingSession) -> None:
    session.rejections = 2
    ActiveRound(session, 1, "g1").send(ROUTE, "chat", hold="head", retry_rejected=False)
    session.jobs.get()()
    assert len(session.made) == 1


def test_users_that_do_not_finish_are_an_incident(
    session: RejectingSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rounds, "CLIENT_TIMEOUT_S", 0.1)
    monkeypatch.setattr(rounds, "_SLACK_S", 0.1)
    round_ = ActiveRound(session, 1, "")

    def user() -> None:
        session.jobs.get()()

    def broken() -> None:
        raise ValueError("a user's task")

    users = [gevent.spawn(user) for _ in range(2)]
    round_.work(2, lambda: None, time.monotonic())
    assert round_.incident == ""
    broken_user = gevent.spawn(lambda: suppressed(user))
    round_.work(1, broken, time.monotonic())
    assert round_.incident == ""
    stuck = gevent.spawn(user)
    round_.work(2, gevent.event.Event().wait, time.monotonic())
    assert round_.incident == "2 clients did not finish"
    gevent.killall([*users, broken_user, stuck])


def suppressed(job: Callable[[], None]) -> None:
    with contextlib.suppress(ValueError):
        job()
