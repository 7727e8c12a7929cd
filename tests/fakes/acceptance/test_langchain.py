"""LangChain's ChatOpenAI and ChatOllama talk to the fakes as they would to the real servers."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import httpx
import ollama
import openai
import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_ollama import ChatOllama, OllamaEmbeddings
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import SecretStr

import fake_providers
from fake_providers import Fakes
from fake_providers.prompt.directives import embedded_nonce, token
from tests.fakes.wire import records

RUN = "wire"
numbers = itertools.count(70_000)
TOOL: Any = {
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
Chat = ChatOpenAI | ChatOllama


@pytest.fixture(scope="module")
def fakes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fakes]:
    ledger = tmp_path_factory.mktemp("langchain") / "evidence.jsonl"
    with fake_providers.running(ledger=ledger, run=RUN) as running:
        yield running


@pytest.fixture(scope="module")
def over_http() -> Iterator[httpx.Client]:
    with httpx.Client(timeout=10) as client:
        yield client


@pytest.fixture(params=["openai", "ollama", "ollama-v1"])
def chat(request: pytest.FixtureRequest, fakes: Fakes, over_http: httpx.Client) -> Iterator[Chat]:
    if request.param == "ollama":
        model = ChatOllama(
            model="fake-chat", base_url=fakes.ollama_url, validate_model_on_init=True
        )
        yield model
        model._client._client.close()
    else:
        url = fakes.openai_url if request.param == "openai" else fakes.ollama_url
        yield openai_chat(url, over_http)


def openai_chat(url: str, over_http: httpx.Client, **more: Any) -> ChatOpenAI:
    return ChatOpenAI(
        model="fake-chat",
        base_url=f"{url}/v1",
        api_key=SecretStr("any"),
        http_client=over_http,
        **{"max_retries": 0, **more},
    )


def ask(nonce: int | None = None, **directives: Any) -> list[Any]:
    prompt = token(RUN, next(numbers) if nonce is None else nonce, **directives)
    return [HumanMessage(prompt)]


def test_invoke_and_stream(chat: Chat) -> None:
    reply = chat.invoke(ask())
    assert "#end4-" in str(reply.content)
    assert isinstance(reply, AIMessage)
    assert reply.usage_metadata is not None
    assert reply.usage_metadata["output_tokens"] == 5
    text = "".join(str(chunk.content) for chunk in chat.stream(ask()))
    assert "#end4-" in text


def test_a_round_of_tools(chat: Chat) -> None:
    nonce = next(numbers)
    bound = chat.bind_tools([TOOL])
    history = ask(nonce, tools=1)
    called = bound.invoke(history)
    assert isinstance(called, AIMessage)
    [call] = called.tool_calls
    assert (call["name"], call["args"]) == ("look_up", {"what": str(nonce)})
    history += [called, ToolMessage("found", tool_call_id=call["id"])]
    assert "#end4-" in str(bound.invoke(history).content)


def test_tools_in_a_stream(chat: Chat) -> None:
    nonce = next(numbers)
    whole: Any = None
    for chunk in chat.bind_tools([TOOL]).stream(ask(nonce, tools=1)):
        whole = chunk if whole is None else whole + chunk
    [call] = whole.tool_calls
    assert (call["name"], call["args"]) == ("look_up", {"what": str(nonce)})


def test_structured_output(chat: Chat) -> None:
    schema = {**TOOL["function"]["parameters"], "title": "Found", "description": "What was found."}
    method: Any = "json_schema"
    reply = chat.with_structured_output(schema, method=method).invoke(ask())
    assert isinstance(reply, dict)
    assert "#end4-" in reply["what"]


def test_an_answer_that_is_cut_short_by_its_limit(fakes: Fakes, chat: Chat) -> None:
    if isinstance(chat, ChatOllama):
        reply = chat.model_copy(update={"num_predict": 2}).invoke(ask())
        assert reply.response_metadata["done_reason"] == "length"
    else:
        # It is sent as max_completion_tokens, which Ollama's own /v1 does not know.
        reply = chat.bind(max_tokens=2).invoke(ask())
        ignored = fakes.ollama_url in str(chat.openai_api_base)
        assert reply.response_metadata["finish_reason"] == ("stop" if ignored else "length")
        assert ("#end4-" in str(reply.content)) is ignored


def test_usage_in_a_stream_on_request(fakes: Fakes, over_http: httpx.Client) -> None:
    chat = openai_chat(fakes.openai_url, over_http, stream_usage=True)
    whole: Any = None
    for chunk in chat.stream(ask()):
        whole = chunk if whole is None else whole + chunk
    assert whole.usage_metadata["output_tokens"] == 5


def test_over_the_responses_api(fakes: Fakes, over_http: httpx.Client) -> None:
    chat = openai_chat(fakes.openai_url, over_http, use_responses_api=True)
    assert "#end4-" in chat.invoke(ask()).text
    assert "#end4-" in "".join(chunk.text for chunk in chat.stream(ask()))


@pytest.mark.parametrize("status", [400, 401, 404, 429, 503])
def test_errors(chat: Chat, status: int) -> None:
    expected = ollama.ResponseError if isinstance(chat, ChatOllama) else openai.APIStatusError
    with pytest.raises(expected) as caught:
        chat.invoke(ask(status=status, retry_after=1))
    assert caught.value.status_code == status  # type: ignore[attr-defined]


def test_three_attempts_and_one(fakes: Fakes, over_http: httpx.Client) -> None:
    nonce = next(numbers)
    chat = openai_chat(fakes.openai_url, over_http, max_retries=2)
    reply = chat.invoke(ask(nonce, status=503, retry_after=0.05, attempts=2))
    assert "#end4-" in str(reply.content)
    assert [call.attempt for call in records(fakes, nonce, 3)] == [1, 2, 3]


def test_an_error_in_mid_stream(fakes: Fakes, chat: Chat, over_http: httpx.Client) -> None:
    if isinstance(chat, ChatOllama):
        with pytest.raises(ollama.ResponseError):
            list(chat.stream(ask(error=2)))
    with pytest.raises(openai.APIError):
        list(openai_chat(fakes.openai_url, over_http).stream(ask(error=2)))


def test_a_clean_truncation_is_taken_for_an_answer(chat: Chat) -> None:
    text = "".join(str(chunk.content) for chunk in chat.stream(ask(clean=2)))
    assert "#1 " in text
    assert "#end4-" not in text


@pytest.mark.parametrize("how", ["cut", "fin"])
def test_a_hard_cut(chat: Chat, how: str) -> None:
    with pytest.raises((httpx.TransportError, openai.APIConnectionError)):
        list(chat.stream(ask(**{how: 2})))


def test_a_client_that_breaks_off_is_seen(fakes: Fakes, chat: Chat) -> None:
    nonce = next(numbers)
    stream = chat.stream(ask(nonce, hold="piece", at=2))
    for chunk in stream:
        if chunk.content:
            break
    stream.close()  # type: ignore[attr-defined]
    [call] = records(fakes, nonce)
    assert (call.ended_by, call.finished) == ("peer", False)


def test_embeddings_by_both(fakes: Fakes, over_http: httpx.Client) -> None:
    nonce = next(numbers)
    of_openai = OpenAIEmbeddings(
        model="fake-embed",
        base_url=f"{fakes.openai_url}/v1",
        api_key=SecretStr("any"),
        check_embedding_ctx_length=False,
        http_client=over_http,
    )
    of_ollama = OllamaEmbeddings(model="fake-embed", base_url=fakes.ollama_url)
    for embeddings in (of_openai, of_ollama):
        first, second = embeddings.embed_documents([token(RUN, nonce), "no token"])
        assert embedded_nonce(RUN, first) == nonce
        assert embedded_nonce(RUN, second) is None
    assert of_ollama._client is not None
    of_ollama._client._client.close()
