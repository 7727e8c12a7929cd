"""The official openai SDK through the reference router: it must not be able to tell."""

from __future__ import annotations

from collections.abc import AsyncIterator

import openai
import pytest

import fake_providers
from fake_providers.prompt.directives import embedded_nonce, token
from tests.router.world import ROUTES, RUN, World, whole_answer, world


@pytest.fixture
async def there(fakes: fake_providers.Fakes) -> AsyncIterator[World]:
    async with world(fakes) as made:
        yield made


@pytest.fixture
async def sdk(there: World) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(
        base_url=there.url + "/v1", api_key="any", max_retries=0, timeout=10
    ) as client:
        yield client


def prompt(nonce: int) -> list[openai.types.chat.ChatCompletionMessageParam]:
    return [{"role": "user", "content": f"Say it: {token(RUN, nonce, tokens=3)}"}]


async def test_it_lists_and_retrieves_models_of_both_providers(sdk: openai.AsyncOpenAI) -> None:
    ids = [model.id async for model in sdk.models.list()]
    assert "openai/fake-chat" in ids
    assert "ollama/fake-chat:latest" in ids
    for name in ("openai/fake-chat", "ollama/fake-chat:latest"):
        assert (await sdk.models.retrieve(name)).id == name


@pytest.mark.parametrize("route", ROUTES)
async def test_it_chats(route: str, sdk: openai.AsyncOpenAI) -> None:
    answer = await sdk.chat.completions.create(model=ROUTES[route], messages=prompt(17))
    (choice,) = answer.choices
    assert choice.finish_reason == "stop"
    text = choice.message.content or ""
    assert whole_answer(17, "ollama" if "@ollama" in text else "openai", text)


@pytest.mark.parametrize("route", ROUTES)
async def test_it_streams(route: str, sdk: openai.AsyncOpenAI) -> None:
    stream = await sdk.chat.completions.create(
        model=ROUTES[route], messages=prompt(18), stream=True
    )
    pieces: list[str] = []
    finish = None
    async for chunk in stream:
        for choice in chunk.choices:
            pieces.append(choice.delta.content or "")
            finish = choice.finish_reason or finish
    text = "".join(pieces)
    assert finish == "stop"
    assert len([piece for piece in pieces if piece]) == 4
    assert whole_answer(18, "ollama" if "@ollama" in text else "openai", text)


@pytest.mark.parametrize("model", ["openai/fake-embed", "ollama/fake-embed"])
async def test_it_embeds(model: str, sdk: openai.AsyncOpenAI) -> None:
    answer = await sdk.embeddings.create(model=model, input=token(RUN, 19))
    assert embedded_nonce(RUN, answer.data[0].embedding) == 19


async def test_an_unknown_model_is_not_found(sdk: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.NotFoundError):
        await sdk.chat.completions.create(model="openai/nobody", messages=prompt(20))
