"""Other framing, the same events: each directive on bytes, and any of them together."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fakes.in_process import MESSAGES, OPENAI, InProcess, Received, events, text_in

ROUTES = [
    ("openai", OPENAI),
    ("openai", "/v1/completions"),
    ("openai", "/v1/responses"),
    ("ollama", OPENAI),
    ("anthropic", MESSAGES),
]
STREAM = {"stream": True}


@pytest.fixture(scope="module")
def fakes() -> Iterator[InProcess]:
    with InProcess() as running:
        yield running


def streamed(fakes: InProcess, route: tuple[str, str] = ROUTES[0], **directives: Any) -> Received:
    """A stream of call 1, whatever was asked before."""
    fakes.forget()
    return fakes.ask(*route, body=STREAM, **directives)


@pytest.mark.parametrize(("eol", "end"), [("lf", b"\n"), ("crlf", b"\r\n"), ("cr", b"\r")])
def test_lines_end_as_directed(fakes: InProcess, eol: str, end: bytes) -> None:
    body = streamed(fakes, eol=eol, comments=1).body
    assert body.endswith(b"data: [DONE]" + end * 2)
    assert b": keep-alive" + end * 2 in body
    assert set(re.findall(rb"[\r\n]+", body)) == {end * 2}


def test_without_a_space_after_the_colon(fakes: InProcess) -> None:
    body = streamed(fakes, space=0).body
    assert body.startswith(b'data:{"id"')
    assert body.endswith(b"data:[DONE]\n\n")
    assert b"data: " not in body


def test_each_event_with_data_has_all_fields(fakes: InProcess) -> None:
    body = streamed(fakes, fields=1, tokens=1).body
    found = body.split(b"\n\n")[:-1]
    assert len(found) == 5
    for number, event in enumerate(found, 1):
        names = [line.partition(b":")[0] for line in event.split(b"\n")]
        assert names == [b"id", b"event", b"data", b"retry"]
        assert event.startswith(b"id: %d\nevent: message\n" % number)


def test_an_event_that_has_a_name_keeps_it(fakes: InProcess) -> None:
    body = streamed(fakes, ("openai", "/v1/responses"), fields=1, space=0).body
    assert body.startswith(b"id:1\nevent:response.created\ndata:{")
    assert b"event:message" not in body


def test_among_fields_a_comment_ends_no_event(fakes: InProcess) -> None:
    body = streamed(fakes, fields=1, comments=2).body
    assert b": keep-alive\n: keep-alive\nid: 2\n" in body
    assert b": keep-alive\n\n" not in body


def test_one_event_comes_in_several_lines(fakes: InProcess) -> None:
    body = streamed(fakes, lines=1).body
    found = body.split(b"\n\n")[:-1]
    assert found[-1] == b"data: [DONE]"
    for event in found[:-1]:
        lines = event.split(b"\n")
        assert 2 <= len(lines) <= 4
        assert all(line.startswith(b"data: ") for line in lines)
        json.loads(b"\n".join(line.removeprefix(b"data: ") for line in lines))


def test_several_events_come_in_one_write(fakes: InProcess) -> None:
    for join, expected in ((1, [1] * 6 + [2]), (2, [3, 2, 1, 2]), (100, [6, 2])):
        parts = streamed(fakes, join=join).parts
        assert [part.count(b"\n\n") for part in parts] == expected


def test_lines_of_ollama_are_joined_too(fakes: InProcess) -> None:
    parts = streamed(fakes, ("ollama", "/api/chat"), join=3, eol="crlf", fields=1).parts
    assert [part.count(b"\n") for part in parts] == [3, 2, 1]
    assert b"\r" not in b"".join(parts), "its lines are no events"


def test_a_joined_write_counts_as_one_piece(fakes: InProcess) -> None:
    assert len(streamed(fakes, join=2, clean=1).parts) == 1


def test_joined_events_are_split_across_their_borders(fakes: InProcess) -> None:
    parts = streamed(fakes, join=2, split=7, eol="cr").parts
    assert {len(part) for part in parts[:20]} == {7}


@pytest.mark.parametrize("eol", ["lf", "crlf", "cr"])
def test_the_last_line_may_lack_its_end(fakes: InProcess, eol: str) -> None:
    assert streamed(fakes, eol=eol, newline=0).body.endswith(b"data: [DONE]")


def test_a_broken_event_and_an_error_are_framed_too(fakes: InProcess) -> None:
    body = streamed(fakes, eol="crlf", space=0, fields=1, lines=1, malformed=1, error=2).body
    assert b"\n\n" not in body
    assert body.count(b"event:message\r\n") == 5
    *before, (_, error) = events(body)
    assert json.loads(error)["error"]["type"] == "server_error"
    assert sum(not readable(data) for _, data in before) == 1


def readable(data: str) -> bool:
    try:
        json.loads(data)
    except ValueError:
        return False
    return True


framings = st.fixed_dictionaries(
    {},
    optional={
        "eol": st.sampled_from(["lf", "crlf", "cr"]),
        "space": st.integers(0, 1),
        "fields": st.integers(0, 1),
        "lines": st.integers(0, 1),
        "join": st.integers(1, 8),
        "split": st.integers(1, 40),
        "comments": st.integers(0, 3),
        "newline": st.integers(0, 1),
    },
)


def meaning(received: Received) -> list[Any]:
    """The events: their names, and their data as JSON where it is that."""
    # At the end of the stream, many readers take an event without its empty line.
    return [
        (name, json.loads(data, object_pairs_hook=comparable) if data[0] == "{" else data)
        for name, data in events(received.body + b"\n\n")
        if name != "ping"
    ]


def comparable(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """What depends neither on the time nor on the length of the prompt."""
    return {name: value for name, value in pairs if name not in {"created", "created_at", "usage"}}


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    framing=framings,
    route=st.sampled_from(ROUTES),
    text=st.sampled_from([{}, {"text": "utf8"}, {"text": "escapes"}]),
    tokens=st.integers(0, 4),
)
def test_any_framing_has_the_events_of_the_plain_answer(
    fakes: InProcess,
    framing: dict[str, Any],
    route: tuple[str, str],
    text: dict[str, Any],
    tokens: int,
) -> None:
    plain = streamed(fakes, route, tokens=tokens, **text)
    other = streamed(fakes, route, tokens=tokens, **text, **framing)
    assert meaning(other) == meaning(plain)
    assert text_in(other) == text_in(plain)
    if framing.get("newline", 1) and route[0] != "anthropic":
        assert len(events(other.body)) == len(events(plain.body))
