"""A provider that speaks Anthropic's dialect."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any
from urllib.parse import quote

from reference_router import api_version, sse
from reference_router.answer import Answer, ApiError
from reference_router.body import Body
from reference_router.model_list import Card, Cards, unix_time
from reference_router.translations import chat_to_anthropic as translate
from reference_router.upstream import (
    Channel,
    passed_on,
    pieces,
    provider_faults,
    read,
    relayed,
    whole,
)

MESSAGES = "/v1/messages"
PAGE = 1000
"""Models on a page of the list: as many as may be asked for."""


def signed(key: str) -> dict[str, str]:
    """The header that carries a key."""
    return {"x-api-key": key}


class Anthropic:
    """See Provider and Relay."""

    name = "anthropic"

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self.close = channel.close

    async def relay(self, path: str, body: Body) -> Answer:
        """See Relay."""
        response = await self._channel.post(path, body)
        return await relayed(response, body, passed_on(response, "request-id"))

    async def chat(self, body: Body) -> Answer:
        """See Provider."""
        api_version.speak_our_own()
        try:
            response = await self._channel.post(MESSAGES, translate.request(body))
            if not body.get("stream"):
                return whole(await read(response), partial(translate.answer, body))
        except ApiError as error:
            raise translate.in_chat_shape(error) from None
        events = translate.events(body, pieces(response))
        return Answer(body=events, content_type=sse.CONTENT_TYPE, close=response.aclose)

    async def embed(self, body: Body) -> Answer:
        """See Provider."""
        raise ApiError(404, "This provider has no embeddings.", code="model_not_found")

    async def models(self) -> Cards:
        """See Provider."""
        cards: Cards = ()
        after = ""
        with provider_faults():
            async with asyncio.timeout(self._channel.list_timeout_s):
                while True:
                    page, last = await self._channel.get(
                        f"/v1/models?limit={PAGE}{after}", _page, api_version.OUR_OWN
                    )
                    cards += page
                    if not page or not last:
                        return cards
                    after = f"&after_id={quote(last, safe='')}"


def _page(listed: Any) -> tuple[Cards, str]:
    """The models of one page, and the last one's id where there is another page."""
    models = listed["data"] or ()
    cards = tuple(
        Card(
            id=f"anthropic/{model['id']}",
            created=unix_time(model.get("created_at")),
            owned_by="anthropic",
        )
        for model in models
    )
    return cards, str(listed.get("last_id") or "") if listed.get("has_more") else ""
