"""Budgets of requests and tokens a minute: the arithmetic, and a 429 on the wire."""

from __future__ import annotations

import re

import httpx
import openai
import pytest

import fake_providers
from fake_providers.__main__ import settings_of
from fake_providers.openai.headers import duration
from fake_providers.pacing.rate_limits import RateLimits
from fake_providers.prompt.directives import token
from tests.fakes.client import chat, client_of
from tests.support import http

S = 1_000_000_000
PATH = "/v1/chat/completions"


def test_a_minute_of_requests_is_there_at_once_and_fills_evenly() -> None:
    limits = RateLimits(requests=3, tokens=None)
    found = [limits.take("m", 1, 0)[0] for _ in range(4)]
    assert [one.remaining for one in found] == [2, 1, 0, 0]
    assert [one.exceeded for one in found] == [False, False, False, True]
    assert found[-1].wait_s == 20
    assert [one.reset_s for one in found] == [20, 40, 60, 60]
    # A little early it is still short, and what is refused takes nothing.
    assert limits.take("m", 1, 20 * S - 1)[0].exceeded
    assert not limits.take("m", 1, 20 * S)[0].exceeded
    assert limits.take("m", 1, 20 * S)[0].wait_s == 20
    assert limits.take("m", 1, 600 * S)[0].remaining == 2


def test_each_model_has_its_own_and_refilling_gives_all_back() -> None:
    limits = RateLimits(requests=1, tokens=None)
    assert not limits.take("a", 1, 0)[0].exceeded
    assert not limits.take("b", 1, 0)[0].exceeded
    assert limits.take("a", 1, 0)[0].exceeded
    limits.refill()
    assert not limits.take("a", 1, 0)[0].exceeded


def test_a_call_takes_from_both_budgets_or_from_none() -> None:
    limits = RateLimits(requests=10, tokens=100)
    limits.take("m", 90, 0)
    requests, tokens = limits.take("m", 20, 0)
    assert (requests.kind, requests.exceeded, tokens.kind, tokens.exceeded) == (
        "requests",
        False,
        "tokens",
        True,
    )
    assert (tokens.used, tokens.wanted, tokens.wait_s, tokens.never_fits) == (90, 20, 6, False)
    assert [one.remaining for one in limits.take("m", 10, 0)] == [8, 0]
    assert limits.take("m", 101, 0)[1].never_fits


def test_retry_headers_are_what_openai_sends_for_these_numbers() -> None:
    limits = RateLimits(requests=None, tokens=30_000)
    limits.take("m", 14_567, 0)
    [status] = limits.take("m", 24_754, 0)
    assert duration(status.wait_s) == "18.642s"


def test_a_minute_is_as_short_as_the_time_scale_makes_it() -> None:
    limits = RateLimits(requests=60, tokens=None, scale=0.01)
    for _ in range(60):
        limits.take("m", 1, 0)
    assert limits.take("m", 1, 0)[0].wait_s == pytest.approx(0.01)
    assert not limits.take("m", 1, S // 100)[0].exceeded


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0ms"),
        (0.0061, "7ms"),
        (0.006, "6ms"),
        (1, "1s"),
        (1.276, "1.276s"),
        (3.89, "3.89s"),
        (360, "6m0s"),
        (72.5, "1m12.5s"),
        (3723, "1h2m3s"),
    ],
)
def test_durations_are_written_as_openai_writes_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_a_429_has_the_body_and_the_headers_and_a_waiting_client_gets_in() -> None:
    with client_of("openai", options=["--rpm", "60", "--time-scale", "0.05"]) as client:
        first = client.post(PATH, json=chat())
        assert first.headers["x-ratelimit-limit-requests"] == "60"
        assert first.headers["x-ratelimit-remaining-requests"] == "59"
        assert first.headers["x-ratelimit-reset-requests"] == "50ms"
        assert "x-ratelimit-limit-tokens" not in first.headers
        refused = spend(client)
        assert refused.headers["content-type"] == "application/json"
        assert refused.headers["x-ratelimit-remaining-requests"] == "0"
        assert int(refused.headers["retry-after"]) == 1
        assert 0 < int(refused.headers["retry-after-ms"]) <= 50
        error = refused.json()["error"]
        assert (error["type"], error["param"], error["code"]) == (
            "requests",
            None,
            "rate_limit_exceeded",
        )
        assert re.fullmatch(
            r"Rate limit reached for fake-chat in organization \S+ on requests per min \(RPM\): "
            r"Limit 60, Used 60, Requested 1\. Please try again in \d+ms\.",
            error["message"],
        )
        # Another model and a list are not concerned.
        body = {"model": "fake-embed", "input": "a"}
        assert client.post("/v1/embeddings", json=body).status_code == 200
        assert client.get("/v1/models").status_code == 200


