"""The row of an answer in the arguments of a tool call: a fragment for each piece."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from fake_providers.prompt.directives import answer
from tests.fakes.content.test_tool_calls import calls_in
from tests.fakes.in_process import OPENAI, RUN, InProcess, Received

SCHEMA = {
    "type": "object",
    "properties": {"many": {"type": "integer"}, "text": {"type": "string"}},
    "required": ["text"],
}
FUNCTION = {"name": "answer", "parameters": SCHEMA}
CHATS = [("openai", OPENAI), ("ollama", OPENAI), ("ollama", "/api/chat")]
FORCED = {
    "tools": [{"type": "function", "function": FUNCTION}],
    "tool_choice": {"type": "function", "function": {"name": "answer"}},
}


@pytest.fixture(scope="module")
def fakes() -> Iterator[InProcess]:
    with InProcess() as running:
        yield running


def ask(
    fakes: InProcess, route: tuple[str, str], body: dict[str, Any], **directives: Any
) -> Received:
    fakes.forget()
    return fakes.ask(*route, body={**FORCED, **body}, args="row", **directives)


def row(provider: str, count: int = 4) -> str:
    return answer(RUN, 7, provider, 1, count)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("route", CHATS, ids="".join)
def test_the_text_is_the_row(fakes: InProcess, route: tuple[str, str], stream: bool) -> None:
    """Without a choice of tools, too: Ollama has none."""
    received = ask(fakes, route, {"stream": stream, "tool_choice": None})
    [(_, name, arguments)] = calls_in(received)
    assert (name, arguments) == ("answer", {"text": row(route[0])})


def fragments(received: Received) -> list[str]:
    """Of the one call of a chat; those of a write together."""
    found = []
    for part in received.parts:
        events = [
            json.loads(line[6:]) for line in part.split(b"\n\n") if line.startswith(b"data: {")
        ]
        deltas = [one["choices"][0]["delta"] for one in events if one["choices"]]
        calls = [call for delta in deltas for call in delta.get("tool_calls", ())]
        if calls:
            found.append("".join(call["function"]["arguments"] for call in calls))
    return found


def test_each_piece_is_a_fragment(fakes: InProcess) -> None:
    found = fragments(ask(fakes, CHATS[0], {"stream": True}))
    pieces = [f"7@openai-1#{number} " for number in range(4)]
    closing = row("openai").removeprefix("".join(pieces))
    assert found == ['{"text":"' + pieces[0], *pieces[1:], closing + '"}']


@pytest.mark.parametrize("after", [1, 3])
def test_endings_count_fragments(fakes: InProcess, after: int) -> None:
    assert len(fragments(ask(fakes, CHATS[0], {"stream": True}, clean=after))) == after


@pytest.mark.parametrize("directives", [{"text": "utf8"}, {"text": "escapes"}, {"pad": 9}])
def test_hard_text_is_a_part_of_the_arguments(fakes: InProcess, directives: dict[str, Any]) -> None:
    streamed = fragments(ask(fakes, CHATS[0], {"stream": True}, **directives))
    whole = ask(fakes, CHATS[0], {}, **directives).json["choices"][0]["message"]
    [call] = whole["tool_calls"]
    assert "".join(streamed) == call["function"]["arguments"]
    text = json.loads(call["function"]["arguments"])["text"]
    assert row("openai") in text
    assert len(text) > len(row("openai"))


def test_a_limit_cuts_the_arguments_short(fakes: InProcess) -> None:
    received = ask(fakes, CHATS[0], {"stream": True, "max_tokens": 2})
    assert "".join(fragments(received)) == '{"text":"7@openai-1#0 7@openai-1#1 '
    assert received.chunks[-1]["choices"][0]["finish_reason"] == "length"
    [choice] = ask(fakes, CHATS[0], {"max_tokens": 2}).json["choices"]
    assert choice["finish_reason"] == "length"
    assert choice["message"]["tool_calls"][0]["function"]["arguments"].endswith("#1 ")


@pytest.mark.parametrize(
    ("route", "limit"),
    [(CHATS[1], {"max_tokens": 2}), (CHATS[2], {"options": {"num_predict": 2}})],
    ids=["v1", "native"],
)
def test_arguments_of_ollama_are_cut_short_and_json(
    fakes: InProcess, route: tuple[str, str], limit: dict[str, Any]
) -> None:
    for stream in (False, True):
        [(_, _, arguments)] = calls_in(ask(fakes, route, {"stream": stream, **limit}))
        assert arguments == {"text": "7@ollama-1#0 7@ollama-1#1 "}


def test_the_other_calls_have_their_own_arguments(fakes: InProcess) -> None:
    first, second = calls_in(ask(fakes, CHATS[0], {"stream": True, "tool_choice": None}, calls=2))
    assert first[2] == {"text": row("openai")}
    assert second[2] == {"text": "7-1"}


def test_after_its_result_the_answer_is_text(fakes: InProcess) -> None:
    [(its_id, _, _)] = calls_in(ask(fakes, CHATS[0], {}))
    call = {"id": its_id, "type": "function", "function": {"name": "answer", "arguments": "{}"}}
    messages = [
        {"role": "user", "content": "rs:k3:7:args=row:"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": its_id, "content": "1"},
    ]
    assert calls_in(ask(fakes, CHATS[0], {"messages": messages})) == []
