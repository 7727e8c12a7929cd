"""How answers end, are held and are malformed, and the record of each."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

import fake_providers
from fake_providers import Fakes
from tests.fakes.wire import (
    MESSAGES,
    OLLAMA,
    OLLAMA_V1,
    OPENAI,
    RESPONSES,
    STREAMS,
    WHOLES,
    Case,
    RawRequest,
    as_new,
    control,
    end_mark,
    records,
    until,
    until_held,
)


@pytest.fixture(scope="module")
def fakes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fakes]:
    ledger = tmp_path_factory.mktemp("endings") / "evidence.jsonl"
    with fake_providers.running(ledger=ledger, run="wire", anthropic=True) as running:
        yield running


@pytest.fixture(autouse=True)
def nothing_ordered(fakes: Fakes) -> Iterator[None]:
    with as_new(fakes):
        yield


# -- holds -----------------------------------------------------------------------------------


@pytest.mark.parametrize("case", STREAMS + WHOLES)
def test_held_after_the_head_the_head_is_there_and_no_more(fakes: Fakes, case: Case) -> None:
    with RawRequest(fakes, case, hold="open", gate="g1") as request:
        assert until_held(fakes, request)["at"] == "open"
        request.read_until(b"\r\n\r\n")
        assert request.data.startswith(b"HTTP/1.1 200 OK\r\n")
        assert request.data.endswith(b"\r\n\r\n")
        assert request.hears_nothing()
        control(fakes, "gates/g1/open")
        request.read_all()
    [call] = records(fakes, request.nonce)
    assert call.head_ns is not None
    assert call.held_ns is not None
    assert call.let_go_ns is not None
    assert call.head_ns < call.held_ns < call.let_go_ns < call.outer_end_ns
    assert call.finished
    # The head of a whole answer tells that it is over; a stream's does not.
    assert (call.inner_end_ns < call.held_ns) is not case[2]


@pytest.mark.parametrize("case", STREAMS)
def test_held_after_the_nth_piece_there_are_n(fakes: Fakes, case: Case) -> None:
    with RawRequest(fakes, case, hold="piece", at=3, gate="g1", tokens=6) as request:
        assert until_held(fakes, request)["at"] == "piece"
        request.read_until(b"#2 ")
        assert b"#3 " not in request.data
        assert request.hears_nothing()
        control(fakes, "gates/g1/open")
        request.read_all()
    [call] = records(fakes, request.nonce)
    assert (call.pieces, call.finished) == (7, True)


def test_a_stream_with_fewer_pieces_is_not_held(fakes: Fakes) -> None:
    with RawRequest(fakes, OPENAI, hold="piece", at=30) as request:
        request.read_all()
    assert records(fakes, request.nonce)[0].held_ns is None


@pytest.mark.parametrize("case", STREAMS + WHOLES)
def test_held_before_the_end_all_is_there_but_the_end(fakes: Fakes, case: Case) -> None:
    with RawRequest(fakes, case, hold="end", gate="g1") as request:
        assert until_held(fakes, request)["at"] == "end"
        request.read_until(b"#end4-")
        assert request.hears_nothing()
        if case[2]:
            assert end_mark(case) not in request.data
        control(fakes, "gates/g1/open")
        request.read_all()
    [call] = records(fakes, request.nonce)
    assert call.let_go_ns is not None
    assert call.finished
    assert (call.let_go_ns < call.inner_end_ns) is case[2]
    assert call.let_go_ns < call.outer_end_ns


ENDS_AFTER_TWO: dict[str, dict[str, Any]] = {
    name: {name: 2} for name in ("cut", "fin", "clean", "error")
}
STOPS: dict[str, dict[str, Any]] = {"fin": {"fin": 1}, "stall": {"stall": 1}}


# -- endings ---------------------------------------------------------------------------------


@pytest.mark.parametrize("pieces", [0, 2])
@pytest.mark.parametrize("case", STREAMS)
def test_a_reset_stream_ends_with_an_error_of_the_connection(
    fakes: Fakes, case: Case, pieces: int
) -> None:
    with RawRequest(fakes, case, cut=pieces) as request, pytest.raises(ConnectionResetError):
        request.read_all()
    [call] = records(fakes, request.nonce)
    assert (call.ended_by, call.finished, call.pieces) == ("cut", False, pieces)
    assert call.status == (200 if pieces else None)


@pytest.mark.parametrize("pieces", [0, 2])
@pytest.mark.parametrize("case", STREAMS)
def test_a_stream_closed_in_its_middle_has_no_end(fakes: Fakes, case: Case, pieces: int) -> None:
    with RawRequest(fakes, case, fin=pieces) as request:
        request.read_all()
        chunks, ended = request.chunks()
    assert not ended
    assert (b"#1 " in request.data) is bool(pieces)
    assert b"#2 " not in request.data
    assert bool(chunks) is bool(pieces)
    [call] = records(fakes, request.nonce)
    assert (call.ended_by, call.finished, call.pieces) == ("cut", False, pieces)


@pytest.mark.parametrize("pieces", [0, 2])
@pytest.mark.parametrize("case", STREAMS)
def test_a_clean_end_without_a_finish(fakes: Fakes, case: Case, pieces: int) -> None:
    with RawRequest(fakes, case, clean=pieces) as request:
        request.read_all()
        _, ended = request.chunks()
    assert ended
    assert request.data.startswith(b"HTTP/1.1 200 OK\r\n")
    assert end_mark(case) not in request.data
    assert b"[DONE]" not in request.data
    [call] = records(fakes, request.nonce)
    assert (call.ended_by, call.finished, call.pieces) == ("fake", False, pieces)


def last_event(request: RawRequest) -> dict[str, Any]:
    block = request.body().rstrip(b"\n").split(b"\n")[-1]
    reply: dict[str, Any] = json.loads(block.removeprefix(b"data: "))
    return reply


@pytest.mark.parametrize("pieces", [0, 2])
def test_an_error_in_mid_stream_has_the_form_of_each_dialect(fakes: Fakes, pieces: int) -> None:
    for case in (OPENAI, OLLAMA, RESPONSES, MESSAGES):
        with RawRequest(fakes, case, error=pieces) as request:
            request.read_all()
        _, ended = request.chunks()
        assert ended
        reply = last_event(request)
        if case == OPENAI:
            assert set(reply["error"]) == {"message", "type", "param", "code"}
        elif case == OLLAMA:
            assert set(reply) == {"error"}
            assert isinstance(reply["error"], str)
        elif case == MESSAGES:
            assert b"event: error\n" in request.body()
            assert (reply["type"], reply["error"]["type"]) == ("error", "overloaded_error")
            assert f"request-id: {reply['request_id']}".encode() in request.data
        else:
            assert reply["response"]["status"] == "failed"
        assert end_mark(case) not in request.data
        [call] = records(fakes, request.nonce)
        assert (call.ended_by, call.finished, call.status) == ("fake", False, 200)


def test_ollamas_v1_swallows_an_error_in_mid_stream(fakes: Fakes) -> None:
    with RawRequest(fakes, OLLAMA_V1, error=2) as request:
        request.read_all()
    reply = last_event(request)
    assert reply["model"] == ""
    assert b"error" not in request.body()
    assert b"[DONE]" not in request.data


@pytest.mark.parametrize("case", STREAMS)
def test_a_stalled_stream_sends_nothing_more_until_the_peer_disconnects(
    fakes: Fakes, case: Case
) -> None:
    with RawRequest(fakes, case, stall=2) as request:
        request.read_until(b"#1 ")
        assert request.hears_nothing()
        assert b"#2 " not in request.data
    [call] = records(fakes, request.nonce)
    assert (call.ended_by, call.finished, call.pieces) == ("peer", False, 2)


@pytest.mark.parametrize("case", [OPENAI, OLLAMA, *WHOLES])
def test_one_that_never_answers(fakes: Fakes, case: Case) -> None:
    with RawRequest(fakes, case, stall=0) as request:
        until(fakes, lambda reply: reply["open"][case[0]] == 1)
        assert request.hears_nothing()
    [call] = records(fakes, request.nonce)
    assert (call.ended_by, call.status, call.sent_bytes) == ("peer", None, 0)


@pytest.mark.parametrize("case", STREAMS)
def test_the_earliest_of_two_endings_is_the_one(fakes: Fakes, case: Case) -> None:
    with RawRequest(fakes, case, fin=3, clean=1) as request:
        request.read_all()
        assert request.chunks()[1]
    assert records(fakes, request.nonce)[0].pieces == 1


@pytest.mark.parametrize("ending", ["cut", "fin", "clean", "error"])
@pytest.mark.parametrize("case", [OPENAI, OLLAMA])
def test_the_inner_end_is_before_the_first_byte_that_tells(
    fakes: Fakes, case: Case, ending: str
) -> None:
    with RawRequest(fakes, case, hold="end", gate="g1", **ENDS_AFTER_TWO[ending]) as request:
        request.read_until(b"#1 ")
        until_held(fakes, request)
        opened = control(fakes, "gates/g1/open")
        try:
            request.read_all()
        except ConnectionResetError:
            assert ending == "cut"
    [call] = records(fakes, request.nonce)
    assert call.let_go_ns is not None
    assert opened["at_ns"] < call.let_go_ns < call.inner_end_ns < call.outer_end_ns


# -- whole answers ---------------------------------------------------------------------------


@pytest.mark.parametrize("case", WHOLES)
def test_a_whole_answer_is_cut_or_closed_before_its_head(fakes: Fakes, case: Case) -> None:
    with RawRequest(fakes, case, cut=1) as request, pytest.raises(ConnectionResetError):
        request.read_all()
    with RawRequest(fakes, case, fin=0) as request:
        assert request.read_all() == b""
    assert records(fakes, request.nonce)[0].status is None


@pytest.mark.parametrize("how", ["fin", "stall"])
@pytest.mark.parametrize("case", WHOLES)
def test_a_whole_answer_stops_in_the_middle_of_its_body(fakes: Fakes, case: Case, how: str) -> None:
    with RawRequest(fakes, case, **STOPS[how]) as request:
        request.read_until(b'"')
        if how == "stall":
            assert request.hears_nothing()
        else:
            request.read_all()
        head, _, body = request.data.partition(b"\r\n\r\n")
    reply = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
    assert len(body) == reply // 2
    [call] = records(fakes, request.nonce)
    assert call.ended_by == ("cut" if how == "fin" else "peer")
    assert call.head_ns is not None
    assert call.inner_end_ns < call.head_ns
    assert not call.finished


@pytest.mark.parametrize("case", WHOLES)
def test_a_malformed_body_is_as_long_as_it_says_and_no_json(fakes: Fakes, case: Case) -> None:
    with RawRequest(fakes, case, malformed=0) as request:
        head, _, body = request.read_all().partition(b"\r\n\r\n")
    assert f"content-length: {len(body)}".encode() in head
    with pytest.raises(json.JSONDecodeError):
        json.loads(body)
    assert not records(fakes, request.nonce)[0].finished


@pytest.mark.parametrize("wrong", [-7, 12])
@pytest.mark.parametrize("case", WHOLES)
def test_a_wrong_content_length(fakes: Fakes, case: Case, wrong: int) -> None:
    with RawRequest(fakes, case, length=wrong) as request:
        head, _, body = request.read_all().partition(b"\r\n\r\n")
    json.loads(body)
    assert f"content-length: {len(body) + wrong}".encode() in head
    [call] = records(fakes, request.nonce)
    assert (call.ended_by, call.finished, call.status) == ("cut", False, 200)
    assert call.head_ns is not None
    assert call.inner_end_ns < call.head_ns


# -- framing ---------------------------------------------------------------------------------


@pytest.mark.parametrize("at", [0, 2, 50])
@pytest.mark.parametrize("case", STREAMS)
def test_a_malformed_piece_comes_on_top_of_the_others(fakes: Fakes, case: Case, at: int) -> None:
    with RawRequest(fakes, case, malformed=at, hold="end", gate="g1") as request:
        until_held(fakes, request)
        control(fakes, "gates/g1/open")
        request.read_all()
    broken = 0
    for line in request.body().split(b"\n"):
        data = line.removeprefix(b"data: ")
        if not data or data == b"[DONE]" or data.startswith(b"event: "):
            continue
        try:
            json.loads(data)
        except json.JSONDecodeError:
            broken += 1
    assert broken == 1
    assert b"#end4-" in request.data
    [call] = records(fakes, request.nonce)
    assert (call.pieces, call.finished) == (5, True)
    assert call.held_ns is not None
    assert call.inner_end_ns < call.held_ns


def test_a_disconnect_after_a_malformed_piece_keeps_the_inner_end_before_it(fakes: Fakes) -> None:
    with RawRequest(fakes, OPENAI, malformed=1, stall=2) as request:
        request.read_until(b"#1 ")
    [call] = records(fakes, request.nonce)
    assert call.first_ns is not None
    assert call.peer_closed_ns is not None
    assert call.first_ns < call.inner_end_ns < call.peer_closed_ns


@pytest.mark.parametrize("case", STREAMS)
def test_the_last_line_without_its_newline(fakes: Fakes, case: Case) -> None:
    with RawRequest(fakes, case, newline=0) as request:
        request.read_all()
    assert not request.body().endswith(b"\n")
    assert records(fakes, request.nonce)[0].finished


@pytest.mark.parametrize("case", STREAMS)
def test_comment_lines_between_events(fakes: Fakes, case: Case) -> None:
    with RawRequest(fakes, case, comments=2, tokens=1) as request:
        request.read_all()
    pings = request.body().count(b"event: ping\n")
    comments = request.body().count(b": keep-alive\n\n")
    assert (comments, pings) == {OLLAMA: (0, 0), MESSAGES: (0, 7)}.get(case, (6, 0))


@pytest.mark.parametrize("case", STREAMS)
def test_tiny_pieces_and_a_huge_one(fakes: Fakes, case: Case) -> None:
    with RawRequest(fakes, case, split=7, tokens=1) as request:
        request.read_all()
    chunks, ended = request.chunks()
    assert ended
    assert all(len(chunk) <= 7 for chunk in chunks)
    with RawRequest(fakes, case, pad=300_000, tokens=1) as request:
        request.read_all()
    assert max(len(chunk) for chunk in request.chunks()[0]) > 300_000
    assert b"~ %d@" % request.nonce in request.body()


@pytest.mark.parametrize("case", WHOLES)
def test_a_whole_answer_in_tiny_pieces_is_the_same(fakes: Fakes, case: Case) -> None:
    with RawRequest(fakes, case, split=5) as request:
        body = request.read_all().partition(b"\r\n\r\n")[2]
    assert b"#end4-" in json.dumps(json.loads(body)).encode()
    assert records(fakes, request.nonce)[0].finished
