"""Rules and canaries set over the control API, directives for some attempts, accept delays."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import msgspec
import pytest

import fake_providers
from fake_providers import Fakes
from fake_providers.prompt.behaviour import UnknownDirective, for_attempt
from fake_providers.prompt.directives import token
from fake_providers.prompt.rules import Rule, Rules
from fake_providers.records.evidence import Evidence, ListFetch
from fake_providers.records.transcripts import CallTranscript
from tests.fakes.wire import (
    OLLAMA,
    OPENAI,
    PATIENCE_S,
    WHOLES,
    RawRequest,
    as_new,
    control,
    records,
    until,
    until_held,
    whole_lines,
)
from tests.support import http

RUN = "wire"
nonces = itertools.count(10_000)
WHOLE_OPENAI, WHOLE_OLLAMA = WHOLES[:2]


@pytest.fixture(scope="module")
def fakes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fakes]:
    ledger = tmp_path_factory.mktemp("rules") / "evidence.jsonl"
    with fake_providers.running(ledger=ledger, run=RUN) as running:
        yield running


@pytest.fixture(autouse=True)
def nothing_ordered(fakes: Fakes) -> Iterator[None]:
    with as_new(fakes):
        yield


def chat(
    fakes: Fakes, provider: str = "openai", *, model: str = "fake-chat", **more: Any
) -> httpx.Response:
    prompt = token(RUN, more.pop("nonce", next(nonces)), **more.pop("wants", {}))
    body = {"model": model, "stream": False, "messages": [{"role": "user", "content": prompt}]}
    if provider == "openai":
        return http.post(f"{fakes.openai_url}/v1/chat/completions", json=body, **more)
    return http.post(f"{fakes.ollama_url}/api/chat", json=body, **more)


def rule(fakes: Fakes, **fields: Any) -> list[dict[str, Any]]:
    in_force: list[dict[str, Any]] = control(fakes, "behaviours", fields)["behaviours"]
    return in_force


# -- rules -----------------------------------------------------------------------------------


def test_the_first_three_requests_and_no_more(fakes: Fakes) -> None:
    status = rule(fakes, times=3, wants="status=503,retry_after=2")
    assert status == [
        {"provider": None, "model": None, "left": 3, "wants": "status=503,retry_after=2"}
    ]
    answers = [chat(fakes, provider) for provider in ("openai", "ollama", "openai", "ollama")]
    assert [answer.status_code for answer in answers] == [503, 503, 503, 200]
    assert [answer.headers.get("retry-after") for answer in answers] == ["2", "2", "2", None]
    assert http.get(f"{fakes.control_url}/control/behaviours").json() == {"behaviours": []}


def test_a_rule_for_one_provider_and_one_for_one_model(fakes: Fakes) -> None:
    rule(fakes, provider="ollama", wants="status=500")
    rule(fakes, model="fake-embed", wants="status=418")
    assert chat(fakes).status_code == 200
    assert chat(fakes, "ollama").status_code == 500
    assert chat(fakes, model="fake-embed").status_code == 418
    cleared = http.delete(f"{fakes.control_url}/control/behaviours")
    assert cleared.json() == {"behaviours": []}
    assert chat(fakes, "ollama").status_code == 200


def test_a_model_is_the_same_with_its_tag_and_without(fakes: Fakes) -> None:
    rule(fakes, model="fake-chat:latest", wants="status=429")
    assert chat(fakes, "ollama").status_code == 429


def test_the_narrower_rule_and_the_prompt_lie_over_the_wider(fakes: Fakes) -> None:
    rule(fakes, model="fake-chat", wants="tokens=2")
    rule(fakes, wants="tokens=7")
    text = chat(fakes).text
    assert "#end2-" in text
    assert "#end3-" in chat(fakes, wants={"tokens": 3}).text


def test_a_reset_clears_the_rules(fakes: Fakes) -> None:
    rule(fakes, wants="status=500")
    control(fakes, "reset")
    assert chat(fakes).status_code == 200


def test_an_error_of_ones_own(fakes: Fakes) -> None:
    body = json.dumps({"error": {"message": "my own"}})
    rule(fakes, wants="status=529", body=body, headers={"X-Own": "1", "Retry-After": "soon"})
    answer = chat(fakes)
    assert (answer.status_code, answer.text) == (529, body)
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-own"] == "1"
    assert answer.headers["retry-after"] == "soon"
    control(fakes, "reset")
    rule(fakes, wants="status=502", body="<html>Bad Gateway</html>")
    answer = chat(fakes, "ollama")
    assert (answer.status_code, answer.text) == (502, "<html>Bad Gateway</html>")
    assert answer.headers["content-type"].startswith("text/plain")


@pytest.mark.parametrize("provider", ["openai", "ollama"])
def test_retry_after_in_seconds_and_finer(fakes: Fakes, provider: str) -> None:
    answer = chat(fakes, provider, wants={"status": 503, "retry_after": 1.5})
    assert (answer.headers["retry-after"], answer.headers["retry-after-ms"]) == ("2", "1500")
    answer = chat(fakes, provider, wants={"status": 503, "retry_after": 3})
    assert answer.headers["retry-after"] == "3"
    assert "retry-after-ms" not in answer.headers


def test_a_redirection(fakes: Fakes) -> None:
    rule(fakes, wants="redirect=/v1/elsewhere/chat", times=1)
    answer = chat(fakes)
    assert (answer.status_code, answer.headers["location"]) == (307, "/v1/elsewhere/chat")
    assert chat(fakes, wants={"redirect": "away"}).headers["location"] == "/away"


def test_a_scripted_error_may_be_cut_as_well(fakes: Fakes) -> None:
    with pytest.raises(httpx.HTTPError):
        chat(fakes, wants={"status": 500, "cut": 0})


@pytest.mark.parametrize(
    ("body", "word"),
    [
        ({"wants": "holt=head"}, "holt=head"),
        ({"wants": "status=200"}, "status=200"),
        ({"wants": "attempts=many"}, "attempts=many"),
        ({"wants": "from=0"}, "from=0"),
        ({"wants": "attempts=0,stall=-1"}, "stall=-1"),
        ({"wants": "redirect=http://a b"}, "redirect"),
        ({"wants": "", "times": 0}, "times"),
        ({"wants": "", "headers": {"a b": "c"}}, "header"),
        ({"wants": "", "headers": {"a": "b\r\nc: d"}}, "header"),
        ({"provider": "azure"}, "provider"),
    ],
)
def test_an_invalid_rule_is_rejected_when_it_is_added(
    fakes: Fakes, body: dict[str, Any], word: str
) -> None:
    answer = http.post(f"{fakes.control_url}/control/behaviours", json=body)
    assert answer.status_code == 422
    assert word in answer.json()["detail"]
    assert chat(fakes).status_code == 200


def test_a_rule_that_is_used_up_is_met_no_more() -> None:
    rules = Rules()
    for left in (1, 2, None):
        rules.add(Rule(directives={}, left=left))
    assert [len(rules.take("openai", "m")) for _ in range(4)] == [3, 2, 1, 1]


# -- attempts --------------------------------------------------------------------------------


@pytest.mark.parametrize("provider", ["openai", "ollama"])
def test_only_the_first_attempts_of_one_body_fail(fakes: Fakes, provider: str) -> None:
    nonce = next(nonces)
    wants = {"status": 503, "attempts": 2, "tokens": 3}
    answers = [chat(fakes, provider, nonce=nonce, wants=wants) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [503, 503, 200]
    assert "#end3-" in answers[-1].text
    assert chat(fakes, provider, wants=wants).status_code == 503
    assert [call.attempt for call in records(fakes, nonce, 3)] == [1, 2, 3]


def test_the_first_attempt_fails_and_the_second_is_held(fakes: Fakes) -> None:
    rule(fakes, wants="status=500", times=1)
    nonce = next(nonces)
    with RawRequest(fakes, WHOLE_OPENAI, nonce=nonce, **HELD_LATER) as request:
        assert b" 500 " in request.read_all()
    with RawRequest(fakes, WHOLE_OPENAI, nonce=nonce, **HELD_LATER) as request:
        until_held(fakes, request)
        control(fakes, "gates/g1/open")
        assert b" 200 " in request.read_all()


HELD_LATER: dict[str, Any] = {"hold": "head", "gate": "g1", "from": 2}


def test_what_shapes_the_content_is_for_every_attempt() -> None:
    wants = {"status": "500", "tokens": "9", "tools": "1", "attempts": "1"}
    assert for_attempt(wants, 1) == {"status": "500", "tokens": "9", "tools": "1"}
    assert for_attempt(wants, 2) == {"tokens": "9", "tools": "1"}
    assert for_attempt({"cut": "1", "from": "2"}, 1) == {}
    assert for_attempt({"cut": "1", "from": "2"}, 2) == {"cut": "1"}
    with pytest.raises(UnknownDirective):
        for_attempt({"attempts": "x"}, 1)


# -- canaries --------------------------------------------------------------------------------

SECRET = 'sk-live/"42"+ä'


def fetches(fakes: Fakes, count: int) -> list[ListFetch]:
    assert fakes.ledger is not None
    give_up = time.monotonic() + PATIENCE_S
    while True:
        lines = whole_lines(fakes.ledger)
        records = [msgspec.json.decode(line, type=Evidence) for line in lines]
        found = [record for record in records if isinstance(record, ListFetch)]
        if len(found) >= count:
            return found
        assert time.monotonic() < give_up


def test_canaries_are_found_anywhere_and_reported_by_name(fakes: Fakes) -> None:
    reply = control(fakes, "canaries", {"openai-key": "sk-openai-1", "odd": SECRET})
    assert reply == {"canaries": ["openai-key", "odd"]}
    plain, header, body, query = (next(nonces) for _ in range(4))
    chat(fakes, nonce=plain)
    chat(fakes, nonce=header, headers={"Authorization": "Bearer sk-openai-1"})
    prompt = [{"role": "user", "content": f"{token(RUN, body)} {SECRET} sk-openai-1"}]
    http.post(
        f"{fakes.ollama_url}/api/chat",
        json={"model": "fake-chat", "messages": prompt, "stream": False},
    )
    chat(fakes, nonce=query, params={"key": SECRET})
    seen = [records(fakes, nonce)[0].canaries for nonce in (plain, header, body, query)]
    assert seen == [(), ("openai-key",), ("openai-key", "odd"), ("odd",)]
    assert fakes.ledger is not None
    written = fakes.ledger.read_bytes()
    assert b"sk-openai-1" not in written
    assert b"sk-live" not in written


def test_a_transcript_has_the_bytes_of_both_sides_and_no_key(fakes: Fakes) -> None:
    control(fakes, "canaries", {"odd": SECRET})
    control(fakes, "transcripts", {"on": True})
    nonce, other = next(nonces), next(nonces)
    answer = chat(
        fakes, nonce=nonce, params={"key": SECRET}, headers={"Authorization": "x", "B": "y"}
    )
    control(fakes, "transcripts", {"on": False})
    chat(fakes, nonce=other)
    (call,) = records(fakes, nonce)
    assert fakes.ledger is not None
    written = [msgspec.json.decode(line, type=Evidence) for line in whole_lines(fakes.ledger)]
    (transcript,) = [record for record in written if isinstance(record, CallTranscript)]
    assert (transcript.provider, transcript.call) == (call.provider, call.call)
    assert transcript.request.target == "/v1/chat/completions?key={odd}"
    assert transcript.request.values("authorization") == ("***",)
    assert transcript.request.values("b") == ("y",)
    assert token(RUN, nonce).encode() in (transcript.request.body.data or b"")
    assert transcript.response is not None
    assert transcript.response.status == 200
    assert transcript.response.body.data == answer.content
    assert transcript.response.values("content-type") == ("application/json",)


def test_canaries_in_a_fetch_of_the_list(fakes: Fakes) -> None:
    before = len(fetches(fakes, 0))
    control(fakes, "canaries", {"client": "sk-client"})
    http.get(f"{fakes.openai_url}/v1/models")
    http.get(f"{fakes.ollama_url}/api/tags", headers={"X-Api-Key": "sk-client"})
    http.get(f"{fakes.ollama_url}/v1/models?key=sk-client")
    found = fetches(fakes, before + 3)[before:]
    assert [(fetch.route, fetch.canaries) for fetch in found] == [
        ("/v1/models", ()),
        ("/api/tags", ("client",)),
        ("/v1/models", ("client",)),
    ]


def test_canaries_end_with_a_reset_and_secrets_are_never_reported(fakes: Fakes) -> None:
    control(fakes, "canaries", {"client": "sk-client"})
    assert "sk-client" not in json.dumps(control(fakes, "canaries", {}))
    control(fakes, "reset")
    nonce = next(nonces)
    chat(fakes, nonce=nonce, headers={"X-Key": "sk-client"})
    assert records(fakes, nonce)[0].canaries == ()
    answer = http.post(f"{fakes.control_url}/control/canaries", json={"client": "abc"})
    assert answer.status_code == 422


# -- accepting and lists ---------------------------------------------------------------------


def test_an_accept_delay_keeps_a_new_connection_unread(fakes: Fakes) -> None:
    assert control(fakes, "accepting", {"provider": "openai", "delay_s": 0.3}) == {
        "openai": 0.3,
        "ollama": 0.0,
    }
    with RawRequest(fakes, OPENAI) as slow, RawRequest(fakes, OLLAMA) as quick:
        quick.read_all()
        assert slow.hears_nothing()
        slow.read_all()
    [late], [early] = records(fakes, slow.nonce), records(fakes, quick.nonce)
    assert late.accepted_ns - slow.started_ns > 290_000_000
    assert early.outer_end_ns < late.accepted_ns


@pytest.mark.parametrize("path", ["openai/v1/models", "ollama/api/tags", "ollama/v1/models"])
@pytest.mark.parametrize("kind", ["text", "shape", "empty", "half"])
def test_a_nonsense_list(fakes: Fakes, path: str, kind: str) -> None:
    provider, _, route = path.partition("/")
    url = f"{fakes.openai_url if provider == 'openai' else fakes.ollama_url}/{route}"
    control(fakes, "lists", {"nonsense": kind})
    answer = http.get(url)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("application/json")
    if kind == "shape":
        reply = answer.json()
        assert not isinstance(reply["data"], list)
        assert not isinstance(reply["models"], list)
    else:
        with pytest.raises(json.JSONDecodeError):
            answer.json()
    control(fakes, "reset")
    assert isinstance(http.get(url).json().get("data", []), list)


def test_a_moving_list_is_another_with_every_fetch(fakes: Fakes) -> None:
    control(fakes, "lists", {"provider": "openai", "epoch": 40, "moving": True})
    markers = [http.get(f"{fakes.openai_url}/v1/models").json()["data"][-1]["id"] for _ in range(3)]
    assert markers == ["openai-epoch-40", "openai-epoch-41", "openai-epoch-42"]
    control(fakes, "lists", {"provider": "openai", "moving": False})
    reply = until(fakes, lambda reply: reply["lists"]["openai"]["epoch"] == 43)
    assert reply["lists"]["openai"]["open"] == 0
