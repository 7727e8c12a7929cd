"""Current and peak calls in flight, in ``/control/now`` and ``/metrics``."""

from __future__ import annotations

import json
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

import fake_providers
from fake_providers import Fakes
from fake_providers.calls.metrics import MAX_MODELS, OTHER_MODEL, Exposition, Metrics
from fake_providers.prompt.directives import token
from tests.support import http

PATIENCE_S = 10.0
CHAT = "/v1/chat/completions"

Sample = tuple[str, frozenset[tuple[str, str]]]


@pytest.fixture
def fakes() -> Iterator[Fakes]:
    with fake_providers.running(run="k3") as running:
        yield running


def now(fakes: Fakes) -> Any:
    return http.get(fakes.control_url + "/control/now").json()


def await_now(fakes: Fakes, is_so: Callable[[Any], bool]) -> Any:
    give_up = time.monotonic() + PATIENCE_S
    while not is_so(seen := now(fakes)):
        assert time.monotonic() < give_up, seen
        time.sleep(0.01)
    return seen


def scraped(fakes: Fakes) -> dict[Sample, float]:
    answer = http.get(fakes.control_url + "/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def of(metrics: dict[Sample, float], name: str, **labels: str) -> float | None:
    return metrics.get((f"fake_providers_{name}", frozenset(labels.items())))


def begin(url: str, path: str, prompt: str, *, model: str, stream: bool) -> socket.socket:
    host, _, port = url.removeprefix("http://").partition(":")
    body = {
        "model": model,
        "stream": stream,
        "prompt": prompt,
        "messages": [{"role": "user", "content": prompt}],
    }
    data = json.dumps(body).encode()
    connection = socket.create_connection((host, int(port)), timeout=PATIENCE_S)
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(data)}\r\n\r\n"
    connection.sendall(head.encode() + data)
    return connection


def test_in_flight_is_right_during_streams_and_after(fakes: Fakes) -> None:
    held = token("k3", 1, hold="first")
    opened = [begin(fakes.openai_url, CHAT, held, model="fake-chat", stream=True) for _ in range(3)]
    opened += [
        begin(fakes.ollama_url, path, held, model="fake-chat", stream=True)
        for path in ("/api/chat", "/api/generate")
    ]
    seen = await_now(fakes, lambda seen: len(seen["held"]) == 5)["in_flight"]
    assert seen["all"] == {"now": 5, "peak": 5}
    assert seen["providers"] == {
        "openai": {"now": 3, "peak": 3},
        "ollama": {"now": 2, "peak": 2},
    }
    assert {(one["provider"], one["route"]): one["now"] for one in seen["routes"]} == {
        ("openai", CHAT): 3,
        ("ollama", "/api/chat"): 1,
        ("ollama", "/api/generate"): 1,
    }
    reply = scraped(fakes)
    assert of(reply, "open_calls", provider="openai", route=CHAT) == 3
    assert of(reply, "held_calls", provider="openai") == 3
    assert of(reply, "held_calls", provider="ollama") == 2
    for connection in opened:
        connection.close()
    seen = await_now(fakes, lambda seen: not seen["in_flight"]["all"]["now"])["in_flight"]
    assert seen["all"] == {"now": 0, "peak": 5}
    assert all(one["now"] == 0 and one["peak"] for one in seen["routes"] + seen["models"])
    reply = scraped(fakes)
    assert of(reply, "open_calls", provider="openai", route=CHAT) == 0
    assert of(reply, "held_calls", provider="openai") == 0
    assert of(reply, "peak_open_calls", provider="openai", route=CHAT) == 3
    assert of(reply, "peak_open_provider_calls", provider="ollama") == 2
    assert of(reply, "peak_open_all_calls") == 5
    left = {"route": CHAT, "status": "200", "ended_by": "peer"}
    assert of(reply, "calls_total", provider="openai", **left) == 3


