"""The control API: shapes, errors and effects."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

import fake_providers
from fake_providers import Fakes
from fake_providers.records import evidence, ledger
from fake_providers.server import FINISH_WITHIN_S
from tests.fakes.wire import until
from tests.support import http

CHAT = {"model": "fake-chat", "messages": [{"role": "user", "content": "hi"}], "stream": False}


@pytest.fixture(scope="module")
def fakes() -> Iterator[Fakes]:
    with fake_providers.running(run="k3", options=["--tokens", "2"]) as running:
        yield running


@pytest.fixture(scope="module")
def control(fakes: Fakes) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=fakes.control_url + "/control", verify=False) as client:
        yield client


def test_a_snapshot_has_everything(fakes: Fakes, control: httpx.Client) -> None:
    http.post(fakes.ollama_url + "/api/chat", json=CHAT)
    first, second = control.get("/now").json(), control.get("/now").json()
    assert set(first) == {
        "at_ns",
        "arrived",
        "last_arrival_ns",
        "open",
        "in_flight",
        "held",
        "lists",
        "stalled_ns",
    }
    assert first["at_ns"] < second["at_ns"]
    assert first["last_arrival_ns"] < first["at_ns"]
    assert first["arrived"]["ollama"] >= 1
    assert first["open"] == {"openai": 0, "ollama": 0}
    assert set(first["lists"]["openai"]) == {
        "fetches",
        "open",
        "held",
        "answered",
        "last_answered_ns",
        "epoch",
    }


def test_the_default_behaviour_is_changed_in_part_and_reset(
    fakes: Fakes, control: httpx.Client
) -> None:
    def text() -> str:
        answer = http.post(fakes.ollama_url + "/api/chat", json=CHAT).json()
        content: str = answer["message"]["content"]
        return content

    assert "#end2-" in text()
    assert control.post("/default", json={"tokens": 6}).json() == {
        "first_s": 0.0,
        "gap_s": 0.0,
        "tokens": 6,
    }
    assert control.post("/default", json={"gap_s": 0.5}).json()["tokens"] == 6
    assert "#end6-" in text()
    assert control.post("/reset").json() == {}
    assert "#end2-" in text()


def test_without_a_ledger_there_is_none_to_read(control: httpx.Client) -> None:
    answer = control.get("/ledger")
    assert answer.status_code == 404
    assert answer.json() == {
        "detail": "These fakes were started without a ledger: use --ledger FILE."
    }


def test_the_ledger_is_read_as_it_stands(tmp_path: Any) -> None:
    path = tmp_path / "evidence.jsonl"
    with fake_providers.running(ledger=path) as own:
        http.post(own.ollama_url + "/api/chat", json=CHAT)
        answer = http.get(own.control_url + "/control/ledger")
        assert answer.headers["content-type"].startswith("application/x-ndjson")
        assert path.read_bytes().startswith(answer.content)
    kinds = [line.split(b'"')[3] for line in answer.content.splitlines()]
    assert kinds[0] == b"header"
    assert b"call" in kinds


def test_a_closed_copy_of_the_ledger_is_whole_while_the_fakes_run_on(tmp_path: Any) -> None:
    copy = tmp_path / "copy.jsonl"
    with fake_providers.running(ledger=tmp_path / "evidence.jsonl") as own:
        for _ in range(3):
            http.post(own.ollama_url + "/api/chat", json=CHAT)
        copy.write_bytes(http.get(own.control_url + "/control/ledger?closed=true").content)
        assert http.post(own.ollama_url + "/api/chat", json=CHAT).status_code == 200
    read = ledger.read_records(copy, evidence.Evidence)
    assert read.fault == ""
    assert read.footer is not None
    assert read.footer.account["calls"] == 3


def test_no_closed_copy_while_a_call_is_open(tmp_path: Any) -> None:
    held = json.dumps({"model": "fake-chat", "prompt": "rs:a:1:hold=head,gate=g:"})
    with (
        fake_providers.running(ledger=tmp_path / "evidence.jsonl") as own,
        socket.create_connection(("127.0.0.1", int(own.ollama_url.rsplit(":", 1)[1]))) as peer,
    ):
        head = (
            f"POST /api/generate HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(held)}\r\n\r\n"
        )
        peer.sendall((head + held).encode())
        until(own, lambda reply: bool(reply["held"]))
        answer = http.get(own.control_url + "/control/ledger?closed=true")
    assert answer.status_code == 409
    assert "open" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("path", "body", "word"),
    [
        ("/lists", {"epoch": -1}, "epoch"),
        ("/lists", {"provider": "azure"}, "provider"),
        ("/lists", {"hold": 1}, "hold"),
        ("/lists", {"status": 200}, "status"),
        ("/default", {"tokens": -1}, "tokens"),
        ("/gates/g1/let-go", {"count": 0}, "count"),
        ("/gates/G%201/open", {}, "name"),
    ],
)
def test_a_wrong_option_is_reported_in_one_sentence(
    control: httpx.Client, path: str, body: dict[str, Any], word: str
) -> None:
    answer = control.post(path, json=body)
    assert answer.status_code == 422
    assert set(answer.json()) == {"detail"}
    assert word in answer.json()["detail"]


@pytest.mark.parametrize(
    ("content", "kind", "word"),
    [
        (b"", "application/json", "required"),
        (b"{", "application/json", "truncated"),
        (b"[]", "application/json", "object"),
        (b'{"epoch": 1}', "text/plain", "Content-Type: application/json"),
        (b"[" * 100_000, "application/json", "object"),
        (b'{"nonsense": "\xff"}', "application/json", "utf-8"),
    ],
)
def test_a_body_that_is_no_json_object_is_rejected(
    control: httpx.Client, content: bytes, kind: str, word: str
) -> None:
    answer = control.post("/lists", content=content, headers={"Content-Type": kind})
    assert answer.status_code == 422
    assert word.lower() in answer.json()["detail"].lower()


def test_a_wrong_method_is_answered_with_the_right_ones(control: httpx.Client) -> None:
    answer = control.get("/lists")
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert "POST" in answer.json()["detail"]
    answer = control.put("/behaviours", json={})
    assert (answer.status_code, answer.headers["allow"]) == (405, "DELETE, GET, POST")


def test_the_fakes_stop_at_once_while_a_control_client_keeps_its_connection() -> None:
    with httpx.Client(verify=False) as client, fake_providers.running() as own:
        assert client.get(own.control_url + "/control/health").status_code == 200
        began = time.monotonic()
    assert time.monotonic() - began < FINISH_WITHIN_S


def test_an_unknown_path_is_not_found(control: httpx.Client) -> None:
    answer = control.get("/nothing")
    assert answer.status_code == 404
    assert set(answer.json()) == {"detail"}


def test_a_closed_port_refuses_connections_until_it_is_opened(
    fakes: Fakes, control: httpx.Client
) -> None:
    def listening(**fields: Any) -> Any:
        return control.post("/listening", json=fields).json()

    url = fakes.openai_url + "/v1/chat/completions"
    with httpx.Client(verify=False) as pooled:
        assert pooled.post(url, json=CHAT).status_code == 200
        assert listening(on=False, provider="openai") == {"openai": False, "ollama": True}
        assert listening(on=False, provider="openai") == {"openai": False, "ollama": True}
        with pytest.raises(httpx.ConnectError):
            # The idle connection was closed, so this is a new one.
            pooled.post(url, json=CHAT)
    assert http.post(fakes.ollama_url + "/api/chat", json=CHAT).status_code == 200
    assert listening(on=True) == {"openai": True, "ollama": True}
    assert http.post(url, json=CHAT).status_code == 200
    listening(on=False)
    assert control.post("/reset").json() == {}
    assert http.post(url, json=CHAT).status_code == 200


def test_what_is_in_flight_is_answered_though_the_port_is_closed(
    fakes: Fakes, control: httpx.Client
) -> None:
    held = {**CHAT, "messages": [{"role": "user", "content": "rs:k3:99:hold=head,gate=shut:"}]}
    body = json.dumps(held).encode()
    head = (
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n" % len(body)
    )
    address = httpx.URL(fakes.openai_url)
    with socket.create_connection((address.host, address.port)) as client:
        client.sendall(head + body)
        until(fakes, lambda now: now["open"]["openai"] == 1)
        control.post("/listening", json={"on": False, "provider": "openai"})
        control.post("/gates/shut/open")
        received = b"".join(iter(lambda: client.recv(65536), b""))
    control.post("/reset")
    assert received.startswith(b"HTTP/1.1 200")
    assert b"#end2-" in received
