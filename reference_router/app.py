"""The router's own HTTP: paths to jobs, errors to the shape of each front.

Decides which path does what. Refuses to know how anything is done.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any

from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from reference_router.answer import Answer, ApiError
from reference_router.front import Generation, unless_gone
from reference_router.limiter import Limiter
from reference_router.router import Router, sound_router
from reference_router.routes import chat, embeddings, models, rag
from reference_router.settings import Settings


def create_app(settings: Settings, limiter: Limiter | None = None) -> FastAPI:
    """The router as an ASGI application. Raises KeyError for a flaw that there is not."""
    router = sound_router(settings, limiter)
    in_front = None
    if settings.flaw:
        from reference_router.flaws import FLAWS  # noqa: PLC0415 - a sound router needs none

        flaw = FLAWS[settings.flaw]
        router, in_front = flaw.spoil(router), flaw.middleware

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await router.open()
        yield
        await router.close()

    app = FastAPI(lifespan=lifespan, openapi_url=None)
    app.state.router = router
    _add_paths(app, router)
    if settings.limited or settings.affinity:
        from reference_router import asking  # noqa: PLC0415 - only where it matters who asks

        app.add_middleware(asking.remembering(settings.affinity))
    if in_front is not None:
        app.add_middleware(in_front)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(ApiError, _api_error)
    app.add_exception_handler(Exception, _own_fault)
    return app


def _add_paths(app: FastAPI, router: Router) -> None:
    library = rag.Library(router.settings.embed_model)

    async def health(_: Request) -> Response:
        return _whole(Answer(body=b'{"status":"ok"}'))

    async def list_models(request: Request) -> Response:
        if _is_anthropics(request):
            from reference_router.routes import anthropic_models  # noqa: PLC0415

            return await _watched(request, models.listed(router.models, anthropic_models.page))
        return await _watched(request, models.listed(router.models))

    async def one_model(request: Request) -> Response:
        model = request.path_params["model"].rstrip("/")
        if _is_anthropics(request):
            from reference_router.routes import anthropic_models  # noqa: PLC0415

            return await _watched(request, models.one(router.models, model, anthropic_models.one))
        return await _watched(request, models.one(router.models, model))

    # Plain ASGI: of what is passed through, FastAPI has nothing to validate and nothing to encode.
    chats = Generation(router.front, partial(chat.plan, router, library))
    vectors = Generation(router.front, partial(embeddings.plan, router))
    for path, endpoint, method in (
        ("/health", health, "GET"),
        ("/v1/chat/completions", chats, "POST"),
        ("/v1/embeddings", vectors, "POST"),
        ("/v1/messages", _OnFirstUse(_messages, router, library), "POST"),
        ("/v1/messages/count_tokens", _OnFirstUse(_count_tokens, router, library), "POST"),
        ("/v1/responses", _OnFirstUse(_responses, router, library), "POST"),
        ("/v1/models", list_models, "GET"),
    ):
        app.routes.append(Route(path, endpoint, methods=[method]))
        app.routes.append(Route(path + "/", endpoint, methods=[method]))
    app.routes.append(Route("/v1/models/{model:path}", one_model, methods=["GET"]))


class _OnFirstUse:
    """An application that is imported when it is requested: most routers need none of these."""

    def __init__(
        self,
        made: Callable[[Router, rag.Library], ASGIApp],
        router: Router,
        library: rag.Library,
    ) -> None:
        self._make = partial(made, router, library)
        self._app: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._app is None:
            self._app = self._make()
        await self._app(scope, receive, send)


def _messages(router: Router, library: rag.Library) -> ASGIApp:
    from reference_router.routes import messages  # noqa: PLC0415

    return messages.generating(router, library)


def _count_tokens(router: Router, _: rag.Library) -> ASGIApp:
    from reference_router.routes import messages  # noqa: PLC0415

    return messages.counting(router)


def _responses(router: Router, library: rag.Library) -> ASGIApp:
    from reference_router.routes import responses  # noqa: PLC0415

    return responses.generating(router, library)


def _is_anthropics(request: Request) -> bool:
    """Its client speaks Anthropic's API: on a path that is OpenAI's, too, only a header tells."""
    return "anthropic-version" in request.headers or request.url.path.startswith("/v1/messages")


async def _watched(request: Request, work: Coroutine[Any, Any, Answer]) -> Response:
    """The answer that ``work`` comes to; nobody's when its client has left."""
    answer = await unless_gone(work, request.receive)
    return Response(status_code=499) if answer is None else _whole(answer)


def _whole(answer: Answer) -> Response:
    assert isinstance(answer.body, bytes)
    return Response(answer.body, answer.status, dict(answer.headers), answer.content_type)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    with suppress(ClientDisconnect):
        # An answer that overtakes its request's body leaves a client waiting to send it.
        async for _ in request.stream():
            pass
    headers = tuple((error.headers or {}).items())
    return _told(request, ApiError(error.status_code, error.detail, headers=headers))


async def _api_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return _told(request, error)


async def _own_fault(request: Request, _error: Exception) -> Response:
    return _told(request, ApiError(500, "The router failed. Its log says how."))


def _told(request: Request, error: ApiError) -> Response:
    if _is_anthropics(request):
        from reference_router.shapes import MESSAGES  # noqa: PLC0415

        return _whole(MESSAGES.whole(error))
    return _whole(error.answer())
