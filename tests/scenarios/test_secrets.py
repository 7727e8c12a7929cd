"""A key of a provider is found wherever it stands in what a client receives."""

from __future__ import annotations

import json

import pytest

from routerspec.scenarios.engine.reading import SecretSearch
from tests.scenarios.test_odd_answers import answer_of

KEY = "rs-openai-key-0123456789"
_BYTES = KEY.encode()
_OK = b"HTTP/1.1 200 OK\r\n"
_CHUNKED = _OK + b"Transfer-Encoding: chunked\r\n\r\n"
_WHOLE = b'{"choices":[{"message":{"content":"x"},"finish_reason":"stop"}]}'


def chunks(*parts: bytes) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts)


def event(text: str) -> bytes:
    return f"data: {json.dumps({'choices': [{'delta': {'content': text}}]})}\n\n".encode()


RESPONSES = {
    "header": _OK + b"X-Upstream-Authorization: Bearer " + _BYTES + b"\r\n\r\n" + _WHOLE,
    "header twice": _OK + b"X-A: a\r\nX-A: " + _BYTES + b"\r\n\r\n" + _WHOLE,
    "header name": _OK + _BYTES + b": 1\r\n\r\n" + _WHOLE,
    "reason": b"HTTP/1.1 200 " + _BYTES + b"\r\n\r\n" + _WHOLE,
    "interim": b"HTTP/1.1 103 Early\r\nX-A: " + _BYTES + b"\r\n\r\n" + _OK + b"\r\n" + _WHOLE,
    "redirect": b"HTTP/1.1 307 X\r\nLocation: http://x/?key=" + _BYTES + b"\r\n\r\n",
    "redirect, escaped": b"HTTP/1.1 307 X\r\nLocation: /%72s%2Dopenai%2dkey-0123456789\r\n\r\n",
    "trailer": _CHUNKED + chunks(_WHOLE) + b"0\r\nX-A: " + _BYTES + b"\r\n\r\n",
    "error page": b"HTTP/1.1 502 X\r\n\r\n<html>" + _BYTES,
    "refusal": b'HTTP/1.1 401 X\r\n\r\n{"error":{"message":"' + _BYTES + b'"}}',
    "body cut short": _OK + b"Content-Length: 999\r\n\r\n{" + _BYTES,
    "broken head": _OK + b"X-A : " + _BYTES + b"\r\n\r\n",
    "two chunks": _CHUNKED + chunks(b'{"a":"rs-openai', b'-key-0123456789"}') + b"0\r\n\r\n",
    "escaped": _OK + b'\r\n{"a":"rs\\u002dopenai\\u002Dkey\\u002d0123456789"}',
    "comment": _OK + b"\r\n: " + _BYTES + b"\n\n",
    "error event": _OK + b'\r\ndata: {"error":"' + _BYTES + b'"}\n\n',
    "list": _OK + b'\r\n{"data":[{"id":"a","owned_by":"' + _BYTES + b'"}]}',
}
STREAMS = {
    "two pieces": _OK + b"\r\n" + event("rs-openai-k") + event("") + event("ey-0123456789"),
    "many pieces": _OK + b"\r\n" + b"".join(map(event, KEY)),
}
CLEAN = {
    "half a key": _OK + b'\r\n{"a":"rs-openai-key-01234","b":"56789"}',
    "parts apart": _OK + b"\r\n" + event("rs-openai-key") + event("x-0123456789"),
    "another key": _OK + b"\r\n" + event("rs-openai-key-0123456780"),
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("where", RESPONSES)
def test_a_key_is_found(where: str, stream: bool) -> None:
    assert answer_of(RESPONSES[where], stream=stream).seen_secrets == {"openai_key"}


@pytest.mark.parametrize("where", STREAMS)
def test_a_key_is_found_over_several_pieces_of_a_stream(where: str) -> None:
    assert answer_of(STREAMS[where], stream=True).seen_secrets == {"openai_key"}


@pytest.mark.parametrize("where", ["header", "list", "error page", "trailer"])
def test_a_key_is_found_in_the_answer_to_a_list_request(where: str) -> None:
    made = answer_of(RESPONSES[where], listed="")
    assert made.list_observation().secrets == ("openai_key",)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("where", CLEAN)
def test_what_is_no_key_is_not_found(where: str, stream: bool) -> None:
    assert answer_of(CLEAN[where], stream=stream).seen_secrets == set()


@pytest.mark.parametrize("size", [1, 3, 7])
@pytest.mark.parametrize("received", [_BYTES, rb"rs\u002dopenai\u002dkey\u002d0123456789"])
def test_a_key_is_found_however_it_is_cut(received: bytes, size: int) -> None:
    search = SecretSearch({"client_key": "sk-1", "openai_key": KEY})
    text = b"x" * 500 + received + b"y" * 500
    for at in range(0, len(text), size):
        search.add(text[at : at + size])
    assert search.found == {"openai_key"}
