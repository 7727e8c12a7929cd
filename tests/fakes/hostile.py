"""Thousands of malformed requests: seeded, each a few bytes and a way to disconnect.

Decides what is sent to a model server by somebody who means harm or knows no better. Refuses to
know what is answered.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal

PATHS: Final = {
    "openai": (
        "/v1/chat/completions",
        "/v1/completions",
        "/v1/embeddings",
        "/v1/responses",
        "/v1/models",
        "/v1/models/fake-chat",
    ),
    "ollama": (
        "/api/chat",
        "/api/generate",
        "/api/embed",
        "/api/embeddings",
        "/api/show",
        "/api/tags",
        "/api/ps",
        "/api/version",
        "/v1/chat/completions",
        "/",
    ),
}
FIELDS: Final = [
    "model",
    "name",
    "messages",
    "prompt",
    "input",
    "stream",
    "stream_options",
    "tools",
    "tool_choice",
    "n",
    "max_tokens",
    "max_completion_tokens",
    "stop",
    "temperature",
    "logprobs",
    "response_format",
    "encoding_format",
    "dimensions",
    "options",
    "keep_alive",
    "format",
    "images",
    "think",
    "suffix",
    "system",
    "template",
    "raw",
    "context",
    "verbose",
]
WORDS: Final = ("", "fake-chat", "fake-embed", "é\0\u2028", "null", "-1", "5x", "x" * 5000)


@dataclass(frozen=True, slots=True)
class Attack:
    """One connection: the bytes to send, and how it is closed."""

    kind: str
    provider: str
    data: bytes
    leave: Literal["read", "close", "reset"]
    """Read until nothing more can come; or close at once, gracefully or not."""


def attacks(seed: int, count: int) -> list[Attack]:
    """``count`` of them, the same ones for the same seed."""
    chance = random.Random(seed)
    return [_attack(chance, kind) for kind in chance.choices(tuple(KINDS), k=count)]


def _attack(chance: random.Random, kind: str) -> Attack:
    provider = chance.choice(("openai", "ollama"))
    data, leave = KINDS[kind](chance, chance.choice(PATHS[provider]))
    return Attack(kind=kind, provider=provider, data=data, leave=leave)


Made = tuple[bytes, Literal["read", "close", "reset"]]


def request(
    path: str, body: bytes, *, method: str = "POST", headers: bytes = b"", length: object = None
) -> bytes:
    """An HTTP/1.1 request on a connection that is closed after its answer."""
    claimed = len(body) if length is None else length
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n".encode()
    return head + headers + f"Content-Length: {claimed}\r\n\r\n".encode() + body


def sound(*, stream: bool, text: str = "hello") -> dict[str, Any]:
    """A body that chat endpoints of both dialects take."""
    messages = [{"role": "user", "content": text}]
    more = {"prompt": text, "input": text, "name": "fake-chat"}
    return {"model": "fake-chat", "messages": messages, "stream": stream, **more}


def _broken_json(chance: random.Random, path: str) -> Made:
    whole = json.dumps(sound(stream=chance.random() < 0.5)).encode()
    at = chance.randrange(len(whole))
    body = chance.choice(
        (
            whole[:at],
            whole[:at] + bytes([chance.randrange(256)]) + whole[at + 1 :],
            whole + whole,
            b"[" * 20_000,
            b'{"a":' * 20_000,
            b"\xff\xfe" + whole,
            b"\xef\xbb\xbf" + whole,
            b'{"model":"\\ud800","messages":[{"role":"user","content":"\\udfff"}]}',
            b'{"model":"fake-chat","messages":NaN,"n":1e999}',
            b'{"model":"fake-chat","n":' + b"9" * 5000 + b"}",
            b"",
            b"null",
            b"[]",
            b'"fake-chat"',
            chance.randbytes(chance.randrange(1, 200)),
        )
    )
    return request(path, body), "read"


def _value(chance: random.Random, depth: int = 0) -> Any:
    kind = chance.randrange(11 if depth < 3 else 8)
    if kind < 8:
        return (
            None,
            chance.random() < 0.5,
            chance.choice((-1, 0, 1, 7, 2**31, 2**63, 10**30)),
            chance.choice((-0.5, 0.0, 1e308, 1e-9)),
            chance.choice(WORDS),
            [],
            {},
            f"rs:k3:{chance.randrange(99)}:{chance.choice(DIRECTIVES)}:",
        )[kind]
    if kind == 8:
        return [_value(chance, depth + 1) for _ in range(chance.randrange(4))]
    keys = ("role", "content", "type", "function", "text", "image_url", "name", "include_usage")
    made = {chance.choice(keys): _value(chance, depth + 1) for _ in range(chance.randrange(5))}
    return made if kind == 9 else [made]


DIRECTIVES: Final = (
    "",
    "tokens=-1",
    "tokens=2",
    "hold=never",
    "gate=",
    "cut=0",
    "status=abc",
    "status=200",
    "first=nan",
    "gap=-1",
    "gap=inf",
    "tools=999999999",
    "==,=,a=b=c",
    "x" * 200,
)


def _wrong_types(chance: random.Random, path: str) -> Made:
    body = sound(stream=chance.random() < 0.5)
    for field in chance.sample(FIELDS, chance.randrange(1, 5)):
        body[field] = _value(chance)
    if chance.random() < 0.2:
        del body[chance.choice(tuple(body))]
    return request(path, json.dumps(body).encode()), "read"


def _wrong_method(chance: random.Random, path: str) -> Made:
    methods = ("GET", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE", "CONNECT", "POST")
    body = json.dumps(sound(stream=False)).encode() if chance.random() < 0.5 else b""
    return request(path, body, method=chance.choice((*methods, "BREW", "get"))), "read"


def _odd_path(chance: random.Random, path: str) -> Made:
    odd = chance.choice(
        (
            path + "/",
            "/" + path,
            path + "%00",
            path.upper(),
            path + "?" + "a=1&" * 50,
            path + "#x",
            "/%2e%2e/%2e%2e/etc/passwd",
            "/../../etc/passwd",
            path + ";a",
            "/" + "a" * 5000,
            "/v1/models/" + "%F0%9F%A6%99" * 10,
            "/v1/models/%ff%fe",
            "/é".encode().decode("latin-1"),
            "*",
            "http://elsewhere/v1/models",
            "/control/now",
            "/metrics",
            "/api/blobs/sha256:0",
        )
    )
    body = json.dumps(sound(stream=False)).encode()
    method = chance.choice(("GET", "POST", "DELETE"))
    return request(odd, body, method=method), "read"


def _broken_http(chance: random.Random, path: str) -> Made:
    body = json.dumps(sound(stream=True)).encode()
    post = f"POST {path} HTTP/1.1\r\nHost: localhost\r\n".encode()
    chunked = post + b"Transfer-Encoding: chunked\r\n"
    data = chance.choice(
        (
            request(path, body, length=-1),
            request(path, body, length="x"),
            request(path, body, length=len(body) // 2),
            request(path, body, length=10**30),
            request(path, body, headers=b"Content-Length: 3\r\n"),
            request(path, body, headers=b"Transfer-Encoding: chunked\r\n"),
            chunked + b"\r\nzz\r\n" + body,
            chunked + b"\r\nffffffffffffffffff\r\n" + body,
            chunked + b"\r\n-5\r\n" + body,
            chunked + b"Transfer-Encoding: gzip\r\n\r\n0\r\n\r\n",
            post + b"Expect: 100-continue\r\nContent-Length: 9\r\n\r\n",
            post + b"Upgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
            post + b"Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\n\r\n",
            post + b" folded: yes\r\n\r\n",
            post + b"no colon\r\n\r\n",
            post + b"null\0: \0\r\n\r\n",
            post + b": empty\r\n\r\n",
            post.replace(b"1.1", b"9.9") + b"\r\n",
            post.replace(b"1.1", b"1.0") + b"\r\n",
            post.replace(b"\r\n", b"\n") + b"\n",
            b"GET " + path.encode() + b"\r\n\r\n",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + chance.randbytes(200),
            b"\r\n" * 500,
            b"\0" * 500,
            chance.randbytes(chance.randrange(1, 500)),
            request(path, body).replace(b"Connection: close", b"Connection: keep-alive") * 3,
        )
    )
    return data, "read" if chance.random() < 0.7 else "close"


def _half(chance: random.Random, path: str) -> Made:
    whole = request(path, json.dumps(sound(stream=True)).encode())
    return whole[: chance.randrange(len(whole))], chance.choice(("close", "reset"))


def _huge_headers(chance: random.Random, path: str) -> Made:
    headers = chance.choice(
        (
            b"X-Long: " + b"a" * chance.choice((20_000, 70_000, 300_000)) + b"\r\n",
            b"".join(b"X-%d: a\r\n" % number for number in range(chance.choice((200, 3000)))),
            b"Authorization: Bearer " + b"k" * 30_000 + b"\r\n",
            b"Cookie: " + bytes(chance.choices(range(128, 256), k=9000)) + b"\r\n",
        )
    )
    return request(path, b"{}", headers=headers), "read"


def _early_close(chance: random.Random, path: str) -> Made:
    hold = chance.choice(("", "hold=head", "hold=first", "gap=0.05,tokens=50", "first=5"))
    body = sound(stream=chance.random() < 0.7, text=f"rs:k3:{chance.randrange(99)}:{hold}:")
    return request(path, json.dumps(body).encode()), chance.choice(("close", "reset"))


KINDS: Final[dict[str, Callable[[random.Random, str], Made]]] = {
    "broken JSON": _broken_json,
    "wrong types": _wrong_types,
    "wrong method": _wrong_method,
    "odd path": _odd_path,
    "broken HTTP": _broken_http,
    "half a request": _half,
    "huge headers": _huge_headers,
    "early close": _early_close,
}
