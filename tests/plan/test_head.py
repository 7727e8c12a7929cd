"""The head of a request is that of the dialect's own client."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable

import ollama
import openai
import pytest

from routerspec.plan.head import request_head
from tests.support.scripted_server import read_request

LEFT_OUT = ("accept-encoding", "x-stainless-")
Fields = list[tuple[str, str]]


def fields(head: bytes) -> Fields:
    lines = head.decode().split("\r\n\r\n")[0].split("\r\n")[1:]
    return [(name, value) for name, _, value in (line.partition(": ") for line in lines)]


def sent_by(ask: Callable[[str], object]) -> Fields:
    """What a client sends, but for the fields that are left out."""
    listener = socket.create_server(("127.0.0.1", 0))
    received: list[bytes] = []

    def serve() -> None:
        conn, _ = listener.accept()
        with conn:
            received.append(read_request(conn))
            conn.sendall(b"HTTP/1.1 500 X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    serving = threading.Thread(target=serve, daemon=True)
    serving.start()
    with listener, contextlib.suppress(Exception):
        ask(f"http://127.0.0.1:{listener.getsockname()[1]}")
    serving.join(5)
    return [field for field in fields(received[0]) if not field[0].lower().startswith(LEFT_OUT)]


def openai_client(url: str) -> object:
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="sk-1", max_retries=0)
    return client.chat.completions.create(model="m", messages=[])


def ollama_client(url: str) -> object:
    return ollama.Client(host=url).chat(model="m", messages=[])


@pytest.mark.parametrize(
    ("ask", "path", "headers"),
    [
        (openai_client, "/v1/chat/completions", {"Authorization": "Bearer sk-1"}),
        (ollama_client, "/api/chat", {}),
    ],
)
def test_the_fields_are_the_clients_in_its_order(
    ask: Callable[[str], object], path: str, headers: dict[str, str]
) -> None:
    theirs = sent_by(ask)
    ours = fields(request_head("POST", "http://127.0.0.1:1", path, headers, 1))
    assert [name.lower() for name, _ in ours] == [name.lower() for name, _ in theirs]
    for (name, mine), (_, its) in zip(ours, theirs, strict=True):
        if name.lower() == "user-agent":
            assert mine.split("/")[0] == its.split("/")[0]
        elif name not in {"Host", "Content-Length"}:
            assert mine == its


def test_the_targets_own_fields_come_in_place_of_the_usual_ones() -> None:
    own = {"User-Agent": "mine", "X-Route": "a"}
    for path in ("/v1/chat/completions", "/api/chat"):
        sent = fields(request_head("GET", "http://router:1", path, own, 0))
        assert [field for field in sent if field[0].lower() == "user-agent"] == [
            ("User-Agent", "mine")
        ]
        assert ("X-Route", "a") in sent
        assert "content-length" not in {name.lower() for name, _ in sent}
