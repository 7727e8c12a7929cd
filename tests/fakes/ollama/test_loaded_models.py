"""/api/ps without a profile; every input of an embeddings request costs time."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import ollama
import pytest

import fake_providers
from fake_providers import Fakes
from fake_providers.pacing.jobs import FOREVER
from fake_providers.pacing.loaded_models import LoadedModels
from fake_providers.pacing.profiles import PROFILES, Draw
from fake_providers.pacing.scheduler import SECOND
from fake_providers.prompt.directives import token
from fake_providers.prompt.sizes import prompt_tokens
from tests.fakes.client import chat
from tests.fakes.wire import OLLAMA, RawRequest, until, until_held
from tests.support import http


def test_a_model_stays_from_its_first_call_until_its_time_is_over() -> None:
    models = LoadedModels(keep_alive_ns=10 * SECOND, max_loaded=3)
    models.enter("a", None, 0)
    assert models.resident(100 * SECOND) == [("a", 10)]
    models.enter("a", None, 100 * SECOND)
    models.leave("a", 200 * SECOND)
    assert models.resident(300 * SECOND) == [("a", 10)]
    models.leave("a", 300 * SECOND)
    assert models.resident(304 * SECOND) == [("a", 6)]
    assert models.resident(310 * SECOND) == []


def test_a_keep_alive_lasts_until_the_next_one() -> None:
    models = LoadedModels(keep_alive_ns=10 * SECOND, max_loaded=3)
    for kept, left in ((FOREVER, float("inf")), (None, float("inf")), (5 * SECOND, 5)):
        models.enter("a", kept, 0)
        models.leave("a", 0)
        assert models.resident(0) == [("a", left)]
    models.enter("a", 0, 0)
    assert models.resident(0) == [("a", 0)]
    models.leave("a", 0)
    assert models.resident(0) == []


def test_the_longest_stays_first_and_the_idle_one_that_ends_first_makes_room() -> None:
    models = LoadedModels(keep_alive_ns=10 * SECOND, max_loaded=2)
    for model, kept in (("a", 20 * SECOND), ("b", 5 * SECOND)):
        models.enter(model, kept, 0)
        models.leave(model, 0)
    assert [model for model, _ in models.resident(0)] == ["a", "b"]
    models.enter("c", None, 0)
    assert [model for model, _ in models.resident(0)] == ["a", "c"]


@pytest.fixture
def fakes() -> Iterator[Fakes]:
    with fake_providers.running(run="wire") as running:
        yield running


def shown(fakes: Fakes) -> list[str]:
    return [str(model.model) for model in ps(fakes)]


def ps(fakes: Fakes) -> list[ollama.ProcessResponse.Model]:
    with ollama.Client(host=fakes.ollama_url) as client:
        return list(client.ps().models)


def ask(fakes: Fakes, path: str, body: dict[str, Any]) -> dict[str, Any]:
    answer = http.post(fakes.ollama_url + path, json={**body, "stream": False})
    assert answer.status_code == 200, answer.text
    reply: dict[str, Any] = answer.json()
    return reply


def test_ps_shows_called_models_loaded_and_unloaded(fakes: Fakes) -> None:
    assert shown(fakes) == []
    ask(fakes, "/api/chat", chat())
    assert shown(fakes) == ["fake-chat:latest"]
    loaded = ask(fakes, "/api/generate", {"model": "ollama-epoch-0"})
    assert loaded["done_reason"] == "load"
    ask(fakes, "/v1/embeddings", {"model": "fake-embed", "input": "a", "keep_alive": 0})
    assert set(shown(fakes)) == {"fake-chat:latest", "ollama-epoch-0:latest", "fake-embed:latest"}
    unloaded = ask(fakes, "/api/chat", {"model": "fake-chat", "messages": [], "keep_alive": 0})
    assert unloaded["done_reason"] == "unload"
    assert set(shown(fakes)) == {"ollama-epoch-0:latest", "fake-embed:latest"}


def test_ps_shows_when_a_model_expires_and_a_held_call_keeps_it(fakes: Fakes) -> None:
    ask(fakes, "/api/chat", chat(keep_alive="1h"))
    [model] = ps(fakes)
    assert model.expires_at is not None
    left_s = (model.expires_at - datetime.now(UTC)).total_seconds()
    assert 3500 < left_s <= 3600
    # With keep_alive 0 the model stays loaded for as long as the call lasts, and no longer.
    with RawRequest(fakes, OLLAMA, fields={"keep_alive": 0}, hold="head") as request:
        until_held(fakes, request)
        assert shown(fakes) == ["fake-chat:latest"]
    until(fakes, lambda reply: reply["open"]["ollama"] == 0)
    assert shown(fakes) == []


def test_a_refused_call_loads_no_model(fakes: Fakes) -> None:
    for body in (chat(model="absent"), chat(token("wire", 1, status=500)), {"model": "fake-chat"}):
        http.post(fakes.ollama_url + "/api/embed", json=body)
        http.post(fakes.ollama_url + "/v1/chat/completions", json=body)
    assert [name for name in shown(fakes) if name != "fake-chat:latest"] == []


SEED = 7
SLOW = ["--profile", "ollama-gpu-8b", "--time-scale", "0.02", "--seed", str(SEED)]


def test_each_input_of_an_embeddings_request_is_a_call_of_its_own_to_the_model() -> None:
    texts = ["a" * 40, "b" * 400, "c" * 4000]
    with fake_providers.running(options=SLOW) as fakes:
        ask(fakes, "/api/embed", {"model": "fake-embed", "input": "a"})
        for call, path in ((2, "/api/embed"), (3, "/v1/embeddings")):
            reply = ask(fakes, path, {"model": "fake-embed", "input": texts})
            sizes = [prompt_tokens(len(text)) for text in texts]
            drawn = Draw(
                PROFILES["ollama-gpu-8b"],
                seed=SEED,
                provider="ollama",
                call=call,
                prompt_tokens=1,
                inputs=sizes,
            )
            # 0.15 s each, and what reading all of them costs.
            assert drawn.first_s == pytest.approx(3 * 0.15 + sum(sizes) / 2000, rel=0.1)
            if path == "/api/embed":
                assert reply["total_duration"] >= round(drawn.first_s * SECOND)
                assert reply["prompt_eval_count"] == sum(sizes)


def test_no_input_at_all_only_loads() -> None:
    with fake_providers.running(options=SLOW) as fakes:
        reply = ask(fakes, "/api/embed", {"model": "fake-embed", "input": []})
        assert reply == {"model": "fake-embed", "embeddings": []}
        assert shown(fakes) == ["fake-embed:latest"]
