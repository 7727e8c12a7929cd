"""Tool calls that are hard to pass on: several in one answer, in fragments, with any arguments."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import accumulate
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fake_providers.content.tool_calls import LONG, TOO_LONG, fragments
from tests.fakes.in_process import OPENAI, InProcess, Received, is_the_row, text_in

RESPONSES = "/v1/responses"
ROUTES = [("openai", OPENAI), ("ollama", OPENAI), ("ollama", "/api/chat"), ("openai", RESPONSES)]
PARAMETERS = {
    "type": "object",
    "properties": {"what": {"type": "string"}, "many": {"type": "integer"}},
    "required": ["what", "many"],
}
FUNCTIONS: list[dict[str, Any]] = [
    {"name": "look_up", "parameters": PARAMETERS},
    {"name": "add", "parameters": {**PARAMETERS, "required": ["many"]}},
]
DEFAULT_ID = re.compile(r"[A-Za-z0-9_-]{1,40}")


@pytest.fixture(scope="module")
def fakes() -> Iterator[InProcess]:
    with InProcess() as running:
        yield running


def ask(
    fakes: InProcess, route: tuple[str, str], *, stream: bool, more: Any = None, **directives: Any
) -> Received:
    tools = [
        {"type": "function", **one} if route[1] == RESPONSES else
        {"type": "function", "function": one}
        for one in FUNCTIONS
    ]  # fmt: skip
    fakes.forget()
    body = {"stream": stream, "tools": tools, **(more or {})}
    return fakes.ask(*route, body=body, **directives)


def calls_in(received: Received) -> list[tuple[str, str, Any]]:
    """(id, name, arguments) of each call, joined as the dialect says."""
    found: dict[Any, list[str]] = {}
    for chunk in received.chunks if "content-length" not in received.headers else [received.json]:
        for place, call in _entries(chunk):
            function = call.get("function", call)
            its_id = call.get("call_id", call.get("id", ""))
            name, arguments = function.get("name", ""), function.get("arguments", "")
            if isinstance(arguments, dict):
                arguments = json.dumps(arguments)
            joined = zip(found.get(place, ("", "", "")), (its_id, name, arguments), strict=True)
            found[place] = [before + after for before, after in joined]
    return [(its_id, name, json.loads(text)) for its_id, name, text in found.values()]


def _entries(chunk: dict[str, Any]) -> Iterator[tuple[Any, dict[str, Any]]]:
    for choice in chunk.get("choices", ()):
        said = choice.get("delta") or choice.get("message") or {}
        for index, call in enumerate(said.get("tool_calls", ())):
            yield (choice["index"], call.get("index", index)), call
    for index, call in enumerate(chunk.get("message", {}).get("tool_calls", ())):
        yield (id(chunk), index), call
    for index, item in enumerate(chunk.get("output", ())):
        if item["type"] == "function_call":
            yield index, item
    if chunk.get("type") == "response.output_item.done" and "call_id" in chunk["item"]:
        yield chunk["output_index"], chunk["item"]


both = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
everywhere = pytest.mark.parametrize("route", ROUTES, ids="".join)


@both
@everywhere
def test_the_tools_of_the_request_are_called_in_turn(
    fakes: InProcess, route: tuple[str, str], stream: bool
) -> None:
    received = ask(fakes, route, stream=stream, calls=3)
    ids, names, arguments = zip(*calls_in(received), strict=True)
    assert names == ("look_up", "add", "look_up")
    assert arguments == ({"what": "7", "many": 1}, {"many": 2}, {"what": "7-2", "many": 3})
    assert len(set(ids)) == 3
    assert all(DEFAULT_ID.fullmatch(one) for one in ids)
    assert text_in(received) == ""


@both
@everywhere
def test_a_client_that_wants_one_at_a_time_gets_one(
    fakes: InProcess, route: tuple[str, str], stream: bool
) -> None:
    received = ask(fakes, route, stream=stream, more={"parallel_tool_calls": False}, calls=3)
    assert len(calls_in(received)) == 1


@both
@everywhere
def test_text_comes_before_the_calls(
    fakes: InProcess, route: tuple[str, str], stream: bool
) -> None:
    received = ask(fakes, route, stream=stream, calls=2, before="text")
    assert [name for _, name, _ in calls_in(received)] == ["look_up", "add"]
    assert is_the_row(text_in(received), route[0])
    if stream and route[1] == OPENAI:
        kinds = [sorted(chunk["choices"][0]["delta"]) for chunk in received.chunks]
        texts = [number for number, kind in enumerate(kinds) if kind == ["content"]]
        calls = [number for number, kind in enumerate(kinds) if "tool_calls" in kind]
        assert max(texts, default=0) < min(calls)


@both
def test_a_text_that_is_cut_short_has_no_calls_behind_it(fakes: InProcess, stream: bool) -> None:
    for route, more in zip(
        ROUTES,
        [
            {"max_tokens": 2},
            {"max_tokens": 2},
            {"options": {"num_predict": 2}},
            {"max_output_tokens": 2},
        ],
        strict=True,
    ):
        received = ask(fakes, route, stream=stream, more=more, calls=2, before="text")
        assert calls_in(received) == []
        assert text_in(received) == f"7@{route[0]}-1#0 7@{route[0]}-1#1 "


def test_arguments_come_in_so_many_fragments(fakes: InProcess) -> None:
    for cuts in (1, 2, 5, 1000):
        received = ask(fakes, ROUTES[0], stream=True, calls=2, cuts=cuts)
        entries = [entry for chunk in received.chunks for _, entry in _entries(chunk)]
        first = [entry["function"]["arguments"] for entry in entries if entry["index"] == 0]
        assert first[0] == ""
        assert len(first) == 1 + min(cuts, len("".join(first)))
        assert [entry["index"] for entry in entries] == sorted(entry["index"] for entry in entries)
        deltas = ask(fakes, ROUTES[3], stream=True, tools=1, cuts=cuts).chunks
        parts = [one for one in deltas if one["type"] == "response.function_call_arguments.delta"]
        assert len(parts) == len(first) - 1


def test_fragments_of_several_calls_come_by_turns(fakes: InProcess) -> None:
    received = ask(fakes, ROUTES[0], stream=True, calls=2, cuts=3, order="interleaved")
    entries = [entry for chunk in received.chunks for _, entry in _entries(chunk)]
    assert [entry["index"] for entry in entries] == [0, 1] * 4
    plain = ask(fakes, ROUTES[0], stream=False, calls=2)
    assert [call[1:] for call in calls_in(received)] == [call[1:] for call in calls_in(plain)]


def test_ollama_calls_each_tool_in_a_line_of_its_own(fakes: InProcess) -> None:
    chunks = ask(fakes, ROUTES[2], stream=True, calls=2).chunks
    assert [len(chunk["message"].get("tool_calls", ())) for chunk in chunks] == [1, 1, 0]
    indices = [chunk["message"]["tool_calls"][0]["function"]["index"] for chunk in chunks[:2]]
    assert indices == [0, 1]
    assert (chunks[-1]["done"], chunks[-1]["done_reason"]) == (True, "stop")


@both
@everywhere
@pytest.mark.parametrize("args", ["escapes", "none", "long", "bigint"])
def test_arguments_of_each_kind(
    fakes: InProcess, route: tuple[str, str], stream: bool, args: str
) -> None:
    received = ask(fakes, route, stream=stream, calls=2, cuts=9, args=args)
    (_, _, first), (_, _, second) = calls_in(received)
    match args:
        case "none":
            assert first == second == {}
        case "bigint":
            assert (first["many"], second["many"]) == (9007199254740993, 9007199254740995)
        case "long":
            assert len(first["what"]) == len(second["text"]) == LONG
        case "escapes":
            for sign in ('"', "\\", "/", "\n", "\r", "\t", "\0", "\u00e9", "\u0301", "\U0001f600"):
                assert sign in first["what"]
                assert sign in second["text"]


def test_escapes_in_arguments_are_both_raw_and_written_out_and_are_cut_within(
    fakes: InProcess,
) -> None:
    [choice] = ask(fakes, ROUTES[0], stream=False, calls=1, args="escapes").json["choices"]
    written = choice["message"]["tool_calls"][0]["function"]["arguments"]
    for sign in (r"\"", r"\\", r"\/", r"\n", r"\u0000", r"\ud83d\udc69"):
        assert sign in written
    assert not written.isascii()
    received = ask(fakes, ROUTES[0], stream=True, calls=1, args="escapes", cuts=40)
    parts = [entry["function"]["arguments"] for chunk in received.chunks for _, entry in
             _entries(chunk)]  # fmt: skip
    assert "".join(parts) == written
    cuts = set(accumulate(map(len, parts)))
    pairs = re.compile(r"\\u[dD][89ab]..\\u....|\\u....|\\.")
    cut_open = [one[0] for one in pairs.finditer(written) if cuts & set(range(*one.span())[1:])]
    assert len(cut_open) >= 10
    assert {len(one) for one in cut_open} == {2, 6, 12}


@both
@everywhere
def test_foreign_identifiers(fakes: InProcess, route: tuple[str, str], stream: bool) -> None:
    ids = [one for one, _, _ in calls_in(ask(fakes, route, stream=stream, calls=4, ids="foreign"))]
    assert ids[::2] == ["functions.look_up:0", "functions.look_up:2"]
    assert [len(one) for one in ids[1::2]] == [TOO_LONG, TOO_LONG]
    assert len(set(ids)) == 4


@both
@pytest.mark.parametrize("order", [{}, {"order": "interleaved"}], ids=["one-by-one", "by-turns"])
def test_each_choice_has_its_own_calls(
    fakes: InProcess, stream: bool, order: dict[str, str]
) -> None:
    received = ask(fakes, ROUTES[0], stream=stream, more={"n": 2}, calls=2, ids="foreign", **order)
    ids = {one for one, _, _ in calls_in(received)}
    assert len(ids) == 4


@pytest.mark.parametrize("args", [{}, {"args": "escapes"}, {"args": "none"}])
def test_items_of_a_response_follow_each_other(fakes: InProcess, args: dict[str, Any]) -> None:
    chunks = ask(fakes, ROUTES[3], stream=True, calls=2, before="text", cuts=2, **args).chunks
    assert [chunk["sequence_number"] for chunk in chunks] == list(range(len(chunks)))
    final = chunks[-1]["response"]
    assert [item["type"] for item in final["output"]] == ["message"] + ["function_call"] * 2
    for index, item in enumerate(final["output"]):
        about = [chunk for chunk in chunks if chunk.get("output_index") == index]
        assert about[0]["type"] == "response.output_item.added"
        assert about[-1] == {**about[-1], "type": "response.output_item.done", "item": item}
        assert {chunk.get("item_id", item["id"]) for chunk in about} == {item["id"]}
        places = [chunks.index(chunk) for chunk in about]
        assert places == list(range(places[0], places[-1] + 1))


@settings(max_examples=200, deadline=None, derandomize=True)
@given(value=st.text(min_size=1), cuts=st.integers(1, 60))
def test_fragments_are_not_empty_and_make_the_whole(value: str, cuts: int) -> None:
    written = json.dumps({"a": value})
    found = list(fragments(written, cuts))
    assert "".join(found) == written
    assert all(found)
    assert len(found) == min(cuts, len(written))
