"""The report of a smoke run: each route, each fault with its fix, the baseline."""

from __future__ import annotations

import gzip
import io
from typing import Any

import msgspec
import pytest
from rich.console import Console

from fake_providers.records.evidence import Call
from routerspec.judge import judge
from routerspec.judge.preflight_advice import advice, received
from routerspec.promises import ModelList, Promises
from routerspec.records.observations import Observation
from routerspec.records.run import RouteInfo
from routerspec.report import preflight as report
from tests.corpus.builder import Start, route, run_of


def client(status: int | None, **fields: Any) -> Observation:
    return Start().client(1, 1, sent=1.1, end=1.3, status=status, **fields)


def call(status: int | None = 200, model: str = "fake-chat") -> Call:
    return Start().call(1, read=1.1, end=1.2, status=status, model=model)


@pytest.mark.parametrize(
    ("status", "calls", "sentence"),
    [
        (401, (), "[client] key"),
        (404, (), "`model`, `path` or `front` of [routes.openai]"),
        (404, (call(404, "nobody"),), "must come to that"),
        (422, (), "[client.headers]"),
        (503, (), "let `ready` wait for its providers"),
        (502, (), "/v1 may be missing"),
        (500, (call(),), "router.log"),
        (200, (call(),), "is `front` of [routes.openai] the dialect"),
        (200, (), "another server answers"),
    ],
)
def test_advice_names_the_keys_of_the_target_file(
    status: int, calls: tuple[Call, ...], sentence: str
) -> None:
    assert sentence in advice(client(status, text=""), calls)


def test_a_compressed_answer_is_told_from_another_dialect() -> None:
    error = f"not JSON: {gzip.compress(b'{}').decode(errors='replace')}"
    assert "turn compression off" in advice(client(200, text="", error=error), (call(),))


def test_the_providers_observation_is_a_clause() -> None:
    assert received(()) == "no request reached a provider"
    assert received((call(404, "gpt"),)) == (
        "openai received a request for 'gpt' at /v1/chat/completions and answered 404"
    )


def rendered(start: Start, **info: Any) -> tuple[int, str]:
    recorded = run_of(start, **info)
    console = Console(file=io.StringIO(), width=400)
    status = report.render(recorded, judge.judge(recorded), console)
    assert isinstance(console.file, io.StringIO)
    return status, console.file.getvalue()


def tried(start: Start, part: str, status: int, text: str | None = None, *, seen: bool) -> None:
    number = start.round("smoke", 10, 11, route="openai", mode="chat", part=part)
    nonce = start.nonce()
    seen_call = start.call(nonce, read=10.1, end=10.2, status=status) if seen else None
    whole = start.whole(nonce, seen_call) if seen_call and text is None else text or ""
    outcome: Any = "answered" if status == 200 else "refused"
    start.client(nonce, number, sent=10.1, end=10.3, status=status, outcome=outcome, text=whole)


def test_each_route_the_nonsense_model_and_the_baseline_are_reported() -> None:
    start = Start()
    tried(start, "route", 200, seen=True)
    tried(start, "nonsense", 404, "", seen=True)
    start.round("idle", 20, 22)
    for at in (20.5, 21.5, 30):
        start.fetch(at, at + 0.01)
    status, text = rendered(start, selected=("answers/own",))
    assert "openai:chat: answered 200" in text
    assert "unknown model: 404, from the provider" in text
    assert "background requests in 2.0 s: openai /v1/models 2 times (1.0/s)" in text
    assert "smoke passed" in text
    assert status == 0


@pytest.mark.parametrize("promised", ["", "/v1/models"])
def test_a_model_list_at_another_path_is_named_once_none_is_promised(promised: str) -> None:
    start = Start()
    tried(start, "route", 200, seen=True)
    number = start.round("smoke", 20, 21, part="list")
    start.ask_list(number, 20.1, 20.2)
    start.ask_list(number, 20.3, 20.4)
    start.observations[-1] = msgspec.structs.replace(start.observations[-1], path="/api/tags")
    promises = Promises(model_list=ModelList(ttl_s=2, path=promised))
    status, text = rendered(start, selected=("answers/own",), promises=promises)
    assert ("another model list: /api/tags" in text) == (not promised)
    assert "model list" in text
    assert status == 0


