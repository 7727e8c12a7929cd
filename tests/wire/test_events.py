"""Server-sent events by the standard, whatever the reads; JSON lines."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai._streaming import SSEDecoder

from routerspec.wire.events import read_events, read_lines


def data(body: bytes) -> list[str]:
    return [event.data for event in read_events(body).events]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"data: one\n\ndata: two\n\n", ["one", "two"]),
        (b"data: one\r\rdata: two\r\r", ["one", "two"]),
        (b"data: one\r\n\r\ndata: two\r\n\r\n", ["one", "two"]),
        (b"data: one\r\n\ndata: two\n\r\n", ["one", "two"]),
        (b"data:one\n\n", ["one"]),
        (b"data:  one\n\n", [" one"]),
        (b"\xef\xbb\xbfdata: one\n\n", ["one"]),
        (b"data: \xef\xbb\xbfone\n\n", ["\ufeffone"]),
        (b": a comment\ndata: one\n: another\n\n", ["one"]),
        (b": a comment\n\n\n\ndata: one\n\n", ["one"]),
        (b"data: one\ndata: two\n\n", ["one\ntwo"]),
        (b"data: one\ndata:\n\n", ["one\n"]),
        (b"data\n\n", [""]),
        (b"data: one\nid: 7\nevent: message\nretry: 10\n\n", ["one"]),
        (b"event: ping\n\ndata: one\n\n", ["one"]),
        (b"retry: 10\n\ndata: one\n\n", ["one"]),
        (b"data: one\nnonsense: two\nnonsense\n\n", ["one"]),
        (b"data: one\n", []),
        (b"data: one", []),
        (b"data: one\n\ndata: two\n", ["one"]),
        (b"", []),
        (b"\xef\xbb", []),
        (b"data: caf\xc3\xa9 \xf0\x9f\x98\x80 \xe2\x80\xa8\n\n", ["caf\u00e9 \U0001f600 \u2028"]),
        (b"data: \xff\n\n", ["\ufffd"]),
    ],
)
def test_events_are_those_of_the_standard(body: bytes, expected: list[str]) -> None:
    assert data(body) == expected


def test_ids_and_names_are_kept_as_the_standard_says() -> None:
    body = b"id: 1\nevent: a\ndata: x\n\ndata: y\n\nid: b\0d\ndata: z\n\nid\ndata: w\n\n"
    events = read_events(body).events
    assert [(e.number, e.name, e.id) for e in events] == [
        (1, "a", "1"), (2, "", "1"), (3, "", "1"), (4, "", ""),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("body", "kind", "text"),
    [
        (b"event: ping\n\n", "no-data", "event: ping"),
        (b'data: {}\n{"a": 1}\n\n', "ignored", '{"a": 1}'),
        (b'{"error": {"code": 503}}\n\n', "ignored", '{"error": {"code": 503}}'),
        (b"data: a\n\ndata: b\n", "unterminated", "b"),
        (b"event: ping", "unterminated", "event: ping"),
    ],
)
def test_what_dispatches_nothing_is_kept_beside_the_events(
    body: bytes, kind: str, text: str
) -> None:
    (oddity,) = read_events(body).oddities
    assert (oddity.kind, oddity.text) == (kind, text)


def test_comments_are_no_oddity() -> None:
    stream = read_events(b": OPENROUTER PROCESSING\n\n:\n\ndata: x\n\n")
    assert stream.oddities == ()
    assert stream.comments == 2


def test_what_one_more_empty_line_would_dispatch_is_the_tail() -> None:
    tail = read_events(b"data: a\n\nid: 3\ndata: b\n").tail
    assert tail is not None
    assert (tail.data, tail.id) == ("b", "3")


PIECES = st.sampled_from(
    [b"\r", b"\n", b"\r\n", b"data: x", b"data:", b": c", b"id: 1", b"event: e", b"\xef\xbb\xbf",
     b"retry: 1", b"\xc3\xa9", b"\xff", b"\xf0\x9f", b"\0", b'{"a"}', b" "]
)  # fmt: skip
STREAMS = st.lists(PIECES, max_size=24).map(b"".join)


@given(body=STREAMS, cuts=st.lists(st.integers(0, 80), max_size=12))
@settings(max_examples=150, derandomize=True, deadline=None)
def test_it_does_not_matter_how_the_bytes_are_divided(body: bytes, cuts: list[int]) -> None:
    places = [0, *sorted(min(cut, len(body)) for cut in cuts), len(body)]
    reads = [body[a:b] for a, b in pairwise(places)]
    assert read_events(reads) == read_events(body)


@given(body=STREAMS)
@settings(max_examples=150, derandomize=True, deadline=None)
def test_openai_python_reads_the_same_data(body: bytes) -> None:
    stream = read_events(body)
    if b"\xef\xbb\xbf" in body or not all(event.utf8 for event in stream.events):
        return  # It takes a byte order mark for content, and raises at what is no UTF-8.
    try:
        theirs = [sse.data for sse in SSEDecoder().iter_bytes(iter([body]))]
    except UnicodeDecodeError:
        return
    # It also yields blocks without data, which the standard has nobody dispatch.
    assert [text for text in theirs if text] == [e.data for e in stream.events if e.data]


def test_json_lines_may_end_in_crlf_and_the_last_in_nothing() -> None:
    lines = read_lines(b'{"a":1}\r\n{"b":2}\n{"c":3}')
    assert [(line.number, line.text) for line in lines] == [
        (1, '{"a":1}'), (2, '{"b":2}'), (3, '{"c":3}'),
    ]  # fmt: skip
    assert read_lines(b"") == ()
    assert [line.text for line in read_lines(b"{}\n\n{}\n")] == ["{}", "", "{}"]
