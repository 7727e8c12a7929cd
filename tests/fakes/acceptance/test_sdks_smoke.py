"""The official SDKs talk to the fakes as they would to the real servers."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import ollama
import openai
import pytest

import fake_providers
from fake_providers import Fakes
from fake_providers.prompt.directives import embedded_nonce, token

RUN = "sdk"
numbers = itertools.count(1)
TOOL = {
    "type": "function",
    "function": {
        "name": "look_up",
        "description": "Looks it up.",
        "parameters": {
            "type": "object",
            "properties": {"what": {"type": "string"}},
            "required": ["what"],
        },
    },
}


@pytest.fixture(scope="module")
def fakes() -> Iterator[Fakes]:
    with fake_providers.running(run=RUN) as running:
        yield running


@pytest.fixture(scope="module")
def from_openai(fakes: Fakes) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(
        base_url=fakes.openai_url + "/v1", api_key="any", max_retries=0, timeout=10
    ) as client:
        yield client


@pytest.fixture(scope="module")
def from_ollama(fakes: Fakes) -> Iterator[ollama.Client]:
    client = ollama.Client(host=fakes.ollama_url, timeout=10)
    yield client
    client._client.close()


def test_openai_lists_and_retrieves(from_openai: openai.OpenAI) -> None:
    names = [model.id for model in from_openai.models.list()]
    assert names == ["fake-chat", "fake-embed", "openai-epoch-0"]
    assert from_openai.models.retrieve("fake-chat").owned_by == "fake-providers"
    with pytest.raises(openai.NotFoundError) as caught:
        from_openai.models.retrieve("some/thing")
    assert caught.value.code == "model_not_found"
    assert "some/thing" in str(caught.value)


def test_openai_chats_whole(from_openai: openai.OpenAI) -> None:
    nonce = next(numbers)
    reply = from_openai.chat.completions.create(
        model="fake-chat", messages=[{"role": "user", "content": token(RUN, nonce)}]
    )
    content = reply.choices[0].message.content
    assert content is not None
    assert content.startswith(f"{nonce}@openai-")
    assert reply.usage is not None
    assert reply.usage.completion_tokens == 5
    assert reply._request_id is not None


def test_openai_chats_in_a_stream_with_usage(from_openai: openai.OpenAI) -> None:
    nonce = next(numbers)
    with from_openai.chat.completions.create(
        model="fake-chat",
        messages=[{"role": "user", "content": token(RUN, nonce, tokens=2)}],
        stream=True,
        stream_options={"include_usage": True},
    ) as stream:
        chunks = list(stream)
    pieces = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices]
    assert "".join(piece or "" for piece in pieces).count(f"{nonce}@openai-") == 3
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 3


def test_openais_stream_helper_puts_an_answer_together(from_openai: openai.OpenAI) -> None:
    nonce = next(numbers)
    with from_openai.chat.completions.stream(
        model="fake-chat", messages=[{"role": "user", "content": token(RUN, nonce)}]
    ) as stream:
        content = stream.get_final_completion().choices[0].message.content
    assert content is not None
    assert "#end4-" in content


def test_openai_completes_in_both_modes(from_openai: openai.OpenAI) -> None:
    prompt = token(RUN, next(numbers))
    whole = from_openai.completions.create(model="fake-chat", prompt=prompt)
    assert "#end4-" in whole.choices[0].text
    with from_openai.completions.create(model="fake-chat", prompt=prompt, stream=True) as stream:
        text = "".join(chunk.choices[0].text for chunk in stream)
    assert "#end4-" in text


def test_openai_calls_a_tool(from_openai: openai.OpenAI) -> None:
    nonce = next(numbers)
    reply = from_openai.chat.completions.create(
        model="fake-chat",
        messages=[{"role": "user", "content": token(RUN, nonce, tools=1)}],
        tools=[TOOL],  # type: ignore[list-item]
    )
    assert reply.choices[0].finish_reason == "tool_calls"
    assert reply.choices[0].message.tool_calls is not None
    call = reply.choices[0].message.tool_calls[0]
    assert call.type == "function"
    assert call.function.name == "look_up"


@pytest.mark.parametrize("given", ["base64", "float", None])
def test_openai_embeds(from_openai: openai.OpenAI, given: str | None) -> None:
    nonce = next(numbers)
    reply = from_openai.embeddings.create(
        model="fake-embed",
        input=[token(RUN, nonce), "no token"],
        **({} if given is None else {"encoding_format": given}),  # type: ignore[arg-type]
    )
    assert len(reply.data) == 2
    if given == "base64":
        assert isinstance(reply.data[0].embedding, str)
    else:
        assert embedded_nonce(RUN, reply.data[0].embedding) == nonce


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, openai.AuthenticationError),
        (429, openai.RateLimitError),
        (500, openai.InternalServerError),
        (503, openai.InternalServerError),
    ],
)
def test_openai_raises_the_documented_errors(
    from_openai: openai.OpenAI, status: int, kind: type[openai.APIStatusError]
) -> None:
    prompt = token(RUN, next(numbers), status=status)
    with pytest.raises(kind) as caught:
        from_openai.chat.completions.create(
            model="fake-chat", messages=[{"role": "user", "content": prompt}]
        )
    assert caught.value.status_code == status


def test_openai_does_not_know_the_model(from_openai: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        from_openai.chat.completions.create(
            model="nobody", messages=[{"role": "user", "content": "hi"}]
        )
    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")


def test_ollama_lists(from_ollama: ollama.Client) -> None:
    names = [model.model for model in from_ollama.list().models]
    assert names == [
        "fake-chat:latest",
        "fake-embed:latest",
        "ollama-epoch-0:latest",
        "fake-think:latest",
    ]
    assert from_ollama.ps().models == []


def test_ollama_chats_in_both_modes(from_ollama: ollama.Client) -> None:
    nonce = next(numbers)
    messages = [{"role": "user", "content": token(RUN, nonce, tokens=2)}]
    whole = from_ollama.chat(model="fake-chat", messages=messages)
    assert (whole.message.content or "").startswith(f"{nonce}@ollama-")
    chunks = list(from_ollama.chat(model="fake-chat", messages=messages, stream=True))
    text = "".join(chunk.message.content or "" for chunk in chunks)
    assert text.count(f"{nonce}@ollama-") == 3
    assert (chunks[-1].done, chunks[-1].done_reason) == (True, "stop")


def test_ollama_generates_in_both_modes(from_ollama: ollama.Client) -> None:
    prompt = token(RUN, next(numbers))
    whole = from_ollama.generate(model="fake-chat", prompt=prompt)
    assert "#end4-" in (whole.response or "")
    chunks = from_ollama.generate(model="fake-chat", prompt=prompt, stream=True)
    assert "#end4-" in "".join(chunk.response or "" for chunk in chunks)


def test_ollama_calls_a_tool(from_ollama: ollama.Client) -> None:
    nonce = next(numbers)
    reply = from_ollama.chat(
        model="fake-chat",
        messages=[{"role": "user", "content": token(RUN, nonce, tools=1)}],
        tools=[TOOL],
    )
    assert reply.message.tool_calls is not None
    assert reply.message.tool_calls[0].function.arguments == {"what": str(nonce)}


def test_ollama_embeds_by_both_routes(from_ollama: ollama.Client) -> None:
    nonce = next(numbers)
    reply = from_ollama.embed(model="fake-embed", input=[token(RUN, nonce), "no token"])
    assert [embedded_nonce(RUN, list(vector)) for vector in reply.embeddings] == [nonce, None]
    older = from_ollama.embeddings(model="fake-embed", prompt=token(RUN, nonce))
    assert embedded_nonce(RUN, list(older.embedding)) == nonce


def test_ollama_raises_the_documented_errors(from_ollama: ollama.Client) -> None:
    with pytest.raises(ollama.ResponseError) as caught:
        from_ollama.chat(model="nobody", messages=[{"role": "user", "content": "hi"}])
    assert caught.value.status_code == 404
    assert caught.value.error == "model 'nobody' not found"
    prompt = token(RUN, next(numbers), status=503)
    with pytest.raises(ollama.ResponseError) as caught:
        list(
            from_ollama.chat(
                model="fake-chat", messages=[{"role": "user", "content": prompt}], stream=True
            )
        )
    assert caught.value.status_code == 503