def test_an_error_of_the_provider_that_became_an_answer_is_named() -> None:
    start = Start()
    tried(start, "route", 200, seen=True)
    number = start.round("smoke", 12, 13, route="openai", mode="chat", part="nonsense")
    nonce = start.nonce()
    start.call(nonce, read=12.1, end=12.2, status=404)
    start.client(nonce, number, sent=12.1, end=12.3, text="Sorry.")
    status, text = rendered(start, selected=("answers/own",))
    assert "answered 404 to the unknown model, the client received 200" in text
    assert status == 0


def test_a_limit_that_the_burst_met_is_named() -> None:
    start = Start()
    tried(start, "route", 200, seen=True)
    number = start.round("smoke-burst", 20, 21, route="openai", mode="chat")
    start.exchange(number, sent=20.1, end=20.2)
    for _ in range(9):
        start.client(start.nonce(), number, sent=20.3, end=20.31, outcome="refused", status=429)
    status, text = rendered(start, selected=("answers/own",))
    assert "9 of 11 requests were refused by the router itself with 429" in text
    assert "another limit than the cap?" in text
    assert status == 0


def test_a_router_that_died_is_not_the_target_files_fault() -> None:
    start = Start()
    tried(start, "route", 200, seen=True)
    number = start.round("smoke", 12, 13, route="openai", mode="stream", part="route")
    start.client(
        start.nonce(), number, sent=12.1, end=12.2, outcome="failed", status=None, mode="stream"
    )
    start.router_exit, start.finished = 9, False
    status, text = rendered(start, selected=("answers/own",))
    assert status == 4
    assert "the router ended with status 9" in text
    assert "correct the target file" not in text


def test_every_failed_route_is_reported_and_not_the_first_alone() -> None:
    start = Start()
    for _ in range(2):
        tried(start, "route", 502, "", seen=False)
    tried(start, "nonsense", 200, "x", seen=False)
    status, text = rendered(start, selected=("answers/own",))
    assert status == 4
    assert "with status 502, and no request reached a provider" in text
    assert "answers 200 to a model that does not exist, and no request reached a provider" in text


def test_a_replica_that_fails_is_named_though_the_first_one_serves() -> None:
    start = Start()
    tried(start, "route", 200, seen=True)
    tried(start, "route", 502, "", seen=False)
    start.observations[-1] = msgspec.structs.replace(start.observations[-1], replica=2)
    status, text = rendered(start, selected=("answers/own",))
    assert status == 4
    assert "openai:chat: answered 200" in text
    assert "openai:chat of replica 2: refused 502" in text
    assert "smoke failed in start one: replica 2, route openai, mode chat was refused" in text


def further(start: Start, part: str, *, answered: bool) -> None:
    number = start.round("smoke-further", 12, 13, route="openai", mode="chat", part=part)
    nonce = start.nonce()
    text = start.whole(nonce, start.call(nonce, read=12.1, end=12.2)) if answered else ""
    outcome: Any = "answered" if answered else "refused"
    status = 200 if answered else 404
    start.client(nonce, number, sent=12.1, end=12.3, status=status, outcome=outcome, text=text)


@pytest.mark.parametrize("implied", [True, False])
def test_a_route_that_is_answered_in_another_dialect_is_told_which(implied: bool) -> None:
    start = Start()
    tried(start, "route", 404, seen=False)
    for front in ("ollama", "anthropic", "responses"):
        further(start, front, answered=front == "anthropic")
    claude = RouteInfo(name="openai", front="openai", modes=("chat",), implied=implied)
    status, text = rendered(start, selected=("answers/own",), routes=(claude,))
    assert (
        'it answers there in another dialect: state front = "anthropic" in [routes.openai]' in text
    )
    assert status == 4


