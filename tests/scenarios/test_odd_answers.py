"""Whatever a router answers becomes an observation, and the client's exchange comes to an end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from random import Random

import gevent
import gevent.server
import gevent.socket
import msgspec
import pytest

from routerspec.records.columns import Packed
from routerspec.records.observations import Record
from routerspec.scenarios.engine import reading
from routerspec.scenarios.engine.exchange import Exchange
from routerspec.scenarios.engine.model_lists import model_ids, names_model
from tests.scenarios import odd_answers

_DECODER = msgspec.json.Decoder(Record)
_WHOLE = b'{"choices":[{"message":{"content":"x"},"finish_reason":"stop"}]}'
_FRAMED = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n" % len(_WHOLE)


@contextmanager
def answering(answer: Callable[[gevent.socket.socket], None]) -> Iterator[str]:
    """A server that does so with every connection, after the first bytes of its request."""

    def handle(sock: gevent.socket.socket, _: object) -> None:
        try:
            sock.recv(65536)
            answer(sock)
        except OSError:
            pass
        finally:
            sock.close()

    server = gevent.server.StreamServer(("127.0.0.1", 0), handle)
    server.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.stop(timeout=0)


def exchange(host: str, *, stream: bool = False, listed: str | None = None) -> Exchange:
    return Exchange(
        host=host,
        method="POST" if listed is None else "GET",
        path="/x",
        headers={},
        body=b"{}",
        timeout_s=20.0,
        stream=stream,
        run="ab" if listed is None else "",
        nonce=1,
        mode=("stream" if stream else "chat") if listed is None else "list",
        listed_model=listed or "",
        secrets={"openai_key": "rs-openai-key-0123456789"},
    )


def recorded(made: Exchange) -> msgspec.Struct:
    """The record of an exchange that is over, as it is read back."""
    assert made.outcome is not None
    assert made.over.is_set()
    assert not made.error.startswith("internal error"), made.error
    record = made.observation() if made.mode != "list" else made.list_observation()
    line = msgspec.json.encode(record)
    assert b"\n" not in line
    back = _DECODER.decode(line)
    assert back == record
    packed = Packed("ab")
    packed.extend([back])
    assert list(packed) == [record]
    return record


def answer_of(response: bytes, *, stream: bool = False, listed: str | None = None) -> Exchange:
    with answering(lambda sock: sock.sendall(response)) as host:
        made = exchange(host, stream=stream, listed=listed)
        made.run_to_end()
        recorded(made)
    return made


def play(seeds: range) -> Counter[str]:
    """One exchange for each seed; how they ended."""
    sent: list[bytes] = []
    ends: Counter[str] = Counter()
    with answering(lambda sock: sock.sendall(sent[-1])) as host:
        for seed in seeds:
            random = Random(seed)
            streamed = random.random() < 0.5
            content = odd_answers.stream(random) if streamed else odd_answers.body(random)
            sent.append(odd_answers.response(random, content))
            listed = random.choice((None, None, "", "m")) if not streamed else None
            made = exchange(host, stream=streamed, listed=listed)
            made.transcribed = listed is None and random.random() < 0.3
            made.run_to_end()
            try:
                recorded(made)
                if made.transcribed:
                    transcript = made.transcript()
                    assert _DECODER.decode(msgspec.json.encode(transcript)) == transcript
                for read in (model_ids, lambda raw: names_model(raw, "m")):
                    with suppress(ValueError):
                        read(made.raw)
            except Exception as error:
                error.add_note(f"seed {seed}: {sent[-1][:300]!r}")
                raise
            made.forget()
            ends[str(made.outcome)] += 1
            sent.clear()
    return ends


def test_mutated_answers_are_observations() -> None:
    ends = play(range(400))
    assert ends.total() == 400
    assert ends["answered"] > 100, ends
    assert ends["failed"] > 20, ends
    assert ends["refused"] > 5, ends


@pytest.mark.slow
def test_20_000_mutated_answers_are_observations() -> None:
    """``pytest -m slow tests/scenarios/test_odd_answers.py``."""
    assert play(range(1000, 21_000)).total() == 20_000


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("body", odd_answers.BODIES, ids=lambda body: repr(body[:12]))
def test_any_body_is_an_observation(body: bytes, stream: bool) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body)
    assert answer_of(head + body, stream=stream).outcome == "answered"
    answer_of(head + body, listed="")
    answer_of(head + body, listed="m")


@pytest.mark.parametrize("head", odd_answers.HEADS, ids=lambda head: repr(head[:40]))
def test_any_head_is_an_observation(head: bytes) -> None:
    answer_of(head + b"Content-Length: %d\r\n\r\n" % len(_WHOLE) + _WHOLE)
    answer_of(head + b"Content-Length: %d\r\n\r\n" % len(_WHOLE) + _WHOLE, stream=True)


def test_the_first_of_two_retry_afters_counts() -> None:
    made = answer_of(_FRAMED + b"Retry-After: 1\r\nRetry-After: 2\r\n\r\n" + _WHOLE)
    assert (made.retry_after, made.content.text) == ("1", "x")


@pytest.mark.parametrize("reason", ["0.5", "17", "true", "[1]", '{"a":1}'])
def test_a_finish_reason_that_is_no_text_is_an_error_and_no_marker(reason: str) -> None:
    body = f'{{"choices":[{{"message":{{"content":"x"}},"finish_reason":{reason}}}]}}'.encode()
    made = answer_of(b"HTTP/1.1 200 OK\r\n\r\n" + body)
    assert (made.content.text, made.content.finish) == ("x", None)
    assert made.content.error.startswith("finish_reason: ")


@pytest.mark.parametrize(
    "body",
    [
        b'{"choices":["x"]}',
        b'{"choices":7}',
        b'{"choices":[{"delta":"x"}]}',
        b'{"choices":[{"delta":[]},7]}',
    ],
)
def test_choices_that_are_no_objects_are_an_error(body: bytes) -> None:
    made = answer_of(b"HTTP/1.1 200 OK\r\n\r\n" + body)
    assert made.outcome == "answered"
    assert made.content.error


@pytest.mark.parametrize("packed", ["QUJD", "A", "AAAAA", "é"])
def test_an_embedding_of_odd_bytes_carries_no_nonce(packed: str) -> None:
    body = f'{{"data":[{{"embedding":"{packed}"}}]}}'.encode()
    made = answer_of(b"HTTP/1.1 200 OK\r\n\r\n" + body)
    assert made.content.text == "embedding:?"


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_a_stream_is_read_with_any_line_ending_and_a_byte_order_mark(end: bytes) -> None:
    event = b'data: {"choices":[{"delta":{"content":"%b"},"finish_reason":%b}]}'
    lines = [b"\xef\xbb\xbf: hello", event % (b"a", b"null"), b"", event % (b"b", b'"stop"'), b""]
    made = answer_of(b"HTTP/1.1 200 OK\r\n\r\n" + end.join(lines), stream=True)
    assert (made.content.text, made.content.finish, made.content.error) == ("ab", "stop", "")


def test_json_that_liberal_clients_take_is_read() -> None:
    body = b'\xef\xbb\xbf{"a":NaN,"b":1e999,"response":"x\\ud83d","done":true,"done_reason":"stop"}'
    made = answer_of(b"HTTP/1.1 200 OK\r\n\r\n" + body)
    assert (made.content.text, made.content.finish, made.content.error) == ("x?", "stop", "")


def test_an_error_of_ours_ends_the_exchange_and_proves_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*_: object) -> str:
        raise KeyError("ours")

    monkeypatch.setattr(reading.Response, "field", broken)
    with answering(lambda sock: sock.sendall(_FRAMED + b"\r\n" + _WHOLE)) as host:
        made = exchange(host)
        made.run_to_end()
    assert made.over.is_set()
    assert (made.outcome, made.error) == ("timed_out", "internal error: KeyError: 'ours'")


_CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
_ENDLESS = {
    "body": (b"HTTP/1.1 200 OK\r\n\r\n", b"a" * 65536),
    "chunks": (_CHUNKED, b"10000\r\n" + b"a" * 65536 + b"\r\n"),
    "error": (b"HTTP/1.1 500 X\r\n\r\n", b"e" * 65536),
    "head": (b"HTTP/1.1 200 OK\r\nX-A: ", b"a" * 65536),
    "interim": (b"", b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" * 500),
    "comments": (b"HTTP/1.1 200 OK\r\n\r\n", b": x\n" * 5000),
    "content": (
        b"HTTP/1.1 200 OK\r\n\r\n",
        b'data: {"choices":[{"delta":{"content":"%b"}}]}\n\n' % (b"a" * 60) * 200,
    ),
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("kind", _ENDLESS)
def test_an_endless_response_is_cut_at_the_bound(
    kind: str, stream: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "MAX_BYTES", 2_000_000)

    def endless(sock: gevent.socket.socket) -> None:
        head, more = _ENDLESS[kind]
        sock.sendall(head)
        while True:
            sock.sendall(more)

    with answering(endless) as host:
        made = exchange(host, stream=stream)
        made.run_to_end()
    recorded(made)
    assert made.outcome == "timed_out"
    assert "cut at the client's bound" in made.error
    assert made.memory.used < reading.MAX_BYTES + 200_000
    assert len(made.raw) + len(made.content.text) < 70_000
    made.forget()
    assert made.memory.used == 0


def test_endless_content_is_cut_by_its_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("routerspec.scenarios.engine.exchange.MAX_TEXT", 10_000)
    head, more = _ENDLESS["content"]
    with answering(lambda sock: sock.sendall(head + 10 * more)) as host:
        made = exchange(host, stream=True)
        made.run_to_end()
    assert made.outcome == "timed_out"
    assert "characters: cut at the client's bound" in made.error


def test_many_long_responses_at_once_are_cut_earlier(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "_MAX_TOGETHER", 1_000_000)
    with answering(lambda sock: sock.sendall(b"HTTP/1.1 200 OK\r\n\r\n" + b"a" * 900_000)) as host:
        memory = reading.Memory()
        made = [exchange(host) for _ in range(4)]
        for each in made:
            each.memory = memory
        gevent.joinall([gevent.spawn(each.run_to_end) for each in made])
    assert "timed_out" in {each.outcome for each in made}
    assert memory.used < 2_000_000


_DONE = b"data: [DONE]\n\n"
_CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n"
_BOTH = _CHUNKED + b"Content-Length: 2\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
_STREAM = _CHUNKED + b"\r\n%x\r\n%b\r\n" % (len(_DONE), _DONE)


@pytest.mark.parametrize(
    ("answer", "stream", "outcome", "error", "breaks"),
    [
        (_BOTH, False, "failed", "HTTPParseError: Content-Length can't be present with", True),
        (_FRAMED + b"\r\n" + _WHOLE[:-1], False, "timed_out", "no end after 0.1 s", True),
        (_STREAM, True, "timed_out", "no end after 0.1 s", True),
        (_STREAM.replace(b"[DONE]", b"{}    "), True, "timed_out", "no end after 0.5 s", False),
        (_BOTH.replace(b"200 OK", b"500 No"), False, "failed", "HTTPParseError", False),
        (_FRAMED + b"\r\n" + _WHOLE, False, "answered", "", False),
    ],
)
def test_an_answer_that_breaks_http_keeps_its_status_and_is_told_from_one_that_is_slow(
    answer: bytes, stream: bool, outcome: str, error: str, breaks: bool
) -> None:
    def send(sock: gevent.socket.socket) -> None:
        sock.sendall(answer)
        sock.recv(1)

    with answering(send) as host:
        made = exchange(host, stream=stream)
        made.timeout_s, made.end_within_s = 0.5, 0.1
        made.run_to_end()
    assert made.status in {200, 500}
    assert (made.outcome, made.breaks_http) == (outcome, breaks)
    assert made.error.startswith(error)
    assert "(" not in made.error
