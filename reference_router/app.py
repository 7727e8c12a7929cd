"""The router's own HTTP: paths to jobs, errors to OpenAI's shape.

Decides which path does what. Refuses to know how anything is done.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Route

from reference_router.answer import Answer, ApiError
from reference_router.flaws import FLAWS
from reference_router.front import Generation, unless_gone
from reference_router.limiter import Limiter
from reference_router.router import Router, sound_router
from reference_router.routes import chat, embeddings, models, rag
from reference_router.settings import Settings


def create_app(settings: Settings, limiter: Limiter | None = None) -> FastAPI:
    """The router as an ASGI application. Raises KeyError for a flaw that there is not."""
    router = sound_router(settings, limiter)
    if settings.flaw:
        router = FLAWS[settings.flaw].spoil(router)
    in_front = FLAWS[settings.flaw].middleware if settings.flaw else None

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await router.close()

    app = FastAPI(lifespan=lifespan, openapi_url=None)
    app.state.router = router
    _add_paths(app, router)
    if in_front is not None:
        app.add_middleware(in_front)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(ApiError, _api_error)
    app.add_exception_handler(Exception, _own_fault)
    return app


def _add_paths(app: FastAPI, router: Router) -> None:
    library = rag.Library(router.settings.embed_model)

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    # Plain ASGI: of what is passed through, FastAPI has nothing to validate and nothing to encode.
    for path, plan in (
        ("/v1/chat/completions", partial(chat.plan, router, library)),
        ("/v1/embeddings", partial(embeddings.plan, router)),
    ):
        app.routes.append(Route(path, Generation(router.front, plan), methods=["POST"]))

    @app.get("/v1/models")
    async def list_models(request: Request) -> Response:
        return await _watched(request, models.listed(router.models))

    @app.get("/v1/models/{model:path}")
    async def one_model(model: str, request: Request) -> Response:
        return await _watched(request, models.one(router.models, model))


async def _watched(request: Request, work: Coroutine[Any, Any, Answer]) -> Response:
    """The answer that ``work`` comes to; nobody's when its client has left."""
    answer = await unless_gone(work, request.receive)
    return Response(status_code=499) if answer is None else _whole(answer)


def _whole(answer: Answer) -> Response:
    assert isinstance(answer.body, bytes)
    return Response(answer.body, answer.status, dict(answer.headers), answer.content_type)


async def _http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    headers = tuple((error.headers or {}).items())
    return _whole(ApiError(error.status_code, error.detail, headers=headers).answer())


async def _api_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return _whole(error.answer())


async def _own_fault(_: Request, _error: Exception) -> Response:
    return _whole(ApiError(500, "The router failed. Its log says how.").answer())
