"""The Anthropic fake in its process: who is told of it, what is recorded, that it may be off."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

import fake_providers
from fake_providers import Fakes
from fake_providers.__main__ import banner, settings_of
from fake_providers.process import child_environment
from fake_providers.records.evidence import Evidence, ListFetch, TokenCount
from fake_providers.records.transcripts import CallTranscript
from tests.fakes.wire import MESSAGES, RawRequest, control, records, until, whole_lines
from tests.support import http

VERSION = {"anthropic-version": "2023-06-01"}
SECRET = "sk-ant-very-secret"


@pytest.fixture(scope="module")
def fakes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fakes]:
    ledger = tmp_path_factory.mktemp("anthropic") / "evidence.jsonl"
    with fake_providers.running(ledger=ledger, run="wire", anthropic=True) as running:
        yield running


def written(fakes: Fakes) -> list[Any]:
    return [msgspec.json.decode(line, type=Evidence) for line in whole_lines(fakes.ledger)]


def test_it_is_told_of_where_it_is_served(fakes: Fakes) -> None:
    health = http.get(f"{fakes.control_url}/control/health").json()
    assert health["anthropic"] == fakes.anthropic_url
    now = http.get(f"{fakes.control_url}/control/now").json()
    for place in (now["arrived"], now["lists"], now["in_flight"]["providers"], now["token_counts"]):
        assert "anthropic" in place
    metrics = http.get(f"{fakes.control_url}/metrics").text
    assert 'fake_providers_held_calls{provider="anthropic"}' in metrics


def test_a_key_is_found_in_either_header(fakes: Fakes) -> None:
    control(fakes, "canaries", {"key": SECRET})
    url, listed = f"{fakes.anthropic_url}/v1/messages", f"{fakes.anthropic_url}/v1/models"
    for number, key in enumerate(({"x-api-key": SECRET}, {"authorization": f"Bearer {SECRET}"})):
        prompt = f"rs:wire:{9000 + number}::"
        body = {
            "model": "fake-chat",
            "max_tokens": 9,
            "messages": [{"role": "user", "content": prompt}],
        }
        control(fakes, "transcripts", {"on": True})
        assert http.post(url, json=body, headers={**VERSION, **key}).status_code == 200
        control(fakes, "transcripts", {"on": False})
        del body["max_tokens"]
        counted = http.post(f"{url}/count_tokens", json=body, headers={**VERSION, **key})
        assert counted.json()["input_tokens"] > 0
        assert http.get(listed, headers={**VERSION, **key}).status_code == 200
        assert [call.canaries for call in records(fakes, 9000 + number)] == [("key",)]
    control(fakes, "reset")
    found = written(fakes)
    counts = [one for one in found if isinstance(one, TokenCount)]
    assert [(one.count, one.run, one.nonces, one.status) for one in counts] == [
        (1, "wire", (9000,), 200),
        (2, "wire", (9001,), 200),
    ]
    assert all(one.canaries == ("key",) and one.read_ns < one.outer_end_ns for one in counts)
    fetches = [one for one in found if isinstance(one, ListFetch)]
    assert [(one.provider, one.canaries) for one in fetches] == [("anthropic", ("key",))] * 2
    assert sum(isinstance(one, CallTranscript) for one in found) == 2
    assert SECRET not in "".join(map(str, found))
    now = http.get(f"{fakes.control_url}/control/now").json()
    assert now["token_counts"] == {"anthropic": 2}
    labels = '{provider="anthropic",route="/v1/messages/count_tokens",status="200"}'
    metrics = http.get(f"{fakes.control_url}/metrics").text
    assert f"fake_providers_token_counts_total{labels} 2.0" in metrics


def test_a_call_is_recorded_and_ruled_as_any_other(fakes: Fakes) -> None:
    rule = {"wants": "status=529", "provider": "anthropic", "times": 1}
    control(fakes, "behaviours", rule)
    with RawRequest(fakes, MESSAGES) as request:
        assert b"HTTP/1.1 529 " in request.read_all()
    with RawRequest(fakes, MESSAGES, hold="first", gate="g") as request:
        until(fakes, lambda now: any(one["provider"] == "anthropic" for one in now["held"]))
        control(fakes, "gates/g/open")
        request.read_all()
    [call] = records(fakes, request.nonce)
    assert (call.provider, call.family, call.route) == ("anthropic", "messages", "/v1/messages")
    assert (call.pieces, call.finished, call.gate) == (5, True, "g")


def test_lists_are_scripted_as_any_other(fakes: Fakes) -> None:
    control(fakes, "lists", {"provider": "anthropic", "status": 529, "epoch": 4})
    url = f"{fakes.anthropic_url}/v1/models"
    assert http.get(url, headers=VERSION).status_code == 529
    control(fakes, "lists", {"provider": "anthropic", "status": None})
    names = [model["id"] for model in http.get(url, headers=VERSION).json()["data"]]
    assert names == ["fake-chat", "anthropic-epoch-4"]


@pytest.mark.parametrize(
    ("words", "port"),
    [
        ([], 8003),
        (["--anthropic-port", "9"], 9),
        (["--anthropic-port", "none"], None),
        (["--announce", "x"], None),
        (["--announce", "x", "--anthropic-port", "0"], 0),
    ],
)
def test_its_port(words: list[str], port: int | None) -> None:
    assert settings_of(words).anthropic_port == port


def test_its_profile_needs_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert settings_of(["--profile", "anthropic-fast"]).profiles
    with pytest.raises(SystemExit):
        settings_of(["--profile", "anthropic-fast", "--anthropic-port", "none"])
    assert "--anthropic-port" in capsys.readouterr().err


def test_the_banner_has_it_only_where_it_is_served() -> None:
    urls = {"openai": "http://a", "ollama": "http://b", "control": "http://c"}
    assert "nthropic" not in banner(urls, (), None, "t")
    text = banner({**urls, "anthropic": "http://d"}, (), None, "t")
    assert "ANTHROPIC_BASE_URL=http://d " in text


def test_without_it_its_modules_are_not_imported(tmp_path: Path) -> None:
    code = """
import sys
import fake_providers.__main__, fake_providers.server
assert not [name for name in sys.modules if name.startswith("fake_providers.anthropic")]
"""
    words = [sys.executable, "-c", code]
    subprocess.run(words, env=child_environment(), check=True, cwd=tmp_path)