def test_a_route_that_its_provider_refused_is_not_told_of_other_dialects() -> None:
    start = Start()
    tried(start, "route", 404, "", seen=True)
    further(start, "anthropic", answered=True)
    status, text = rendered(start, selected=("answers/own",))
    assert "another dialect" not in text
    assert "the provider's own model is {model}" in text
    assert status == 4


def test_a_front_that_takes_no_x_api_key_is_given_the_header_that_it_takes() -> None:
    start = Start()
    tried(start, "route", 401, seen=False)
    further(start, "bearer", answered=True)
    status, text = rendered(start, selected=("answers/own",))
    assert 'state headers = { Authorization = "Bearer {client_key}" } in [routes.openai]' in text
    assert status == 4


@pytest.mark.parametrize("stated", ["openai", "ollama", "anthropic"])
@pytest.mark.parametrize("reached", ["openai", "ollama", "anthropic"])
def test_each_of_three_providers_is_told_from_the_others(stated: Any, reached: Any) -> None:
    start = Start()
    number = start.round("smoke", 10, 11, route="claude", mode="chat", part="route")
    nonce = start.nonce()
    call = start.call(nonce, read=10.1, end=10.2, provider=reached)
    text = start.whole(nonce, call)
    start.client(nonce, number, sent=10.1, end=10.3, route="claude", text=text)
    claude = RouteInfo(
        name="claude", front="anthropic", modes=("chat",), implied=True, provider=stated
    )
    status, said = rendered(start, selected=("answers/own",), routes=(claude,))
    if stated == reached:
        assert status == 0
    else:
        assert f"leads to {reached}, not to {stated}" in said
        assert f'or [routes.claude] lacks `provider = "{reached}"`' in said
        assert status == 4


@pytest.mark.parametrize(
    ("front", "body", "lacks"),
    [
        ("anthropic", '{"type":"error","error":{"type":"not_found_error","message":"no"}}', ""),
        ("anthropic", '{"error":{"type":"not_found_error","message":"no"}}', '"type": "error"'),
        ("anthropic", '{"type":"error","error":{"message":"no"}}', "error.type"),
        ("anthropic", '{"detail":"Not Found"}', "error.message"),
        ("anthropic", "<h1>Not Found</h1>", "it is not JSON"),
        ("responses", '{"error":{"message":"no"}}', ""),
        ("responses", '{"error":"no"}', "error.message"),
        ("responses", '{"error":{"message":"is cut wit', ""),
        ("openai", '{"detail":"Not Found"}', ""),
    ],
)
def test_an_error_in_a_shape_of_the_routers_own_is_named_on_the_fronts_of_agents(
    front: Any, body: str, lacks: str
) -> None:
    start = Start()
    tried(start, "route", 200, seen=True)
    number = start.round("smoke", 12, 13, route="openai", mode="chat", part="nonsense")
    start.client(
        start.nonce(), number, sent=12.1, end=12.2, outcome="refused", status=404, error=body
    )
    route = RouteInfo(name="openai", front=front, modes=("chat",), implied=True)
    status, text = rendered(start, selected=("answers/own",), routes=(route,))
    assert ("no error of that API" in text) == bool(lacks)
    assert lacks in text
    assert ("unknown model on the front" in text) == (front != "openai")
    assert status == 0


def emptied(text: str) -> Start:
    """A route whose chat is answered, and whose tool call has these arguments."""
    start = Start()
    tried(start, "route", 200, seen=True)
    number = start.round("smoke", 12, 13, route="openai", mode="tools", part="route")
    nonce = start.nonce()
    start.call(nonce, read=12.1, end=12.2, stream=True)
    start.client(nonce, number, sent=12.1, end=12.3, mode="tools", text=text)
    return start


def test_tool_calls_without_their_arguments_are_the_routers_fault_and_not_the_targets() -> None:
    routes = (route("openai", "chat", "tools"),)
    status, text = rendered(emptied(""), selected=("answers/own",), routes=routes)
    assert "s, without the arguments of its call" in text
    assert "see tools/arrive. Everything else is judged on other modes than openai:tools." in text
    assert "tool calls lose their arguments" in text
    assert status == 1
