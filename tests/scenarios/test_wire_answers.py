"""What is asked of each route for the checks of the wire, and how clients answer tool calls."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fake_providers.prompt import behaviour
from routerspec.plan.requests import request_body, request_path
from routerspec.records.load_plan import RoutePlan
from routerspec.scenarios.engine.exchange import Exchange
from routerspec.scenarios.engine.raw_response import RawResponse
from routerspec.scenarios.wire import answers
from routerspec.scenarios.wire.probes import CALLS, PROBES, Probe, tools_for
from routerspec.scenarios.wire.results import turn
from tests.corpus.stories.wire import call, called, lines, text


def route(front: Any = "openai", provider: str = "openai") -> RoutePlan:
    return RoutePlan(
        name="r", provider=provider, front=front, path="", model="m", nonsense_model="none",
        modes=("chat", "stream"), implied=False,
    )  # fmt: skip


@pytest.mark.parametrize("probe", [*PROBES, CALLS], ids=lambda probe: probe.name)
def test_the_fakes_know_every_directive_of_a_probe(probe: Probe) -> None:
    directives: dict[str, Any] = dict(probe.directives)
    wanted = {name: str(value) for name, value in directives.items()}
    behaviour.apply(behaviour.for_attempt(wanted, 1), behaviour.Behaviour())


def test_probes_have_names_of_their_own_and_suit_their_routes() -> None:
    assert len({probe.name for probe in (*PROBES, CALLS)}) == len(PROBES) + 1
    suits = {p.name: p.suits(route(provider="ollama"), "stream") for p in PROBES}
    assert not suits["CRLF cut"]
    assert suits["joined"]
    assert not any(p.suits(route("ollama"), "chat") for p in PROBES if p.name == "choices")


@pytest.mark.parametrize("front", ["openai", "ollama"])
@pytest.mark.parametrize("mode", ["chat", "stream"])
def test_a_request_has_the_fields_of_its_probe(front: str, mode: str) -> None:
    by_name = {probe.name: probe for probe in (*PROBES, CALLS)}
    its = route(front)

    def asked(name: str) -> dict[str, Any]:
        fields = by_name[name].fields(its, mode)
        body: dict[str, Any] = json.loads(request_body(its, mode, "m", "hi", fields))
        return body

    limit = asked("max_tokens")
    assert limit.get("max_tokens") == (2 if front == "openai" else None)
    assert limit.get("options") == (None if front == "openai" else {"num_predict": 2})
    wanted = {"include_usage": True} if (front, mode) == ("openai", "stream") else None
    assert asked("usage").get("stream_options") == wanted
    assert asked("calls")["tools"] == tools_for(front)["tools"]


def made(front: str, body: bytes, *, stream: bool = True) -> Exchange:
    """An exchange whose response has this body."""
    its = route(front)
    exchange = Exchange(
        host="http://127.0.0.1:9", method="POST", path=request_path(its, "stream"), headers={},
        body=b"", timeout_s=1, stream=stream, keeps_body=True,
    )  # fmt: skip
    exchange.status = 200
    exchange._response = RawResponse(None, "POST")  # type: ignore[arg-type]
    exchange._response.body += body
    exchange.forget()
    return exchange


def test_a_client_gives_back_the_ids_that_it_was_given() -> None:
    body = called(call(0, "id-1", '{"name":"x"}'), call(1, "id-2", "", "read_clock"))
    given = turn("openai", answers._calls(made("openai", body)))
    _, assistant, first, second = given
    assert [c["id"] for c in assistant["tool_calls"]] == ["id-1", "id-2"]
    assert [c["function"]["arguments"] for c in assistant["tool_calls"]] == ['{"name":"x"}', ""]
    assert (first["tool_call_id"], second["tool_call_id"]) == ("id-1", "id-2")
    assert first["content"] != second["content"]
    sent = json.loads(request_body(route(), "chat", "m", "hi", tools_for("openai"), earlier=given))
    assert [message["role"] for message in sent["messages"]] == [
        "user", "assistant", "tool", "tool", "user",
    ]  # fmt: skip
    assert sent["messages"][-1]["content"] == "hi"


def test_a_client_of_ollama_gives_back_objects_and_names() -> None:
    entry = {"function": {"name": "find_city", "arguments": {"name": "x"}}}
    given = turn("ollama", answers._calls(made("ollama", lines({"tool_calls": [entry]}))))
    assert given[1]["tool_calls"] == [entry]
    assert given[2]["tool_name"] == "find_city"


@pytest.mark.parametrize("body", [b"", text("one"), called(call(0, "a", '{"n"'))])
def test_without_calls_or_with_broken_ones_there_is_nothing_to_answer(body: bytes) -> None:
    given = turn("ollama", answers._calls(made("openai", body)))
    assert given == []
