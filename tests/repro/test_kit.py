"""The providers of the scripts: the dialects as routers and clients know them."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from routerspec.processes.own_code import own_environment, own_python
from routerspec.repro.kit import lab
from routerspec.repro.kit.clients import pieces_in, says_error, says_finished
from routerspec.repro.kit.providers import PIECES, Answer, Provider
from routerspec.scenarios.engine.content import Content
from routerspec.scenarios.engine.model_lists import list_contents

PATHS = ["/v1/chat/completions", "/v1/completions", "/api/chat", "/api/generate"]
PROMPT = {"prompt": "Say repro-7- again", "model": "fake-chat"}


@pytest.fixture(scope="module", params=["openai", "ollama"])
def provider(request: pytest.FixtureRequest) -> Iterator[Provider]:
    server = Provider(request.param, 0)
    server.on_call = Answer.whole
    yield server
    server.shutdown()
    server.server_close()


def post(provider: Provider, path: str, **body: Any) -> httpx.Response:
    return httpx.post(provider.url + path, json=PROMPT | body, verify=False)


@pytest.mark.parametrize("path", ["/v1/embeddings", "/api/embed"])
@pytest.mark.parametrize(
    ("texts", "count"), [("one", 1), (["one"], 1), (["one", "two", "three"], 3), ([5, 6, 7], 1)]
)
def test_each_input_has_its_vector(provider: Provider, path: str, texts: Any, count: int) -> None:
    answer = post(provider, path, input=texts).json()
    items = answer.get("data") or answer.get("embeddings")
    assert len(items) == count
    if "data" in answer:
        assert [item["index"] for item in items] == [*range(count)]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("stream", [True, False])
def test_answers_are_read_by_the_harness_as_by_the_script(
    provider: Provider, path: str, stream: bool
) -> None:
    answer = post(provider, path, stream=stream)
    content = Content(run="abcdef", path=path)
    for line in answer.text.splitlines() if stream else [answer.text]:
        content.add_stream_line(line.encode())
    assert content.text == "".join(f"[7.{n}.{piece}] " for n, _, piece in numbered(answer.text))
    assert [piece for _, _, piece in pieces_in(answer.text)] == [*range(PIECES)]
    assert content.finish == "stop"
    assert not content.error
    assert says_finished(answer.text)
    assert not says_error(answer.text)
    if stream:
        assert content.done
        kind = "application/x-ndjson" if path.startswith("/api/") else "text/event-stream"
        assert answer.headers["content-type"] == kind


def numbered(text: str) -> list[tuple[int, int, int]]:
    """(attempt, client, piece) of each piece."""
    return [(attempt, client, piece) for client, attempt, piece in pieces_in(text)]


@pytest.mark.parametrize("path", ["/v1/models", "/api/tags"])
def test_lists_are_read_by_the_harness(provider: Provider, path: str) -> None:
    provider.epoch = 3
    answer = httpx.get(provider.url + path, verify=False)
    assert list_contents(answer.content) == ({provider.name: 3}, 3)


@pytest.mark.parametrize("path", ["/api/show", "/v1/responses"])
def test_other_paths_are_no_calls(provider: Provider, path: str) -> None:
    before = len(provider.received)
    assert post(provider, path).status_code == 404
    assert len(provider.received) == before


SETTINGS: dict[str, Any] = {
    "title": "a router: cap/streams: violated",
    "routerspec": "0.1.0",
    "start": None,
    "url": "http://127.0.0.1:1",
    "ports": [0, 0],
    "headers": {},
    "keys": {},
}


def test_a_script_that_fails_says_nothing_about_the_router(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Python leaves with 1 after a traceback, which says: reproduced."""

    def played(_: lab.Lab) -> bool:
        raise LookupError("nobody thought of this")

    monkeypatch.setattr(sys, "argv", ["repro.py"])
    monkeypatch.setattr(lab, "Lab", contextlib.nullcontext)
    with pytest.raises(SystemExit) as leaving:
        lab.run(played, SETTINGS)
    assert leaving.value.code == 2
    assert "LookupError: nobody thought of this" in capsys.readouterr().err


SAYS = """
import time; from routerspec.repro.kit.lab import say
for _ in range(3): say("x"); time.sleep(0.1)
raise SystemExit(0)
"""


def test_a_script_whose_reader_has_gone_keeps_its_exit_code() -> None:
    with subprocess.Popen(
        own_python("-c", SAYS), env=own_environment(), stdout=subprocess.PIPE
    ) as script:
        assert script.stdout is not None
        script.stdout.close()
        assert script.wait() == 0


def test_a_router_that_drips_bytes_does_not_keep_a_script_waiting() -> None:
    """Each byte of its head comes in time; the head never ends."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        over = threading.Event()

        def drip() -> None:
            client, _ = server.accept()
            with client, contextlib.suppress(OSError):
                while not over.wait(0.02):
                    client.sendall(b"H")

        dripping = threading.Thread(target=drip, daemon=True)
        dripping.start()
        assert not lab.answers(f"http://127.0.0.1:{server.getsockname()[1]}/", 0.3)
        over.set()
        dripping.join()
