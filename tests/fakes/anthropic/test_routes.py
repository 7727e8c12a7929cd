"""The other routes of Anthropic: models in pages, token counts, probes, and unknown ones."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.fakes.in_process import VERSION, InProcess

COUNT = "/v1/messages/count_tokens"
NAMES = ["fake-chat", "anthropic-epoch-0"]


@pytest.fixture(scope="module")
def fakes() -> Iterator[InProcess]:
    with InProcess() as running:
        yield running


def models(fakes: InProcess, query: str = "") -> dict[str, Any]:
    received = fakes.request("anthropic", "GET", f"/v1/models{query}", headers=VERSION)
    assert received.status == 200
    return received.json


def test_all_models_are_on_the_first_page(fakes: InProcess) -> None:
    found = models(fakes)
    assert [model["id"] for model in found["data"]] == NAMES
    assert {model["type"] for model in found["data"]} == {"model"}
    assert (found["has_more"], found["first_id"], found["last_id"]) == (False, *NAMES)


def test_pages(fakes: InProcess) -> None:
    first = models(fakes, "?limit=1")
    assert (first["has_more"], first["last_id"]) == (True, NAMES[0])
    second = models(fakes, f"?limit=1&after_id={first['last_id']}")
    assert (second["has_more"], second["last_id"]) == (False, NAMES[1])
    before = models(fakes, f"?limit=5&before_id={NAMES[1]}")
    assert (before["has_more"], before["first_id"]) == (False, NAMES[0])
    nothing = models(fakes, "?after_id=anthropic-epoch-9")
    assert nothing == {"data": [], "has_more": False, "first_id": None, "last_id": None}


@pytest.mark.parametrize("limit", ["0", "1001", "x", "-1", "9" * 5000])
def test_a_limit_out_of_bounds(fakes: InProcess, limit: str) -> None:
    received = fakes.request("anthropic", "GET", f"/v1/models?limit={limit}", headers=VERSION)
    assert (received.status, received.json["error"]["type"]) == (400, "invalid_request_error")


def test_one_model(fakes: InProcess) -> None:
    received = fakes.request("anthropic", "GET", "/v1/models/fake-chat", headers=VERSION)
    assert received.json == models(fakes)["data"][0]
    received = fakes.request("anthropic", "GET", "/v1/models/ollama%2Fx:1b", headers=VERSION)
    assert received.status == 404
    assert received.json["error"] == {"type": "not_found_error", "message": "model: ollama/x:1b"}


def test_a_version_is_needed_for_models_too(fakes: InProcess) -> None:
    for path in ("/v1/models", "/v1/models/fake-chat"):
        assert fakes.request("anthropic", "GET", path).status == 400


def test_a_count_is_no_call(fakes: InProcess) -> None:
    body = {"model": "fake-chat", "messages": [{"role": "user", "content": "rs:k3:7:hold=head:"}]}
    arrived = fakes.recorder.arrived["anthropic"]
    counted = fakes.recorder.counted["anthropic"]
    received = fakes.send("anthropic", COUNT, body, VERSION)
    assert received.status == 200
    assert received.json["input_tokens"] > 0
    assert fakes.recorder.arrived["anthropic"] == arrived
    assert fakes.recorder.counted["anthropic"] == counted + 1
    assert set(fakes.recorder.counted) == {"anthropic"}


@pytest.mark.parametrize("body", [{}, {"model": "fake-chat"}, {"model": "x", "messages": ["y"]}])
def test_a_count_of_nothing_is_refused(fakes: InProcess, body: dict[str, Any]) -> None:
    assert fakes.send("anthropic", COUNT, body, VERSION).status in {400, 404}


@pytest.mark.parametrize("path", ["/", "/api/hello"])
def test_probes(fakes: InProcess, path: str) -> None:
    assert fakes.request("anthropic", "GET", path).status == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/messages", 405),
        ("GET", COUNT, 405),
        ("POST", "/v1/models", 405),
        ("POST", "/v1/messages/batches", 404),
        ("POST", "/v1/chat/completions", 404),
    ],
)
def test_others(fakes: InProcess, method: str, path: str, status: int) -> None:
    received = fakes.request("anthropic", method, path, b"{}", VERSION)
    assert received.status == status
    assert received.json["type"] == "error"
    assert received.json["request_id"] == received.headers["request-id"]
