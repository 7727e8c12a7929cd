"""The official SDKs against the fakes."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any

import httpx
import ollama
import openai
import pytest

import fake_providers
from fake_providers import Fakes
from fake_providers.prompt.directives import embedded_nonce, token
from tests.fakes.wire import control, records, until

RUN = "wire"
numbers = itertools.count(50_000)
TOOL: Any = {
    "type": "function",
    "function": {
        "name": "look_up",
        "parameters": {
            "type": "object",
            "properties": {"what": {"type": "string"}},
            "required": ["what"],
        },
    },
}


@pytest.fixture(scope="module")
def fakes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fakes]:
    ledger = tmp_path_factory.mktemp("sdks") / "evidence.jsonl"
    with fake_providers.running(ledger=ledger, run=RUN) as running:
        yield running


@pytest.fixture(scope="module", params=["openai", "ollama"])
def server(request: pytest.FixtureRequest) -> str:
    """Whose /v1 the openai SDK talks to."""
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def client(fakes: Fakes, server: str) -> Iterator[openai.OpenAI]:
    url = fakes.openai_url if server == "openai" else fakes.ollama_url
    with openai.OpenAI(base_url=f"{url}/v1", api_key="any", max_retries=0, timeout=10) as client:
        yield client


@pytest.fixture(scope="module")
def native(fakes: Fakes) -> Iterator[ollama.Client]:
    client = ollama.Client(host=fakes.ollama_url, timeout=10)
    yield client
    client._client.close()


def ask(nonce: int | None = None, **directives: Any) -> list[Any]:
    prompt = token(RUN, next(numbers) if nonce is None else nonce, **directives)
    return [{"role": "user", "content": prompt}]


# -- openai ----------------------------------------------------------------------------------


def test_list_and_retrieve(client: openai.OpenAI, server: str) -> None:
    names = [model.id for model in client.models.list()]
    assert len(names) == {"openai": 3, "ollama": 4}[server]
    owner = {"openai": "fake-providers", "ollama": "library"}[server]
    assert client.models.retrieve(names[0]).owned_by == owner
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("some/thing")
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("nothing")


def test_chat_in_both_modes(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(model="fake-chat", messages=ask())
    assert "#end4-" in (whole.choices[0].message.content or "")
    assert whole.choices[0].finish_reason == "stop"
    with client.chat.completions.create(model="fake-chat", messages=ask(), stream=True) as stream:
        chunks = list(stream)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert "#end4-" in text
    assert all(chunk.usage is None for chunk in chunks)
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-1].choices[0].finish_reason == "stop"


def test_the_usage_chunk_only_on_request(client: openai.OpenAI) -> None:
    with client.chat.completions.create(
        model="fake-chat", messages=ask(), stream=True, stream_options={"include_usage": True}
    ) as stream:
        *_, last = stream
    assert last.choices == []
    assert last.usage is not None
    assert last.usage.completion_tokens == 5


def test_tool_calls_in_both_modes(client: openai.OpenAI) -> None:
    nonce = next(numbers)
    whole = client.chat.completions.create(
        model="fake-chat", messages=ask(nonce, tools=1), tools=[TOOL]
    )
    assert whole.choices[0].finish_reason == "tool_calls"
    with client.chat.completions.stream(
        model="fake-chat", messages=ask(nonce, tools=1), tools=[TOOL]
    ) as stream:
        message = stream.get_final_completion().choices[0].message
    assert message.tool_calls is not None
    function = message.tool_calls[0].function
    assert (function.name, json.loads(function.arguments)) == ("look_up", {"what": str(nonce)})


def test_two_choices(client: openai.OpenAI, server: str) -> None:
    expected = 2 if server == "openai" else 1
    whole = client.chat.completions.create(model="fake-chat", messages=ask(), n=2)
    assert [choice.index for choice in whole.choices] == list(range(expected))
    assert whole.usage is not None
    assert whole.usage.completion_tokens == 5 * expected
    with client.chat.completions.create(
        model="fake-chat", messages=ask(), n=2, stream=True
    ) as stream:
        texts = ["", ""]
        finished = []
        for chunk in stream:
            [choice] = chunk.choices
            texts[choice.index] += choice.delta.content or ""
            finished += [choice.index] if choice.finish_reason else []
    assert finished == list(range(expected))
    assert ["#end4-" in text for text in texts] == [True, expected == 2]


@pytest.mark.parametrize("form", ["default", "float", "base64"])
def test_embeddings(client: openai.OpenAI, form: str) -> None:
    nonce = next(numbers)
    more: Any = {} if form == "default" else {"encoding_format": form}
    reply = client.embeddings.create(model="fake-embed", input=token(RUN, nonce), **more)
    vector = reply.data[0].embedding
    assert isinstance(vector, str) if form == "base64" else embedded_nonce(RUN, vector) == nonce


def test_completions_in_both_modes(client: openai.OpenAI) -> None:
    prompt = token(RUN, next(numbers))
    assert "#end4-" in client.completions.create(model="fake-chat", prompt=prompt).choices[0].text
    with client.completions.create(model="fake-chat", prompt=prompt, stream=True) as stream:
        text = "".join(chunk.choices[0].text for chunk in stream)
    assert "#end4-" in text


def test_responses_in_both_modes(client: openai.OpenAI) -> None:
    prompt = token(RUN, next(numbers))
    whole = client.responses.create(model="fake-chat", input=prompt)
    assert "#end4-" in whole.output_text
    assert whole.status == "completed"
    with client.responses.stream(model="fake-chat", input=prompt) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_response()
    assert "#end4-" in final.output_text
    assert final.usage is not None
    assert final.usage.output_tokens == 5
    assert kinds[0] == "response.created"
    assert kinds[-1] == "response.completed"
    assert kinds.count("response.output_text.delta") == 5


def test_a_response_that_calls_a_tool(client: openai.OpenAI) -> None:
    nonce = next(numbers)
    flat: Any = {"type": "function", "strict": False, **TOOL["function"]}
    with client.responses.stream(
        model="fake-chat", input=token(RUN, nonce, tools=1), tools=[flat]
    ) as stream:
        [item] = stream.get_final_response().output
    assert item.type == "function_call"
    assert (item.name, json.loads(item.arguments)) == ("look_up", {"what": str(nonce)})


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, openai.BadRequestError),
        (401, openai.AuthenticationError),
        (403, openai.PermissionDeniedError),
        (404, openai.NotFoundError),
        (409, openai.ConflictError),
        (422, openai.UnprocessableEntityError),
        (429, openai.RateLimitError),
        (500, openai.InternalServerError),
        (503, openai.InternalServerError),
    ],
)
def test_errors_with_retry_after(
    client: openai.OpenAI, status: int, kind: type[openai.APIStatusError]
) -> None:
    with pytest.raises(kind) as caught:
        client.chat.completions.create(
            model="fake-chat", messages=ask(status=status, retry_after=7)
        )
    assert caught.value.response.headers["retry-after"] == "7"
    assert isinstance(caught.value.body, dict)
    assert set(caught.value.body) == {"message", "type", "param", "code"}


def test_the_sdk_tries_again_after_a_failure(fakes: Fakes, client: openai.OpenAI) -> None:
    nonce = next(numbers)
    patient = client.with_options(max_retries=2)
    reply = patient.chat.completions.create(
        model="fake-chat", messages=ask(nonce, status=503, retry_after=0.05, attempts=2)
    )
    assert "#end4-" in (reply.choices[0].message.content or "")
    assert [call.status for call in records(fakes, nonce, 3)] == [503, 503, 200]


def test_an_error_in_mid_stream(client: openai.OpenAI, server: str) -> None:
    with client.chat.completions.create(
        model="fake-chat", messages=ask(error=2), stream=True
    ) as stream:
        if server == "openai":
            with pytest.raises(openai.APIError) as caught:
                list(stream)
            assert not isinstance(caught.value, openai.APIStatusError)
            assert caught.value.type == "server_error"
        else:
            # Ollama swallows it: nothing but the missing finish tells.
            assert list(stream)[-1].choices[0].finish_reason is None


def test_a_clean_truncation_goes_unnoticed(client: openai.OpenAI) -> None:
    with client.chat.completions.create(
        model="fake-chat", messages=ask(clean=2), stream=True
    ) as stream:
        chunks = list(stream)
    assert all(chunk.choices[0].finish_reason is None for chunk in chunks)


@pytest.mark.parametrize("how", ["cut", "fin"])
def test_a_hard_cut_is_an_error_of_the_connection(client: openai.OpenAI, how: str) -> None:
    with (
        client.chat.completions.create(
            model="fake-chat", messages=ask(**{how: 2}), stream=True
        ) as stream,
        pytest.raises((httpx.TransportError, openai.APIConnectionError, OSError)),
    ):
        list(stream)


def test_a_client_that_breaks_off_is_seen(fakes: Fakes, client: openai.OpenAI) -> None:
    nonce = next(numbers)
    stream = client.chat.completions.create(
        model="fake-chat", messages=ask(nonce, hold="first"), stream=True
    )
    for chunk in stream:
        if chunk.choices[0].delta.content:
            break
    stream.close()
    [call] = records(fakes, nonce)
    assert (call.ended_by, call.pieces) == ("peer", 1)
    control(fakes, "reset")


def test_comments_and_split_events_are_no_matter(client: openai.OpenAI) -> None:
    with client.chat.completions.create(
        model="fake-chat", messages=ask(comments=3, split=3), stream=True
    ) as stream:
        text = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
    assert "#end4-" in text


def test_request_ids_and_rate_limits_are_openais_only(client: openai.OpenAI, server: str) -> None:
    raw = client.chat.completions.with_raw_response.create(model="fake-chat", messages=ask())
    names = {name for name in raw.headers if name.startswith(("x-ratelimit-", "x-request-id"))}
    assert len(names) == (7 if server == "openai" else 0)


# -- ollama ----------------------------------------------------------------------------------


def test_ollama_lists_and_shows(native: ollama.Client) -> None:
    assert len(native.list().models) == 4
    assert {model.model for model in native.ps().models} <= {m.model for m in native.list().models}
    reply = native.show("fake-chat")
    assert reply.capabilities == ["completion", "tools"]
    assert reply.modelinfo is not None
    assert reply.modelinfo["fake.context_length"] == 4096
    with pytest.raises(ollama.ResponseError) as caught:
        native.show("nobody")
    assert caught.value.error == "model 'nobody:latest' not found"


def test_ollama_chats_and_generates_in_both_modes(native: ollama.Client) -> None:
    assert "#end4-" in (native.chat(model="fake-chat", messages=ask()).message.content or "")
    parts = list(native.chat(model="fake-chat", messages=ask(), stream=True))
    assert "#end4-" in "".join(part.message.content or "" for part in parts)
    prompt = token(RUN, next(numbers))
    whole = native.generate(model="fake-chat", prompt=prompt)
    assert "#end4-" in (whole.response or "")
    assert whole.context
    texts = [part.response or "" for part in native.generate("fake-chat", prompt, stream=True)]
    assert "#end4-" in "".join(texts)


def test_ollama_embeds_by_both_routes(native: ollama.Client) -> None:
    nonce = next(numbers)
    reply = native.embed(model="fake-embed", input=token(RUN, nonce))
    assert embedded_nonce(RUN, list(reply.embeddings[0])) == nonce
    older = native.embeddings(model="fake-embed", prompt=token(RUN, nonce))
    assert embedded_nonce(RUN, list(older.embedding)) == nonce


def test_ollama_answers_in_json(native: ollama.Client) -> None:
    schema: dict[str, Any] = {"properties": {"a": {"type": "integer"}, "b": {"type": "string"}}}
    schema |= {"type": "object", "required": ["a", "b"]}
    reply = native.chat(model="fake-chat", messages=ask(), format=schema)
    found = json.loads(reply.message.content or "")
    assert found["a"] == 1
    assert "#end4-" in found["b"]


@pytest.mark.parametrize("status", [400, 404, 503])
def test_ollama_errors(native: ollama.Client, status: int) -> None:
    with pytest.raises(ollama.ResponseError) as caught:
        native.chat(model="fake-chat", messages=ask(status=status))
    assert caught.value.status_code == status


def test_ollama_error_in_mid_stream(native: ollama.Client) -> None:
    with pytest.raises(ollama.ResponseError) as caught:
        list(native.chat(model="fake-chat", messages=ask(error=2), stream=True))
    assert caught.value.status_code == -1
    assert caught.value.error.startswith("model runner has unexpectedly stopped")


def test_ollama_truncations(native: ollama.Client) -> None:
    parts = list(native.chat(model="fake-chat", messages=ask(clean=2), stream=True))
    assert not any(part.done for part in parts)
    parts = list(native.chat(model="fake-chat", messages=ask(newline=0), stream=True))
    assert parts[-1].done
    for how in ("cut", "fin"):
        stream = native.chat(model="fake-chat", messages=ask(**{how: 2}), stream=True)
        with pytest.raises(httpx.TransportError):
            list(stream)


def test_ollama_client_that_breaks_off_is_seen(fakes: Fakes, native: ollama.Client) -> None:
    nonce = next(numbers)
    stream = native.chat(model="fake-chat", messages=ask(nonce, hold="first"), stream=True)
    next(iter(stream))
    stream.close()  # type: ignore[attr-defined]
    [call] = records(fakes, nonce)
    assert (call.ended_by, call.pieces) == ("peer", 1)
    control(fakes, "reset")
    until(fakes, lambda reply: reply["open"]["ollama"] == 0)
