"""``rag/...``: what the library says about a question goes before the question.

Decides what is looked up and where it is put: a system message before the user's last message,
which stays as it was. Refuses to know who embeds and who generates; it is the same provider, and
the client's one permit covers both calls.
"""

from __future__ import annotations

import math
from typing import Any

import msgspec

from reference_router.answer import Answer, ApiError, understood
from reference_router.body import Body
from reference_router.translations.chat_content import text_of
from reference_router.upstream import Provider, nonsense

Vector = list[float]

DOCUMENTS = (
    "A cap of five means that five requests are in flight at once, and a sixth waits.",
    "A permit is held until the last byte of an answer was sent, also when it is streamed.",
    "A model list is fetched once per expiry, however many clients ask for it.",
    "A client that hangs up frees its place, and the model stops working for it.",
)


class Library:
    """A few documents in memory, found by the angle between vectors."""

    def __init__(self, embed_model: str, documents: tuple[str, ...] = DOCUMENTS) -> None:
        self._embed_model = embed_model
        self._documents = documents
        self._vectors: dict[str, list[Vector]] = {}

    async def nearest(self, provider: Provider, question: str, count: int = 2) -> list[str]:
        """The ``count`` documents nearest to ``question``, the nearest first. Raises ApiError."""
        (asked,) = await self._embedded(provider, [question])
        vectors = self._vectors.get(provider.name)
        if vectors is None:  # only a provider's own vectors can be compared with its others
            vectors = await self._embedded(provider, list(self._documents))
            self._vectors[provider.name] = vectors
        with nonsense():
            near = [_cosine(asked, vector) for vector in vectors]
        ranked = sorted(zip(near, self._documents, strict=True), reverse=True)
        return [text for _, text in ranked[:count]]

    async def _embedded(self, provider: Provider, texts: list[str]) -> list[Vector]:
        answer = await provider.embed({"model": self._embed_model, "input": texts})
        with nonsense():
            data = answer.json()["data"]
            vectors: list[Vector] = [item["embedding"] for item in data]
            if len(vectors) != len(texts):
                raise ValueError
            return vectors


async def run(provider: Provider, request: Body, library: Library) -> Answer:
    """The answer to ``request`` with the library's help. Raises ApiError."""
    messages = request["messages"]
    last, question = _last_question(messages)
    found = await library.nearest(provider, question)
    context = "What is known about this:\n" + "\n".join(f"- {text}" for text in found)
    messages.insert(last, {"role": "system", "content": context})
    return await provider.chat(request)


class _Asked(msgspec.Struct):
    """What is read of a message."""

    role: str = ""
    content: Any = None


def _last_question(messages: list[Any]) -> tuple[int, str]:
    """The place of the user's last message, and its text. Raises ApiError 400."""
    for index in reversed(range(len(messages))):
        with understood(400, "A message cannot be read."):
            message = _asked(messages[index])
        if message.role == "user":
            return index, text_of(message.content)
    raise ApiError(400, "There is no user's message to look up.", param="messages")


def _asked(message: Any) -> _Asked:
    if isinstance(message, msgspec.Raw):
        return msgspec.json.decode(message, type=_Asked)
    return msgspec.convert(message, _Asked)


def _cosine(one: Vector, other: Vector) -> float:
    length = math.hypot(*one) * math.hypot(*other)
    return sum(a * b for a, b in zip(one, other, strict=True)) / length if length else 0.0
