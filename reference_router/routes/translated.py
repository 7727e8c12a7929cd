"""A request of another front, answered by way of chat completions: whatever they reach, it does.

Decides nothing but the order: the request is translated, its job is that of the chat request, and
the answer is translated back. So agents, RAG and every provider are there for each front.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import Any, Protocol

from reference_router import sse
from reference_router.answer import Answer, ApiError, Shape
from reference_router.body import Body
from reference_router.front import Job
from reference_router.router import Router
from reference_router.routes import chat, rag
from reference_router.upstream import whole


class Translation(Protocol):
    """A pair of dialects: the client's, and that of chat completions."""

    def request(self, body: Body) -> Body:
        """The chat request. Raises ApiError 400."""

    def answer(self, body: Body, content: bytes) -> dict[str, Any]:
        """A whole chat completion in the client's dialect."""

    def events(
        self, body: Body, pieces: AsyncGenerator[bytes, None]
    ) -> AsyncGenerator[bytes, None]:
        """A streamed one. Raises ApiError."""


def job(
    router: Router, library: rag.Library, request: Body, translation: Translation, shape: Shape
) -> Job:
    """The job of ``request``. Raises ApiError 400 or 404."""
    asked = translation.request(request)
    chatting = chat.job(router, library, asked)
    request["model"] = asked["model"]  # answers name the provider's own
    return replace(
        chatting, open=partial(_opened, chatting.open, request, translation), shape=shape
    )


async def _opened(
    chatting: Callable[[], Awaitable[Answer]], request: Body, translation: Translation
) -> Answer:
    answer = await chatting()
    if isinstance(answer.body, bytes):
        if request.get("stream"):
            raise ApiError(502, "The provider did not stream its answer.")
        return whole(answer.body, partial(translation.answer, request))
    events = translation.events(request, answer.body)
    return replace(answer, body=events, content_type=sse.CONTENT_TYPE)
