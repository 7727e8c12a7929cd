"""Profiles over the wire: the queue, loads, evictions, and durations that add up."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest

import fake_providers
from fake_providers import Fakes
from fake_providers.pacing.jobs import FOREVER
from fake_providers.pacing.keep_alive import keep_alive_ns
from fake_providers.pacing.profiles import PROFILES, Draw
from fake_providers.pacing.scheduler import SECOND
from fake_providers.prompt.directives import token
from fake_providers.prompt.sizes import prompt_tokens
from fake_providers.records.evidence import Call, Evidence
from fake_providers.records.ledger import read_records
from tests.fakes.client import chat
from tests.support import http

PATIENCE_S = 10.0
SEED = 5
BUSY = "server busy, please try again.  maximum pending requests exceeded"
FAST = ["--profile", "ollama-gpu-8b", "--time-scale", "0.02", "--seed", str(SEED)]


def ask(fakes: Fakes, body: dict[str, Any], path: str = "/api/chat") -> httpx.Response:
    return http.post(fakes.ollama_url + path, json=body, timeout=PATIENCE_S)


def last_line(answer: httpx.Response) -> dict[str, Any]:
    assert answer.status_code == 200
    line: dict[str, Any] = json.loads(answer.text.splitlines()[-1])
    assert line["done"]
    return line


def resident(fakes: Fakes) -> list[str]:
    models = http.get(fakes.ollama_url + "/api/ps").json()["models"]
    return [model["name"] for model in models]


def open_request(fakes: Fakes, body: dict[str, Any]) -> socket.socket:
    host, _, port = fakes.ollama_url.removeprefix("http://").partition(":")
    data = json.dumps(body).encode()
    connection = socket.create_connection((host, int(port)), timeout=PATIENCE_S)
    head = f"POST /api/chat HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(data)}\r\n\r\n"
    connection.sendall(head.encode() + data)
    return connection


def await_open(fakes: Fakes, count: int) -> None:
    give_up = time.monotonic() + PATIENCE_S
    while http.get(f"{fakes.control_url}/control/now").json()["open"]["ollama"] != count:
        assert time.monotonic() < give_up
        time.sleep(0.005)


def check_sum(line: dict[str, Any]) -> int:
    """Time in the queue, which is in no field."""
    queued: int = line["total_duration"] - sum(
        line[name] for name in ("load_duration", "prompt_eval_duration", "eval_duration")
    )
    assert queued >= 0
    return queued


@pytest.fixture
def fakes(tmp_path: Path) -> Iterator[Fakes]:
    with fake_providers.running(ledger=tmp_path / "e.jsonl", run="k3", options=FAST) as running:
        yield running


def drawn(call: int, body: dict[str, Any]) -> Draw:
    size = len(httpx.Request("POST", "http://fake", json=body).content)
    profile = PROFILES["ollama-gpu-8b"]
    tokens = prompt_tokens(size)
    return Draw(profile, seed=SEED, provider="ollama", call=call, prompt_tokens=tokens)


@pytest.mark.parametrize("stream", [True, False])
def test_reported_durations_are_the_drawn_ones_whatever_the_time_scale(
    fakes: Fakes, stream: bool
) -> None:
    for call in (1, 2):
        body = chat(stream=stream)
        line = last_line(ask(fakes, body))
        draw = drawn(call, body)
        assert line["eval_count"] == draw.tokens + 1
        load = draw.warm_s + (draw.load_s if call == 1 else 0)
        assert line["load_duration"] == pytest.approx(load * SECOND, abs=1)
        assert line["load_duration"] + line["prompt_eval_duration"] == pytest.approx(
            (load - draw.warm_s + draw.first_s) * SECOND, abs=2
        )
        gaps = sum(draw.gap_s() for _ in range(draw.tokens))
        # What is late on the clock is late in the model's time too: never early.
        assert line["eval_duration"] >= round(gaps * SECOND) - draw.tokens
        assert check_sum(line) <= 2


def test_one_slot_serves_one_after_another_and_the_wait_is_in_no_field(
    fakes: Fakes, tmp_path: Path
) -> None:
    ask(fakes, chat(stream=False))
    with ThreadPoolExecutor(4) as pool:
        lines = list(pool.map(lambda _: last_line(ask(fakes, chat())), range(4)))
    await_open(fakes, 0)
    made = [r for r in read_records(tmp_path / "e.jsonl", Evidence).records if type(r) is Call][1:]
    made.sort(key=lambda call: call.call)
    for before, after in pairwise(made):
        assert before.first_ns is not None
        assert after.first_ns is not None
        assert before.inner_end_ns < after.first_ns
    queued = sorted(check_sum(line) for line in lines)
    shortest = min(line["eval_duration"] for line in lines)
    assert all(wait >= (place * shortest) // 2 for place, wait in enumerate(queued))


def test_no_piece_of_a_stream_comes_before_it_is_due(fakes: Fakes, tmp_path: Path) -> None:
    line = last_line(ask(fakes, chat()))
    await_open(fakes, 0)
    call = next(r for r in read_records(tmp_path / "e.jsonl", Evidence).records if type(r) is Call)
    assert call.first_ns is not None
    draw = drawn(1, chat())
    assert call.pieces == draw.tokens + 1
    gaps = sum(draw.gap_s() for _ in range(draw.tokens)) * SECOND
    # uvloop's timers may fire half a millisecond early.
    least = (draw.load_s + draw.first_s) * SECOND * 0.02
    assert call.first_ns - call.read_ns >= least - 600_000
    assert call.outer_end_ns - call.read_ns >= least + gaps * 0.02 - 600_000
    assert line["total_duration"] * 0.02 <= call.outer_end_ns - call.accepted_ns + 600_000


def test_a_prompt_that_says_how_long_and_how_fast_is_obeyed(fakes: Fakes) -> None:
    body = chat(token("k3", 1, tokens=3, first="0.01", gap="0.001"))
    answer = ask(fakes, body)
    assert len(answer.text.splitlines()) == 5
    line = last_line(answer)
    assert line["prompt_eval_duration"] + round(drawn(1, body).warm_s * SECOND) == 500_000_000
    assert line["eval_duration"] >= 3 * 50_000_000


def test_the_same_seed_plays_the_same_run_again(tmp_path: Path) -> None:
    counts = []
    for number in range(2):
        ledger = tmp_path / f"{number}.jsonl"
        with fake_providers.running(ledger=ledger, options=FAST) as fakes:
            lines = [last_line(ask(fakes, chat(stream=False))) for _ in range(3)]
        names = ("eval_count", "load_duration", "prompt_eval_duration")
        counts.append([[line[name] for name in names] for line in lines])
    assert counts[0] == counts[1]


def test_loads_show_in_ps_and_keep_alive_unloads(fakes: Fakes) -> None:
    assert resident(fakes) == []
    load = ask(fakes, {"model": "fake-chat"}, "/api/generate").json()
    assert load["done_reason"] == "load"
    assert resident(fakes) == ["fake-chat:latest"]
    (model,) = http.get(fakes.ollama_url + "/api/ps").json()["models"]
    assert datetime.fromisoformat(model["expires_at"]).tzinfo is not None
    assert model["size_vram"] == model["size"]
    ask(fakes, chat(stream=False, keep_alive=-1, tokens=1))
    (model,) = http.get(fakes.ollama_url + "/api/ps").json()["models"]
    assert datetime.fromisoformat(model["expires_at"]).year > 2300
    gone = ask(fakes, {"model": "fake-chat", "keep_alive": 0}, "/api/generate").json()
    assert gone["done_reason"] == "unload"
    assert resident(fakes) == []


def test_an_embedding_waits_for_its_model_too(fakes: Fakes) -> None:
    body = {"model": "fake-embed", "input": ["a", "b"]}
    answer = ask(fakes, body, "/api/embed").json()
    assert answer["load_duration"] >= 3 * SECOND
    assert answer["total_duration"] >= answer["load_duration"]
    assert resident(fakes) == ["fake-embed:latest"]


def test_an_unknown_model_and_a_scripted_error_need_no_slot(fakes: Fakes) -> None:
    assert ask(fakes, {**chat(), "model": "absent"}).status_code == 404
    assert ask(fakes, chat(token("k3", 1, status=500))).status_code == 500
    assert resident(fakes) == []


def test_the_queue_is_full_with_ollamas_message_and_only_for_cold_models(tmp_path: Path) -> None:
    # Slow enough that the load is going on as long as the test needs it to.
    options = ["--profile", "ollama-gpu-8b", "--max-queue", "2", "--seed", "1"]
    with fake_providers.running(options=options) as fakes:
        waiting = []
        for count in range(1, 4):
            waiting.append(open_request(fakes, chat()))
            await_open(fakes, count)
        refused = ask(fakes, chat())
        assert refused.status_code == 503
        assert refused.json() == {"error": BUSY}
        assert "retry-after" not in refused.headers
        waiting.pop().close()
        await_open(fakes, 2)
        waiting.append(open_request(fakes, chat()))
        await_open(fakes, 3)
        for each in waiting:
            each.close()
        await_open(fakes, 0)


def test_a_load_whose_client_disconnects_restarts_for_the_next_job(tmp_path: Path) -> None:
    ledger = tmp_path / "evidence.jsonl"
    # Slow enough that the first load is still going on when its owner leaves.
    options = ["--profile", "ollama-gpu-8b", "--time-scale", "0.2", "--seed", str(SEED)]
    body = chat(token("k3", 1, tokens=1), stream=False)
    with fake_providers.running(ledger=ledger, options=options) as fakes:
        owner = open_request(fakes, body)
        await_open(fakes, 1)
        with ThreadPoolExecutor(1) as pool:
            second = pool.submit(ask, fakes, body)
            await_open(fakes, 2)
            owner.close()
            line = last_line(second.result())
    made = [r for r in read_records(ledger, Evidence).records if type(r) is Call]
    left, answered = sorted(made, key=lambda call: call.call)
    assert left.ended_by == "peer"
    # It began after the first had left, and cost all that a load costs: a fifth of it on the clock.
    load_ns = drawn(2, body).load_s * SECOND
    assert line["load_duration"] > load_ns
    assert answered.head_ns is not None
    assert answered.head_ns - left.outer_end_ns >= load_ns * 0.2 - 600_000


def test_hang_ups_give_their_slots_back(fakes: Fakes) -> None:
    ask(fakes, chat(stream=False))
    for _ in range(5):
        # The first is held in its slot, the others wait for it.
        several = [open_request(fakes, chat(token("k3", 1, hold="head"))) for _ in range(6)]
        await_open(fakes, 6)
        for each in several:
            each.close()
        await_open(fakes, 0)
    assert check_sum(last_line(ask(fakes, chat(stream=False)))) <= SECOND


def test_a_profile_of_one_provider_does_not_affect_the_other(fakes: Fakes) -> None:
    body = chat(token("k3", 1, tokens=2), stream=True)
    answer = http.post(fakes.openai_url + "/v1/chat/completions", json=body)
    assert "#end2-" in answer.text
    assert http.post(fakes.openai_url + "/v1/chat/completions", json=chat()).status_code == 200


def test_two_profiles_make_both_slow() -> None:
    options = [*FAST, "--profile", "vllm-8b"]
    with fake_providers.running(options=options) as fakes:
        answer = http.post(
            fakes.openai_url + "/v1/chat/completions", json=chat(), timeout=PATIENCE_S
        )
        size = len(answer.request.content)
        draw = Draw(
            PROFILES["vllm-8b"],
            seed=SEED,
            provider="openai",
            call=1,
            prompt_tokens=prompt_tokens(size),
        )
        assert f"#end{draw.tokens}-" in answer.text


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (300, 300 * SECOND),
        (0, 0),
        (0.5, SECOND // 2),
        (-1, FOREVER),
        ("5m", 300 * SECOND),
        ("1h2m3.5s", 3723 * SECOND + SECOND // 2),
        ("-1m", FOREVER),
        ("0", 0),
        ("100us", 100_000),
        (float("nan"), None),
        (float("inf"), FOREVER),
        (10**400, FOREVER),
        ("5", None),
        ("m", None),
        ("", None),
        (True, None),
        (None, None),
        ([], None),
    ],
)
def test_keep_alive_is_read_as_go_reads_it(value: object, expected: int | None) -> None:
    assert keep_alive_ns(value) == expected
