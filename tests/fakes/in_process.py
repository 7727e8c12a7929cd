"""The fakes without a process and without sockets: a request in, the bytes of its answer out.

And readers of those bytes that follow the standards and nothing else.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from fake_providers.anthropic.dialect import Anthropic
from fake_providers.calls.provider import Provider, SharedState
from fake_providers.calls.recorder import PROVIDERS, Recorder
from fake_providers.http.exchange import Exchange
from fake_providers.http.request import HttpRequest
from fake_providers.ollama.dialect import Ollama
from fake_providers.openai.dialect import OpenAI
from fake_providers.prompt.behaviour import Behaviour
from fake_providers.prompt.directives import answer, token
from fake_providers.records.clock import Clock

RUN = "k3"
NEVER: Any = None
OPENAI = "/v1/chat/completions"
MESSAGES = "/v1/messages"
VERSION = {"anthropic-version": "2023-06-01"}
TURNS = 1_000_000


@dataclass(frozen=True, slots=True)
class Received:
    """An answer as it was written."""

    status: int
    headers: dict[str, str]
    parts: list[bytes]
    """Of the body, a write each."""

    @property
    def body(self) -> bytes:
        return b"".join(self.parts)

    @property
    def json(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        return found

    @property
    def chunks(self) -> list[dict[str, Any]]:
        """The JSON of each event, without the end mark; of each line where they are lines."""
        if "event-stream" not in self.headers["content-type"]:
            return [json.loads(line) for line in self.body.split(b"\n") if line.strip()]
        return [json.loads(data) for _, data in events(self.body) if data != "[DONE]"]


class Wire:
    """A connection that takes everything at once, and its own transport."""

    write_paused = False

    def __init__(self) -> None:
        self.transport: Any = self
        self.writes: list[bytes] = []
        self.over = False

    def write(self, data: bytes) -> None:
        self.writes.append(data)

    def is_closing(self) -> bool:
        return False

    def close(self) -> None:
        self.over = True

    def answered(self, *, keep_alive: bool) -> None:
        self.over = True


class InProcess:
    """One fake of each provider. Use it in a with statement."""

    def __init__(self) -> None:
        clock, chance = Clock(), random.Random(1)
        self._chance = chance
        self.recorder = Recorder(
            ledger=None,
            clock=clock,
            on_ledger_error=lambda: None,
            providers=(*PROVIDERS, "anthropic"),
        )
        shared = SharedState(
            recorder=self.recorder, clock=clock, chance=chance, default=Behaviour()
        )
        self._clock = clock
        self._providers = {
            "openai": Provider(OpenAI(clock=clock, chance=chance, epoch=lambda: 0), shared),
            "ollama": Provider(Ollama(clock=clock, chance=chance, epoch=lambda: 0), shared),
            "anthropic": Provider(Anthropic(clock=clock, chance=chance, epoch=lambda: 0), shared),
        }
        self._loop = asyncio.new_event_loop()

    def __enter__(self) -> InProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.close()

    def forget(self) -> None:
        """Number calls from 1 again, and draw the same identifiers."""
        self.recorder.arrived.update(dict.fromkeys(self.recorder.arrived, 0))
        self._chance.seed(1)

    def send(
        self, provider: str, path: str, body: dict[str, Any], headers: dict[str, str] | None = None
    ) -> Received:
        """The answer to this request."""
        data = json.dumps(body).encode()
        return self.request(provider, "POST", path, data, headers)

    def request(
        self,
        provider: str,
        method: str,
        path: str,
        data: bytes = b"",
        headers: dict[str, str] | None = None,
    ) -> Received:
        """The answer to any request; ``headers`` in lower case."""
        fields = [(name.encode(), value.encode()) for name, value in (headers or {}).items()]
        http_request = HttpRequest(
            method=method,
            target=path.encode(),
            version="1.1",
            headers=fields,
            body=data,
            keep_alive=True,
            accepted_ns=self._clock.stamp(),
        )
        return self._loop.run_until_complete(self._send(provider, http_request))

    def ask(
        self,
        provider: str = "openai",
        path: str = OPENAI,
        *,
        nonce: int = 7,
        body: dict[str, Any] | None = None,
        **directives: Any,
    ) -> Received:
        """The answer to a prompt with these directives."""
        prompt = token(RUN, nonce, **directives)
        headers = VERSION if provider == "anthropic" else None
        return self.send(provider, path, body_of(path, prompt, body), headers)

    async def _send(self, provider: str, http_request: HttpRequest) -> Received:
        wire = Wire()
        exchange = Exchange(wire, self._clock, NEVER)
        exchange.begin(self._providers[provider].answer(http_request, exchange))
        for _ in range(TURNS):
            if wire.over:
                break
            await asyncio.sleep(0)
        return _received(wire.writes)


def body_of(path: str, prompt: str, fields: dict[str, Any] | None = None) -> dict[str, Any]:
    """A request with this prompt, in the shape of its route."""
    body: dict[str, Any] = {"model": "fake-chat", "stream": False}
    if path.endswith("responses"):
        body["input"] = [{"role": "user", "content": prompt}]
    elif path.endswith(("chat/completions", "/api/chat")):
        body["messages"] = [{"role": "user", "content": prompt}]
    elif path.endswith("/messages"):
        body |= {"max_tokens": 1000, "messages": [{"role": "user", "content": prompt}]}
    else:
        body["prompt"] = prompt
    return body | (fields or {})


def _received(writes: list[bytes]) -> Received:
    head, _, rest = writes[0].partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    parts = [rest, *writes[1:]]
    if headers.get("transfer-encoding") == "chunked":
        parts = [part for written in parts for part in _unchunked(written)]
    return Received(int(first.split()[1]), headers, parts)


def _unchunked(written: bytes) -> Iterator[bytes]:
    while written:
        size, _, rest = written.partition(b"\r\n")
        if length := int(size, 16):
            yield rest[:length]
        written = rest[length + 2 :]


def events(body: bytes) -> list[tuple[str, str]]:
    """The events of a stream by the standard of server-sent events: (name, data)."""
    text = body.decode().removeprefix("\ufeff")
    found: list[tuple[str, str]] = []
    name = ""
    data: list[str] = []
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    for line in lines[:-1]:  # What follows the last line end is no line.
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if line == "":
            if data:
                found.append((name or "message", "\n".join(data)))
            name, data = "", []
        elif field == "data":
            data.append(value)
        elif field == "event":
            name = value
        elif field == "retry":
            assert value.isdecimal()
        else:
            assert field in {"", "id"}, line
    return found


def text_of(chunk: dict[str, Any]) -> str:
    """The content of one chunk, line or whole answer, of its first choice."""
    if "choices" in chunk:
        if not chunk["choices"]:
            return ""
        choice = chunk["choices"][0]
        if choice["index"]:
            return ""
        said = choice.get("delta", choice.get("message"))
        return (choice["text"] if said is None else said.get("content")) or ""
    if "response" in chunk and isinstance(chunk["response"], str):
        return chunk["response"]
    if isinstance(chunk.get("message"), dict):
        return chunk["message"]["content"] or ""
    kind, delta = chunk.get("type"), chunk.get("delta", "")
    if kind == "content_block_delta":
        delta = delta.get("text", "")
    return delta if kind in {"content_block_delta", "response.output_text.delta"} else ""


def text_in(received: Received) -> str:
    """All content of an answer."""
    if "output" in (whole := received.json if _is_whole(received) else {}):
        parts = [part for item in whole["output"] for part in item.get("content", ())]
        return "".join(part.get("text", "") for part in parts)
    if isinstance(blocks := whole.get("content"), list):
        return "".join(block.get("text", "") for block in blocks)
    return text_of(whole) if whole else "".join(map(text_of, received.chunks))


def is_the_row(text: str, provider: str = "openai", call: int = 1, nonce: int = 7) -> bool:
    """The text is the whole row of a call with the usual number of tokens."""
    return text == answer(RUN, nonce, provider, call, 4)


def _is_whole(received: Received) -> bool:
    return "content-length" in received.headers