def spend(client: httpx.Client) -> httpx.Response:
    """Call until it is too much; a slow machine earns a call now and then."""
    for _ in range(10_000):
        answer = client.post(PATH, json=chat())
        if answer.status_code == 429:
            return answer
    raise AssertionError("never too much")


def test_tokens_are_counted_by_the_maximum_cost_of_an_answer() -> None:
    with client_of("openai", options=["--tpm", "1000", "--time-scale", "1000"]) as client:
        answer = client.post(PATH, json=chat(max_tokens=400, n=2))
        assert answer.headers["x-ratelimit-remaining-tokens"] == "200"
        refused = client.post(PATH, json=chat(max_tokens=300))
        assert refused.json()["error"]["type"] == "tokens"
        assert "TPM): Limit 1000, Used 800, Requested 300." in refused.json()["error"]["message"]
        too_large = client.post(PATH, json=chat(max_tokens=1001))
        assert too_large.status_code == 429
        assert "retry-after" not in too_large.headers
        assert too_large.json()["error"]["message"].startswith("Request too large for fake-chat")


def test_a_scripted_error_and_a_faulty_request_cost_nothing_and_a_reset_refills() -> None:
    with fake_providers.running(options=["--rpm", "2"]) as fakes:
        url = fakes.openai_url + PATH
        for _ in range(3):
            assert http.post(url, json=chat(token("k3", 1, status=500))).status_code == 500
            assert http.post(url, json={"model": "fake-chat"}).status_code == 400
        for _ in range(2):
            codes = [http.post(url, json=chat()).status_code for _ in range(3)]
            assert codes == [200, 200, 429]
            http.post(fakes.control_url + "/control/reset")


def test_the_sdk_honours_retry_after_and_is_admitted() -> None:
    options = ["--rpm", "60", "--time-scale", "0.05"]
    with client_of("openai", options=options) as raw:
        base_url = f"{raw.base_url}/v1"
        spend(raw)
        with openai.OpenAI(base_url=base_url, api_key="any", max_retries=0) as client:
            with pytest.raises(openai.RateLimitError) as caught:
                ask(client, times=10_000)
            assert caught.value.code == "rate_limit_exceeded"
            assert caught.value.type == "requests"
        with openai.OpenAI(base_url=base_url, api_key="any", max_retries=1) as client:
            assert "#end4-" in ask(client)


def ask(client: openai.OpenAI, times: int = 1) -> str:
    for _ in range(times):
        reply = client.chat.completions.create(
            model="fake-chat", messages=[{"role": "user", "content": "hi"}]
        )
    return reply.choices[0].message.content or ""


def test_only_the_profile_or_an_option_asks_for_budgets() -> None:
    def budgets(*options: str) -> tuple[int | None, int | None]:
        settings = settings_of(list(options))
        return settings.requests, settings.tokens

    assert budgets() == (None, None)
    assert budgets("--profile", "vllm-8b", "--profile", "ollama-gpu-8b") == (None, None)
    assert budgets("--profile", "hosted-fast") == (10_000, 10_000_000)
    assert budgets("--profile", "hosted-fast", "--rpm", "0", "--tpm", "5") == (None, 5)
    assert budgets("--rpm", "7") == (7, None)
    for wrong in ("-1", "x"):
        with pytest.raises(SystemExit):
            budgets("--rpm", wrong)
