"""A provider that speaks Ollama's own dialect: translated both ways."""

from __future__ import annotations

from functools import partial
from typing import Any

from reference_router import sse
from reference_router.answer import Answer
from reference_router.body import Body
from reference_router.model_list import Card, Cards, unix_time
from reference_router.translations import chat_to_ollama as translate
from reference_router.upstream import Channel, pieces, read, whole


class Ollama:
    """See Provider."""

    name = "ollama"

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self.close = channel.close

    async def chat(self, body: Body) -> Answer:
        """See Provider."""
        response = await self._channel.post("/api/chat", translate.chat_request(body))
        if not body.get("stream"):
            return whole(await read(response), partial(translate.chat_answer, body))
        events = translate.chat_events(body, pieces(response))
        return Answer(body=events, content_type=sse.CONTENT_TYPE, close=response.aclose)

    async def embed(self, body: Body) -> Answer:
        """See Provider."""
        response = await self._channel.post("/api/embed", translate.embed_request(body))
        return whole(await read(response), partial(translate.embed_answer, body))

    async def models(self) -> Cards:
        """See Provider."""
        return await self._channel.get("/api/tags", _cards)


def _cards(listed: Any) -> Cards:
    return tuple(
        Card(
            id=f"ollama/{model['model']}",
            created=unix_time(model.get("modified_at")),
            owned_by="library",
        )
        for model in listed["models"] or ()
    )
