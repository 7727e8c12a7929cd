"""A response read as bytes: its framing, what is wrong about it, and its record."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routerspec.scenarios.engine.raw_response import BrokenResponse, RawResponse
from tests.scenarios.test_odd_answers import answering, exchange

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


class Received:
    """A connection on which these bytes come in, in these pieces, and then a close."""

    def __init__(self, pieces: list[bytes]) -> None:
        self._pieces: Iterator[bytes] = iter(pieces)

    def recv(self, _: int) -> bytes:
        return next(self._pieces, b"")


def read(*pieces: bytes, method: str = "POST") -> RawResponse:
    response = RawResponse(Received(list(filter(None, pieces))), method)  # type: ignore[arg-type]
    response.read_head()
    for _ in response.pieces():
        pass
    return response


@pytest.mark.parametrize(
    ("message", "framing", "body"),
    [
        (OK + b"Content-Length: 3\r\n\r\nabc", "length", b"abc"),
        (CHUNKED + b"2\r\nab\r\n1;x=y\r\nc\r\n0\r\nT: 1\r\n\r\n", "chunked", b"abc"),
        (OK + b"\r\nabc", "close", b"abc"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", "none", b""),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + OK + b"Content-Length: 0\r\n\r\n", "length", b""),
        (b"HTTP/1.0 200 OK\nContent-Length: 1\n\nx", "length", b"x"),
    ],
)
@given(data=st.data())
def test_a_message_is_read_whatever_its_framing_and_its_pieces(
    message: bytes, framing: str, body: bytes, data: st.DataObject
) -> None:
    cuts = sorted(data.draw(st.sets(st.integers(0, len(message)), max_size=8)))
    places = [0, *cuts, len(message)]
    response = read(*(message[a:b] for a, b in itertools.pairwise(places)))
    assert (response.framing, bytes(response.body), response.fault) == (framing, body, "")
    assert response.ended == ("closed" if framing == "close" else "framed")


def test_both_lengths_are_a_fault_and_the_chunks_are_read() -> None:
    response = read(
        OK + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    )
    assert bytes(response.body) == b"abc"
    assert response.fault == "both Content-Length and Transfer-Encoding"
    assert response.closes


def test_bytes_after_the_end_are_counted() -> None:
    assert read(OK + b"Content-Length: 3\r\n\r\nabcde").surplus == 2


def test_the_answer_to_head_has_no_body_whatever_its_length_says() -> None:
    assert read(OK + b"Content-Length: 30\r\n\r\n", method="HEAD").ended == "framed"


@pytest.mark.parametrize(
    ("message", "what"),
    [
        (OK + b"Content-Length: 5\r\n\r\nabc", "closed with 2 bytes of its length to come"),
        (OK + b"Content-Length: 5, 6\r\n\r\nabc", "an invalid Content-Length"),
        (OK + b"Content-Length: -1\r\n\r\n", "an invalid Content-Length"),
        (CHUNKED + b"2\r\nabc\r\n", "a chunk is longer than its size"),
        (CHUNKED + b"data: x\n\n", "no size of a chunk"),
        (CHUNKED + b"2\r\nab\r\n", "closed within a chunked body"),
        (b"hello\r\n\r\n", "not HTTP"),
        (OK, "closed within the head"),
    ],
)
def test_what_cannot_be_read_is_named(message: bytes, what: str) -> None:
    with pytest.raises(BrokenResponse, match=what):
        read(message)


def test_a_transcript_has_both_messages_without_their_keys() -> None:
    secret = b"rs-openai-key-0123456789"
    answer = OK + b"X-Key: %b\r\nContent-Length: 24\r\n\r\n%b" % (secret, secret)
    with answering(lambda sock: sock.sendall(answer)) as host:
        made = exchange(host)
        made.transcribed, made.headers = True, {"Authorization": "Bearer x", "X-Other": "y"}
        made.run_to_end()
    transcript = made.transcript()
    assert transcript.request.values("authorization") == ("***",)
    assert transcript.request.values("x-other") == ("y",)
    assert transcript.request.body.data == b"{}"
    assert transcript.response is not None
    assert transcript.response.values("x-key") == ("{openai_key}",)
    assert transcript.response.body.data == b"{openai_key}"
    assert (transcript.framing, transcript.ended, transcript.fault) == ("length", "framed", "")


def test_a_broken_answer_is_a_failure_with_the_bytes_that_came() -> None:
    with answering(lambda sock: sock.sendall(OK + b"Content-Length: 9\r\n\r\nabc")) as host:
        made = exchange(host)
        made.transcribed = True
        made.run_to_end()
    assert made.outcome == "failed"
    transcript = made.transcript()
    assert transcript.response is not None
    assert transcript.response.body.data == b"abc"
    assert transcript.fault == "BrokenResponse: closed with 6 bytes of its length to come"
