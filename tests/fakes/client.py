"""A plain HTTP client of one running fake, and properties of its answers in any dialect."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from typing import Any

import httpx

import fake_providers
from fake_providers.prompt.directives import closing_piece, piece


@contextlib.contextmanager
def client_of(
    provider: str, *, run: str = "", options: Sequence[str] = ()
) -> Iterator[httpx.Client]:
    """A client of this provider, which runs as long as the block."""
    with fake_providers.running(run=run, options=options) as fakes:
        url = {"openai": fakes.openai_url, "ollama": fakes.ollama_url}[provider]
        with httpx.Client(base_url=url, verify=False) as client:
            yield client


def chat(prompt: str = "hi", **more: Any) -> dict[str, Any]:
    """The body of a chat."""
    return {"model": "fake-chat", "messages": [{"role": "user", "content": prompt}], **more}


def post(client: httpx.Client, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """A whole answer, which must be one, in the headers of its dialect."""
    answer = client.post(path, json=body)
    assert answer.status_code == 200, answer.text
    if answer.headers["content-type"] == "application/json":
        assert answer.headers["x-request-id"].startswith("req_")
    else:
        assert answer.headers["content-type"] == "application/json; charset=utf-8"
        assert "x-request-id" not in answer.headers
    reply: dict[str, Any] = answer.json()
    return reply


def is_an_answer_to(text: str, run: str, nonce: int, count: int) -> bool:
    """The text is the whole row of ``count`` numbered tokens and its closing one."""
    made = re.match(r"\d+@([a-z]+)-(\d+)#", text)
    assert made is not None, text
    provider, call = made[1], int(made[2])
    row = [piece(nonce, provider, call, number) for number in range(count)]
    return text == "".join(row) + closing_piece(run, nonce, provider, call, count)
