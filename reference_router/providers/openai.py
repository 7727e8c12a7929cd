"""A provider that speaks OpenAI's dialects: bytes are passed on as they come."""

from __future__ import annotations

from typing import Any

from reference_router.answer import Answer
from reference_router.body import Body
from reference_router.model_list import Card, Cards
from reference_router.upstream import Channel, read, relayed


class OpenAI:
    """See Provider and Relay."""

    name = "openai"

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self.close = channel.close

    async def chat(self, body: Body) -> Answer:
        """See Provider."""
        return await self.relay("/v1/chat/completions", body)

    async def relay(self, path: str, body: Body) -> Answer:
        """See Relay."""
        return await relayed(await self._channel.post(path, body), body)

    async def embed(self, body: Body) -> Answer:
        """See Provider."""
        response = await self._channel.post("/v1/embeddings", body)
        return Answer(body=await read(response))

    async def models(self) -> Cards:
        """See Provider."""
        return await self._channel.get("/v1/models", _cards)


def _cards(listed: Any) -> Cards:
    return tuple(
        Card(
            id=f"openai/{model['id']}",
            created=int(model.get("created") or 0),
            owned_by=str(model.get("owned_by") or "openai"),
        )
        for model in listed["data"] or ()
    )
