"""Clients of Anthropic's API at the fake, and through the reference router to every provider."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import anthropic
import httpx2
import pytest
from langchain_anthropic import ChatAnthropic
from langchain_core.messages import HumanMessage, ToolMessage

from fake_providers.prompt.directives import token
from tests.clients.stack import MESSAGES, RUN, Place, Stack

SCHEMA = {"type": "object", "properties": {"what": {"type": "string"}}, "required": ["what"]}
LOOK_UP: Any = {"name": "look_up", "description": "Looks it up.", "input_schema": SCHEMA}


@pytest.fixture(params=MESSAGES)
def place(stack: Stack, request: pytest.FixtureRequest) -> Place:
    return stack.place(request.param, MESSAGES[request.param], "anthropic")


@pytest.fixture
def client(place: Place) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(
        base_url=place.url, api_key="any", max_retries=0, timeout=10
    ) as client:
        yield client


class Asking:
    """Prompts of one place, each with a nonce of its own."""

    def __init__(self, place: Place, nonces: Iterator[int]) -> None:
        self._place = place
        self._nonces = nonces

    def prompt(self, **directives: Any) -> str:
        return token(RUN, next(self._nonces), **directives)

    def fields(self, **directives: Any) -> dict[str, Any]:
        messages = [{"role": "user", "content": self.prompt(**directives)}]
        return {"model": self._place.model, "max_tokens": 2000, "messages": messages}


@pytest.fixture
def ask(place: Place, nonces: Iterator[int]) -> Asking:
    return Asking(place, nonces)


def helped(client: anthropic.Anthropic, fields: dict[str, Any]) -> Any:
    """What the helper makes of a stream."""
    with client.messages.stream(**fields) as stream:
        return stream.get_final_message()


def text_of(message: Any) -> str:
    return "".join(block.text for block in message.content if block.type == "text")


def test_whole_raw_and_helped(client: anthropic.Anthropic, ask: Asking, place: Place) -> None:
    fields = ask.fields(usage="digits")
    whole, final = client.messages.create(**fields), helped(client, fields)
    raw = list(client.messages.create(**fields, stream=True))
    kinds = [event.type for event in raw]
    assert (kinds[0], kinds[-1]) == ("message_start", "message_stop")
    deltas = [event.delta for event in raw if event.type == "content_block_delta"]
    said = "".join(delta.text for delta in deltas if delta.type == "text_delta")
    for text in (text_of(whole), text_of(final), said):
        assert f"@{place.provider}-" in text
        assert "#end4-" in text
    counts = [event.usage for event in raw if event.type == "message_delta"]
    for usage in (whole.usage, final.usage, counts[-1]):
        read = usage.cache_read_input_tokens or 0
        written = usage.cache_creation_input_tokens or 0
        all_input = 1000 if place.provider != "anthropic" else 1230
        found = (usage.input_tokens or 0) + read + written - all_input
        assert usage.output_tokens > 7
        assert 0 < found <= 3 * (usage.output_tokens - 7)
    assert (whole.stop_reason, final.stop_reason) == ("end_turn", "end_turn")


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("args", ["", "none"])
def test_two_calls_and_the_turn_after_them(
    client: anthropic.Anthropic, ask: Asking, stream: bool, args: str
) -> None:
    directives = {"calls": 2, "cuts": 5, "before": "text"} | ({"args": args} if args else {})
    fields = {**ask.fields(**directives), "tools": [LOOK_UP]}
    called: Any = helped(client, fields) if stream else client.messages.create(**fields)
    assert called.stop_reason == "tool_use"
    assert "#end4-" in text_of(called)
    calls = [block for block in called.content if block.type == "tool_use"]
    assert [call.name for call in calls] == ["look_up", "look_up"]
    assert [set(call.input) for call in calls] == [set() if args else {"what"}] * 2
    assert len({call.id for call in calls}) == 2
    results = [
        {"type": "tool_result", "tool_use_id": call.id, "content": "x", "is_error": call is last}
        for call, last in ((call, calls[-1]) for call in calls)
    ]
    fields["messages"] += [
        {"role": "assistant", "content": [block.to_dict() for block in called.content]},
        {"role": "user", "content": results},
    ]
    answered = helped(client, fields) if stream else client.messages.create(**fields)
    assert answered.stop_reason == "end_turn"
    assert "#end4-" in text_of(answered)


def test_the_limit(client: anthropic.Anthropic, ask: Asking) -> None:
    fields = {**ask.fields(), "max_tokens": 2}
    for message in (client.messages.create(**fields), helped(client, fields)):
        assert message.stop_reason == "max_tokens"
        assert text_of(message).endswith("#1 ")


@pytest.mark.parametrize(
    ("status", "kind"),
    [(429, anthropic.RateLimitError), (503, anthropic.InternalServerError)],
)
def test_an_error_before_the_answer(
    client: anthropic.Anthropic, ask: Asking, status: int, kind: type[anthropic.APIStatusError]
) -> None:
    with pytest.raises(kind):
        client.messages.create(**ask.fields(status=status))
    with pytest.raises(kind):
        helped(client, ask.fields(status=status))
    patient = client.with_options(max_retries=1)
    once = ask.fields(status=status, retry_after=0.01, attempts=1)
    assert "#end4-" in text_of(patient.messages.create(**once))


@pytest.mark.parametrize("how", ["error", "cut"])
def test_an_answer_that_breaks_off_raises(
    client: anthropic.Anthropic, ask: Asking, how: str
) -> None:
    with pytest.raises((anthropic.APIError, httpx2.TransportError)):
        helped(client, ask.fields(**{how: 2}))


def test_thinking_and_its_signature_come_back(
    client: anthropic.Anthropic, ask: Asking, place: Place
) -> None:
    if not place.relayed:
        pytest.skip("the provider has no signatures")
    fields = {**ask.fields(), "thinking": {"type": "adaptive"}}
    message = helped(client, fields)
    assert [block.type for block in message.content] == ["thinking", "text"]
    back = [block.to_dict() for block in message.content]
    fields["messages"] += [{"role": "assistant", "content": back}, {"role": "user", "content": "?"}]
    assert client.messages.create(**fields).stop_reason == "end_turn"
    counted = client.messages.count_tokens(**{name: fields[name] for name in ("model", "messages")})
    assert counted.input_tokens > 0


def test_langchain(place: Place, ask: Asking) -> None:
    new: Any = ChatAnthropic  # Its fields have aliases that no type checker knows.
    chat = new(
        model=place.model,
        base_url=place.url,
        api_key="any",
        max_tokens=2000,
        max_retries=0,
    ).bind_tools([LOOK_UP])
    history: list[Any] = [HumanMessage(ask.prompt(calls=2, cuts=5, usage="digits"))]
    called: Any = None
    for chunk in chat.stream(history):
        called = chunk if called is None else called + chunk
    assert [call["name"] for call in called.tool_calls] == ["look_up", "look_up"]
    assert called.usage_metadata["input_tokens"] > 1000
    assert called.usage_metadata["output_tokens"] > 7
    history.append(called)
    history += [ToolMessage("x", tool_call_id=call["id"]) for call in called.tool_calls]
    assert "#end4-" in chat.invoke(history).text