def test_calls_and_list_fetches_are_counted_by_how_they_ended(fakes: Fakes) -> None:
    body = {"model": "fake-chat", "stream": False}
    for directives in ({}, {"status": 503}, {"cut": 0}):
        messages = [{"role": "user", "content": token("k3", 1, **directives)}]
        try:
            http.post(fakes.openai_url + CHAT, json={**body, "messages": messages})
        except httpx.TransportError:
            assert directives == {"cut": 0}
    for _ in range(2):
        http.get(fakes.ollama_url + "/api/tags")
    http.post(fakes.control_url + "/control/lists", json={"provider": "openai", "status": 500})
    http.get(fakes.openai_url + "/v1/models")
    reply = scraped(fakes)
    at = {"provider": "openai", "route": CHAT}
    assert of(reply, "calls_total", **at, status="200", ended_by="fake") == 1
    assert of(reply, "calls_total", **at, status="503", ended_by="fake") == 1
    assert of(reply, "calls_total", **at, status="", ended_by="cut") == 1
    fetches = "list_fetches_total"
    tags = {"provider": "ollama", "route": "/api/tags"}
    assert of(reply, fetches, **tags, status="200", ended_by="fake") == 2
    models = {"provider": "openai", "route": "/v1/models"}
    assert of(reply, fetches, **models, status="500", ended_by="fake") == 1


def test_each_paced_step_is_in_the_histogram_of_lateness(fakes: Fakes) -> None:
    prompt = token("k3", 1, tokens=5, gap=0.01)
    body = {"model": "fake-chat", "messages": [{"role": "user", "content": prompt}]}
    answer = http.post(fakes.openai_url + CHAT, json={**body, "stream": True})
    assert answer.status_code == 200
    reply = scraped(fakes)
    steps = of(reply, "lateness_seconds_count")
    assert steps == 5
    assert of(reply, "lateness_seconds_bucket", le="+Inf") == steps
    total = of(reply, "lateness_seconds_sum")
    assert total is not None
    assert total >= 0


def test_invented_models_are_counted_together_beyond_a_bound() -> None:
    metrics = Metrics(("openai",))
    names = [f"m{number}" for number in range(MAX_MODELS + 10)] + ["x" * 10_000]
    for name in names:
        metrics.begin("openai", CHAT, name)
    for name in names:
        metrics.end("openai", CHAT, name, 404, "fake")
    assert len(metrics.models) == MAX_MODELS + 1
    assert metrics.models["openai", OTHER_MODEL].peak == 11
    assert all(level.now == 0 for level in metrics.models.values())
    assert metrics.total.peak == len(names)


def test_a_label_may_hold_anything() -> None:
    metrics = Metrics(("openai",))
    name = 'quo"te\\ new\nline \0 é'
    metrics.begin("openai", CHAT, name)
    text = Exposition(metrics, held=Counter, stalled_ns=int)
    families = text_string_to_metric_families(text.text().decode())
    models = {
        sample.labels["model"]
        for family in families
        if family.name == "fake_providers_open_model_calls"
        for sample in family.samples
    }
    assert models == {name}


KINDS = [
    (provider, route, model)
    for provider in ("a", "b")
    for route in ("/x", "/y")
    for model in ("m", "n")
]


@given(st.lists(st.tuples(st.booleans(), st.sampled_from(KINDS))))
def test_every_level_agrees_with_the_count_of_open_calls(
    steps: list[tuple[bool, tuple[str, str, str]]],
) -> None:
    metrics = Metrics(("a", "b"))
    opened: list[tuple[str, str, str]] = []
    peaks: dict[object, int] = {}
    for up, kind in steps:
        if up:
            opened.append(kind)
            metrics.begin(*kind)
        elif kind in opened:
            opened.remove(kind)
            metrics.end(*kind, 200, "fake")
        provider, route, model = kind
        count = {
            "all": len(opened),
            provider: sum(one[0] == provider for one in opened),
            (provider, route): sum(one[:2] == (provider, route) for one in opened),
            (provider, "model", model): sum(one[::2] == (provider, model) for one in opened),
        }
        for key, value in count.items():
            peaks[key] = max(peaks.get(key, 0), value)
        if (provider, route) not in metrics.routes:
            continue
        assert metrics.total.counts() == {"now": count["all"], "peak": peaks["all"]}
        levels = {
            provider: metrics.providers[provider],
            (provider, route): metrics.routes[provider, route],
            (provider, "model", model): metrics.models.get((provider, model)),
        }
        for key, level in levels.items():
            if level is not None:
                assert level.counts() == {"now": count[key], "peak": peaks[key]}
